"""Undoes in the background what a request to Neutron began and could not finish.

A cancelled request may be carried out at any later time, so an undo is repeated; attempts that Neutron does
not answer do not count. What is left when this process ends is left to the health check.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ovn_docker.errors import OvnDockerError, UnreachableError

LOG = logging.getLogger(__name__)

PAUSES = (0.0, 3.0, 8.0, 20.0, 40.0)
"""Seconds before each attempt."""

RETRY_INTERVAL = 2.0
"""Seconds until an attempt that was not answered is repeated."""

ANSWER_TIMEOUT = 24 * 3600.0
"""Seconds to wait for an answer."""

LIMIT = 1000
"""Undos at a time; beyond that the oldest is dropped."""

AT_ONCE = 4
"""Concurrent attempts: half of the requests that may be under way, as Docker waits for the others."""


class NeutronUndo:
    """The pending undos, each with a subject."""

    def __init__(
        self,
        pauses: Sequence[float] = PAUSES,
        answers: Callable[[], bool] = lambda: True,
        retry_interval: float = RETRY_INTERVAL,
        timeout: float = ANSWER_TIMEOUT,
        limit: int = LIMIT,
    ) -> None:
        """`answers` says whether Neutron answered the last request."""
        self._pauses = pauses
        self._answers = answers
        self._retry_interval = retry_interval
        self._timeout = timeout
        self._limit = limit
        self._few = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def later(self, subject: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do `work`, which is safe to repeat, in place of what is pending for the same subject, an id."""
        self.forget(subject)
        if len(self._tasks) >= self._limit:
            oldest = next(iter(self._tasks))
            self.forget(oldest)
            LOG.warning("%s is left to the health check: too much is being undone", oldest)
        task = asyncio.create_task(self._undo(subject, work))
        self._tasks[subject] = task
        task.add_done_callback(lambda done: self._done(subject, done))

    def forget(self, subject: str) -> None:
        """Drop what is pending for a subject, which is wanted again."""
        task = self._tasks.pop(subject, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, subject: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(subject) is task:
            del self._tasks[subject]

    async def _undo(self, subject: str, work: Callable[[], Awaitable[object]]) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout
        for pause in self._pauses:
            await asyncio.sleep(pause)
            while not await self._answered(subject, work):
                if asyncio.get_running_loop().time() > deadline:
                    LOG.warning("%s is left to the health check: Neutron has not answered for a day", subject)
                    return
                await asyncio.sleep(self._retry_interval)

    async def _answered(self, subject: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Make one attempt; whether it was answered."""
        async with self._few:
            if not self._answers():
                return False
            try:
                await work()
            except UnreachableError as error:
                LOG.info("%s is not undone yet: %s", subject, error)
                return False
            except OvnDockerError as error:
                LOG.info("%s is not undone yet: %s", subject, error)
            except Exception:
                LOG.exception("%s is not undone yet", subject)
        return True
