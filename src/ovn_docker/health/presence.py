"""Shows the other hosts that this one is present, and proves that its name in OVN is its own.

Its row in Northbound says which machine uses the name; three locks say who is connected. The presence lock is
stolen once the name is known to be this host's, and on each further connection before the first transaction,
so that nobody who is removing this host continues. The name lock is not stolen from another machine, so that
the second of two with one name notices. The session lock is in this host's own Open_vSwitch, and shows other
processes here that they are on the same machine.
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from ovn_docker.errors import ConflictError, ConstraintError, DatabaseError, HostError
from ovn_docker.health.host_identity import Evidence, Standing, Verdict, judge, taken
from ovn_docker.health.host_liveness import is_free
from ovn_docker.host.open_vswitch import OvnSettings
from ovn_docker.host.ovn_settings import settings_of
from ovn_docker.ovn import hosts
from ovn_docker.ovn.hosts import NOBODY, HostIdentity
from ovn_docker.ovn.switches import Mark, timestamp
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.locks import Lock
from ovn_docker.state_file import StateFile

LOG = logging.getLogger(__name__)

# --- What distinguishes this machine from others, whatever their names in OVN -------------------------------


KEY = "machine"
"""Of the state file."""

LinkWithAddress = Callable[[str], Awaitable[str | None]]
"""The link of this host that has an IP address, or None."""


class ThisMachine:
    """This machine: a random number that the state file keeps, its hostname and its tunnel addresses."""

    def __init__(self, file: StateFile, hostname: str, holding: LinkWithAddress) -> None:
        self._file = file
        self._hostname = hostname
        self._holding = holding
        self._number = ""

    async def identity(self, settings: OvnSettings, session: str, *, keep: bool) -> HostIdentity:
        """The identity of a driver's session here; `keep`: make a number where the state file has none.

        Raises:
            HostError: the state file cannot be used.
        """
        if not self._number:
            self._number = await asyncio.to_thread(self._read, keep=keep)
        own = [address for address in settings.encap_ips if await self._holding(address)]
        return HostIdentity(self._number, self._hostname, ",".join(sorted(own)), session)

    def _read(self, *, keep: bool) -> str:
        number = str(self._file.load().get(KEY, ""))
        if number or not keep:
            return number
        made = secrets.token_hex(16)

        def change(content: dict[str, Any]) -> Mapping[str, Any]:
            return {KEY: made} | content

        try:
            self._file.update(change)
        except HostError as error:
            LOG.warning("this machine is known by its hostname and tunnel address alone: %s", error)
            return made
        return str(self._file.load().get(KEY, made))


# --- When this host's driver was connected last, in its row, for those who ask since when it is away --------
# One write in ten to twelve minutes, and one when the driver is stopped: 1,000 hosts make 1.5 a second, each
# of one row that no switch refers to and for which northd computes nothing.


SHORTEST, LONGEST = 600.0, 720.0
"""Seconds from one write to the next, at random between the two, for hosts may have started together."""

STOP_TIMEOUT = 1.0
"""Seconds that a stop waits at most for the last write."""


def _at_random() -> float:
    return random.uniform(SHORTEST, LONGEST)  # noqa: S311  (to spread load)


class SeenNote:
    """Writes that this host's driver is connected, from time to time."""

    def __init__(
        self,
        nb: Client,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[], float] = _at_random,
    ) -> None:
        """`now` gives UTC, `clock` monotonic seconds, `pause` the seconds to the next write."""
        self._nb = nb
        self._now = now
        self._clock = clock
        self._pause = pause
        self._due: dict[str, float] = {}

    async def note(self, host: str) -> None:
        """Write that the driver of this host is connected, if the last write was long ago."""
        now = self._clock()
        if now < self._due.get(host, now):
            return
        try:
            if await self._write(host, stopped=False):
                self._due = {host: now + self._pause()}
        except DatabaseError as error:
            LOG.debug("host %s: cannot write when it was seen: %s", host, error)

    async def stop(self, host: str) -> None:
        """Write that the driver of this host is stopped now, if Northbound can be reached."""
        self._due.pop(host, None)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._write(host, stopped=True)
        except (TimeoutError, DatabaseError) as error:
            LOG.debug("host %s: cannot write when it was stopped: %s", host, error)

    async def _write(self, host: str, *, stopped: bool) -> bool:
        moment = timestamp(self._now())
        [written] = await self._nb.transact([hosts.seen_set(host, moment, stopped=stopped)])
        return bool(written["count"])


# --- The host's presence, and its name ----------------------------------------------------------------------


INTERVAL = 60.0
"""Seconds after which the row and the host's entry in the list of hosts are read again, by row id."""

TAKEN_INTERVAL, UNSETTLED_INTERVAL = 5.0, 0.5
"""The same while the name is another machine's, and while that is not known."""

RELEASE_TIMEOUT = 1.0
"""Seconds for a driver of this host that only looks who has a lock to release it."""

NEIGHBOUR_TIMEOUT = 0.5
"""Seconds for another process of this host that only looks at a session's lock to release it."""


class Presence:
    """This host's part in the list of hosts."""

    def __init__(
        self,
        ovs: Client,
        nb: Client,
        machine: ThisMachine,
        now: Callable[[], datetime],
        interval: float = INTERVAL,
    ) -> None:
        """Take clients of Open_vSwitch and Northbound; `now` gives UTC."""
        self._ovs = ovs
        self._nb = nb
        self._machine = machine
        self._now = now
        self._interval = interval
        self._session = secrets.token_hex(8)
        self._running = False
        self._judged = asyncio.Event()
        self._verdict = Verdict(Standing.UNSETTLED)
        self._refused: float | None = None
        self._held: float | None = None
        self._asking = asyncio.Lock()
        self._seen = SeenNote(nb, now)
        self._listed = False
        self._shown = contextlib.AsyncExitStack()
        self._shown_by: Lock | None = None  # the presence lock, which self._shown holds

    async def run(self) -> None:
        """Stay present until cancelled, under the name in Open_vSwitch."""
        self._running = True
        while True:
            name = await self._ovs.replica.until(lambda: self._name() or None)
            self._judged.clear()
            self._refused = self._held = None
            self._verdict = Verdict(Standing.UNSETTLED)
            async with self._ovs.lock(hosts.session_lock(self._session)):
                try:
                    await self._stay(name)
                finally:
                    await self._go(name)

    def _name(self) -> str:
        return settings_of(self._ovs).system_id

    # --- For those who are about to change something --------------------------------------------------------

    def problem(self) -> str:
        """Which other machine has this host's name, and what to do, or ""."""
        return taken(self._name(), self._verdict) if self._verdict.standing is Standing.TAKEN else ""

    async def admit(self) -> None:
        """Wait until it is known whose the name is, if a driver runs here.

        Raises:
            ConflictError: it is another machine's.
        """
        if self._running and self._name():
            await self._judged.wait()
        if problem := self.problem():
            raise ConflictError(problem)

    async def prove(self) -> Verdict:
        """Whose the name is now; an OvnDockerError if that cannot be found out."""
        name = await self._ovs.replica.until(lambda: self._name() or None)
        if not self._running:
            async with self._nb.lock(hosts.name_lock(name)) as lock:
                self._verdict = judge(await self._evidence(name, lock))
                return self._verdict
        await self._judged.wait()
        row = await self._row(name)
        if row is not None and await self._is_local(row):
            return Verdict(Standing.OWN)
        return Verdict(Standing.UNSETTLED) if self._verdict.standing is Standing.OWN else self._verdict

    async def take_over(self, *, dry_run: bool = False) -> HostIdentity | None:
        """Take the name from a machine that is away; by a command, where no driver runs.

        Returns:
            The machine that has lost it, or would with `dry_run`; None where nobody else has it.

        Raises:
            ConflictError: that machine's driver is connected.
        """
        name = self._name()
        async with self._nb.lock(hosts.name_lock(name)) as lock:
            evidence = await self._evidence(name, lock, keep=not dry_run)
            if evidence.local:
                return None
            if not await is_free(lock, RELEASE_TIMEOUT):
                raise ConflictError(
                    f"the name {name} cannot be taken over: the driver of {evidence.row or NOBODY} is"
                    " connected to OVN Northbound: stop it there first"
                )
            if not dry_run:
                await self._write(name, evidence.own)
            return evidence.row if judge(evidence).standing is Standing.TAKEN else None

    # --- The driver's part ----------------------------------------------------------------------------------

    async def _stay(self, name: str) -> None:
        while self._name() == name:
            async with self._nb.lock(hosts.name_lock(name)) as lock:
                while self._name() == name:
                    await self._look(name, lock)
                    if self._verdict.standing is Standing.OWN:
                        await self._seen.note(name)
                    if self._verdict.hopeless:
                        break
                    await self._rest()
            if self._name() == name:
                await self._rest()

    async def _rest(self) -> None:
        pauses = {Standing.UNSETTLED: UNSETTLED_INTERVAL, Standing.TAKEN: TAKEN_INTERVAL}
        pause = min(pauses.get(self._verdict.standing, self._interval), self._interval)
        settings = settings_of(self._ovs)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._ovs.replica.until(lambda: settings_of(self._ovs) != settings or None)

    async def _look(self, name: str, lock: Lock) -> None:
        try:
            evidence = await self._evidence(name, lock)
            verdict = judge(evidence)
            await self._show(name, verdict)
            if verdict.take and verdict.standing is Standing.OWN:
                await self._write(name, evidence.own)
                verdict = Verdict(Standing.OWN)
            if verdict.standing is Standing.OWN and not self._listed:
                await self._enter(name)
            row = evidence.row
            is_neighbour = evidence.local and row is not None and row.session != self._session
            lock.steal = verdict.standing is Standing.OWN and not is_neighbour
            self._log(name, verdict)
            self._verdict = verdict
            if _is_undeclared(verdict, evidence):
                return
        except (DatabaseError, HostError) as error:
            LOG.warning("host %s is not registered in OVN Northbound: %s", name, error)
        self._judged.set()

    async def _show(self, name: str, verdict: Verdict) -> None:
        """Hold the presence lock, and steal it back, unless the name is another machine's."""
        own = verdict.standing is Standing.OWN
        if own and self._shown_by is not None and self._shown_by.held:
            return
        if own or verdict.standing is Standing.TAKEN:
            await self._hide()
        if own:
            lock = self._nb.lock(hosts.presence_lock(name), steal=True)
            self._shown_by = await self._shown.enter_async_context(lock)

    async def _go(self, name: str) -> None:
        """Write that this host's driver is stopped, before others can see that it is."""
        if self._shown_by is not None and self._shown_by.held:
            await self._seen.stop(name)
        await self._hide()

    async def _hide(self) -> None:
        self._shown_by = None
        await self._shown.aclose()

    def _log(self, name: str, verdict: Verdict) -> None:
        if verdict.standing is Standing.TAKEN and (self._verdict.standing, self._verdict.other) != (
            verdict.standing,
            verdict.other,
        ):
            LOG.error("%s", taken(name, verdict))
        elif verdict.standing is Standing.OWN and self._verdict.standing is Standing.TAKEN:
            LOG.warning("the name %s is this host's now", name)

    async def _write(self, name: str, own: HostIdentity) -> None:
        [_, written] = await self._nb.transact(hosts.host_claim(name, own))
        if written["count"]:
            return
        with contextlib.suppress(ConstraintError):  # another driver of this host was quicker
            mark = Mark(name, timestamp(self._now()))
            await self._nb.transact([hosts.host_add(mark, own), hosts.list_enter([name])])
            LOG.info("host %s is registered in OVN Northbound", name)

    async def _enter(self, name: str) -> None:
        """Add this host to the list of hosts, which the first host creates."""
        enter = [hosts.list_enter([name])]
        [entered] = await self._nb.transact(enter)
        if entered["count"]:
            return
        try:
            await self._nb.transact([hosts.list_add([name])])
        except ConstraintError:  # another host was quicker
            await self._nb.transact(enter)

    # --- Evidence -------------------------------------------------------------------------------------------

    async def _evidence(self, name: str, lock: Lock, *, keep: bool = False) -> Evidence:
        row = await self._row(name)
        keep = keep or self._running
        own = await self._machine.identity(settings_of(self._ovs), self._session, keep=keep)
        local = row is not None and await self._is_local(row)
        now = time.monotonic()
        if lock.held:
            self._held = now if self._held is None else self._held
        elif lock.requested:
            self._held = None
            self._refused = now if self._refused is None else self._refused
        if local:
            self._refused = None
        return Evidence(
            row=row,
            own=own,
            local=local,
            held=lock.held,
            refused_for=None if self._refused is None else now - self._refused,
            held_for=0.0 if self._held is None else now - self._held,
        )

    async def _row(self, name: str) -> HostIdentity | None:
        found, entry = await self._nb.transact([hosts.host_get(name), hosts.list_has(name)])
        self._listed = bool(entry["rows"])
        return hosts.read_identity(found["rows"])

    async def _is_local(self, row: HostIdentity) -> bool:
        """Whether the driver that wrote a host's row is connected to this host's Open_vSwitch."""
        if row.session in {"", self._session}:
            return row.session == self._session
        async with self._asking, self._ovs.lock(hosts.session_lock(row.session)) as lock:
            free = await is_free(lock, NEIGHBOUR_TIMEOUT)
            return lock.requested and not free


def _is_undeclared(verdict: Verdict, evidence: Evidence) -> bool:
    """Whether another driver has just got the name, and has yet to write which machine it is on."""
    refused = evidence.refused_for
    unnamed = verdict.standing is Standing.UNSETTLED and verdict.other == NOBODY
    return unnamed and refused is not None and refused < TAKEN_INTERVAL
