"""Bridges and their ports, from rows as ovsdb-server answers."""

from typing import Any
from uuid import UUID

from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import NETWORK

NONE: list[Any] = ["set", []]


def uuid(number: int) -> UUID:
    return UUID(int=number)


def port(number: int, name: str, **columns: object) -> dict[str, Any]:
    row = {
        "_uuid": ["uuid", str(uuid(number))],
        "name": name,
        "interfaces": ["uuid", str(uuid(number + 100))],
    }
    return row | {"tag": NONE, "trunks": NONE, "vlan_mode": NONE} | columns


def interface(number: int, name: str, **columns: object) -> dict[str, Any]:
    row = {"_uuid": ["uuid", str(uuid(number + 100))], "name": name, "external_ids": ["map", []]}
    return row | {"mac_in_use": "fa:16:3e:00:00:01", "mtu": 1442, "error": NONE} | columns


def answers(
    *ports: dict[str, Any], interfaces: list[dict[str, Any]], secure: bool = False
) -> list[dict[str, Any]]:
    bridge = {
        "name": "breth0",
        "fail_mode": "secure" if secure else NONE,
        "ports": ["set", [port["_uuid"] for port in ports]],
    }
    return [{"rows": [bridge]}, {"rows": list(ports)}, {"rows": interfaces}]


def test_a_bridge_is_read_with_its_ports() -> None:
    mark = ["map", [[NETWORK, "n1"]]]
    [found] = open_vswitch.read_bridges(
        answers(
            port(2, "breth0"),
            port(3, "ens3", trunks=["set", [9, 5]]),
            port(4, "veth1", tag=7),
            interfaces=[
                interface(2, "breth0"),
                interface(3, "ens3", mac_in_use=NONE, mtu=NONE, error="no such device"),
                interface(4, "veth1", external_ids=mark),
            ],
            secure=True,
        )
    )
    assert (found.name, found.secure) == ("breth0", True)
    local, uplink, own = found.ports
    assert found.local == local
    assert found.others == (uplink,)
    assert (uplink.mac, uplink.mtu, uplink.error, uplink.trunks) == ("", None, "no such device", (5, 9))
    assert (own.ours, own.tag, own.trunks) == (True, 7, ())


def test_a_native_vlan_lets_others_pass() -> None:
    [found] = open_vswitch.read_bridges(
        answers(port(3, "ens3", tag=7, vlan_mode="native-untagged"), interfaces=[interface(3, "ens3")])
    )
    assert found.ports[0].tag is None
