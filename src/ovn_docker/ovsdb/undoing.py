"""Transactions that take back what was given up, carried out as soon as there is a server.

Nobody waits for them. There is a limit to how many are kept, for an outage may last, and whatever is left
behind is found by the health check too.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence

from ovn_docker.errors import DatabaseError
from ovn_docker.ovsdb.operations import Operation

LOG = logging.getLogger(__name__)

LIMIT = 1000
"""How many are kept; one takes about 1 kB."""

AT_ONCE = 16
"""How many are sent before the first is answered."""


class Undoing:
    """Those of one client, in the order in which they came."""

    def __init__(self, title: str, carry_out: Callable[[Sequence[Operation]], Awaitable[object]]) -> None:
        """Nothing is to be taken back.

        Args:
            title: the database, for people.
            carry_out: does one, when there is a server.
        """
        self._title = title
        self._carry_out = carry_out
        self._waiting: dict[str, Sequence[Operation]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._told = False

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._waiting) + len(self._under_way)

    def add(self, undo: Sequence[Operation]) -> None:
        """Carry out one, or the one that is the same and waits already; a refusal is fine."""
        # It names its row, and whose it must be: two of one row may be of different requests, and both count.
        key = repr(undo)
        if key in self._waiting:
            return
        if len(self) >= LIMIT:
            self._tell()
            return
        self._waiting[key] = undo
        if key not in self._under_way:  # that one may be too early for what was given up since
            self._start()

    def _start(self) -> None:
        """Begin the next ones, as far as there is room."""
        for key in list(itertools.islice(self._waiting, AT_ONCE - len(self._under_way))):
            if key not in self._under_way:
                self._under_way[key] = asyncio.ensure_future(self._work(key, self._waiting.pop(key)))

    def _tell(self) -> None:
        if not self._told:
            LOG.warning(
                "%s: %d changes wait to be taken back, and no more are kept: what else is given up until it"
                " is back is left to the health check, or to 'ovn-docker repair'",
                self._title,
                LIMIT,
            )
        self._told = True

    async def _work(self, key: str, undo: Sequence[Operation]) -> None:
        try:
            await self._carry_out(undo)
        except DatabaseError as error:
            LOG.debug("%s: there was nothing to take back: %s", self._title, error)
        except Exception as error:
            LOG.debug("%s", self._title, exc_info=error)
            LOG.warning("%s: a change is not taken back: %r", self._title, error)
        del self._under_way[key]
        self._told = self._told and bool(self._waiting)
        self._start()
