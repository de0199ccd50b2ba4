"""Interfaces that are containers' or lead to VTEPs."""

from uuid import UUID, uuid4

from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay.vtep import ip_lookup
from ovn_docker.overlay.vtep.lookup_flows import LocalEndpoint, VtepTunnel
from ovn_docker.ovn import switches
from ovn_docker.ovsdb.operations import to_map

NETWORK, ROW, SHARED = "n" * 64, UUID(int=7), uuid4()
IDS = {
    "ovn-docker-network": NETWORK,
    "ovn-docker-addresses": "10.0.0.2 fd00::2",
    "attached-mac": "02:42:0a:00:00:02",
    "ovn-installed": "true",
}


def read(shared: dict[str, UUID] | None = None, ofport: int = 3, **ids: str) -> ip_lookup.Interfaces:
    row = {"name": "veth0", "ofport": ofport, "external_ids": to_map(IDS | ids)}
    return ip_lookup.InterfaceReader().read({ROW: row}, shared or {})


def test_a_container_is_on_the_switch_of_its_network() -> None:
    own = switches.switch_id(NETWORK)
    endpoint = LocalEndpoint(3, "02:42:0a:00:00:02", ("10.0.0.2", "fd00::2"), own)
    assert read().endpoints == {ROW: endpoint}
    assert read({NETWORK: SHARED}).endpoints[ROW].switch == SHARED


def test_a_link_without_flows_or_port_or_mark_is_no_container_yet() -> None:
    for ofport, ids in ((3, {"ovn-installed": ""}), (-1, {}), (3, {"ovn-docker-network": ""})):
        assert read(None, ofport, **ids).endpoints == {}


def test_a_vxlan_port_is_no_container() -> None:
    row = {"name": "v", "type": "vxlan", "ofport": 4, "options": to_map({"remote_ip": "192.0.2.1"})}
    found = ip_lookup.InterfaceReader().read({ROW: row}, {})
    assert (found.endpoints, [port.remote for port in found.ports]) == ({}, ["192.0.2.1"])


def test_ovns_own_tunnel_comes_before_the_drivers() -> None:
    own = VxlanPort("vtep1", "192.0.2.1", "192.0.2.1", "openvswitch", 4, "")
    ovns = VxlanPort("ovn-h2-0", "192.0.2.1", "", "", 1, "")
    dead = VxlanPort("vtep2", "192.0.2.2", "192.0.2.2", "openvswitch", None, "no")
    assert ip_lookup.tunnels([ovns, own, dead]) == {"192.0.2.1": VtepTunnel(1, own=False)}
    assert ip_lookup.tunnels([own]) == {"192.0.2.1": VtepTunnel(4, own=True)}
