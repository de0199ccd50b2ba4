"""What is left of root's rights, as the kernel tells it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from ovn_docker.cli import managed_plugin
from ovn_docker.cli.managed_plugin import KEPT

pytestmark = pytest.mark.functional

HEADER = Path("/usr/include/linux/capability.h")
SHOW = "print(open('/proc/thread-self/status').read())"
THEN = """
import subprocess, sys, threading
from ovn_docker.cli import managed_plugin
managed_plugin.keep_only({numbers})
{show}
sys.stdout.flush()
run = lambda: subprocess.run([sys.executable, "-c", {show!r}], check=True)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def status(text: str) -> Mapping[str, str]:
    """The lines of /proc/PID/status by their keys."""
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def left(numbers: Iterable[int]) -> list[Mapping[str, str]]:
    """The status of a process that kept these, and of a program that a thread of it executed."""
    command = [sys.executable, "-c", THEN.format(numbers=sorted(numbers), show=SHOW)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    shown = [status("Name:" + part) for part in done.stdout.split("Name:")[1:]]
    assert len(shown) == 2
    return shown


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: run scripts/test")
def test_what_is_not_kept_is_gone_for_good() -> None:
    wanted = sum(1 << number for number in KEPT)
    itself, executed = left(KEPT)
    assert int(itself["CapEff"], 16) == int(itself["CapPrm"], 16) == wanted
    assert int(itself["CapInh"], 16) == 0
    assert itself["NoNewPrivs"] == "1"
    # execve gives root nothing back.
    assert int(executed["CapEff"], 16) & ~wanted == 0
    assert int(executed["CapPrm"], 16) & ~wanted == 0


def test_nothing_is_gained_by_keeping_what_is_not_there() -> None:
    mine = int(status(Path("/proc/self/status").read_text())["CapPrm"], 16)
    for shown in left(range(64)):
        assert int(shown["CapPrm"], 16) & ~mine == 0


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed")
@pytest.mark.parametrize("name", ["NET_ADMIN", "DAC_OVERRIDE", "NET_BIND_SERVICE"])
def test_the_numbers_are_the_kernels(name: str) -> None:
    [number] = re.findall(rf"^#define CAP_{name}\s+(\d+)$", HEADER.read_text(), re.MULTILINE)
    assert getattr(managed_plugin, name) == int(number)
