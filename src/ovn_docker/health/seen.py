"""Writes into this host's row when its driver is connected, for those who ask later since when it is away.

One write in ten to twelve minutes, and one when the driver is stopped: 1,000 hosts make 1.5 a second, each of
one row that no switch refers to, of which northd computes nothing.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime

from ovn_docker.errors import DatabaseError
from ovn_docker.ovn import last_seen
from ovn_docker.ovn.switches import timestamp
from ovn_docker.ovsdb.client import Client

LOG = logging.getLogger(__name__)

SHORTEST, LONGEST = 600.0, 720.0
"""Seconds from one write to the next; a random time between the two, for hosts may have started together."""

STOP_TIMEOUT = 1.0
"""Seconds that a stop waits at most for the last write."""


def _at_random() -> float:
    return random.uniform(SHORTEST, LONGEST)  # noqa: S311  (to spread load)


class Seen:
    """When this host's driver wrote that it is there, and when the next time is due."""

    def __init__(
        self,
        nb: Client,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[], float] = _at_random,
    ) -> None:
        """Write there.

        Args:
            nb: of Northbound.
            now: gives UTC, to be written.
            clock: seconds from some moment, never back.
            pause: seconds to the next write.
        """
        self._nb = nb
        self._now = now
        self._clock = clock
        self._pause = pause
        self._due: dict[str, float] = {}

    async def note(self, host: str) -> None:
        """Write that the driver of this host is connected, where the last write is long ago."""
        now = self._clock()
        if now < self._due.get(host, now):
            return
        try:
            if await self._write(host, stopped=False):
                self._due = {host: now + self._pause()}
        except DatabaseError as error:
            LOG.debug("when host %s was seen is not written: %s", host, error)

    async def stop(self, host: str) -> None:
        """Write that the driver of this host is stopped now; without Northbound it stays unwritten."""
        self._due.pop(host, None)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await self._write(host, stopped=True)
        except (TimeoutError, DatabaseError) as error:
            LOG.debug("when host %s was stopped is not written: %s", host, error)

    async def _write(self, host: str, *, stopped: bool) -> bool:
        moment = timestamp(self._now())
        [written] = await self._nb.transact([last_seen.seen_set(host, moment, stopped=stopped)])
        return bool(written["count"])
