"""Background tasks are restarted whatever they fail of, and reported until they have recovered."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from ovn_docker.daemon import supervision as module
from ovn_docker.daemon.supervision import RECOVERY_TIME, Supervision
from ovn_docker.errors import HostError


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)


@contextlib.asynccontextmanager
async def supervised(supervision: Supervision, work: module.Work) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(supervision.supervise("the work", work))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


class Failing:
    """Fails so many times, and goes on for ever then."""

    def __init__(self, times: int, failure: Callable[[], BaseException | None]) -> None:
        self.begun = 0
        self.well = asyncio.Event()
        self._times = times
        self._failure = failure

    async def __call__(self) -> None:
        self.begun += 1
        if self.begun > self._times:
            self.well.set()
            await asyncio.Event().wait()
        failure = self._failure()
        if failure is not None:
            raise failure


FAILURES: dict[str, Callable[[], BaseException | None]] = {
    "KeyError: 'ports'": lambda: KeyError("ports"),
    "RuntimeError: a bug": lambda: RuntimeError("a bug"),
    "RecursionError: too deep": lambda: RecursionError("too deep"),
    "HostError: no device": lambda: HostError("no device"),
    "KeyError: 'ports'; OSError: full": lambda: ExceptionGroup(
        "unhandled errors in a TaskGroup", [KeyError("ports"), ExceptionGroup("", [OSError("full")])]
    ),
    "CancelledError: another task": lambda: asyncio.CancelledError("another task"),
    "it ended": lambda: None,
}


@pytest.mark.parametrize("text", FAILURES)
async def test_a_task_is_restarted_whatever_it_failed_of(text: str, caplog: pytest.LogCaptureFixture) -> None:
    work = Failing(3, FAILURES[text])
    async with asyncio.timeout(10), supervised(Supervision(), work):
        await work.well.wait()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("the work failed, restarting it in ")
        for part in text.split("; "):
            assert part in line


async def test_a_failure_is_reported_until_the_task_has_recovered() -> None:
    clock, work = Clock(), Failing(1, lambda: KeyError("ports"))
    supervision = Supervision(clock)
    assert supervision.problems() == []
    async with asyncio.timeout(10), supervised(supervision, work):
        await work.well.wait()
        [line] = supervision.problems()
        assert line.startswith("the work failed and is restarted: KeyError: 'ports' (test_supervision.py:")
        clock.now = RECOVERY_TIME - 1
        assert supervision.problems() == [line]
        clock.now = RECOVERY_TIME
        assert supervision.problems() == []


async def test_pauses_double_until_the_task_has_recovered(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.003)
    clock, work = Clock(), Failing(5, lambda: KeyError("ports"))
    supervision = Supervision(clock)

    async def lasts_the_fourth_time() -> None:
        if work.begun == 3:
            clock.now += RECOVERY_TIME
        await work()

    async with asyncio.timeout(10), supervised(supervision, lasts_the_fourth_time):
        await work.well.wait()
    pauses = [record.args[1] for record in caplog.records if record.args]  # type: ignore[index]
    assert pauses == [0.001, 0.002, 0.003, 0.001, 0.002]


async def test_a_cancelled_supervision_ends() -> None:
    async with supervised(Supervision(), Failing(0, lambda: None)) as task:
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
