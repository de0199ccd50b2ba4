"""Takes back in the background what a request began and could not end.

A request to Neutron that was given up may be carried out any time later, so it is looked for more than once.
What is still there when this process ends is left to the health check.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ovn_docker.errors import OvnDockerError

LOG = logging.getLogger(__name__)

PAUSES = (0.0, 3.0, 8.0, 20.0, 40.0)
"""Seconds before each look."""


class Undoing:
    """What is being taken back, by what it is about."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        """Look as often as that."""
        self._pauses = pauses
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def later(self, subject: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do this soon and again; it must be safe to repeat.

        Args:
            subject: the id of what it is about; what was planned for it before is dropped.
            work: takes it back.
        """
        self.forget(subject)
        task = asyncio.create_task(self._look(subject, work))
        self._tasks[subject] = task
        task.add_done_callback(lambda done: self._done(subject, done))

    def forget(self, subject: str) -> None:
        """Leave it: it is wanted again."""
        task = self._tasks.pop(subject, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """End all of it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, subject: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(subject) is task:
            del self._tasks[subject]

    async def _look(self, subject: str, work: Callable[[], Awaitable[object]]) -> None:
        for pause in self._pauses:
            await asyncio.sleep(pause)
            try:
                await work()
            except OvnDockerError as error:
                LOG.info("%s is not taken back yet: %s", subject, error)
