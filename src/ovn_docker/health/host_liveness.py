"""The collector of dead hosts: one driver of all gives up hosts that have been gone from OVN for long.

Gone is a host whose chassis is not in OVN Southbound and whose driver is not connected to Northbound, both at
each look. Of all drivers with ``--dead-host-after`` the one that has the collector's lock does it; only that
one is connected to Southbound.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from ovn_docker.errors import LockError, OvnDockerError
from ovn_docker.health import known_hosts
from ovn_docker.health.absence import Absences
from ovn_docker.health.away import is_free
from ovn_docker.health.host_cleanup import GivingUp
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import hosts, southbound
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock

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
                async with self._southbound() as sb:
                    await self._collect(lock, sb)
            await asyncio.sleep(self._interval)  # whoever waits for the lock has it now

    @contextlib.asynccontextmanager
    async def _southbound(self) -> AsyncIterator[Client]:
        sb = Client("OVN Southbound", "OVN_Southbound", southbound.WATCHES)
        sb.own_tls, sb.probe_interval = self._nb.own_tls, self._nb.probe_interval
        follow = ovn_settings.follow_settings(self._ovs, sb, ovn_settings.SOUTHBOUND)
        tasks = [asyncio.create_task(work) for work in (sb.run(), follow)]
        try:
            yield sb
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

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
        known = await known_hosts.listed(self._nb)
        if not sb.connected:  # what is known of it has grown old while Northbound was waited for
            return seen
        chassis, now = list(southbound.read_chassis(sb.replica)), self._clock()
        gone = seen.gone.after(known, chassis, own, now)
        connected = [host for host in gone.since if await self._is_connected(host)]
        seen = _Seen(gone, seen.dead.after(known, [*chassis, *connected], own, now))
        for host in set(gone.dead(now, self._limit)).intersection(connected):
            self._tell_alive(host)
        for host in await known_hosts.registered(self._nb, seen.dead.dead(now, self._limit)):
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
                gone = await GivingUp(self._nb, host, [hosts.COLLECTOR_LOCK, presence]).run()
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
