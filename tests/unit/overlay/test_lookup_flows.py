"""From endpoints and VTEPs to flows."""

from collections.abc import Iterable
from ipaddress import ip_address
from uuid import UUID, uuid4

from ovn_docker.overlay.vtep import lookup_flows
from ovn_docker.overlay.vtep.lookup_flows import LocalEndpoint, Vtep, VtepTunnel, World
from ovn_docker.overlay.vtep.openflow import Flow
from ovn_docker.overlay.vtep.pipeline import Hooks, Location

RED, BLUE = uuid4(), uuid4()
HOOKS = Hooks(43, 40, 42, (37, 50))
MAC = "02:42:0a:01:00:02"
OWN, OVNS = VtepTunnel(9, own=True), VtepTunnel(1, own=False)


def vtep(vni: int, switch: UUID, remote: str = "192.0.2.1") -> Vtep:
    return Vtep(ip_address(remote), vni, switch)


def text(flows: Iterable[Flow]) -> list[str]:
    return list(map(str, flows))


def test_an_ip_packet_goes_to_the_port_through_ovns_local_output() -> None:
    endpoint = LocalEndpoint(3, MAC, ("10.1.0.2",), RED)
    deliver = "set_field:0x7->metadata,set_field:0x2->reg15,resubmit(,43)"
    assert text(lookup_flows.entries(endpoint, Location(7, 2), (5001,), HOOKS)) == [
        f"table=200,priority=200,ip,nw_dst=10.1.0.2,tun_id=0x1389,actions=set_field:{MAC}->eth_dst,{deliver}",
        f"table=200,priority=200,arp,arp_tpa=10.1.0.2,tun_id=0x1389,actions={deliver}",
    ]


def test_ipv6_is_looked_up_by_address_and_target_link_local_too() -> None:
    endpoint = LocalEndpoint(3, MAC, ("fd00::2",), RED)
    matches = [flow.match for flow in lookup_flows.entries(endpoint, Location(7, 2), (1,), HOOKS)]
    assert matches == [
        "ipv6,ipv6_dst=fd00::2,tun_id=0x1",
        "icmp6,icmp_type=135,nd_target=fd00::2,tun_id=0x1",
        "ipv6,ipv6_dst=fe80::42:aff:fe01:2,tun_id=0x1",
        "icmp6,icmp_type=135,nd_target=fe80::42:aff:fe01:2,tun_id=0x1",
    ]


def test_a_vtep_enters_through_its_own_port_and_vni_only() -> None:
    assert text(lookup_flows.entrance(vtep(5001, RED), OWN, HOOKS)) == [
        "table=0,priority=150,in_port=9,tun_id=0x1389,actions=resubmit(,200)"
    ]


def test_through_a_tunnel_of_ovns_it_enters_where_ovn_would_drop_it() -> None:
    assert text(lookup_flows.entrance(vtep(77, RED), OVNS, HOOKS)) == [
        "table=43,priority=1,in_port=1,reg15=0,tun_id=0x4d,actions=resubmit(,200)"
    ]
    assert lookup_flows.entrance(vtep(4096, RED), OVNS, HOOKS) == ()


def test_groups_and_unknown_addresses_are_copied_to_every_vtep() -> None:
    copies = "clone(set_field:0x1->tun_id,output:9),clone(set_field:0x2->tun_id,output:1)"
    assert text(lookup_flows.exits(7, [(1, OWN), (2, OVNS)], HOOKS)) == [
        f"table=40,priority=1,metadata=0x7,reg15=0x8000/0x8000,actions={copies},resubmit(,42)",
        "table=37,priority=51,metadata=0x7,reg15=0,actions=set_field:0x8001->reg15,resubmit(,40)",
    ]


def test_nothing_is_copied_where_a_flow_of_ours_would_outrank_ovns() -> None:
    assert lookup_flows.exits(7, [(1, OWN)], Hooks(38)) == ()


def test_a_vni_that_means_two_networks_means_none() -> None:
    clear = vtep(2, RED)
    assert lookup_flows.unambiguous([vtep(1, RED), vtep(1, BLUE, "192.0.2.2"), clear]) == [clear]
    both = [vtep(1, RED), vtep(1, RED, "192.0.2.2")]
    assert lookup_flows.unambiguous(both) == both


def test_an_address_that_somebody_broke_is_left_out() -> None:
    endpoint = LocalEndpoint(3, MAC, ("10.1.0.2", "10.1.0.300"), RED)
    assert len(list(lookup_flows.entries(endpoint, Location(7, 2), (1,), HOOKS))) == 2


def world(*vteps: Vtep) -> World:
    endpoints = {
        UUID(int=number): LocalEndpoint(number, MAC, ("10.1.0.2",), switch)
        for number, switch in enumerate((RED, BLUE), start=1)
    }
    locations = {1: Location(1, 1), 2: Location(2, 1)}
    return World(vteps, {"192.0.2.1": OWN}, lookup_flows.served(vteps, endpoints, locations))


def test_two_networks_with_the_same_addresses_have_flows_of_their_own() -> None:
    flows = list(lookup_flows.flows(world(vtep(5001, RED), vtep(5002, BLUE)), HOOKS))
    assert len({flow.key for flow in flows}) == len(flows)
    by_match = {flow.match: flow.actions for flow in flows}
    assert "set_field:0x1->metadata" in by_match["ip,nw_dst=10.1.0.2,tun_id=0x1389"]
    assert "set_field:0x2->metadata" in by_match["ip,nw_dst=10.1.0.2,tun_id=0x138a"]


def test_an_address_that_is_used_again_is_the_newer_containers() -> None:
    going, new = (LocalEndpoint(ofport, MAC, ("10.1.0.2",), RED) for ofport in (1, 2))
    served = {UUID(int=1): (going, Location(1, 1)), UUID(int=2): (new, Location(1, 2))}
    flows = lookup_flows.flows(World((vtep(1, RED),), {}, served), HOOKS)
    by_key = {flow.key: flow.actions for flow in flows}
    assert "set_field:0x2->reg15" in by_key[200, "ip,nw_dst=10.1.0.2,tun_id=0x1"]


def test_without_a_vtep_a_container_or_a_hook_there_is_no_flow() -> None:
    assert list(lookup_flows.flows(world(), HOOKS)) == []
    assert list(lookup_flows.flows(World((vtep(1, RED),), {"192.0.2.1": OWN}), HOOKS)) == []
    assert list(lookup_flows.flows(world(vtep(1, RED)), None)) == []


def test_a_network_without_vtep_has_no_flow() -> None:
    flows = lookup_flows.flows(world(vtep(5001, RED)), HOOKS)
    assert not any("metadata=0x2" in str(flow) for flow in flows)


def test_a_guard_stands_right_above_what_it_guards_against_and_needs_no_hook() -> None:
    taken = Flow(0, 100, "in_port=5", "move:NXM_NX_TUN_ID[0..11]->OXM_OF_METADATA[0..11],resubmit(,43)")
    guarded = World(guarded={5: (taken,)})
    for hooks in (None, HOOKS):
        assert list(lookup_flows.flows(guarded, hooks)) == [Flow(0, 101, "in_port=5", "drop")]
