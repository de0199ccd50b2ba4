"""dockerd is started while something that it needs is not there; and a host loses its power.

dockerd itself takes 2 s to start here. It may be held up once by the 10 s that a verb may take. It makes one
attempt at each container; the health check starts those for which the network was not there in time.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration.faults.account import balances
from tests.integration.faults.conftest import HEALTH_CHECK
from tests.integration.faults.parts import DOCKERD, DRIVER, KILL, STOP, end, same_drivers, started_with
from tests.integration.tenant import OURS, Container, Network, Result, Tenant, in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

BOUND = 17.0
"""Seconds: dockerd's own 2, the driver's 10, and as much as a busy machine adds."""

BACK = 60.0
"""Seconds for the health check to start what could not be: tries are 2, 4, 8 and 16 s apart at first."""

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
        lambda _, central: central.kill("nb"), lambda _, central: central.repair()
    ),
    "Northbound hangs": Absence(
        lambda _, central: _signal(central, "nb", signal.SIGSTOP),
        lambda _, central: _signal(central, "nb", signal.SIGCONT),
    ),
    "the central is cut off": Absence(
        lambda _, central: central.cut_off(), lambda _, central: central.reconnect()
    ),
    "ovn-controller does not run": Absence(
        lambda host, _: host.kill("ovn-controller"), lambda host, _: host.repair()
    ),
}
SLOW = {"Northbound does not run", "the central is cut off"}
"""A Northbound that hangs is the hardest of the three without one."""


@pytest.fixture
def boxes(tenant: Tenant) -> Sequence[tuple[Container, Network]]:
    """Three containers on networks of their own that dockerd is to start again."""
    options = [OURS, OURS, ()]
    networks = [tenant.network(f"10.6{number}.0.0/24", *ipam) for number, ipam in enumerate(options, 2)]
    return [(tenant.container(network, *COMES_BACK), network) for network in networks]


@pytest.mark.parametrize(
    "absence",
    [pytest.param(absence, marks=pytest.mark.slow if absence in SLOW else ()) for absence in ABSENCES],
)
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
            eventually(lambda: is_up(box), BACK, f"{box.name} is up")  # noqa: B023
    balances(lab)


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


def test_containers_come_back_after_a_reboot_without_leftovers(
    boxes: Sequence[tuple[Container, Network]], other: Tenant, tenant: Tenant, lab: Lab
) -> None:
    [(box, network), *_] = boxes
    far = other.network("10.62.0.0/24", *OURS)
    peer = other.container(far)
    before = {container.endpoint(where)["EndpointID"] for container, where in boxes}

    tenant.host.reboot()

    for container, _ in boxes:
        eventually(lambda: is_up(container), 30, f"{container.name} is up")  # noqa: B023
    assert before.isdisjoint(container.endpoint(where)["EndpointID"] for container, where in boxes)
    peer.reaches(box.address(network), 30)
    box.reaches(peer.address(far), 30)
    balances(lab)


def test_containers_kept_down_by_a_missing_northbound_come_back_after_reboot(
    tenant: Tenant, lab: Lab
) -> None:
    network = tenant.network("10.66.0.0/24", *OURS)

    def box(*policy: str) -> Container:
        return tenant.container(network, "--stop-signal=KILL", *policy)

    wanted = [box(f"--restart={policy}") for policy in ("always", "unless-stopped", "on-failure:5")]
    sharing = Network(f"container:{wanted[0].name}", "")
    wanted.append(tenant.container(sharing, *COMES_BACK))
    stopped, given_up, without = box("--restart=unless-stopped"), box("--restart=always"), box()
    tenant.docker("stop", stopped.name)
    lab.central.kill("nb")
    tenant.host.reboot()
    every = [*wanted, stopped, given_up, without]
    assert not any(is_up(container) for container in every)
    tenant.docker("update", "--restart=no", given_up.name)

    lab.central.repair()

    for container in wanted:
        eventually(lambda: is_up(container), BACK, f"{container.name} is up")  # noqa: B023
    assert [is_up(container) for container in every] == [True] * 4 + [False] * 3
    balances(lab)


@pytest.fixture
def unchecked(lab: Lab) -> Iterator[Machine]:
    """The first host, whose driver looks after nothing."""
    host = lab.hosts[0]
    started_with(host, DRIVER)
    yield host
    started_with(host, DRIVER, HEALTH_CHECK)


def test_check_finds_a_container_that_could_not_restart_and_repair_starts_it(
    unchecked: Machine, tenant: Tenant, lab: Lab
) -> None:
    network = tenant.network("10.67.0.0/24")
    ends = "until [ -e /dev/shm/end ]; do sleep 0.1; done"
    box = tenant.container(network, *COMES_BACK, command=ends)
    lab.central.kill("nb")
    box.run("touch /dev/shm/end")
    form = "{{.State.Status}} {{.State.Error}}"
    eventually(
        lambda: "exited failed" in unchecked.docker("inspect", "-f", form, box.name).stdout, 30, "it is down"
    )
    lab.central.repair()

    def found() -> list[tuple[str, str]]:
        report = json.loads(command(unchecked, "check", "--json").stdout)
        return [(finding["kind"], finding["repair"]) for finding in report["findings"]]

    down = [("container-down", "start the container")]
    eventually(lambda: found() == down, 20, "the driver has removed its last run's port")
    checked = command(unchecked, "check")
    assert (checked.returncode, box.name in checked.stdout) == (1, True)
    assert not is_up(box)
    repaired = command(unchecked, "repair")
    assert (repaired.returncode, is_up(box)) == (0, True), repaired.stdout
    assert "container-down" not in command(unchecked, "check").stdout
    balances(lab)


def command(host: Machine, *words: str) -> Result:
    """``ovn-docker WORD...`` on a host."""
    program = str(Path(sys.executable).with_name("ovn-docker"))
    return host.run([program, *words], check=False, timeout=60)
