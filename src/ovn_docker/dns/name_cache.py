"""Names as this host has read them from Northbound: few questions to it, and answers while it is away."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ovn_docker.errors import OvnDockerError, UnreachableError

LOG = logging.getLogger(__name__)

FRESH, ABSENT_FRESH = 5.0, 0.25
"""Seconds that a name is not asked for again if it exists, and if not: it may be published any moment."""

READ_TIMEOUT, RETRY = 2.0, 0.5
"""Seconds of a read, and after one that failed until the next."""

CAPACITY = 10_000
"""Names that are remembered."""

Options = Mapping[str, str]
"""Of a name's row: endpoint ids and what belongs to them. Empty for a name that does not exist."""

Read = Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Options]]]
"""Reads rows; those that do not exist are left out."""

NOTHING: Options = {}


@dataclass(slots=True)
class _Entry:
    options: Options
    until: float


@dataclass(eq=False, slots=True)
class _Reading:
    """One read, of all keys that were wanted before it began."""

    keys: set[UUID] = field(default_factory=set)
    found: Mapping[UUID, Options] = field(default_factory=dict)
    error: OvnDockerError | None = None
    task: asyncio.Task[None] | None = None


class NameCache:
    """Gives the options of rows.

    Args:
        read: asks Northbound; an OvnDockerError means that it is away.
        now: a clock in seconds that never goes back.
    """

    def __init__(self, read: Read, now: Callable[[], float]) -> None:
        self._read = read
        self._now = now
        self._entries: OrderedDict[UUID, _Entry] = OrderedDict()
        self._reading: dict[UUID, _Reading] = {}
        self._next: _Reading | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._away: OvnDockerError | None = None
        self._retry_at = 0.0

    async def get(self, keys: Sequence[UUID]) -> list[Options]:
        """The options of each, in this order; at most 5 s old, or 0.25 s for a name that does not exist.

        While Northbound is away, what was known last. Then a key that was never read has no options if
        others of `keys` have, for a name is asked for in all networks of a container at once.

        Raises:
            OvnDockerError: Northbound is away, and nothing is known of any of these names.
        """
        now = self._now()
        stale = [key for key in keys if not self._is_fresh(key, now)]
        if not stale:
            return [self._entries[key].options for key in keys]
        readings = self._want(stale, now)
        known = [self._known(key, readings) for key in keys]
        if self._away and any(known):
            return known
        if pending := {reading.task for reading in readings if reading.task}:
            await asyncio.wait(pending)  # which leaves them alone if we are cancelled
        for task in pending:
            task.result()
        known = [self._known(key, readings) for key in keys]
        error = next((one.error for one in readings if one.error), None) if readings else self._away
        if error and not any(known):
            raise error.with_traceback(None)  # or it would grow with each query that is told
        return known

    def put(self, key: UUID, options: Options) -> None:
        """This process has written a row; {} if it has removed it. A read under way does not count."""
        self._reading.pop(key, None)
        self._remember(key, options)

    def forget(self, keys: Iterable[UUID]) -> None:
        """These rows may have changed. A read under way does not count."""
        for key in keys:
            self._reading.pop(key, None)
            self._entries.pop(key, None)

    async def close(self) -> None:
        """Stop reading."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _is_fresh(self, key: UUID, now: float) -> bool:
        entry = self._entries.get(key)
        if not entry:
            return False
        self._entries.move_to_end(key)
        return now < entry.until

    def _known(self, key: UUID, readings: Iterable[_Reading]) -> Options:
        """What is remembered; else what a read found whose key was forgotten meanwhile, or pushed out."""
        if entry := self._entries.get(key):
            return entry.options
        return next((one.found[key] for one in readings if key in one.found), NOTHING)

    def _want(self, stale: Iterable[UUID], now: float) -> set[_Reading]:
        """The reads that are to be waited for; keys that nobody reads yet are put into the next one."""
        readings = set()
        for key in stale:
            reading = self._reading.get(key)
            if not reading and now < self._retry_at:
                continue
            if not reading:
                reading = self._next = self._next or _Reading()
                reading.keys.add(key)
                self._reading[key] = reading
                reading.task = reading.task or self._start(reading)
            readings.add(reading)
        return readings

    def _start(self, reading: _Reading) -> asyncio.Task[None]:
        task = asyncio.create_task(self._ask(reading))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, reading: _Reading) -> None:
        """It begins with the next turn of the loop, so that all who ask in this one share it."""
        self._next = None
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                reading.found = await self._read(sorted(reading.keys))
        except OvnDockerError as error:
            reading.error = error
        except TimeoutError:
            reading.error = UnreachableError(f"OVN Northbound did not answer within {READ_TIMEOUT:g} s")
        finally:
            ours = [key for key in reading.keys if self._reading.get(key) is reading]
            for key in ours:
                del self._reading[key]
        self._note(reading.error)
        if not reading.error:
            for key in ours:
                self._remember(key, reading.found.get(key, NOTHING))

    def _remember(self, key: UUID, options: Options) -> None:
        self._entries[key] = _Entry(options, self._now() + (FRESH if options else ABSENT_FRESH))
        self._entries.move_to_end(key)
        while len(self._entries) > CAPACITY:
            self._entries.popitem(last=False)

    def _note(self, error: OvnDockerError | None) -> None:
        if error and not self._away:
            LOG.warning("names cannot be read from OVN Northbound, those known stay: %s", error)
        if self._away and not error:
            LOG.info("names are read from OVN Northbound again")
        self._away = error
        self._retry_at = self._now() + RETRY if error else 0.0
