"""A host's row says when its driver was connected last."""

import asyncio
import signal
from datetime import timedelta

import pytest

from ovn_docker.errors import UnreachableError
from ovn_docker.health import host_liveness
from ovn_docker.health.host_liveness import DriverState
from ovn_docker.health.presence import SeenNote
from ovn_docker.ovn import hosts
from ovn_docker.ovn.hosts import LastSeen
from ovn_docker.ovn.leases import HOST_ROW, KIND
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Row, assert_lock, mapping
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import CREATED, NOW, Databases, task
from tests.functional.servers import OvsdbServer, connected, until

pytestmark = pytest.mark.functional


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


def host_rows(server: OvsdbServer) -> list[Row]:
    rows = server.rows("DHCP_Options", "external_ids")
    return [row for row in rows if mapping(row["external_ids"])[KIND] == HOST_ROW]


def written(server: OvsdbServer) -> LastSeen:
    return hosts.read_seen(host_rows(server))


async def test_it_is_written_now_and_then_and_not_at_each_look(northbound: OvsdbServer) -> None:
    northbound.transact(hosts.host_add(Mark("h1", CREATED)))
    passed = 0.0
    async with connected([northbound.remote], "OVN_Northbound") as nb:
        seen = SeenNote(nb, lambda: NOW + timedelta(seconds=passed), lambda: passed, lambda: 600.0)
        moments = []
        for minute in range(21):
            passed = minute * 60.0
            await seen.note("h1")
            moments.append(written(northbound).moment[14:16])
    assert moments == ["04"] * 10 + ["14"] * 10 + ["24"]


async def test_what_is_not_registered_yet_is_written_at_the_next_look(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], "OVN_Northbound") as nb:
        seen = SeenNote(nb, lambda: NOW)
        await seen.note("h1")
        northbound.transact(hosts.host_add(Mark("h1", CREATED)))
        await seen.note("h1")
    assert written(northbound) == LastSeen(CREATED)


async def test_a_stop_is_written_exactly_and_a_start_takes_that_away(databases: Databases) -> None:
    server = await asyncio.to_thread(databases.open_vswitch, "h1")
    for _ in range(2):
        async with databases.process(server) as local, task(local.presence().run()):
            await until(
                lambda: written(databases.northbound) == LastSeen(CREATED),
                "it is seen",
            )
        assert written(databases.northbound) == LastSeen(CREATED, stopped=True)
    [row] = host_rows(databases.northbound)
    assert mapping(row["external_ids"])["ovn-docker-machine"], "the rest of the row stays"


async def test_a_stop_does_not_wait_for_a_northbound_that_hangs(databases: Databases) -> None:
    async with databases.driver("h1") as local:
        async with asyncio.timeout(10):
            try:
                async with task(local.presence().run()):
                    await until(lambda: written(databases.northbound).moment, "it is seen")
                    databases.northbound.signal(signal.SIGSTOP)
            finally:
                databases.northbound.signal(signal.SIGCONT)


async def test_who_asks_for_a_host_takes_nothing_from_it(databases: Databases) -> None:
    async with connected([databases.northbound.remote], "OVN_Northbound") as nb:
        await asyncio.wait_for(nb.ready(), 5)
        assert await host_liveness.look(nb, "h1") == DriverState(connected=False, seen=LastSeen())
        async with databases.driver("h1") as local, task(local.presence().run()):
            await until(lambda: bool(databases.registered()), "it is registered")
            for _ in range(20):
                assert (await host_liveness.look(nb, "h1")).connected
            await local.nb.transact([assert_lock(hosts.presence_lock("h1"))])
        assert await host_liveness.look(nb, "h1") == DriverState(
            connected=False, seen=LastSeen(CREATED, stopped=True)
        )


async def test_a_lost_connection_says_nothing_about_another_host(databases: Databases) -> None:
    async with connected([databases.northbound.remote], "OVN_Northbound") as nb:
        await asyncio.wait_for(nb.ready(), 5)
        databases.northbound.kill()
        await until(lambda: not nb.connected, "the connection is lost")
        with pytest.raises(UnreachableError, match="cannot be reached"):
            await host_liveness.is_connected(nb, "h1")


async def test_a_host_that_connects_while_somebody_asks_has_its_lock_all_the_same(
    databases: Databases,
) -> None:
    begun = asyncio.Event()

    async def ask() -> None:
        async with connected([databases.northbound.remote], "OVN_Northbound") as nb:
            await nb.ready()
            while True:
                await host_liveness.look(nb, "h1", 0.0)
                begun.set()

    async with task(ask()):
        await asyncio.wait_for(begun.wait(), 5)
        server = await asyncio.to_thread(databases.open_vswitch, "h1")
        for _ in range(5):
            async with databases.process(server) as local, task(local.presence().run()):
                await until(lambda: written(databases.northbound) == LastSeen(CREATED), "it is seen")
                await local.nb.transact([assert_lock(hosts.presence_lock("h1"))])


async def test_who_asks_is_not_taken_for_the_driver(databases: Databases) -> None:
    async with (
        connected([databases.northbound.remote], "OVN_Northbound") as one,
        connected([databases.northbound.remote], "OVN_Northbound") as other,
    ):
        await asyncio.wait_for(asyncio.gather(one.ready(), other.ready()), 5)

        async def look(nb: Client) -> set[bool]:
            return {(await host_liveness.look(nb, "h1", 5.0)).connected for _ in range(50)}

        assert set().union(*await asyncio.gather(look(one), look(other))) == {False}


async def test_a_remedy_is_told_in_time_whatever_the_database_does(databases: Databases) -> None:
    async with connected([databases.northbound.remote], "OVN_Northbound") as nb:
        await asyncio.wait_for(nb.ready(), 5)
        databases.northbound.signal(signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                text = await host_liveness.remedy(nb, "h1")
        finally:
            databases.northbound.signal(signal.SIGCONT)
    assert text == "; if that host will not come back, free what it has with 'ovn-docker gc --host h1'"
