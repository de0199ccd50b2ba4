"""The driver is killed at every step of what Docker asks: the health check sweeps what that left.

It dies as the answer comes, when the database has done what the driver does not know of. That dockerd asks
again is tests/functional/faults/test_killed_at_every_step.py's.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, Machine
from tests.functional.faults.killing import AFTER, Fuse, FusedProxy
from tests.integration import records
from tests.integration.faults.account import balances
from tests.integration.faults.conftest import HEALTH_CHECK
from tests.integration.faults.parts import DRIVER
from tests.integration.tenant import IMAGE, OURS, Result, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180), pytest.mark.slow]

SWEPT = 30.0
"""Seconds: what seems to be of nobody is looked at again before it is removed."""

MOST_STEPS = 12

Command = Callable[[int], Result]
"""A command of Docker, one for each step that it may be interrupted at."""


class Fused:
    """The first host's driver, whose ways to both databases lead over a fuse."""

    def __init__(self, host: Machine, fuse: Fuse, flags: tuple[str, ...]) -> None:
        self._host = host
        self._fuse = fuse
        self._flags = flags

    def at_every_step(self, command: Command, prepare: Command | None = None) -> int:
        """Give a command again and again, each time with a later step deadly; how many steps there were."""
        step = 1
        while self._dies(step, command, prepare):
            step += 1
            assert step < MOST_STEPS
        return step - 1

    def _dies(self, step: int, command: Command, prepare: Command | None) -> bool:
        if prepare is not None:
            prepare(step)
        self._fuse.set(step, AFTER)
        with ThreadPoolExecutor(1) as pool:
            given = pool.submit(command, step)
            eventually(lambda: given.done() or self._fuse.blown, 40, "it is done, or the driver is dead")
            died = self._fuse.blown
            self._fuse.set(0, AFTER)
            if died:
                self._host.start(DRIVER, self._flags)
            given.result()
        return died


@pytest.fixture
def fused(lab: Lab) -> Iterator[Fused]:
    """Without the health check, whose own transactions would be counted."""
    host, fuse = lab.hosts[0], Fuse()
    fuse.kill = lambda: host.kill(DRIVER)
    northbound = host.run(["ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:ovn-nb"]).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="fuse-") as directory:
        nb = FusedProxy(Path(directory, "nb"), lab.central.paths.run / "ovn/ovnnb_db.sock", fuse)
        ovs = FusedProxy(Path(directory, "ovs"), host.paths.run / "openvswitch/db.sock", fuse)
        flags = (f"--ovsdb={ovs.remote}",)
        with served(nb, ovs):
            host.stop(DRIVER)
            set_northbound(host, f'"{nb.remote}"')
            host.start(DRIVER, flags)
            try:
                yield Fused(host, fuse, flags)
            finally:
                with_health_check(host, northbound)


def with_health_check(host: Machine, northbound: str = "") -> None:
    """Start the driver as the other tests have it."""
    host.stop(DRIVER)
    if northbound:
        set_northbound(host, northbound)
    host.start(DRIVER, HEALTH_CHECK)


def set_northbound(host: Machine, remote: str) -> None:
    host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", f"external_ids:ovn-nb={remote}"])


@contextlib.contextmanager
def served(*proxies: FusedProxy) -> Iterator[None]:
    """Serve proxies in an event loop on a thread of its own."""
    loop, stop, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for proxy in proxies:
                await stack.enter_async_context(proxy.serve())
            up.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert up.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def test_containers_whose_start_or_end_a_kill_interrupts_leave_nothing(
    fused: Fused, tenant: Tenant, lab: Lab
) -> None:
    foo = tenant.network("10.66.0.0/24", *OURS)
    names = {step: tenant.name() for step in range(1, MOST_STEPS)}

    def run(step: int) -> Result:
        options = ("--net", foo.name, "--name", names[step])
        return tenant.docker("run", "-d", *options, IMAGE, "sleep", "3600", check=False)

    def remove(step: int) -> Result:
        return tenant.docker("rm", "--force", names[step], check=False)

    assert fused.at_every_step(run) >= 4
    for step in names:
        remove(step)
    assert fused.at_every_step(remove, run) >= 3
    with_health_check(tenant.host)
    balances(lab, SWEPT)


def test_networks_whose_making_or_removal_a_kill_interrupts_leave_nothing(
    fused: Fused, tenant: Tenant, lab: Lab
) -> None:
    def make(step: int) -> Result:
        options = ("--driver=openvswitch", *OURS, f"--subnet=10.67.{step}.0/24")
        return tenant.docker("network", "create", *options, f"net{step}", check=False)

    def remove(step: int) -> Result:
        return tenant.docker("network", "rm", f"net{step}", check=False)

    assert fused.at_every_step(make) >= 3
    for step in range(1, MOST_STEPS):
        remove(step)
    assert fused.at_every_step(remove, make) >= 3
    for step in range(1, MOST_STEPS):
        remove(step)
    with_health_check(tenant.host)
    eventually(lambda: records.left(lab) == [], SWEPT, "nothing of any network is left")
