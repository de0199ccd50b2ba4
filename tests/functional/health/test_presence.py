"""A driver shows that its host is there: in a row of Northbound, and with a lock that it takes at once."""

import asyncio
import ipaddress

import pytest

from ovn_docker.health.presence import Presence
from ovn_docker.ovn import hosts, leases
from ovn_docker.ovn.leases import Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import mapping, to_map
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import CREATED, Databases, Local, task
from tests.functional.servers import connected, until

pytestmark = pytest.mark.functional

MARKS = {"ovn-docker": "host", "ovn-docker-host": "h1", "ovn-docker-created": CREATED}


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


def presence(local: Local) -> Presence:
    return local.presence(interval=0.05)


async def test_a_host_is_registered_once_however_often_its_driver_starts(databases: Databases) -> None:
    for _ in range(2):
        async with databases.driver("h1") as local, task(presence(local).run()):
            await until(lambda: databases.registered() == ["h1"], "it is registered")
    rows = databases.northbound.rows("DHCP_Options", "cidr", "external_ids", "options")
    [row] = [each for each in rows if mapping(each["external_ids"])["ovn-docker"] == "host"]
    ids = mapping(row.pop("external_ids"))
    assert row == {"cidr": "", "options": to_map({})}
    identity = {"ovn-docker-machine", "ovn-docker-hostname", "ovn-docker-session"}
    assert set(ids) == set(MARKS) | identity | {"ovn-docker-seen", "ovn-docker-stopped"}
    assert MARKS.items() <= ids.items()


async def test_the_row_of_a_host_is_none_of_its_leases(databases: Databases) -> None:
    """Else its own health check would give it up."""
    async with databases.driver("h1") as local, task(presence(local).run()):
        await until(databases.registered, "it is registered")
        mark, address = Mark("h1", CREATED), ipaddress.ip_address("10.0.0.2")
        await local.nb.transact([leases.lease_add("pool", address, Lease("lease", "h1", "e"), mark)])
        [found] = await local.nb.transact([leases.lease_list("h1")])
        assert [row["cidr"] for row in found["rows"]] == ["10.0.0.2"]


async def test_a_host_that_was_struck_off_is_registered_again(databases: Databases) -> None:
    async with databases.driver("h1") as local, task(presence(local).run()):
        await until(databases.registered, "it is registered")
        await asyncio.to_thread(databases.northbound.transact, hosts.host_del("h1"))
        await until(databases.registered, "it is registered again")


async def test_who_gives_the_host_up_loses_its_lock_when_its_driver_connects(databases: Databases) -> None:
    async with (
        connected([databases.northbound.remote], "OVN_Northbound") as collector,
        collector.lock(hosts.presence_lock("h1")) as held,
    ):
        await asyncio.wait_for(held.acquired(), 5)
        async with databases.driver("h1") as local, task(presence(local).run()):
            await until(lambda: not held.held, "the lock is taken")
        await asyncio.wait_for(held.acquired(), 5)


async def test_the_lock_is_held_again_after_northbound_was_away(databases: Databases) -> None:
    async with databases.driver("h1") as local, task(presence(local).run()):
        await until(databases.registered, "it is registered")
        databases.northbound.kill()
        databases.northbound.start()
        async with connected([databases.northbound.remote], "OVN_Northbound") as other:
            await local.nb.transact([])
            await asyncio.wait_for(other.ready(), 5)
            async with other.lock(hosts.presence_lock("h1")) as lock:
                assert not lock.held


async def test_a_host_that_is_renamed_is_present_under_its_new_name(databases: Databases) -> None:
    async with databases.driver("h1") as local, task(presence(local).run()):
        await until(databases.registered, "it is registered")
        await local.ovs.transact(
            [
                {
                    "op": "update",
                    "table": "Open_vSwitch",
                    "where": [],
                    "row": {"external_ids": to_map({"system-id": "h9"})},
                }
            ]
        )
        await until(lambda: databases.registered() == ["h1", "h9"], "the new name is registered")
        async with connected([databases.northbound.remote], "OVN_Northbound") as other:
            await asyncio.wait_for(other.ready(), 5)
            async with (
                other.lock(hosts.presence_lock("h1")) as old,
                other.lock(hosts.presence_lock("h9")) as new,
            ):
                assert (old.held, new.held) == (True, False)


async def test_a_host_without_a_name_is_not_present_until_it_has_one(databases: Databases) -> None:
    async with databases.driver("") as local, task(presence(local).run()):
        await local.nb.transact([])
        assert databases.registered() == []
        await local.ovs.transact(
            [
                {
                    "op": "update",
                    "table": "Open_vSwitch",
                    "where": [],
                    "row": {"external_ids": to_map({"system-id": "h1"})},
                }
            ]
        )
        await until(lambda: databases.registered() == ["h1"], "it is registered")
