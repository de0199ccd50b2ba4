"""A stop has a limit, whatever does not end."""

import asyncio
import signal

import pytest

from ovn_docker.daemon import components
from ovn_docker.daemon.supervision import Supervision
from ovn_docker.overlay.vtep import ofctl

pytestmark = pytest.mark.functional


async def test_a_command_that_does_not_end_when_it_is_told_to_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ofctl, "END_TIMEOUT", 0.2)
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", "trap '' TERM; echo ready; exec sleep 60", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        await asyncio.wait_for(ofctl._end(process), 10)
        assert process.returncode == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()


async def test_work_that_does_not_end_when_it_is_told_to_is_left_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(components, "STOP_TIMEOUT", 0.2)
    begun, released = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    tasks = components.start(Supervision(), {"the stubborn part": stubborn})
    await begun.wait()
    await asyncio.wait_for(components.cancel(*tasks), 10)
    assert "the stubborn part did not end" in caplog.text
    released.set()
    await asyncio.wait(tasks)
