"""What is found where an OpenStack machine's one-time set-up is broken, and nothing where it is right."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ovn_docker import addressing
from ovn_docker.health.checks import check
from ovn_docker.health.findings import KINDS, Bars
from ovn_docker.health.snapshot import Setup, Snapshot, Vif, VifTrunk
from ovn_docker.host.open_vswitch import Bridge, BridgePort
from tests.agreement import agreeing, container, docker, network

MAC, OTHER = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
VIF_ID = "e798c371-85f4-4f2d-ad65-d09dd1d3c1c9"
BOX = container("box")
PLAIN = network("plain", "10.0.1.0/24", members=[BOX])
AGREEING = agreeing(docker(PLAIN, containers=[BOX]))
ENDPOINT = AGREEING.held.endpoints[0].endpoint_id
LINK = addressing.link_names(ENDPOINT)[0]
UPLINK = BridgePort("eth0", local=False, ours=False, mac=MAC, mtu=1442, error="", tag=None, trunks=())
LOCAL = replace(UPLINK, name="breth0", local=True)
ACCESS = replace(UPLINK, name=LINK, ours=True, mac=OTHER, tag=7)
BRIDGE = Bridge("breth0", secure=False, ports=(LOCAL, UPLINK, ACCESS))
VIF = Vif(MAC, "demo", enabled=True, status="ACTIVE", mtu=1442)
TRUNK = VifTrunk("trunk-1", enabled=True, status="ACTIVE")
SETUP = Setup(
    vif_id=VIF_ID,
    vif=VIF,
    project="demo",
    lacks=(),
    trunk=TRUNK,
    bridge="breth0",
    bridges=(BRIDGE,),
    links={"eth0": MAC, "breth0": MAC, "lo": "00:00:00:00:00:00"},
    networks={PLAIN.network_id: 1442},
)
GOOD = replace(
    AGREEING,
    setup=SETUP,
    store="Neutron",
    held=replace(
        AGREEING.held, endpoints=tuple(replace(endpoint, vlan=7) for endpoint in AGREEING.held.endpoints)
    ),
)


def set_up(**changes: object) -> Snapshot:
    return replace(GOOD, setup=replace(SETUP, **changes))  # type: ignore[arg-type]


def vif(**changes: object) -> Snapshot:
    return set_up(vif=replace(VIF, **changes))  # type: ignore[arg-type]


def bridge(**changes: object) -> Snapshot:
    return set_up(bridges=(replace(BRIDGE, **changes),))  # type: ignore[arg-type]


def uplink(**changes: object) -> Snapshot:
    return bridge(ports=(LOCAL, replace(UPLINK, **changes), ACCESS))  # type: ignore[arg-type]


ONE_OF_EACH: list[tuple[str, str, Snapshot]] = [
    ("cloud-lacks", "standard-attr-tag", set_up(lacks=("standard-attr-tag",))),
    ("cloud-lacks", "trunk", set_up(lacks=("trunk",), trunk=None)),
    ("vif-missing", VIF_ID, set_up(vif=None, trunk=None)),
    ("vif-foreign", VIF_ID, vif(project="other")),
    ("vif-down", VIF_ID, vif(status="DOWN")),
    ("vif-disabled", VIF_ID, vif(enabled=False)),
    ("vif-elsewhere", VIF_ID, vif(mac=OTHER)),
    ("trunk-missing", VIF_ID, set_up(trunk=None)),
    ("trunk-down", "trunk-1", set_up(trunk=replace(TRUNK, enabled=False))),
    ("trunk-down", "trunk-1", set_up(trunk=replace(TRUNK, status="ERROR"))),
    ("bridge-missing", "breth0", set_up(bridges=())),
    ("bridge-secure", "breth0", bridge(secure=True)),
    ("bridge-mac", "breth0", bridge(ports=(replace(LOCAL, mac=OTHER), UPLINK, ACCESS))),
    ("uplink-missing", "eth0", bridge(ports=(LOCAL, ACCESS))),
    ("uplink-dead", "eth0", uplink(error="no such device")),
    ("uplink-vlan", "eth0", uplink(tag=5)),
    ("uplink-vlan", "eth0", uplink(trunks=(1, 2))),
    ("mtu-small", "eth0", uplink(mtu=1400)),
    ("mtu-large", "breth0", bridge(ports=(replace(LOCAL, mtu=1500), UPLINK, ACCESS))),
    ("network-mtu", PLAIN.network_id, set_up(networks={PLAIN.network_id: 1500})),
    ("interface-vlan", ENDPOINT, bridge(ports=(LOCAL, UPLINK, replace(ACCESS, tag=8)))),
    ("interface-vlan", ENDPOINT, bridge(ports=(LOCAL, UPLINK, replace(ACCESS, tag=None)))),
]


def test_nothing_is_found_where_all_is_set_up() -> None:
    assert check(GOOD) == []


@pytest.mark.parametrize(
    ("kind", "subject", "snapshot"), ONE_OF_EACH, ids=[f"{n}-{case[0]}" for n, case in enumerate(ONE_OF_EACH)]
)
def test_one_fault_is_one_finding(kind: str, subject: str, snapshot: Snapshot) -> None:
    [finding] = check(snapshot)
    assert (finding.kind, finding.subject) == (kind, subject)
    assert "\n" not in finding.text


def test_what_has_no_repair_says_what_to_do() -> None:
    unrepaired = [
        finding for _, _, snapshot in ONE_OF_EACH for finding in check(snapshot) if not finding.repair
    ]
    assert len(unrepaired) == len(ONE_OF_EACH) - 3
    words = ("'", "ask", "see", "docs/", "login", "another machine's")
    for finding in unrepaired:
        assert any(word in finding.text for word in words), finding.text


@pytest.mark.parametrize("status", ["ACTIVE", "DOWN", "BUILD"])
def test_a_trunk_without_ports_may_be_down(status: str) -> None:
    assert check(set_up(trunk=replace(TRUNK, status=status))) == []


def test_where_no_trunk_is_used_none_is_missed() -> None:
    assert check(set_up(trunk=None, trunked=False)) == []
    assert check(set_up(trunk=replace(TRUNK, enabled=False), trunked=False)) == []


@pytest.mark.parametrize(
    "changes",
    [{"vif": replace(VIF, mtu=None), "networks": {}}, {"project": ""}],
    ids=["a network that is not to be seen", "a login without a project"],
)
def test_what_cannot_be_seen_is_no_fault(changes: Mapping[str, object]) -> None:
    assert check(set_up(**changes)) == []


def test_the_command_for_a_missing_bridge_names_bridge_and_interface() -> None:
    [finding] = check(set_up(bridge="br-vm", bridges=(replace(BRIDGE, ports=(ACCESS,)),)))
    assert "no bridge br-vm: put eth0 on one" in finding.text


def elsewhere(snapshot: Snapshot) -> Snapshot:
    """The same reading on a machine whose Docker and kernel have nothing of what carries the port's mark."""
    return replace(snapshot, docker=docker(), attached=(), links=frozenset())


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("vif-elsewhere", {"vif": replace(VIF, mac=OTHER)}),
        ("vif-elsewhere", {"vif": replace(VIF, mac=OTHER), "trunk": None}),
        ("vif-elsewhere", {"links": {"eth0": OTHER, "breth0": MAC}, "bridges": ()}),
        ("vif-missing", {"vif": None, "trunk": None}),
        ("vif-foreign", {"project": "other"}),
    ],
    ids=[
        "another's port",
        "without a trunk",
        "a clone without its bridge",
        "an unknown port",
        "another project",
    ],
)
def test_nothing_is_repaired_where_it_is_in_doubt_whose_what_is_held_is(
    kind: str, changes: Mapping[str, object]
) -> None:
    for reading in (GOOD, elsewhere(GOOD)):
        found = check(replace(reading, setup=replace(SETUP, **changes)))  # type: ignore[arg-type]
        assert kind in {finding.kind for finding in found}
        assert [finding for finding in found if finding.repair] == []


@pytest.mark.parametrize(
    "kind", sorted({kind for kind, _, _ in ONE_OF_EACH if KINDS[kind].bars is not Bars.NOTHING})
)
def test_nothing_is_removed_while_the_set_up_is_broken(kind: str) -> None:
    for snapshot_ in (snapshot for name, _, snapshot in ONE_OF_EACH if name == kind):
        found = check(elsewhere(snapshot_))
        assert kind in {finding.kind for finding in found}
        assert [finding for finding in found if finding.removes] == []
    assert [finding for finding in check(elsewhere(GOOD)) if finding.removes]


def test_every_kind_of_the_set_up_is_tried() -> None:
    tried = {kind for kind, _, _ in ONE_OF_EACH}
    families = {"cloud", "vif", "trunk", "bridge", "uplink", "mtu"}
    assert {kind for kind in KINDS if kind.split("-")[0] in families} <= tried
