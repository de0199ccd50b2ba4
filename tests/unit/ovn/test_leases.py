"""What is written into Northbound for pools and leases."""

import ipaddress
from dataclasses import replace

import pytest

from ovn_docker.addressing import network
from ovn_docker.ovn import leases
from ovn_docker.ovn.leases import Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Operation, mapping, reference, to_map

KEY, TOKEN = "19a05268" * 8, "0123456789ab"
MARK = Mark(host="chassis-1", created="2030-01-02T03:04:05Z")
ADDRESS = ipaddress.ip_address("10.0.0.2")
LEASE = Lease(leases.LEASE, host="chassis-1", request="r1")


def test_a_lease_has_the_row_id_of_its_pool_and_address_whoever_takes_it() -> None:
    one = leases.lease_add(KEY, ADDRESS, LEASE, MARK)
    other = leases.lease_add(KEY, ADDRESS, Lease(leases.CLAIM, "chassis-2", "e1"), Mark("chassis-2", ""))
    assert one["uuid"] == other["uuid"] == str(leases.lease_id(KEY, ADDRESS))
    ids = {leases.lease_id(KEY, ADDRESS), leases.lease_id("other", ADDRESS), leases.pool_id(KEY)}
    assert len(ids | {leases.lease_id(KEY, ADDRESS + 1)}) == 4


@pytest.mark.parametrize(
    "lease",
    [LEASE, Lease(leases.CLAIM, "chassis-1", "e0e1e2e3" * 8, "r2"), Lease(leases.LEASE, "chassis-1")],
)
def test_a_lease_is_read_as_it_was_written(lease: Lease) -> None:
    row = leases.lease_add(KEY, ADDRESS, lease, MARK)["row"]
    assert leases.read_lease(row) == replace(lease, created=MARK.created)
    assert row["cidr"] == "10.0.0.2"
    assert mapping(row["external_ids"])["ovn-docker-created"] == MARK.created


def test_a_row_that_somebody_emptied_is_read_as_nobodys() -> None:
    assert leases.read_lease({"external_ids": ["map", []]}) == Lease("")


@pytest.mark.parametrize(
    ("lease", "text"),
    [
        (Lease(leases.RESERVED), "it is the gateway or an auxiliary address of its network"),
        (Lease(leases.LEASE, "h"), "an endpoint still being created on host h has it"),
        (Lease(leases.CLAIM, "h", "e"), "endpoint e on host h has it"),
    ],
)
def test_a_holder_is_named_for_people(lease: Lease, text: str) -> None:
    assert lease.holder() == text


@pytest.mark.parametrize(
    "operation",
    [
        leases.pool_use(KEY, TOKEN, "h"),
        *leases.pool_leave(KEY, TOKEN),
        leases.pool_get(KEY),
        leases.pool_users(KEY),
        leases.hint(KEY, ADDRESS),
        leases.reserved_use(KEY, ADDRESS, TOKEN, "h"),
        *leases.reserved_leave(KEY, ADDRESS, TOKEN),
        leases.lease_get(KEY, ADDRESS),
        leases.lease_probe(KEY, ADDRESS),
        leases.lease_held(KEY, ADDRESS, "h", ""),
        leases.lease_bind(KEY, ADDRESS, "h", "e"),
        *leases.lease_undo(KEY, ADDRESS, "r1"),
        leases.lease_unbind(KEY, ADDRESS, "h", "e"),
        leases.lease_take(KEY, ADDRESS, "h"),
        *leases.lease_del(KEY, ADDRESS, "h"),
        *leases.swarm_lease_del(KEY, ADDRESS, "h"),
        leases.lease_adopt(KEY, ADDRESS),
        leases.claim_del(KEY, ADDRESS, "h", "e"),
    ],
)
def test_what_a_container_waits_for_is_answered_from_the_index(operation: Operation) -> None:
    assert operation["where"][0][:2] == ("_uuid", "==")


def test_a_release_asks_for_the_host_the_kind_and_that_no_endpoint_uses_it() -> None:
    ids = {"ovn-docker-host": "h", "ovn-docker": "lease", "ovn-docker-endpoint": ""}
    for operation in leases.lease_del(KEY, ADDRESS, "h"):
        assert operation["where"][1] == ("external_ids", "includes", to_map(ids))


def test_what_is_deleted_is_no_swarms_and_what_is_a_swarms_is_changed() -> None:
    remove, change = leases.drop([])
    swarms_mark = to_map({"ovn-docker-swarm": "true"})
    assert (remove["op"], remove["where"]) == ("delete", [("external_ids", "excludes", swarms_mark)])
    assert (change["op"], change["where"]) == ("mutate", [("external_ids", "includes", swarms_mark)])


def test_an_undo_asks_for_the_request() -> None:
    [undo] = leases.lease_undo(KEY, ADDRESS, "r1")
    assert undo["where"][1] == ("external_ids", "includes", to_map({"ovn-docker-request": "r1"}))


def test_a_pool_is_made_durably_and_without_what_an_old_one_reserved() -> None:
    clear, insert, commit = leases.pool_add(
        "red", network("10.0.0.0/24", ""), KEY, {TOKEN: "h"}, {"mark": "now"}
    )
    assert clear["op"] == "delete"
    assert (insert["uuid"], insert["row"]["cidr"]) == (str(leases.pool_id(KEY)), "10.0.0.0/24")
    assert leases.read_users(insert["row"]) == {TOKEN: "h"}
    ids = mapping(insert["row"]["external_ids"])
    assert (ids["ovn-docker-context"], ids["mark"]) == ("red", "now")
    assert commit == leases.DURABLE


@pytest.mark.parametrize(
    ("chosen", "users", "chooser"),
    [
        ({}, {TOKEN: "h"}, ""),
        ({leases.CHOSEN: TOKEN}, {TOKEN: "h", "other": "h2"}, "h"),
        ({leases.CHOSEN: TOKEN}, {"other": "h2"}, ""),
    ],
)
def test_a_subnet_was_chosen_for_a_host_as_long_as_that_network_is_there(
    chosen: dict[str, str], users: dict[str, str], chooser: str
) -> None:
    row = {"external_ids": to_map(chosen), "options": to_map(users)}
    assert leases.read_chooser(row) == chooser


def test_what_a_pool_reserved_goes_only_while_the_pool_is_gone() -> None:
    wait, delete, unused = leases.reserved_del(KEY)
    assert (wait["op"], wait["rows"], wait["where"]) == (
        "wait",
        [],
        [("_uuid", "==", reference(leases.pool_id(KEY)))],
    )
    assert (delete["op"], unused["op"]) == ("delete", "delete")
    marks = {"ovn-docker": "lease", "ovn-docker-host": "", "ovn-docker-swarm": "true"}
    assert unused["where"][0] == ("external_ids", "includes", to_map(marks))


@pytest.mark.parametrize(
    ("text", "number"), [("167772162", 167772162), ("", None), ("x", None), ("-1", None)]
)
def test_a_hint_that_somebody_broke_counts_as_none(text: str, number: int | None) -> None:
    assert leases.read_next({"external_ids": to_map({"ovn-docker-next": text} if text else {})}) == number
