"""What stands for a host in Northbound, and which pools it has a part in."""

import re
from uuid import UUID

from ovn_docker.ovn import hosts
from ovn_docker.ovn.hosts import Use
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import reference, to_map

ROW = UUID(int=7)


def row(users: dict[str, str], kind: str = "pool") -> dict[str, object]:
    ids = {"ovn-docker": kind, "ovn-docker-pool": "key"}
    return {"_uuid": reference(ROW), "options": to_map(users), "external_ids": to_map(ids)}


def test_the_ids_of_a_host_must_never_change() -> None:
    assert hosts.host_id("h1") == UUID("14f43075-7bdc-58a2-b754-b38e1e41a25e")
    assert hosts.host_id("h1") != hosts.host_id("h2")


def test_a_lock_is_named_for_its_host_in_letters_that_a_lock_may_have() -> None:
    names = [hosts.presence_lock(host) for host in ("h1", "h2", "host.example.org", "9c5e-4f")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", lock) for lock in (*names, hosts.COLLECTOR_LOCK))


def test_a_host_is_one_row_with_its_mark() -> None:
    added = hosts.host_add(Mark("h1", "2030-01-02T03:04:05Z"))
    assert added["uuid"] == str(hosts.host_id("h1"))
    assert hosts.read_host(added["row"]) == "h1"
    assert dict(added["row"]["external_ids"][1])["ovn-docker"] == "host"


def test_a_host_has_a_part_in_what_its_networks_use() -> None:
    shared = row({"t1": "h1", "t2": "h2", "t3": "h1"})
    assert hosts.uses("h1", [shared, row({"t4": "h2"}), row({})]) == [Use(ROW, "pool", "key", ("t1", "t3"))]
    assert hosts.uses("h", [shared]) == []


def test_striking_out_names_token_and_host_and_deletes_only_what_nobody_uses() -> None:
    strike, remove = hosts.use_drop("h1", Use(ROW, "reserved", "key", ("t1", "t3")))
    assert strike["mutations"] == [("options", "delete", to_map({"t1": "h1", "t3": "h1"}))]
    assert ("options", "==", to_map({})) in remove["where"]


def test_a_removal_asks_for_the_hosts_mark_once_more() -> None:
    mark = ("external_ids", "includes", to_map({"ovn-docker-host": "h1"}))
    check, _ = hosts.ports_del("h1", [ROW])
    for operation in (check, *hosts.lease_drop("h1", ROW), *hosts.switch_drop("h1", ROW)):
        assert mark in operation["where"], operation
