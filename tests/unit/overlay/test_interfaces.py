"""Interfaces that are containers' or lead to VTEPs."""

from uuid import UUID, uuid4

from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay.vtep import ip_lookup as reading
from ovn_docker.overlay.vtep.lookup_flows import LocalEndpoint, VtepTunnel
from ovn_docker.ovn import switches
from ovn_docker.ovsdb.operations import to_map
from ovn_docker.ovsdb.replica import Replica

NETWORK, ROW, SHARED = "n" * 64, UUID(int=7), uuid4()
IDS = {
    "ovn-docker-network": NETWORK,
    "ovn-docker-addresses": "10.0.0.2 fd00::2",
    "attached-mac": "02:42:0a:00:00:02",
    "ovn-installed": "true",
}


def interfaces(ofport: int = 3, **ids: str) -> tuple[Replica, reading.Interfaces]:
    replica = Replica(open_vswitch.WATCHES)
    row = {"name": "veth0", "ofport": ofport, "external_ids": to_map(IDS | ids)}
    replica.reset({"Interface": {str(ROW): {"initial": row}}})
    return replica, reading.Interfaces(replica)


def test_a_container_is_on_the_switch_of_its_network() -> None:
    _, read = interfaces()
    read.read({})
    own = switches.switch_id(NETWORK)
    assert read.endpoints() == {ROW: LocalEndpoint(3, "02:42:0a:00:00:02", ("10.0.0.2", "fd00::2"), own)}
    read.read({NETWORK: SHARED})
    assert read.endpoints()[ROW].switch == SHARED


def test_a_link_without_flows_or_port_or_mark_is_no_container_yet() -> None:
    for ofport, ids in ((3, {"ovn-installed": ""}), (-1, {}), (3, {"ovn-docker-network": ""})):
        _, read = interfaces(ofport, **ids)
        read.read({})
        assert read.endpoints() == {}


def test_an_address_that_somebody_broke_is_left_out() -> None:
    _, read = interfaces(3, **{"ovn-docker-addresses": "10.0.0.2 10.0.0.300"})
    read.read({})
    assert read.endpoints()[ROW].addresses == ("10.0.0.2",)


def test_what_has_not_changed_is_the_same_object_and_what_is_gone_is_gone() -> None:
    replica, read = interfaces()
    read.read({})
    before = read.endpoints()[ROW]
    read.read({})
    assert read.endpoints()[ROW] is before
    replica.update({"Interface": {str(ROW): {"delete": None}}})
    read.read({})
    assert read.endpoints() == {}


def test_ovns_own_tunnel_comes_before_ours() -> None:
    ours = VxlanPort("vtep1", "192.0.2.1", "192.0.2.1", "openvswitch", 4, "")
    ovns = VxlanPort("ovn-h2-0", "192.0.2.1", "", "", 1, "")
    dead = VxlanPort("vtep2", "192.0.2.2", "192.0.2.2", "openvswitch", None, "no")
    assert reading.tunnels([ovns, ours, dead]) == {"192.0.2.1": VtepTunnel(1, ours=False)}
    assert reading.tunnels([ours]) == {"192.0.2.1": VtepTunnel(4, ours=True)}
