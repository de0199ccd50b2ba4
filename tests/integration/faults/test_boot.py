"""dockerd is started while something that it needs is not there; and a host loses its power.

dockerd itself takes 2 s to start here. It may be held up once by the 10 s that a verb may take.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from ovn_docker.lab import Lab, Machine
from tests.integration.faults.account import balances
from tests.integration.faults.parts import DOCKERD, DRIVER, KILL, STOP, end, same_drivers
from tests.integration.tenant import OURS, Container, Network, Tenant, in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

BOUND = 17.0
"""Seconds: dockerd's own 2, the driver's 10, and as much as a busy machine adds."""

LOG = logging.getLogger(__name__)

COMES_BACK = ("--restart=always", "--stop-signal=KILL")


@dataclass(frozen=True, slots=True)
class Absence:
    """Something that a host needs and has not, and how it comes back.

    Attributes:
        begin, finish: take it away and bring it back; both are handed the host and the central.
    """

    begin: Callable[[Machine, Machine], None]
    finish: Callable[[Machine, Machine], None]


def _signal(machine: Machine, daemon: str, number: signal.Signals) -> None:
    pid = machine.pid(daemon)
    assert pid is not None
    os.kill(pid, number)


ABSENCES = {
    "Northbound does not run": Absence(
        lambda _, central: central.kill("nb"), lambda _, central: central.mend()
    ),
    "Northbound hangs": Absence(
        lambda _, central: _signal(central, "nb", signal.SIGSTOP),
        lambda _, central: _signal(central, "nb", signal.SIGCONT),
    ),
    "the central is cut off": Absence(
        lambda _, central: central.cut_off(), lambda _, central: central.reconnect()
    ),
    "ovn-controller does not run": Absence(
        lambda host, _: host.kill("ovn-controller"), lambda host, _: host.mend()
    ),
}


@pytest.fixture
def boxes(tenant: Tenant) -> Sequence[tuple[Container, Network]]:
    """Three containers on networks of their own that dockerd is to start again."""
    options = [OURS, OURS, ()]
    networks = [tenant.network(f"10.6{number}.0.0/24", *each) for number, each in enumerate(options, 2)]
    return [(tenant.container(network, *COMES_BACK), network) for network in networks]


@pytest.mark.parametrize("absence", list(ABSENCES))
def test_dockerd_that_was_killed_starts_within_bounds_while(
    absence: str, boxes: Sequence[tuple[Container, Network]], tenant: Tenant, lab: Lab
) -> None:
    host, missing = tenant.host, ABSENCES[absence]
    with same_drivers(lab):
        end(host, DOCKERD, KILL)
        missing.begin(host, lab.central)
        try:
            started = time.monotonic()
            host.start_again(DOCKERD)
            seconds = time.monotonic() - started
            LOG.info("%s: dockerd answered after %.1f s", absence, seconds)
            assert seconds < BOUND
        finally:
            missing.finish(host, lab.central)
        for box, _ in boxes:
            eventually(lambda: starts(box), 30, f"{box.name} starts")  # noqa: B023
    balances(lab)


def starts(box: Container) -> bool:
    """Start a container that dockerd gave up; one that runs is fine."""
    return box.host.docker("start", box.name, check=False).returncode == 0


def test_dockerd_waits_for_a_driver_that_starts_after_it_and_no_longer(
    boxes: Sequence[tuple[Container, Network]], tenant: Tenant, lab: Lab
) -> None:
    host = tenant.host
    end(host, DOCKERD, STOP)
    end(host, DRIVER, KILL)
    started = time.monotonic()
    in_parallel(partial(host.start_again, DOCKERD), partial(late, host, DRIVER))
    assert time.monotonic() - started < BOUND
    for box, _ in boxes:
        eventually(lambda: is_up(box), 30, f"{box.name} is up")  # noqa: B023
    balances(lab)


def late(host: Machine, daemon: str) -> None:
    """Start a daemon once dockerd has begun to load its containers, so that it needs that daemon."""
    eventually(
        lambda: "Loading containers: start" in host.log(DOCKERD).rpartition("Starting up")[2], 20, "it loads"
    )
    host.start_again(daemon)


def is_up(box: Container) -> bool:
    return box.run("true", check=False).returncode == 0


def test_after_a_reboot_containers_come_back_and_nothing_of_their_earlier_endpoints_is_left(
    boxes: Sequence[tuple[Container, Network]], other: Tenant, tenant: Tenant, lab: Lab
) -> None:
    [(box, network), *_] = boxes
    there = other.network("10.62.0.0/24", *OURS)
    peer = other.container(there)
    before = {each.endpoint(where)["EndpointID"] for each, where in boxes}

    tenant.host.reboot()

    for each, _ in boxes:
        eventually(lambda: is_up(each), 30, f"{each.name} is up")  # noqa: B023
    assert before.isdisjoint(each.endpoint(where)["EndpointID"] for each, where in boxes)
    peer.reaches(box.address(network), 30)
    box.reaches(peer.address(there), 30)
    balances(lab)
