"""Daemons of a lab that are ended and started again, and the drivers that must outlive it."""

import contextlib
from collections.abc import Iterator, Sequence

from ovn_docker_lab import Lab, Machine

DRIVER, DOCKERD = "driver", "dockerd"
STOP, KILL = "stop", "kill"
"""As a restart or an upgrade ends a daemon (SIGTERM), and as a crash does (SIGKILL)."""


def end(machine: Machine, daemon: str, how: str = STOP) -> None:
    """End a daemon."""
    {STOP: machine.stop, KILL: machine.kill}[how](daemon)


def restart(machine: Machine, daemon: str, how: str = STOP) -> None:
    """End a daemon and start it again at once, with the arguments it had."""
    end(machine, daemon, how)
    machine.start_again(daemon)


def started_with(machine: Machine, daemon: str, arguments: Sequence[str] = ()) -> None:
    """End a daemon in an orderly way and start it with other arguments."""
    machine.stop(daemon)
    machine.start(daemon, arguments)


@contextlib.contextmanager
def same_drivers(lab: Lab) -> Iterator[None]:
    """See that no driver was started again, and none has died, while a fault came and went."""
    before = {host.name: host.pid(DRIVER) for host in lab.hosts}
    yield
    assert {host.name: host.pid(DRIVER) for host in lab.hosts} == before, "the drivers are the same processes"


def caught_up(central: Machine) -> None:
    """Wait until ovn-northd and each ovn-controller have done what Northbound says (ovn-nbctl(8), --wait)."""
    central.run(["ovn-nbctl", "--wait=hv", "--timeout=60", "sync"], timeout=70)
