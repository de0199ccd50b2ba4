"""Whether an ovn-northd works is told from its lock in OVN Southbound: a real one, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from ovn_docker.cli import cluster_checks
from ovn_docker.health.findings import Finding
from ovn_docker.host.ovn_settings import SOUTHBOUND, following, open_vswitch_client
from ovn_docker.ovn.southbound import NORTHD_LOCK
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock
from ovn_docker.ovsdb.operations import to_map
from ovn_docker.ovsdb.remotes import Remote
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import Databases
from tests.functional.health.whole_host import WholeHost
from tests.functional.overlay.test_northd import Northd, difference
from tests.functional.servers import LIMIT, Cluster, OvsdbServer, connected, running, until

pytestmark = pytest.mark.functional


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


@pytest.fixture
def northd(databases: Databases) -> Iterator[Northd]:
    with databases.northd() as daemon:
        yield daemon


@asynccontextmanager
async def local(server: OvsdbServer) -> AsyncIterator[Client]:
    ovs = open_vswitch_client(str(server.remote))
    async with running(ovs):
        await asyncio.wait_for(ovs.ready(), LIMIT)
        yield ovs


async def found(server: OvsdbServer, absent_for: float = 1.5) -> list[str]:
    """Kinds of what a look from that host shows."""
    return [each.kind for each in await looked(server, absent_for)]


async def looked(server: OvsdbServer, absent_for: float = 1.5) -> list[Finding]:
    async with local(server) as ovs, following(ovs, SOUTHBOUND, {}) as client:
        return await cluster_checks.southbound_findings(ovs, client, absent_for)


async def locked(*remotes: Remote) -> None:
    """Wait until somebody has northd's lock, as another client sees it."""
    async with asyncio.timeout(LIMIT), connected(list(remotes), "OVN_Southbound") as client:
        await client.ready()
        while True:
            async with client.lock(NORTHD_LOCK) as lock:
                if lock.requested and not lock.held:
                    return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def looking(server: OvsdbServer) -> AsyncIterator[Lock]:
    """Somebody who looks, at the moment between asking for northd's lock and giving it back."""
    async with connected([server.remote], "OVN_Southbound") as client:
        await asyncio.wait_for(client.ready(), LIMIT)
        async with client.lock(NORTHD_LOCK) as lock:
            yield lock


async def waiting(server: OvsdbServer, clients: int) -> None:
    """Wait until so many clients were told that a lock is another's, since the server writes that down."""
    refusal = 'result={"locked":false}'
    await until(lambda: server.log.read_text().count(refusal) == clients, f"{clients} wait for a lock")


async def test_an_ovn_northd_that_is_dead_or_paused_is_a_finding(
    databases: Databases, northd: Northd
) -> None:
    host, southbound_at = databases.open_vswitch("h1"), databases.southbound.remote
    await locked(southbound_at)
    assert await found(host) == []
    northd.pause()
    [finding] = await looked(host)
    assert (finding.kind, finding.subject, finding.repair) == ("northd-down", "ovn-northd", "")
    assert f"no ovn-northd works on OVN Southbound ({southbound_at})" in finding.text
    assert "'ovn-appctl -t ovn-northd resume' and then 'ovn-appctl -t ovn-northd status'" in finding.text
    northd.resume()
    await locked(southbound_at)
    assert await found(host) == []
    northd.process.kill()
    northd.process.wait(LIMIT)
    assert await found(host) == ["northd-down"]
    with databases.northd():
        assert await found(host) == []


async def test_a_restart_of_ovn_northd_while_it_is_looked_for_is_no_finding(
    databases: Databases, northd: Northd
) -> None:
    host = databases.open_vswitch("h1")
    northd.process.kill()
    northd.process.wait(LIMIT)
    look = asyncio.create_task(found(host, cluster_checks.ABSENT_FOR))
    await asyncio.sleep(0)  # it has begun
    with databases.northd():
        assert await look == []


async def test_an_ovn_northd_that_starts_during_a_look_has_its_lock_after_it(
    databases: Databases,
) -> None:
    server = databases.southbound
    server.appctl("vlog/set", "jsonrpc:file:dbg")
    with ExitStack() as daemons:
        async with looking(server) as lock:
            assert lock.held
            northd = daemons.enter_context(databases.northd())
            await waiting(server, 1)
            assert server.rows("SB_Global") == []
        await until(lambda: server.rows("SB_Global"), "it works, and nothing else woke it")
        northd.sync()


async def test_an_ovn_northd_that_stands_by_takes_over_after_a_look(
    databases: Databases, northd: Northd
) -> None:
    server = databases.southbound
    northd.sync()
    server.appctl("vlog/set", "jsonrpc:file:dbg")
    with ExitStack() as daemons:
        async with looking(server) as lock:
            await waiting(server, 1)
            standby = daemons.enter_context(databases.northd())
            await waiting(server, 2)
            northd.process.kill()
            northd.process.wait(LIMIT)
            await asyncio.wait_for(lock.acquired(), LIMIT)
        await locked(server.remote)
        standby.sync()


async def test_an_ovn_northd_works_after_each_of_many_restarts_however_many_look(
    databases: Databases,
) -> None:
    over = asyncio.Event()

    async def look() -> None:
        while not over.is_set():
            async with looking(databases.southbound):
                pass

    async with asyncio.timeout(3 * LIMIT), asyncio.TaskGroup() as lookers:
        for _ in range(5):
            lookers.create_task(look())
        try:
            for _ in range(5):
                with databases.northd() as daemon:
                    await asyncio.to_thread(daemon.sync)
        finally:
            over.set()


async def test_those_who_look_make_ovn_northd_compute_nothing(databases: Databases, northd: Northd) -> None:
    northd.sync()
    first, second = northd.cost_of_sync(), northd.cost_of_sync()
    for _ in range(20):
        async with looking(databases.southbound) as lock:
            assert not lock.held
    assert difference(northd.cost_of_sync(), second) == difference(second, first)


async def test_a_southbound_that_cannot_be_reached_is_said(databases: Databases) -> None:
    host = databases.open_vswitch("h1")
    databases.southbound.kill()
    [finding] = await looked(host)
    assert finding.kind == "southbound-down"
    assert finding.text.startswith("OVN Southbound cannot be reached at unix:")
    assert finding.text.count("systemctl") == 1
    nowhere = databases.open_vswitch("h2", "tcp:127.0.0.1:1")
    [finding] = await looked(nowhere)
    assert "type 'systemctl restart ovn-central' on the central host" in finding.text
    ids = to_map({"system-id": "h1"})
    host.transact({"op": "update", "table": "Open_vSwitch", "where": [], "row": {"external_ids": ids}})
    assert await found(host) == []  # told as a setting that is missing


async def test_neither_a_relay_nor_a_follower_says_anything_of_ovn_northd(
    make_server: MakeServer, databases: Databases, short_path: Path
) -> None:
    relay = make_server("OVN_Southbound")
    relay.kill()
    relay.file = f"relay:OVN_Southbound:{databases.southbound.remote}"  # type: ignore[assignment]
    relay.start()
    assert await found(databases.open_vswitch("h1", str(relay.remote))) == []
    cluster = Cluster(short_path / "c", "OVN_Southbound")
    try:
        cluster.start()
        leader = cluster.leader()
        follower = next(each for each in cluster.members if each is not leader)
        assert await found(databases.open_vswitch("h2", str(follower.remote))) == []
        everywhere = ",".join(map(str, cluster.remotes))
        members = databases.open_vswitch("h3", everywhere)
        assert await found(members) == ["northd-down"]
        daemon = Northd(databases.northbound, cluster, short_path)
        try:
            await locked(*cluster.remotes)
            assert await found(members) == []
        finally:
            daemon.process.kill()
            daemon.process.wait(LIMIT)
    finally:
        cluster.kill()


async def test_the_command_tells_it_and_fails(databases: Databases, northd: Northd) -> None:
    host = WholeHost(databases.open_vswitch("h1", encap_ip="127.0.0.1"))
    await locked(databases.southbound.remote)
    async with host.docker():
        done = await host.run("check")
        assert "northd-down" not in done.stdout, done.stdout
        assert (done.stderr, "southbound-down" in done.stdout) == ("", False)
        northd.process.kill()
        done = await host.run("check")
    assert done.returncode == 1
    assert "northd-down: no ovn-northd works on OVN Southbound" in done.stdout
