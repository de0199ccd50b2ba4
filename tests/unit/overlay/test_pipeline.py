"""Tables are found by what OVN's flows do there; the samples are of OVN 22.03 to 26.03."""

import pytest

from ovn_docker.overlay.vtep import pipeline
from ovn_docker.overlay.vtep.openflow import Flow
from ovn_docker.overlay.vtep.pipeline import Location

HERE = Location(datapath=1, port=2)
PORT = "metadata=0x1,reg15=0x2"
ZONE = "set_field:0x3/0xffff->reg13,set_field:0x2->reg11,resubmit(,44)"


def test_a_containers_port_tells_where_it_is() -> None:
    actions = "set_field:0x3/0xffff->reg13,set_field:0x1->metadata,set_field:0x2->reg14,resubmit(,8)"
    assert pipeline.location(Flow(0, 100, "in_port=7", actions)) == (7, HERE)


@pytest.mark.parametrize(
    "flow",
    [
        Flow(0, 100, "in_port=1", "move:NXM_NX_TUN_ID[0..23]->OXM_OF_METADATA[0..23],resubmit(,43)"),
        Flow(0, 150, "dl_vlan=5,in_port=7", "set_field:0x1->metadata,set_field:0x2->reg14,resubmit(,8)"),
        Flow(8, 100, "in_port=7", "set_field:0x1->metadata,set_field:0x2->reg14,resubmit(,8)"),
    ],
    ids=["tunnel", "nested container", "other table"],
)
def test_other_flows_do_not(flow: Flow) -> None:
    assert pipeline.location(flow) is None


def test_the_local_output_is_where_the_ports_zone_is_loaded() -> None:
    flows = [
        Flow(65, 100, PORT, "output:7"),
        Flow(75, 80, PORT, "set_field:0x1000/0x1000->reg10"),
        Flow(43, 100, PORT, ZONE),
    ]
    assert pipeline.local_output(flows, HERE) == 43
    assert pipeline.local_output(flows[:2], HERE) is None
    assert pipeline.local_output(flows, Location(1, 3)) is None


def test_a_table_passes_unmatched_packets_on_if_that_is_all_it_does() -> None:
    assert pipeline.passes_on([Flow(40, 10, "reg10=0x1", "drop"), Flow(40, 0, "", "resubmit(,42)")]) == 42
    assert pipeline.passes_on([Flow(43, 0, "", "drop")]) is None
    assert pipeline.passes_on([Flow(37, 0, "metadata=0x1", "resubmit(,40)")]) is None


CHAINS = [
    (46, {42: 44, 43: 44, 44: 45, 45: 46}, (42, 44)),
    (43, {40: 42, 41: 42, 42: 43}, (40, 42)),
    (40, {37: 39, 38: 39, 39: 40}, (37, 39)),
    (38, {37: 38}, None),
    (33, {}, None),
    (52, {44: 46, 45: 46, 46: 47, 48: 49, 47: 48, 49: 50, 50: 51, 51: 52}, (44, 46)),
    (2, {0: 1, 1: 2}, (0, 1)),
]


@pytest.mark.parametrize(
    ("local", "chain", "first"),
    CHAINS,
    ids=[
        "26.03",
        "25.03",
        "23.03.1",
        "22.03, where only the table that sends to other hosts is there",
        "nothing",
        "twice as long as any",
        "no table before it",
    ],
)
def test_the_first_output_table_is_the_beginning_of_the_chain(
    local: int, chain: dict[int, int], first: tuple[int, int] | None
) -> None:
    """However long the chain, each of its tables is looked at once, and of the others few."""
    onward = dict[int, int | None]()
    while tables := pipeline.unseen(local, onward):
        assert not onward.keys() & set(tables)
        onward |= {table: chain.get(table) for table in tables}
    assert pipeline.first_output(local, onward) == first
    assert len(onward) <= len(chain) + pipeline.MAX_GAP


def test_the_drop_of_unknown_addresses_is_found_before_the_output() -> None:
    drop = Flow(37, 50, "metadata=0x1,reg15=0", "drop")
    group = Flow(37, 50, "metadata=0x1,reg15=0", "set_field:0x8001->reg15,resubmit(,40)")
    assert pipeline.unknown_drop([drop], 1, before=40) == (37, 50)
    assert pipeline.unknown_drop([group], 1, before=40) == (37, 50)
    assert pipeline.unknown_drop([drop], 2, before=40) is None
    assert pipeline.unknown_drop([drop], 1, before=30) is None


TUNNEL = (
    Flow(0, 120, "icmp,icmp_code=4,icmp_type=3,in_port=5", "decapsulate"),
    Flow(0, 110, "in_port=5,tun_id=0x1389", "the VTEP's"),
    Flow(0, 105, "in_port=5,tun_id=0x800000/0x800000", "decapsulate"),
    Flow(0, 100, "in_port=5", "decapsulate"),
    Flow(0, 100, "in_port=55", "another port"),
)


def test_what_takes_a_vtep_for_a_host_is_what_does_not_compare_the_whole_vni() -> None:
    assert pipeline.decapsulations(TUNNEL, 5) == (TUNNEL[0], TUNNEL[2], TUNNEL[3])


def test_nothing_is_guarded_where_the_vteps_own_flow_would_be_outranked() -> None:
    old = (Flow(0, 100, "in_port=5,tun_id=0x1389", "the VTEP's"), Flow(0, 99, "in_port=5", "decapsulate"))
    assert pipeline.decapsulations(old, 5) == ()
    assert pipeline.decapsulations(TUNNEL[2:], 5) == ()
