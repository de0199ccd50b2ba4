"""Background tasks: restarted whenever they fail, and reported until they have recovered.

A broken server, or a defect of the driver's own, must not end the driver: Docker is served all the same.
"""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a restart; doubled each time that the task fails again before it has recovered."""

RECOVERY_TIME = 10.0
"""Seconds for which a restarted task has to run to count as recovered."""

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Failure:
    """Why a task failed, the seconds before its restart, and when it was restarted; None before that."""

    reason: str
    pause: float
    restarted: float | None = None


class Supervision:
    """All background tasks of one process; `now` gives seconds by a clock that is never set back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures: dict[str, _Failure] = {}

    def problems(self) -> list[str]:
        """Which tasks have failed and not recovered, one line for each."""
        return [
            f"{name} failed and is restarted: {failure.reason}"
            for name, failure in self._failures.items()
            if failure.restarted is None or self._now() - failure.restarted < RECOVERY_TIME
        ]

    async def supervise(self, name: str, work: Work) -> None:
        """Do work that has no end, until cancelled; `name` is for people."""
        while True:
            began = self._now()
            try:
                await work()
                reason = "it ended"
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                reason = _words(error)  # not this task was cancelled, but something that it waited for
            except Exception as error:
                LOG.debug("%s failed", name, exc_info=error)
                reason = _words(error)
            before, recovered = self._failures.get(name), self._now() - began >= RECOVERY_TIME
            pause = FIRST_PAUSE if before is None or recovered else min(before.pause * 2, LONGEST_PAUSE)
            failure = self._failures[name] = _Failure(reason, pause)
            LOG.error("%s failed, restarting it in %.0f s: %s", name, pause, reason)
            await asyncio.sleep(pause)
            failure.restarted = self._now()


def _words(error: BaseException) -> str:
    """The errors of a group, or the one, each with the place where it arose."""
    return "; ".join(f"{type(leaf).__name__}: {leaf}{_place(leaf)}" for leaf in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
