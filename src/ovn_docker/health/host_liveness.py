"""The collector of dead hosts: one driver of all gives up hosts that have been gone from OVN for long.

Gone is a host whose chassis is not in OVN Southbound and whose driver is not connected to Northbound, both at
each look. Of all drivers with ``--dead-host-after`` the one that has the collector's lock does it; only that
one is connected to Southbound.
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

# --- For how long hosts have been missing from OVN, and which are dead for it. Pure. ------------------------


@dataclass(frozen=True, slots=True)
class Absences:
    """Since when each host has been missing that is: host to seconds of a clock that never goes back."""

    since: Mapping[str, float] = field(default_factory=dict)

    def after(self, hosts: Iterable[str], chassis: Iterable[str], own: str, now: float) -> "Absences":
        """What is known after one more look.

        Args:
            hosts: those that Northbound knows.
            chassis: those that Southbound knows. Without `own` among them it is not to be believed: it was
                made anew, or this host's ovn-controller is away. Then all begins again.
            own: this host, which is never missing.
            now: seconds of that clock.
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


# --- Whether another host's driver is connected to OVN Northbound, and if it is not, since when it is away. -
# The lock that shows a host is asked for and given back at once. A driver that connects meanwhile takes it,
# as it does from anybody.


REMEDY_PATIENCE = 1.0
"""Seconds for an error to wait for what it could say besides."""

ASKING = 0.25
"""Seconds after which who has a lock is its driver, and not somebody else who only asks for it."""


@dataclass(frozen=True, slots=True)
class DriverState:
    """What is known of a host's driver.

    Attributes:
        connected: whether it is connected to Northbound.
        seen: when it was last; of interest where it is not connected.
    """

    connected: bool
    seen: LastSeen


async def look(nb: Client, host: str, wait: float = ASKING) -> DriverState:
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
        free, asked = await is_free(lock, wait), lock.requested
    if not asked:
        raise UnreachableError(nb.outage() or f"{nb.title} does not answer")
    return DriverState(connected=not free, seen=await seen(nb, host))


async def is_free(lock: Lock, wait: float = ASKING) -> bool:
    """Whether a lock that was asked for is nobody else's; `wait` as in `look`."""
    if lock.requested and not lock.held:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await lock.acquired()
    return lock.held


async def seen(nb: Client, host: str) -> LastSeen:
    """When a host's driver was connected last, as its row says."""
    [found] = await nb.transact([hosts.seen_get(host)])
    return hosts.read_seen(found["rows"])


async def remedy(nb: Client, host: str) -> str:
    """How an error goes on that names another host as the holder of something; "" where that is connected.

    It takes `PATIENCE` at most. Where nothing can be learned in that time it says what to do all the same.
    """
    try:
        async with asyncio.timeout(REMEDY_PATIENCE):
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


LOG = logging.getLogger(__name__)

LOOKS, LONGEST_INTERVAL = 6, 60.0
"""How many looks fall into the time after which a host is dead, and the seconds between two at most."""

REACH_TIMEOUT = 10.0
"""Seconds for Southbound to be reached; then another driver may try."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What looks have shown until now.

    Attributes:
        gone: since when hosts have had no chassis.
        dead: since when they have had neither a chassis nor a driver that is connected. Where ovn-controller
            is stopped for long the driver may be restarted, and is away for a moment.
    """

    gone: Absences = field(default_factory=Absences)
    dead: Absences = field(default_factory=Absences)


class Collector:
    """Gives up dead hosts while it has the lock."""

    def __init__(self, ovs: Client, nb: Client, limit: float, clock: Callable[[], float]) -> None:
        """Use clients of this host's Open_vSwitch and of Northbound.

        Args:
            ovs: says who this host is and where Southbound is.
            nb: where hosts are given up.
            limit: seconds for which a host must be gone.
            clock: seconds from some moment, never back.
        """
        self._ovs = ovs
        self._nb = nb
        self._limit = limit
        self._interval = min(limit / LOOKS, LONGEST_INTERVAL)
        self._clock = clock
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Collect until cancelled."""
        while True:
            async with self._nb.lock(hosts.COLLECTOR_LOCK) as lock:
                await lock.acquired()
                following = ovn_settings.following(self._ovs, ovn_settings.SOUTHBOUND, southbound.WATCHES)
                async with following as sb:
                    await self._collect(lock, sb)
            await asyncio.sleep(self._interval)  # whoever waits for the lock has it now

    async def _collect(self, lock: Lock, sb: Client) -> None:
        """Look and act in intervals, until the lock is lost or Southbound cannot be reached."""
        seen = _Seen()
        while lock.held and await self._reached(sb):
            try:
                seen = await self._round(sb, seen)
            except OvnDockerError as error:
                LOG.warning("dead hosts are not looked for: %s", error)
            await asyncio.sleep(self._interval)

    async def _reached(self, sb: Client) -> bool:
        try:
            async with asyncio.timeout(REACH_TIMEOUT):
                await sb.ready()
        except TimeoutError:
            self._tell("", f"dead hosts are not looked for: {sb.outage()}")
            return False
        self._told.pop("", None)
        return True

    async def _round(self, sb: Client, seen: "_Seen") -> "_Seen":
        """One look at both databases, and the end of those that are dead."""
        own = ovn_settings.settings_of(self._ovs).system_id
        known = await host_cleanup.listed(self._nb)
        if not sb.connected:  # what is known of it has grown old while Northbound was waited for
            return seen
        chassis, now = list(southbound.read_chassis(sb.replica)), self._clock()
        gone = seen.gone.after(known, chassis, own, now)
        connected = [host for host in gone.since if await self._is_connected(host)]
        seen = _Seen(gone, seen.dead.after(known, [*chassis, *connected], own, now))
        for host in set(gone.dead(now, self._limit)).intersection(connected):
            self._tell_alive(host)
        for host in await host_cleanup.registered(self._nb, seen.dead.dead(now, self._limit)):
            await self._give_up(host)
        return seen

    async def _is_connected(self, host: str) -> bool:
        async with self._nb.lock(hosts.presence_lock(host)) as lock:
            return not await is_free(lock)

    def _tell_alive(self, host: str) -> None:
        why = "its driver is connected to OVN Northbound: it is not given up"
        self._tell(host, f"host {host} has no chassis in OVN Southbound, but {why}")

    async def _give_up(self, host: str) -> None:
        presence = hosts.presence_lock(host)
        async with self._nb.lock(presence) as lock:
            if not lock.held:
                return  # its driver has come back since it was looked for
            try:
                gone = await HostCleanup(self._nb, host, [hosts.COLLECTOR_LOCK, presence]).run()
            except LockError:
                LOG.warning("host %s came back while it was given up, or this driver is cut off", host)
                return
        self._told.pop(host, None)
        LOG.warning(
            "host %s is given up, for its chassis has been gone from OVN Southbound for %.0f s: %s removed",
            host,
            self._limit,
            gone,
        )

    def _tell(self, subject: str, text: str) -> None:
        """Log what may be so for hours, once."""
        if text != self._told.get(subject):
            LOG.warning("%s", text)
        self._told[subject] = text


# --- Whether a host's ovn-controller lives: asked of all hosts at once, so that silence can be judged. ------


ANSWER_PATIENCE = 10.0
"""Seconds for any host to answer, and from then on as many for the one that is asked about."""

PAUSE = 0.2
"""Seconds between two looks."""


class SignOfLife(Enum):
    """What the question has shown."""

    GIVEN = "the host answers"
    MISSING = "others answer, and it does not"
    NOBODY = "nobody answers, so nothing can be told"


async def ask(nb: Client, sb: Client, host: str, patience: float = ANSWER_PATIENCE) -> SignOfLife:
    """Ask all hosts for a sign of life and wait for that of one.

    Each living host writes one row of Southbound for it, once.

    Args:
        nb: of Northbound, where the question is written.
        sb: of Southbound, where the answers stand.
        host: its ``system-id``.
        patience: as `PATIENCE`.

    Raises:
        DatabaseError: a database refused.
    """
    try:
        async with asyncio.timeout(3 * patience):
            return await _ask(nb, sb, host, patience)
    except TimeoutError:  # a database was lost meanwhile
        return SignOfLife.NOBODY


async def _ask(nb: Client, sb: Client, host: str, patience: float) -> SignOfLife:
    target = nb_global.read_target(await nb.transact(nb_global.sync_begin()))
    if target is None:
        return SignOfLife.NOBODY
    clock = asyncio.get_running_loop().time
    deadline, others_live = clock() + patience, False
    while clock() < deadline:
        own, others = await sb.transact(nb_global.followers(target, host))
        if own["rows"]:
            return SignOfLife.GIVEN
        if others["rows"] and not others_live:
            others_live, deadline = True, clock() + patience
        await asyncio.sleep(PAUSE)
    return SignOfLife.MISSING if others_live else SignOfLife.NOBODY
