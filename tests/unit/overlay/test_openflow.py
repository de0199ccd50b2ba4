"""The notation of ovs-ofctl, as Open vSwitch 3.5 prints it for OpenFlow 1.5."""

import pytest

from ovn_docker.overlay.vtep import openflow
from ovn_docker.overlay.vtep.openflow import COOKIE, Change, Flow, FlowEvent


def test_a_dumped_flow_is_read_whatever_the_order_of_its_fields() -> None:
    line = (
        " cookie=0xd0c0000000000c8, table=200, priority=200,ip,tun_id=0x1389,nw_dst=10.1.0.2"
        " actions=set_field:02:42:0a:01:00:02->eth_dst,resubmit(,43)"
    )
    actions = "set_field:02:42:0a:01:00:02->eth_dst,resubmit(,43)"
    assert openflow.parse_flow(line) == (COOKIE, Flow(200, 200, "ip,nw_dst=10.1.0.2,tun_id=0x1389", actions))


def test_what_ovs_ofctl_leaves_out_is_its_default() -> None:
    assert openflow.parse_flow(" in_port=3 actions=drop") == (0, Flow(0, 32768, "in_port=3", "drop"))
    assert openflow.parse_flow(" priority=0 actions=drop") == (0, Flow(0, 0, "", "drop"))


def test_flags_of_a_flow_are_no_match() -> None:
    line = " cookie=0xd0c0000000000c8, table=200, reset_counts priority=7,udp actions=drop"
    assert openflow.parse_flow(line) == (COOKIE, Flow(200, 7, "udp", "drop"))


def test_a_heading_is_no_flow() -> None:
    assert openflow.parse_flow("OFPST_FLOW reply (OF1.5) (xid=0x8):") is None
    assert openflow.parse_event("OFPST_FLOW_MONITOR reply (OF1.5) (xid=0x0):") is None


def test_an_event_of_our_own_flow_is_told_from_others() -> None:
    own = "table=200 cookie=0xd0c0000000000c8 arp,tun_id=0x1,arp_tpa=10.1.0.2 actions=drop"
    gone, flow = (
        f" event=DELETED reason=delete {own}",
        Flow(200, 0, "arp,arp_tpa=10.1.0.2,tun_id=0x1", "drop"),
    )
    assert openflow.parse_event(gone) == FlowEvent(deleted=True, cookie=COOKIE, flow=flow)
    new, flow = (
        " event=ADDED table=0 cookie=0xb03b4138 in_port=3 actions=drop",
        Flow(0, 0, "in_port=3", "drop"),
    )
    assert openflow.parse_event(new) == FlowEvent(deleted=False, cookie=0xB03B4138, flow=flow)


def test_an_event_may_have_no_match_and_no_actions() -> None:
    event = FlowEvent(deleted=False, cookie=COOKIE, flow=Flow(200, 0, "", ""))
    assert openflow.parse_event(" event=INITIAL table=200 cookie=0xd0c0000000000c8\n") == event


def test_a_change_names_our_cookie_and_deletes_by_priority_too() -> None:
    flow = Flow(200, 0, "", "drop")
    assert openflow.add(flow, COOKIE) == "add cookie=0xd0c0000000000c8,table=200,priority=0,actions=drop"
    assert openflow.delete(flow, COOKIE) == "delete_strict cookie=0xd0c0000000000c8/-1,table=200,priority=0"


def test_each_driver_has_a_cookie_of_its_own_between_the_same_ends() -> None:
    one, other = openflow.cookie_of("openvswitch"), openflow.cookie_of("ovn")
    assert one != other
    assert one & openflow.COOKIE_MASK == other & openflow.COOKIE_MASK == COOKIE


ONE, TWO, OTHER_ONE = Flow(200, 200, "a", "x"), Flow(200, 200, "b", "x"), Flow(200, 200, "a", "y")
LOW = Flow(200, 1, "a", "x")


@pytest.mark.parametrize(
    ("present", "wanted", "added", "deleted"),
    [
        ([], [ONE, TWO], (ONE, TWO), ()),
        ([ONE, TWO], [ONE], (), (TWO,)),
        ([ONE, TWO], [TWO, ONE], (), ()),
        ([ONE], [OTHER_ONE], (OTHER_ONE,), ()),  # a flow with other actions is replaced, not deleted
        ([LOW], [ONE], (ONE,), (LOW,)),  # one with another priority is another flow
    ],
)
def test_a_difference_is_what_has_to_be_added_and_deleted(
    present: list[Flow], wanted: list[Flow], added: tuple[Flow, ...], deleted: tuple[Flow, ...]
) -> None:
    before, after = ({flow.key: flow for flow in flows} for flows in (present, wanted))
    change = openflow.difference(before, after)
    assert change == Change(added, deleted)
    assert bool(change) == bool(added or deleted)
