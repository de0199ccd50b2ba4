"""One driver of all removes what dead hosts left, by real locks and databases; the living lose nothing."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest

from ovn_docker.health import host_liveness
from ovn_docker.health.host_liveness import LOOKS, Collector
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import Databases, task
from tests.functional.servers import until

pytestmark = pytest.mark.functional

LIMIT = 0.3
"""Seconds after which a host is dead here."""


class Clock:
    """Counts how often it is looked at; real time, or what the test says."""

    def __init__(self, now: float | None = None) -> None:
        self.now = now
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return time.monotonic() if self.now is None else self.now

    async def again(self) -> None:
        """Wait for enough looks for a dead host to have been removed."""
        wanted = self.looks + 4 * LOOKS
        await until(lambda: self.looks > wanted, "the collector looks at its clock", 10)


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    made = Databases(make_server)
    made.chassis_add("h1", "h2")
    made.remains_of("h2", "h3")
    return made


@contextlib.asynccontextmanager
async def collecting(
    databases: Databases, host: str, southbound: str = "", clock: Clock | None = None
) -> AsyncIterator[Clock]:
    """A driver with ``--dead-host-after``."""
    clock = clock or Clock()
    async with (
        databases.driver(host, southbound) as local,
        task(local.presence().run()),
        task(Collector(local.ovs, local.nb, LIMIT, clock).run()),
    ):
        yield clock


async def gone(databases: Databases, host: str) -> None:
    await until(lambda: host not in databases.registered(), f"host {host} is removed", 10)


async def test_a_host_without_a_chassis_is_removed_and_those_with_one_are_not(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    async with collecting(databases, "h1") as clock:
        await gone(databases, "h3")
        await clock.again()
        assert databases.ports() == ["port-of-h2"]
        assert databases.registered() == ["h1", "h2"]
        [line] = [record.getMessage() for record in caplog.records if "is removed" in record.getMessage()]
        assert line.startswith("host h3 is removed: its chassis has been gone")
        assert "1 port, 0 leases" in line
        databases.chassis_del("h2")
        await gone(databases, "h2")
    assert databases.ports() == []


async def test_no_host_is_removed_before_the_time(databases: Databases) -> None:
    async with collecting(databases, "h1", clock=Clock(0)) as clock:
        await clock.again()
        assert "h3" in databases.registered()
        clock.now = LIMIT
        await gone(databases, "h3")


async def test_a_chassis_that_comes_back_in_time_begins_anew(databases: Databases) -> None:
    async with collecting(databases, "h1", clock=Clock(0)) as clock:
        await clock.again()
        databases.chassis_add("h3")
        await clock.again()
        clock.now = LIMIT
        await clock.again()
        databases.chassis_del("h3")
        await clock.again()
        assert "h3" in databases.registered()


async def test_a_host_whose_driver_is_connected_stays_and_that_is_logged_once(
    databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with databases.driver("h3") as alive, task(alive.presence().run()):
        await asyncio.wait_for(alive.nb.transact([]), 5)
        async with collecting(databases, "h1") as clock:
            await until(lambda: "h3 has no chassis" in caplog.text, "it is logged")
            await clock.again()
            assert "port-of-h3" in databases.ports()
            assert caplog.text.count("h3 has no chassis") == 1
    async with collecting(databases, "h1"):
        await gone(databases, "h3")


@pytest.mark.slow
async def test_a_driver_that_goes_after_its_chassis_has_the_whole_time_still(
    databases: Databases,
) -> None:
    """As one that is restarted on a host whose ovn-controller has been stopped for hours."""
    async with collecting(databases, "h1", clock=Clock(0)) as clock:
        async with databases.driver("h3") as alive, task(alive.presence().run()):
            await asyncio.wait_for(alive.nb.transact([]), 5)
            await clock.again()
            clock.now = 10 * LIMIT
            await clock.again()
        await clock.again()
        assert "port-of-h3" in databases.ports()
        clock.now = 12 * LIMIT
        await gone(databases, "h3")


async def test_a_southbound_that_does_not_know_this_host_is_not_believed(databases: Databases) -> None:
    databases.chassis_del("h1")
    async with collecting(databases, "h1") as clock:
        await clock.again()
        assert databases.ports() == ["port-of-h2", "port-of-h3"]
        databases.chassis_add("h1")
        await gone(databases, "h3")


async def test_one_collects_at_a_time_and_another_when_it_ends(databases: Databases) -> None:
    async with contextlib.AsyncExitStack() as first:
        clock = await first.enter_async_context(collecting(databases, "h1"))
        await gone(databases, "h3")
        async with collecting(databases, "h2") as other:
            await until(lambda: "h2" in databases.registered(), "the other driver is there")
            await clock.again()
            assert other.looks == 0
            databases.remains_of("h4")
            await first.aclose()
            await gone(databases, "h4")
            assert other.looks > 0


async def test_a_driver_that_cannot_reach_southbound_leaves_it_to_another(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_liveness, "REACH_TIMEOUT", 0.2)
    async with collecting(databases, "h2", "unix:/nonexistent"):
        await until(lambda: "cannot look for dead hosts" in caplog.text, "it is logged")
        async with collecting(databases, "h1"):
            await gone(databases, "h3")
    assert "OVN Southbound cannot be reached at unix:/nonexistent" in caplog.text


async def test_southbound_may_be_away_for_a_while(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_liveness, "REACH_TIMEOUT", 0.2)
    databases.southbound.kill()
    async with collecting(databases, "h1") as clock:
        await until(lambda: "cannot look for dead hosts" in caplog.text, "it is logged")
        assert clock.looks == 0
        databases.southbound.start()
        await gone(databases, "h3")
    assert "h2" in databases.registered()
