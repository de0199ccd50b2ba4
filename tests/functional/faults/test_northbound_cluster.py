"""Northbound is a cluster of three whose leader is killed while a driver works: no call of Docker's fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.functional.conftest import MakeServer
from tests.functional.faults.hosts import configure
from tests.functional.faults.killing import DriverProcess, driver_process
from tests.functional.faults.story import Failure, call
from tests.functional.servers import Cluster, OvsdbServer, until

pytestmark = [pytest.mark.functional, pytest.mark.timeout(90)]

NETWORK = {"NetworkID": "b5082ded" * 8}
SUBNET = "10.0.0.0/16"
CALLERS, MOST_SECONDS = 8, 20.0


@pytest.fixture
async def driver(cluster: Cluster, make_server: MakeServer, short_path: Path) -> AsyncIterator[DriverProcess]:
    """A driver that was given all three, those first that follow."""
    followers = [member.remote for member in cluster.members if member is not cluster.leader()]
    leaders = [remote for remote in cluster.remotes if remote not in followers]
    open_vswitch = make_server("Open_vSwitch")
    configure(open_vswitch, ",".join(map(str, [*followers, *leaders])))
    with driver_process(short_path, str(open_vswitch.remote), apart=True) as process:
        await call(process.socket, "NetworkDriver.CreateNetwork", NETWORK | {"IPv4Data": [{"Pool": SUBNET}]})
        yield process


class Callers:
    """Make endpoints and remove every other one again, one after the other, until told to stop.

    Attributes:
        slowest: seconds of the call that took longest.
        kept: the endpoints that are to be there at the end.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._stop = asyncio.Event()
        self.slowest = 0.0
        self.calls = 0
        self.kept: set[str] = set()

    async def run(self) -> None:
        await asyncio.gather(*(self._call(number) for number in range(CALLERS)))

    def stop(self) -> None:
        self._stop.set()

    async def _call(self, caller: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            endpoint = NETWORK | {"EndpointID": f"e{caller}x{number}"}
            address = {"Interface": {"Address": f"10.0.{caller * 30 + number // 250}.{number % 250 + 2}/16"}}
            await self._ask("CreateEndpoint", endpoint | address)
            if number % 2:
                await self._ask("DeleteEndpoint", endpoint)
            else:
                self.kept.add(endpoint["EndpointID"])

    async def _ask(self, verb: str, body: object) -> None:
        started = time.monotonic()
        await call(self._socket, f"NetworkDriver.{verb}", body)
        self.slowest = max(self.slowest, time.monotonic() - started)
        self.calls += 1


async def new_leader(cluster: Cluster, *others: OvsdbServer | None) -> OvsdbServer:
    """Wait until the cluster has a leader that is none of these."""
    found: list[OvsdbServer | None] = []

    def is_found() -> bool:
        found[:] = [cluster.leader()]
        return found[0] is not None and found[0] not in others

    await until(is_found, "the cluster has a leader", MOST_SECONDS)
    assert found[0] is not None
    return found[0]


def ports(server: OvsdbServer) -> set[str]:
    return {row["name"] for row in server.ports("name")}


async def test_no_call_fails_while_one_leader_after_the_other_is_killed(
    cluster: Cluster, driver: DriverProcess
) -> None:
    pid, callers = driver.pid, Callers(driver.socket)
    work = asyncio.create_task(callers.run())
    for _ in range(2):
        before = callers.calls
        await until(lambda: callers.calls > before + 50 or work.done(), "calls are under way")  # noqa: B023
        old = await new_leader(cluster)
        old.kill()
        leader = await new_leader(cluster, old)
        old.start()
    before = callers.calls
    await until(lambda: callers.calls > before + 50 or work.done(), "calls go on", MOST_SECONDS)
    callers.stop()
    await work
    assert ports(leader) == callers.kept
    assert callers.slowest < 9, "each was done within its time"
    assert driver.pid == pid


async def test_without_a_majority_it_is_said_and_with_it_the_driver_goes_on(
    cluster: Cluster, driver: DriverProcess
) -> None:
    leader = await new_leader(cluster)
    others: Sequence[OvsdbServer] = [member for member in cluster.members if member is not leader]
    for other in others:
        other.kill()
    pid = driver.pid
    started = time.monotonic()
    with pytest.raises(Failure, match="OVN Northbound"):
        await call(driver.socket, "NetworkDriver.DeleteNetwork", NETWORK)
    assert time.monotonic() - started < 10
    for other in others:
        other.start()
    leader = await new_leader(cluster)
    await soon(driver)
    assert driver.pid == pid


async def soon(driver: DriverProcess) -> None:
    """A network is made once the driver has found the new leader; late in an outage it waits for none."""
    deadline = time.monotonic() + MOST_SECONDS
    while True:
        try:
            await call(
                driver.socket, "NetworkDriver.CreateNetwork", NETWORK | {"IPv4Data": [{"Pool": SUBNET}]}
            )
        except Failure:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return
