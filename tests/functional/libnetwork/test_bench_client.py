"""The stopwatch of scripts/bench calls as Docker does: what refuses it would refuse Docker."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from bench.plugin import Plugin, dial_tcp, dial_unix
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.server import create_application
from tests.functional.libnetwork.front import ENDPOINT, StubDriver, StubIpam

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to enter a network namespace"),
]


@pytest.mark.parametrize("door", ["unix", "tcp"])
async def test_the_bench_is_let_in_by_either_door(tmp_path: Path, door: str) -> None:
    driver = StubDriver()
    listeners = Listeners(create_application(driver, StubIpam()), grace=1)
    path = tmp_path / "x.sock"
    await listeners.start(path, ("127.0.0.1", 0))
    try:
        assert listeners.tcp_address is not None
        dial = dial_unix(path) if door == "unix" else dial_tcp(listeners.tcp_address[1], os.getpid())
        with contextlib.closing(Plugin(dial)) as plugin:
            await asyncio.to_thread(plugin.call, "Plugin.Activate")
            await asyncio.to_thread(plugin.call, "Leave", ENDPOINT)
        assert len(driver.calls) == 1
    finally:
        await listeners.stop()
