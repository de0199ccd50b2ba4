"""What is written into Northbound for a network and its endpoints, and how it is read back."""

import ipaddress
from dataclasses import replace
from typing import Any

import pytest

from ovn_docker.addressing import network
from ovn_docker.ovn import gateway_ports, switches
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.operations import Operation, mapping, members, reference

NET, ENDPOINT = "b5082ded" * 8, "a0b1c2d3" * 8
MARK = Mark(host="chassis-1", created="2030-01-02T03:04:05Z")
OWN = switches.switch_id(NET)
FULL = Switch(
    network_id=NET,
    pools=(network("10.0.0.0/24", ""), network("10.1.0.0/24", ""), network("fd00::/64", "")),
    gateways=(ipaddress.ip_address("10.0.0.1"), None, ipaddress.ip_address("fd00::1")),
    internal=True,
    mtu=1400,
)


def written(operations: list[Operation], table: str) -> dict[str, Any]:
    """The row that is inserted into a table."""
    [row] = [new["row"] for new in operations if new["op"] == "insert" and new["table"] == table]
    assert isinstance(row, dict)
    return row


def test_a_switch_is_named_and_marked_as_the_guide_says() -> None:
    row = written(switches.ls_add(FULL, MARK), "Logical_Switch")
    assert row["name"] == NET
    assert mapping(row["external_ids"]) == {
        "subnet": "10.0.0.0/24",
        "gateway_ip": "10.0.0.1",
        "ovn-docker-network": NET,
        "ovn-docker-host": "chassis-1",
        "ovn-docker-created": "2030-01-02T03:04:05Z",
        "ovn-docker-internal": "true",
        "ovn-docker-mtu": "1400",
        "ovn-docker-pool:10.0.0.0/24": "v4",
        "ovn-docker-pool:10.1.0.0/24": "v4",
        "ovn-docker-pool:fd00::/64": "v6",
    }


@pytest.mark.parametrize(
    "switch",
    [
        Switch(network_id=NET),
        Switch(network_id=NET, pools=FULL.pools[:1], gateways=(None,)),
        Switch(network_id=NET, pools=FULL.pools[2:], gateways=FULL.gateways[2:], mtu=1280),
        FULL,
        replace(FULL, egress=switches.BY_HOST),
    ],
)
def test_a_switch_is_read_as_it_was_written(switch: Switch) -> None:
    row = written(switches.ls_add(switch, MARK), "Logical_Switch")
    found = switches.read_switch(NET, row)
    assert (found.network_id, found.host) == (NET, MARK.host)
    assert (found.pools, found.internal, found.mtu) == (switch.pools, switch.internal, switch.mtu)
    assert (found.egress, found.gateway_addresses) == (switch.egress, switch.gateway_addresses)


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        ([], []),
        (["10.1.0.9"], ["10.1.0.0/24"]),
        (["10.0.0.9", "fd00::9"], ["10.0.0.0/24", "fd00::/64"]),
        (["10.2.0.9", "fd01::9"], []),
    ],
)
def test_the_pools_of_addresses_are_those_in_which_they_lie(ips: list[str], expected: list[str]) -> None:
    port = SwitchPort(NET, ENDPOINT, " ".join(["02:42:0a:00:00:09", *ips]))
    assert list(map(str, FULL.pools_of(port.ips))) == expected


def test_a_switch_without_pools_or_gateway_says_none() -> None:
    ids = mapping(written(switches.ls_add(Switch(network_id=NET), MARK), "Logical_Switch")["external_ids"])
    assert set(ids) == {"ovn-docker-network", "ovn-docker-host", "ovn-docker-created"}


def test_a_switch_is_made_only_where_no_other_has_its_name() -> None:
    wait, insert = switches.ls_add(FULL, MARK)
    own = reference(switches.switch_id(NET))
    assert (wait["op"], wait["timeout"], wait["rows"]) == ("wait", 0, [])
    assert wait["where"] == [("name", "==", NET), ("_uuid", "!=", own)]
    assert insert["uuid"] == own[1]


def test_a_port_carries_its_addresses_twice_and_joins_its_switch_by_row_id() -> None:
    port = SwitchPort(NET, ENDPOINT, "02:42:0a:00:00:02 10.0.0.2 fd00::2")
    operations = switches.lsp_add(port, OWN, FULL.pools[:1], MARK)
    row = written(operations, "Logical_Switch_Port")
    assert (row["name"], row["addresses"]) == (ENDPOINT, port.addresses)
    assert members(row["port_security"]) == [port.addresses]
    assert mapping(row["external_ids"]) == {
        "ovn-docker-network": NET,
        "ovn-docker-host": "chassis-1",
        "ovn-docker-created": "2030-01-02T03:04:05Z",
    }
    mutation = operations[-1]
    assert mutation["where"] == [
        ("_uuid", "==", reference(switches.switch_id(NET))),
        ("external_ids", "includes", ["map", [["ovn-docker-pool:10.0.0.0/24", "v4"]]]),
    ]
    uuid = reference(switches.port_id(NET, ENDPOINT))
    assert mutation["mutations"] == [("ports", "insert", uuid)]
    assert operations[0]["uuid"] == uuid[1]


@pytest.mark.parametrize(
    "operation",
    [
        switches.ls_get(OWN),
        *switches.ls_del(OWN),
        gateway_ports.port_get(OWN),
        switches.ls_ports(OWN),
        switches.ls_exists(OWN),
        switches.ls_state(NET, OWN),
        switches.lsp_get(NET, ENDPOINT),
        switches.lsp_del(NET, ENDPOINT, OWN),
        switches.lsp_add(SwitchPort(NET, ENDPOINT, "m"), OWN, [], MARK)[1],
    ],
)
def test_a_containers_path_is_answered_from_the_index(operation: Operation) -> None:
    """ovsdb-server scans the table for every condition but the one on _uuid."""
    assert operation["where"][0][:2] == ("_uuid", "==")


def test_row_ids_differ_by_network_endpoint_and_kind() -> None:
    ids = {switches.switch_id(NET), switches.switch_id(ENDPOINT)}
    ids |= {switches.port_id(NET, ENDPOINT), switches.port_id(ENDPOINT, NET)}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("ids", "mtu"), [({}, None), ({"ovn-docker-mtu": "x"}, None), ({"ovn-docker-mtu": "1400"}, 1400)]
)
def test_an_mtu_that_somebody_else_broke_counts_as_none(ids: dict[str, str], mtu: int | None) -> None:
    row = {"external_ids": ["map", [list(pair) for pair in ids.items()]]}
    assert switches.read_switch(NET, row).mtu == mtu


@pytest.mark.parametrize("value", ["m 10.0.0.2", ["set", ["m 10.0.0.2"]], ["set", ["m", "10.0.0.2"]]])
def test_a_ports_addresses_are_read_however_the_set_is_written(value: Any) -> None:  # noqa: ANN401
    assert switches.read_addresses({"addresses": value}) == "m 10.0.0.2"
