"""Locks between clients of one real ovsdb-server, and what happens to them when a server or a client goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from ovn_docker.errors import DatabaseError, LockError
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock
from ovn_docker.ovsdb.operations import assert_lock, insert
from tests.functional.servers import Cluster, OvsdbServer, Proxy, connected, until

pytestmark = pytest.mark.functional

NB, SWITCH = "OVN_Northbound", "Logical_Switch"
LOCK = "a_lock_of_this_test"


async def write(client: Client, name: str) -> None:
    """A transaction that only who has the lock may carry out."""
    await client.transact([assert_lock(LOCK), insert(SWITCH, uuid4(), {"name": name})])


def names(server: OvsdbServer) -> list[str]:
    return sorted(row["name"] for row in server.rows(SWITCH, "name"))


@contextlib.asynccontextmanager
async def two(server: OvsdbServer) -> AsyncIterator[tuple[Client, Client]]:
    async with connected([server.remote], NB) as one, connected([server.remote], NB) as other:
        await asyncio.wait_for(asyncio.gather(one.ready(), other.ready()), 5)
        yield one, other


async def acquired(lock: Lock) -> None:
    await asyncio.wait_for(lock.acquired(), 5)


async def test_one_client_at_a_time_has_the_lock(northbound: OvsdbServer) -> None:
    async with two(northbound) as (one, other):
        async with one.lock(LOCK) as first, other.lock(LOCK) as second:
            assert (first.held, second.held) == (True, False)
            await write(one, "by one")
            with pytest.raises(LockError, match="not owner"):
                await write(other, "by the other")
        async with other.lock(LOCK) as again:
            assert again.held, "it was given back"
    assert names(northbound) == ["by one"]


async def test_a_waiting_client_gets_the_lock_when_it_is_released(northbound: OvsdbServer) -> None:
    async with two(northbound) as (one, other), contextlib.AsyncExitStack() as first:
        await first.enter_async_context(one.lock(LOCK))
        async with other.lock(LOCK) as second:
            assert not second.held
            await first.aclose()
            await acquired(second)
            await write(other, "by the other")
            with pytest.raises(LockError):
                await write(one, "by one")


async def test_a_client_that_stops_waiting_does_not_get_the_lock(northbound: OvsdbServer) -> None:
    async with two(northbound) as (one, other):
        async with one.lock(LOCK), other.lock(LOCK) as waiting:
            assert not waiting.held
        async with one.lock(LOCK) as again:
            assert again.held


async def test_a_stolen_lock_goes_back_to_its_victim_afterwards(northbound: OvsdbServer) -> None:
    async with two(northbound) as (one, other), one.lock(LOCK) as victim:
        async with other.lock(LOCK, steal=True) as thief:
            assert thief.held
            await until(lambda: not victim.held, "the victim is told")
            with pytest.raises(LockError):
                await write(one, "by the victim")
            await write(other, "by the thief")
        await acquired(victim)
        await write(one, "by the victim")
    assert names(northbound) == ["by the thief", "by the victim"]


async def test_a_lock_that_is_wanted_before_there_is_a_connection_is_had_with_it(
    northbound: OvsdbServer,
) -> None:
    async with connected([northbound.remote], NB) as client, client.lock(LOCK) as lock:
        assert not lock.held
        await write(client, "with the first transaction")
        assert lock.held


async def test_a_client_that_is_cut_off_loses_it(northbound: OvsdbServer, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", northbound.socket)
    async with contextlib.AsyncExitStack() as way, connected([northbound.remote], NB) as other:
        await way.enter_async_context(proxy.serve())
        async with connected([proxy.remote], NB) as one, one.lock(LOCK) as first:
            await acquired(first)
            async with other.lock(LOCK) as second:
                await way.aclose()
                await acquired(second)
                await until(lambda: not first.held, "it notices")


async def test_a_lock_is_asked_for_again_after_a_crash_of_the_server(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client, client.lock(LOCK) as lock:
        await acquired(lock)
        northbound.kill()
        await until(lambda: not lock.held, "it is lost with the server")
        northbound.start()
        await asyncio.wait_for(write(client, "after the crash"), 5)
        assert lock.held


async def test_an_invalid_name_is_refused_and_leaves_nothing(northbound: OvsdbServer) -> None:
    async with two(northbound) as (client, _):
        with pytest.raises(DatabaseError):
            async with client.lock("no-name"):
                pass
        async with client.lock(LOCK) as lock:
            assert lock.held


async def test_a_new_leader_of_the_cluster_is_asked_for_the_lock(cluster: Cluster) -> None:
    """Each member keeps locks of its own (ovs ovsdb/jsonrpc-server.c), and all our clients use the leader."""
    async with (
        connected(cluster.remotes, NB) as one,
        connected(cluster.remotes, NB) as other,
        one.lock(LOCK) as first,
    ):
        await acquired(first)
        await asyncio.wait_for(other.ready(), 5)
        async with other.lock(LOCK) as second:
            leader = await asyncio.to_thread(cluster.leader)
            assert leader is not None
            await asyncio.to_thread(leader.kill)
            await until(lambda: not first.held, "it is lost with the leader")
            await until(lambda: first.held != second.held, "one of them has it from the new leader", 15)
            holder, loser = (one, other) if first.held else (other, one)
            await asyncio.wait_for(write(holder, "by who has it"), 10)
            with pytest.raises(LockError):
                await asyncio.wait_for(write(loser, "by who has it not"), 10)


async def test_two_parts_of_one_client_have_a_lock_one_after_the_other(northbound: OvsdbServer) -> None:
    async with two(northbound) as (one, other):
        waiting = asyncio.Event()

        async def second() -> bool:
            waiting.set()
            async with one.lock(LOCK) as lock:
                return lock.held

        async with one.lock(LOCK) as first:
            task = asyncio.create_task(second())
            await waiting.wait()
            assert first.held
            async with other.lock(LOCK) as elsewhere:
                assert not elsewhere.held
            assert not task.done()
        assert await asyncio.wait_for(task, 5)
