"""Daemons of a lab that are ended and started again, and the drivers that must outlive it."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ovn_docker.lab import Lab, Machine
from tests.integration.conftest import LOCAL
from tests.polling import eventually

DRIVER, DOCKERD = "driver", "dockerd"
STOP, KILL = "stop", "kill"
"""As a restart or an upgrade ends a daemon (SIGTERM), and as a crash does (SIGKILL)."""


def end(machine: Machine, daemon: str, how: str = STOP) -> None:
    """End a daemon, and wait until nothing of it is left that the next one could take for itself."""
    pids = [machine.pid(daemon), _containerd(machine) if daemon == DOCKERD else None]
    {STOP: machine.stop, KILL: machine.kill}[how](daemon)
    for pid in filter(None, pids):
        eventually(lambda: is_gone(pid), 20, f"process {pid} of {daemon} is gone")  # noqa: B023


def start(machine: Machine, daemon: str, arguments: Sequence[str] = ()) -> None:
    """Start a daemon; a driver has local scope, as before."""
    machine.start(daemon, (*LOCAL, *arguments) if daemon == DRIVER else arguments)


def restart(machine: Machine, daemon: str, how: str = STOP, arguments: Sequence[str] = ()) -> None:
    """End a daemon and start it again at once."""
    end(machine, daemon, how)
    start(machine, daemon, arguments)


def is_gone(pid: int) -> bool:
    """Whether a process has gone altogether: the last thread of one that was killed may take its time."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return not Path(f"/proc/{pid}").exists()


def _containerd(host: Machine) -> int | None:
    """The containerd that dockerd started, which dies with it, but a moment later."""
    try:
        return int((host.paths.run / "docker/containerd/containerd.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None


@contextlib.contextmanager
def same_drivers(lab: Lab) -> Iterator[None]:
    """See that no driver was started again, and none has died, while a fault came and went."""
    before = {host.name: host.pid(DRIVER) for host in lab.hosts}
    yield
    assert {host.name: host.pid(DRIVER) for host in lab.hosts} == before, "the drivers are the same processes"


def caught_up(central: Machine) -> None:
    """Wait until ovn-northd and each ovn-controller have done what Northbound says (ovn-nbctl(8), --wait)."""
    central.run(["ovn-nbctl", "--wait=hv", "--timeout=60", "sync"], timeout=70)
