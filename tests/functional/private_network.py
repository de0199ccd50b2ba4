"""A test in a network namespace of its own: its links cannot meet the machine's, and vanish with it.

A namespace belongs to a thread, so the test runs on one of its own, and so does every thread that it starts.
/sys shows the links of the namespace that mounted it, hence a mount namespace too. Both end with the thread.
"""

import asyncio
import contextlib
import ctypes
import functools
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import ParamSpec

import pytest

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
"""linux/sched.h and linux/mount.h."""

Parameters = ParamSpec("Parameters")


def in_private_network(test: Callable[Parameters, Awaitable[None]]) -> Callable[Parameters, None]:
    """Run an asynchronous test in a new network namespace, whose only link is its loopback."""

    @functools.wraps(test)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root to make a network namespace")
        failures: list[BaseException] = []

        async def story() -> None:
            await test(*args, **kwargs)

        def work() -> None:
            try:
                _enter()
                asyncio.run(story())
            except BaseException as error:  # noqa: BLE001  (whatever it is, it is the test's outcome)
                failures.append(error)

        thread = threading.Thread(target=work, name=test.__name__, daemon=True)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]

    return run


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    failed = (
        libc.unshare(CLONE_NEWNS | CLONE_NEWNET)
        or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        or libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None)
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, f"no network namespace of its own: {os.strerror(number)}")
    ip("link", "set", "lo", "up")


def ip(*words: str) -> str:
    """ip(8) in the namespace of the calling thread."""
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=True).stdout


@contextlib.contextmanager
def other_network() -> Iterator[int]:
    """A network namespace besides, by the id of a process in it."""
    command = ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


def links() -> set[str]:
    """The names of all links but the loopback."""
    return {path.name for path in Path("/sys/class/net").iterdir()} - {"lo"}


def attribute(link: str, name: str) -> str:
    """An attribute of a link, as in /sys/class/net."""
    return Path("/sys/class/net", link, name).read_text().strip()


def transmits_checksums(link: str) -> bool:
    """Whether the link leaves checksums to a device, by ethtool(8)."""
    features = subprocess.run(
        ["ethtool", "-k", link], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    [line] = [line for line in features.splitlines() if line.startswith("tx-checksumming:")]
    return line.split()[1] == "on"
