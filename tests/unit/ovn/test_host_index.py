"""Which rows a transaction makes a host's, and which it removes, as its operations say."""

from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest

from ovn_docker.ovn import hosts, leases, surveys, switches
from ovn_docker.ovn.leases import CLAIM, LEASE, Lease
from ovn_docker.ovn.surveys import Survey
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.operations import Operation, require, row_is, to_map

MARK = Mark("h", "2030-01-02T03:04:05Z")
ADDRESS, POOL = ip_address("10.0.0.2"), ip_network("10.0.0.0/24")
PORT, SWITCH = SwitchPort("n", "e", "02:00:00:00:00:01"), switches.switch_id("n")
PORT_ID, LEASE_ID, POOL_ID = (
    switches.port_id("n", "e"),
    leases.lease_id("k", ADDRESS),
    leases.pool_id("k"),
)
MADE: list[tuple[list[Operation], dict[UUID, str]]] = [
    (switches.ls_add(Switch("n"), MARK), {SWITCH: "switch"}),
    (switches.lsp_add(PORT, SWITCH, (), MARK), {PORT_ID: "port"}),
    ([leases.lease_add("k", ADDRESS, Lease(LEASE, "h"), MARK)], {LEASE_ID: "row"}),
    ([leases.lease_add("k", ADDRESS, Lease(CLAIM, "h", "e"), MARK)], {LEASE_ID: "row"}),
    ([leases.lease_add("k", ADDRESS, Lease(LEASE, "other"), MARK)], {}),
    ([leases.lease_add("k", ADDRESS, Lease(LEASE, "", swarm=True), MARK)], {}),
    ([leases.lease_take("k", ADDRESS, "h")], {LEASE_ID: "row"}),
    ([leases.lease_bind("k", ADDRESS, "h", "e")], {}),
    ([leases.pool_use("k", "token", "h")], {POOL_ID: "row"}),
    (leases.pool_add("default", POOL, "k", {"token": "h"}, {}), {POOL_ID: "row"}),
    ([leases.reserved_use("k", ADDRESS, "token", "h")], {LEASE_ID: "row"}),
    (leases.reserved_add("k", ADDRESS, "token", MARK), {LEASE_ID: "row"}),
    ([leases.lease_reserve("k", ADDRESS, "token", MARK)], {LEASE_ID: "row"}),
    ([leases.lease_take_over("k", ADDRESS, Lease(LEASE, "h"), Lease(LEASE, "h"), MARK)], {}),
    ([leases.hint("k", ADDRESS)], {}),
    ([*surveys.survey_set(SWITCH, Survey("v", 1.0, 1, ""), [PORT_ID])], {}),
    ([leases.pools_are("default", ["10.0.0.0/24"])], {}),
    (hosts.host_claim("h", hosts.HostIdentity("m", "box", "192.0.2.1", "s")), {}),
    ([leases.network_enter("n", "token", "h")], {}),
    ([hosts.host_add(MARK)], {}),
    ([switches.lsp_get("n", "e"), leases.lease_get("k", ADDRESS), leases.DURABLE], {}),
    (switches.lsp_set_addresses("n", "e", "02:00:00:00:00:02"), {}),
]


@pytest.mark.parametrize(("operations", "expected"), MADE)
def test_what_is_made_for_a_host_is_entered(operations: list[Operation], expected: dict[UUID, str]) -> None:
    assert hosts.made("h", operations) == expected


def test_what_is_removed_is_told_only_if_something_was() -> None:
    unplug = switches.lsp_del("n", "e", SWITCH)
    operations = [
        unplug,
        *leases.lease_del("k", ADDRESS, "h"),
        *switches.ls_del(SWITCH),
        switches.ls_get(SWITCH),
    ]
    nothing: list[dict[str, Any]] = [{"count": 0}] * 5 + [{"rows": []}]
    assert hosts.removed(operations, nothing) == {}
    all_of_it: list[dict[str, Any]] = [{"count": 1}] * 5 + [{"rows": []}]
    assert hosts.removed(operations, all_of_it) == {PORT_ID: "port", LEASE_ID: "row", SWITCH: "switch"}
    assert hosts.removed([switches.lsp_del_anywhere("n", "e")], [{"count": 1}]) == {PORT_ID: "port"}


def test_what_nobody_can_have_written_is_not_in_an_index() -> None:
    options = {str(PORT_ID): "port", "no row id": "port", str(SWITCH): "planet"}
    row = {"options": to_map(options), "external_ids": to_map({})}
    assert hosts.read_index([row]) == hosts.Index({PORT_ID: "port"}, is_whole=False)
    assert hosts.read_index([]) == hosts.Index({}, is_whole=False)
    whole = row | {"external_ids": to_map({"ovn-docker-indexed": "1"})}
    assert hosts.read_index([whole]).is_whole


def test_an_entry_is_struck_out_only_with_its_row_gone_or_unchanged() -> None:
    *checks, strike = hosts.index_remove("h", {PORT_ID: "port", LEASE_ID: "row"})
    assert checks == [
        require(switches.PORT, [row_is(PORT_ID)], ["_uuid"], []),
        require(leases.TABLE, [row_is(LEASE_ID)], ["_uuid"], []),
    ]
    assert strike["where"] == [row_is(hosts.host_id("h"))]
    row = {"external_ids": to_map({"a": "b"}), "options": to_map({}), "cidr": "10.0.0.2"}
    check, _ = hosts.index_remove_foreign("h", LEASE_ID, "row", row)
    assert check["rows"] == [{"external_ids": to_map({"a": "b"}), "options": to_map({})}]
