"""Lets a request wait until no flow leads to an endpoint any more. Starts nothing itself."""

import asyncio
import logging
from uuid import UUID

from ovn_docker.host import open_vswitch

LOG = logging.getLogger(__name__)

LONGEST_WAIT = 2.0
"""Seconds; a switch that does not answer must not keep a container from being removed."""


class Withdrawals:
    """The endpoints that are being removed, and who waits for that.

    Attributes:
        asked: set when somebody waits or will soon, for whoever changes the flows.
    """

    def __init__(self, due: asyncio.Event) -> None:
        """`due` wakes who changes the flows."""
        self.asked = asyncio.Event()
        self._due = due
        self._rows: set[UUID] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def __contains__(self, row: object) -> bool:
        """Whether the endpoint of that row of Interface is to have no flow, though the row may be there."""
        return row in self._rows

    def keep(self, rows: set[UUID]) -> None:
        """Forget those whose row is gone: `rows` are there."""
        self._rows &= rows

    async def wait(self, endpoint_id: str) -> None:
        """Return when the switch has no flow to an endpoint, or after `LONGEST_WAIT`."""
        self._rows.add(open_vswitch.interface_id(endpoint_id))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.asked.set()
        self._due.set()
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await future
        except TimeoutError:
            LOG.warning(
                "endpoint %s is removed, and its IP lookups may be in the switch still: it does not answer",
                endpoint_id,
            )
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def taken(self) -> list[asyncio.Future[None]]:
        """Who waits for the change that is made now."""
        self.asked.clear()
        taken, self._waiting = self._waiting, []
        return taken

    def give_back(self, waiting: list[asyncio.Future[None]]) -> None:
        """They wait on: the change was not made."""
        self._waiting += [each for each in waiting if not each.done()]

    @staticmethod
    def done(waiting: list[asyncio.Future[None]]) -> None:
        """The change was made."""
        for each in waiting:
            if not each.done():
                each.set_result(None)
