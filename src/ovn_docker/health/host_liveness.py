"""Whether another host lives, and the collector: the one driver of all that removes what dead hosts left.

A host is dead when its chassis is not in OVN Southbound and its driver is not connected to Northbound, both
at each look for the whole of ``--dead-host-after``. Of all drivers with that flag the one that has the
collector's lock does it; only that one is connected to Southbound.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ovn_docker.errors import LockError, OvnDockerError, UnreachableError
from ovn_docker.health import host_cleanup
from ovn_docker.health.host_cleanup import HostCleanup
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import hosts, nb_global, southbound
from ovn_docker.ovn.hosts import LastSeen
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock

LOG = logging.getLogger(__name__)

# --- Since when hosts have been missing from OVN, and which are dead. Pure. ---------------------------------


@dataclass(frozen=True, slots=True)
class Absences:
    """Since when each host that is missing has been missing, in seconds of a monotonic clock."""

    since: Mapping[str, float] = field(default_factory=dict)

    def after(self, hosts: Iterable[str], chassis: Iterable[str], own: str, now: float) -> "Absences":
        """What is known after one more look.

        Args:
            hosts: those that Northbound knows.
            chassis: those that Southbound knows. Without `own` it is not relied on: it is a new database, or
                this host's ovn-controller is away. Then everything starts anew.
            own: this host, which is never missing.
            now: seconds of the monotonic clock.
        """
        present = frozenset(chassis)
        if own not in present:
            return Absences()
        missing = (host for host in hosts if host not in present)
        return Absences({host: self.since.get(host, now) for host in missing})

    def dead(self, now: float, limit: float) -> list[str]:
        """The hosts that have been missing for `limit` seconds, the longest missing first."""
        dead = (host for host, since in self.since.items() if now - since >= limit)
        return sorted(dead, key=lambda host: (self.since[host], host))


# --- Whether another host's driver is connected to OVN Northbound, and if not, when it last was. ------------
# The host's presence lock is requested and released at once. A driver that connects meanwhile steals it, as
# it does from everybody.


REMEDY_TIMEOUT = 1.0
"""Seconds by which an error may be delayed to find out what it could advise."""

LOOK_TIMEOUT = 0.25
"""Seconds after which the holder of a lock is taken for its driver, and not for somebody who only looks."""


@dataclass(frozen=True, slots=True)
class DriverState:
    """A host's driver.

    Attributes:
        connected: to Northbound.
        seen: when it was connected last; of interest where it is not connected now.
    """

    connected: bool
    seen: LastSeen


async def is_connected(nb: Client, host: str, wait: float = LOOK_TIMEOUT) -> bool:
    """Whether the driver of another host is connected to Northbound; a driver never asks for its own host.

    Args:
        nb: of Northbound, connected.
        host: its ``system-id``.
        wait: seconds for somebody else who only looks to release the lock.

    Raises:
        UnreachableError: the connection was lost.
    """
    async with nb.lock(hosts.presence_lock(host)) as lock:
        free, requested = await is_free(lock, wait), lock.requested
    if not requested:
        raise UnreachableError(nb.outage() or f"{nb.title} does not answer")
    return not free


async def look(nb: Client, host: str, wait: float = LOOK_TIMEOUT) -> DriverState:
    """Whether the driver of another host is connected, and when it last was; arguments as `is_connected`."""
    connected = await is_connected(nb, host, wait)
    [found] = await nb.transact([hosts.seen_get(host)])
    return DriverState(connected, hosts.read_seen(found["rows"]))


async def is_free(lock: Lock, wait: float = LOOK_TIMEOUT) -> bool:
    """Whether nobody else has a lock; `wait` as in `is_connected`."""
    if not lock.held:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await lock.acquired()
    return lock.held


async def remedy(nb: Client, host: str) -> str:
    """The end of an error that names another host as the holder of something; "" if that is connected.

    It takes `REMEDY_TIMEOUT` at most. Where nothing can be found out in that time it gives the advice anyway.
    """
    condition = "if that host will not come back"
    try:
        async with asyncio.timeout(REMEDY_TIMEOUT):
            driver = await look(nb, host)
        if driver.connected:
            return ""
        condition = f"{away(host, driver.seen)}: {condition}"
    except (TimeoutError, OvnDockerError):
        pass
    return f"; {condition}, free what it has with 'ovn-docker gc --host {host}'"


def away(host: str, since: LastSeen) -> str:
    """That a host's driver is away, and since when, for people."""
    if not since.moment:
        return f"the driver of host {host} is away"
    return f"the driver of host {host} has been away since {since}"


# --- The collector ------------------------------------------------------------------------------------------


LOOKS, LONGEST_INTERVAL = 6, 60.0
"""How many looks fall into the time after which a host is dead, and the seconds between two at most."""

REACH_TIMEOUT = 10.0
"""Seconds for Southbound to be reached; then another driver may try."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the looks until now have shown.

    Attributes:
        gone: since when hosts have had no chassis.
        dead: since when they have had neither a chassis nor a connected driver. Where ovn-controller is
            stopped for long the driver may be restarted, and is away for a moment.
    """

    gone: Absences = field(default_factory=Absences)
    dead: Absences = field(default_factory=Absences)


class Collector:
    """Removes what dead hosts left while it has the lock."""

    def __init__(self, ovs: Client, nb: Client, limit: float, clock: Callable[[], float]) -> None:
        """Use clients of this host's Open_vSwitch and of Northbound.

        Args:
            ovs: says who this host is and where Southbound is.
            nb: where dead hosts left something.
            limit: seconds for which a host must be gone.
            clock: monotonic, in seconds.
        """
        self._ovs = ovs
        self._nb = nb
        self._limit = limit
        self._interval = min(limit / LOOKS, LONGEST_INTERVAL)
        self._clock = clock
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            async with self._nb.lock(hosts.COLLECTOR_LOCK) as lock:
                await lock.acquired()
                following = ovn_settings.following(self._ovs, ovn_settings.SOUTHBOUND, southbound.WATCHES)
                async with following as sb:
                    await self._collect(lock, sb)
            await asyncio.sleep(self._interval)  # another driver that waits for the lock has it now

    async def _collect(self, lock: Lock, sb: Client) -> None:
        """Look and act in intervals, until the lock is lost or Southbound cannot be reached."""
        seen = _Seen()
        while lock.held and await self._reached(sb):
            try:
                seen = await self._round(sb, seen)
            except OvnDockerError as error:
                LOG.warning("cannot look for dead hosts: %s", error)
            await asyncio.sleep(self._interval)

    async def _reached(self, sb: Client) -> bool:
        try:
            await sb.reached(REACH_TIMEOUT)
        except UnreachableError as error:
            self._log_once("", f"cannot look for dead hosts: {error}")
            return False
        self._logged.pop("", None)
        return True

    async def _round(self, sb: Client, seen: _Seen) -> _Seen:
        """Look at both databases once, and remove what dead hosts left."""
        own = ovn_settings.settings_of(self._ovs).system_id
        known = await host_cleanup.listed(self._nb)
        if not sb.connected:  # what is known of it is out of date after waiting for Northbound
            return seen
        chassis, now = list(southbound.read_chassis(sb.replica)), self._clock()
        gone = seen.gone.after(known, chassis, own, now)
        connected = [host for host in gone.since if await is_connected(self._nb, host)]
        seen = _Seen(gone, seen.dead.after(known, [*chassis, *connected], own, now))
        for host in set(gone.dead(now, self._limit)).intersection(connected):
            text = "its driver is connected to OVN Northbound: nothing of it is removed"
            self._log_once(host, f"host {host} has no chassis in OVN Southbound, but {text}")
        for host in await host_cleanup.registered(self._nb, seen.dead.dead(now, self._limit)):
            await self._remove(host)
        return seen

    async def _remove(self, host: str) -> None:
        presence = hosts.presence_lock(host)
        async with self._nb.lock(presence) as lock:
            if not lock.held:
                return  # its driver has come back since the look
            try:
                removed = await HostCleanup(self._nb, host, [hosts.COLLECTOR_LOCK, presence]).run()
            except LockError:
                LOG.warning("host %s came back while it was being removed, or this driver is cut off", host)
                return
        self._logged.pop(host, None)
        LOG.warning(
            "host %s is removed: its chassis has been gone from OVN Southbound for %.0f s; it had %s",
            host,
            self._limit,
            removed,
        )

    def _log_once(self, subject: str, text: str) -> None:
        """Log a state that may last for hours when it begins or changes."""
        if text != self._logged.get(subject):
            LOG.warning("%s", text)
        self._logged[subject] = text


# --- Whether a host's ovn-controller lives: all hosts are asked, so that one's silence can be judged. -------


ANSWER_TIMEOUT = 10.0
"""Seconds for any host to answer, and from then on as many for the one that is asked about."""

POLL_INTERVAL = 0.2


class SignOfLife(Enum):
    """What the question has shown."""

    GIVEN = "the host answers"
    MISSING = "others answer, and it does not"
    NOBODY = "nobody answers, so nothing can be said"


async def ask(nb: Client, sb: Client, host: str, limit: float = ANSWER_TIMEOUT) -> SignOfLife:
    """Ask all hosts for a sign of life and wait for that of one.

    Each living host writes one row of Southbound for it, once.

    Args:
        nb: of Northbound, where the question is written.
        sb: of Southbound, where the answers are.
        host: its ``system-id``.
        limit: as `ANSWER_TIMEOUT`.
    """
    try:
        async with asyncio.timeout(3 * limit):
            return await _ask(nb, sb, host, limit)
    except TimeoutError:  # a database was lost meanwhile
        return SignOfLife.NOBODY


async def _ask(nb: Client, sb: Client, host: str, limit: float) -> SignOfLife:
    target = nb_global.read_target(await nb.transact(nb_global.sync_begin()))
    if target is None:
        return SignOfLife.NOBODY
    clock = asyncio.get_running_loop().time
    deadline, others_live = clock() + limit, False
    while clock() < deadline:
        own, others = await sb.transact(nb_global.followers(target, host))
        if own["rows"]:
            return SignOfLife.GIVEN
        if others["rows"] and not others_live:
            others_live, deadline = True, clock() + limit
        await asyncio.sleep(POLL_INTERVAL)
    return SignOfLife.MISSING if others_live else SignOfLife.NOBODY
