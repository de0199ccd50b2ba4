"""When a VTEP can have a port of type vtep."""

from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID

import pytest

from ovn_docker.overlay.vtep.vtep_ports import VtepPortSpec, names, obstacle, without_vxlan
from ovn_docker.ovn.southbound import Encap, Fabric
from ovn_docker.ovn.vteps import VTEP_PORT, Entry, Keys

SWITCH, OTHER = UUID(int=1), UUID(int=2)
KEYS = Keys("red", own=True, config={}, pinned="", vteps={})
SPEC = VtepPortSpec(ip_address("192.0.2.50"), 5001, SWITCH, KEYS, "vtep-192.0.2.50")


def fabric(*kinds: str, keys: dict[int, tuple[str, str]] | None = None) -> Fabric:
    """Hosts h0, h1, … with the encapsulations that are named, as "geneve+vxlan"."""
    encaps = [
        Encap(kind, f"192.0.2.{number + 1}", f"h{number}")
        for number, host_kinds in enumerate(kinds)
        for kind in host_kinds.split("+")
    ]
    return Fabric(tuple(encaps), frozenset(), keys or {3: (str(SWITCH), "red")})


BOTH = fabric("geneve+vxlan", "geneve+vxlan")


def found(
    spec: VtepPortSpec = SPEC, world: Fabric = BOTH, *, vxlan_mode: bool = False, strict: bool = True
) -> str:
    return obstacle(spec, world, vxlan_mode=vxlan_mode, strict=strict)


def with_keys(**changes: object) -> VtepPortSpec:
    return replace(SPEC, keys=replace(KEYS, **changes))  # type: ignore[arg-type]


def test_nothing_is_in_the_way_where_ovn_is_set_up_for_it() -> None:
    assert found() == ""
    assert found(with_keys(config={"requested-tnl-key": "5001"}, own=False)) == ""
    assert found(with_keys(config={"requested-tnl-key": "4"}, pinned="4")) == ""


@pytest.mark.parametrize(
    ("spec", "world", "text"),
    [
        (SPEC, fabric(), "has no host"),
        (SPEC, fabric("geneve+vxlan", "geneve"), "ovn-encap-type of host h1 does not name vxlan"),
        (replace(SPEC, remote=ip_address("192.0.2.1")), BOTH, "tunnel endpoint of chassis h0"),
        (SPEC, fabric("vxlan", "geneve+vxlan"), "larger than 4095, and there are hosts that use VXLAN only"),
        (SPEC, fabric("geneve+vxlan", keys={5001: (str(OTHER), "blue")}), "5001 is the tunnel key of blue"),
        (with_keys(own=False), BOTH, "was not made by this driver"),
        (with_keys(config={"requested-tnl-key": "9"}), BOTH, "somebody has set other_config:requested-tnl"),
        (with_keys(vteps={"192.0.2.51": Entry(7, VTEP_PORT)}), BOTH, "the network's VNI is 7"),
    ],
)
def test_what_is_in_the_way_is_told(spec: VtepPortSpec, world: Fabric, text: str) -> None:
    assert text in found(spec, world)


def test_one_host_with_vxlan_is_enough_for_who_insists() -> None:
    world = fabric("geneve+vxlan", "geneve")
    assert found(world=world, strict=False) == ""
    assert without_vxlan(world) == ["h1"]
    assert "does not name vxlan" in found(world=fabric("geneve", "geneve"), strict=False)


def test_in_vxlan_mode_a_vni_has_12_bits() -> None:
    assert "options:vxlan_mode=false" in found(vxlan_mode=True)
    assert found(replace(SPEC, vni=4095), fabric("vxlan", "vxlan"), vxlan_mode=True) == ""


def test_another_vtep_is_no_host() -> None:
    world = replace(
        BOTH,
        encaps=(*BOTH.encaps, Encap("vxlan", "192.0.2.60", "vtep-192.0.2.60")),
        peers=frozenset({"vtep-192.0.2.60"}),
    )
    assert found(world=world) == ""


def test_its_own_chassis_is_not_in_the_way() -> None:
    own = Encap("vxlan", "192.0.2.50", SPEC.chassis)
    assert found(world=replace(BOTH, encaps=(*BOTH.encaps, own), peers=frozenset({SPEC.chassis}))) == ""


def test_not_every_one_of_many_hosts_is_named() -> None:
    assert names([f"h{number}" for number in range(7)]) == "host h0, h1, h2, h3, h4 and 2 more"
