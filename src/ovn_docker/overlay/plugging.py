"""Endpoints that are plugged in before their Join, while Docker makes the sandbox. Knows no database.

Nobody waits for this work but Join. Where it was not begun, or failed, Join does all of it, and tells of the
failure. So nothing is told here but a defect of ours.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ovn_docker.errors import OvnDockerError

LOG = logging.getLogger(__name__)

MOST = 64
"""So many endpoints are plugged in at the same time; the others' Joins do it."""

TURNS = 10
"""So often the event loop turns before the work begins. By then the answer to CreateEndpoint is sent, and the
thread that talks to the kernel does not keep it from the processor."""

LIMIT = 9.0
"""Seconds for one endpoint, as for a verb (libnetwork/server.py, DEADLINE less ROLLBACK)."""


class Plugging:
    """The endpoints that are being plugged in."""

    def __init__(self) -> None:
        """Nothing is begun before `run` is."""
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Do what is begun, until cancelled; what is under way then is undone."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def begin(self, endpoint_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Plug an endpoint in, unless that is under way or as many as may be are.

        Args:
            endpoint_id: of the endpoint.
            work: does it, or leaves nothing.
        """
        if self._group is None or endpoint_id in self._tasks or len(self._tasks) >= MOST:
            return
        task = self._group.create_task(_plug_in(endpoint_id, work))
        self._tasks[endpoint_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(endpoint_id))

    async def settled(self, endpoint_id: str) -> None:
        """Return when nothing is under way for an endpoint, whether it is plugged in or not."""
        if task := self._tasks.get(endpoint_id):
            await asyncio.wait({task})

    async def end(self, endpoint_id: str) -> None:
        """Return when what is under way for an endpoint is undone, for the endpoint goes."""
        if task := self._tasks.get(endpoint_id):
            task.cancel()
            await asyncio.wait({task})


async def _plug_in(endpoint_id: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await work()
    except (OvnDockerError, TimeoutError) as error:
        LOG.debug("endpoint %s is not plugged in before its Join: %s", endpoint_id, error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
        LOG.warning(
            "endpoint %s is not plugged in before its Join: %s: %s", endpoint_id, type(error).__name__, error
        )
