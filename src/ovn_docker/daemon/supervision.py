"""Work that goes on in the background: begun again whenever it fails, and told of while it does.

A server that is broken, or a defect of ours, must not end the driver: Docker is served all the same.
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
"""Seconds until work begins again; doubled each time that it does not last."""

STEADY = 10.0
"""Seconds after which work that began again is taken to be well."""

Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Failure:
    """Why work failed, the seconds until it begins again, and when it began again; None while it waits."""

    why: str
    pause: float
    again: float | None = None


class Supervision:
    """All work in the background of one process."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Nothing has failed; `now` gives seconds by a clock that is never set back."""
        self._now = now
        self._failures: dict[str, _Failure] = {}

    def problems(self) -> list[str]:
        """What has failed and is not well again, one line for each."""
        return [
            f"{name} failed and is begun again: {each.why}"
            for name, each in self._failures.items()
            if each.again is None or self._now() - each.again < STEADY
        ]

    async def supervise(self, name: str, work: Work) -> None:
        """Do work that has no end, until cancelled.

        Args:
            name: of the work, for people.
            work: begins it.
        """
        while True:
            began = self._now()
            try:
                await work()
                why = "it ended"
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                why = _words(error)  # not of this task: of something that it waited for
            except Exception as error:
                LOG.debug("%s failed", name, exc_info=error)
                why = _words(error)
            failure = self._failed(name, why, began)
            LOG.error("%s failed, it begins again in %.0f s: %s", name, failure.pause, why)
            await asyncio.sleep(failure.pause)
            failure.again = self._now()

    def _failed(self, name: str, why: str, began: float) -> _Failure:
        before = self._failures.get(name)
        lasted = self._now() - began >= STEADY
        pause = FIRST_PAUSE if before is None or lasted else min(before.pause * 2, LONGEST_PAUSE)
        failure = self._failures[name] = _Failure(why, pause)
        return failure


def _words(error: BaseException) -> str:
    """The errors of a group, or the one, each with the place where it arose."""
    return "; ".join(f"{type(each).__name__}: {each}{_place(each)}" for each in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
