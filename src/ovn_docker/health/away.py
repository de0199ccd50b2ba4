"""Whether another host's driver is connected to OVN Northbound, and if it is not, since when it is away.

The lock that shows a host is asked for and given back at once. A driver that connects meanwhile takes it, as
it does from anybody.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from ovn_docker.errors import OvnDockerError, UnreachableError
from ovn_docker.ovn import hosts, last_seen
from ovn_docker.ovn.last_seen import LastSeen
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock

PATIENCE = 1.0
"""Seconds for an error to wait for what it could say besides."""

ASKING = 0.25
"""Seconds after which who has a lock is its driver, and not somebody else who only asks for it."""


@dataclass(frozen=True, slots=True)
class Driver:
    """What is known of a host's driver.

    Attributes:
        connected: whether it is connected to Northbound.
        seen: when it was last; of interest where it is not connected.
    """

    connected: bool
    seen: LastSeen


async def look(nb: Client, host: str, wait: float = ASKING) -> Driver:
    """Whether the driver of a host is connected; never asked by a driver about its own host.

    Args:
        nb: of Northbound, connected.
        host: its ``system-id``.
        wait: seconds for whoever else asks to give the lock back.

    Raises:
        DatabaseError: the database refused to tell.
        UnreachableError: the connection was lost.
    """
    async with nb.lock(hosts.presence_lock(host)) as lock:
        free, asked = await is_free(lock, wait), lock.asked
    if not asked:
        raise UnreachableError(nb.outage() or f"{nb.title} does not answer")
    return Driver(connected=not free, seen=await seen(nb, host))


async def is_free(lock: Lock, wait: float = ASKING) -> bool:
    """Whether a lock that was asked for is nobody else's; `wait` as in `look`."""
    if lock.asked and not lock.held:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await lock.acquired()
    return lock.held


async def seen(nb: Client, host: str) -> LastSeen:
    """When a host's driver was connected last, as its row says."""
    [found] = await nb.transact([last_seen.seen_get(host)])
    return last_seen.read_seen(found["rows"])


async def remedy(nb: Client, host: str) -> str:
    """How an error goes on that names another host as the holder of something; "" where that is connected.

    It takes `PATIENCE` at most. Where nothing can be learned in that time it says what to do all the same.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            driver = await look(nb, host)
    except (TimeoutError, OvnDockerError):
        return _remedy("if that host will not come back", host)
    if driver.connected:
        return ""
    return _remedy(f"{away(host, driver.seen)}: if that host will not come back", host)


def away(host: str, since: LastSeen) -> str:
    """That a host's driver is away, and since when, for people."""
    if not since.moment:
        return f"the driver of host {host} is away"
    return f"the driver of host {host} has been away since {since}"


def _remedy(condition: str, host: str) -> str:
    return f"; {condition}, free what it has with 'ovn-docker gc --host {host}'"
