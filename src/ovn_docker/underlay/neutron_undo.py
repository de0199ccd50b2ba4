"""Takes back in the background what a request began and could not end.

A request to Neutron that was given up may be carried out any time later, so it is looked for more than once.
While Neutron is away nothing counts as a look. What is still there when this process ends is left to the
health check.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ovn_docker.errors import OvnDockerError, UnreachableError

LOG = logging.getLogger(__name__)

PAUSES = (0.0, 3.0, 8.0, 20.0, 40.0)
"""Seconds before each look."""

AGAIN = 2.0
"""Seconds until a look is tried again that was not answered."""

PATIENCE = 24 * 3600.0
"""Seconds for which an answer is waited for."""

MOST = 1000
"""How much is taken back at a time; what was to be for longest is dropped for more."""

AT_ONCE = 4
"""Looks at the same time: half of the requests that may be under way, for verbs are waited for."""


class NeutronUndo:
    """What is being taken back, by what it is about."""

    def __init__(
        self,
        pauses: Sequence[float] = PAUSES,
        answers: Callable[[], bool] = lambda: True,
        again: float = AGAIN,
        patience: float = PATIENCE,
        most: int = MOST,
    ) -> None:
        """Look as often as that.

        Args:
            pauses: seconds before each look.
            answers: whether Neutron did, when it was asked last.
            again: seconds until a look is tried again that was not answered.
            patience: seconds for which an answer is waited for.
            most: how much is taken back at a time.
        """
        self._pauses = pauses
        self._answers = answers
        self._again = again
        self._patience = patience
        self._most = most
        self._few = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def later(self, subject: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do this soon and again; it must be safe to repeat.

        Args:
            subject: the id of what it is about; what was planned for it before is dropped.
            work: takes it back.
        """
        self.forget(subject)
        if len(self._tasks) >= self._most:
            oldest = next(iter(self._tasks))
            self.forget(oldest)
            LOG.warning("%s is left to the health check: there is too much to be taken back", oldest)
        task = asyncio.create_task(self._look(subject, work))
        self._tasks[subject] = task
        task.add_done_callback(lambda done: self._done(subject, done))

    def forget(self, subject: str) -> None:
        """Leave it: it is wanted again."""
        task = self._tasks.pop(subject, None)
        if task is not None:
            task.cancel()

    def planned(self) -> list[str]:
        """What is being taken back, the oldest first."""
        return list(self._tasks)

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
        deadline = asyncio.get_running_loop().time() + self._patience
        for pause in self._pauses:
            await asyncio.sleep(pause)
            while not await self._answered(subject, work):
                if asyncio.get_running_loop().time() > deadline:
                    LOG.warning("%s is left to the health check: nobody has answered for long", subject)
                    return
                await asyncio.sleep(self._again)

    async def _answered(self, subject: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Look once; whether there was an answer."""
        async with self._few:
            if not self._answers():
                return False
            try:
                await work()
            except UnreachableError as error:
                LOG.info("%s is not taken back yet: %s", subject, error)
                return False
            except OvnDockerError as error:
                LOG.info("%s is not taken back yet: %s", subject, error)
            except Exception:
                LOG.exception("%s is not taken back yet", subject)
        return True
