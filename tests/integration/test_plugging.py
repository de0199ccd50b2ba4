"""A container is plugged in while Docker makes its sandbox, and whatever ends in between leaves nothing.

dockerd is stopped with SIGSTOP as soon as the driver tells of CreateEndpoint, some milliseconds before it
would ask for Join.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from ovn_docker_lab import Lab, Machine
from tests.exposition import value
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.records import SWITCH, marks
from tests.integration.tenant import IMAGE, OURS, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

ATTEMPTS = 10
"""On a busy machine dockerd may ask for Join before it is stopped; then it is tried once more."""

CHECKING = ("--health-check-on", "--health-check-interval=2")
REMOVED = 40.0
"""Seconds for two looks that are ten seconds apart, on a busy machine."""

Start = Callable[[], Any]


class Log:
    """What the driver of a host tells from now on."""

    def __init__(self, host: Machine) -> None:
        self._file = host.paths.log("driver")
        self._from = self._file.stat().st_size

    def has(self, verb: str) -> bool:
        with self._file.open("rb") as file:
            file.seek(self._from)
            return f"NetworkDriver.{verb} ".encode() in file.read()


@contextlib.contextmanager
def before_join(tenant: Tenant, start: Start) -> Iterator["Future[Any]"]:
    """A container is being started by dockerd, which is stopped before it asks for Join."""
    pid = tenant.host.pid("dockerd")
    assert pid is not None
    others = container_names(tenant)
    for _ in range(ATTEMPTS):
        log = Log(tenant.host)
        with ThreadPoolExecutor(max_workers=1) as thread:
            starting = thread.submit(start)
            try:
                while not log.has("CreateEndpoint"):
                    assert not starting.done()
                os.kill(pid, signal.SIGSTOP)
                eventually(lambda: is_idle(tenant.host), 15, "the driver has answered what dockerd sent")
                if not log.has("Join") and plugged(tenant.host) == {""}:
                    yield starting
                    return
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            starting.result()
            for name in container_names(tenant) - others:
                tenant.docker("rm", "--force", name, check=False)
    pytest.skip("dockerd asks for Join too soon on this machine")


def is_idle(host: Machine) -> bool:
    """Whether the driver carries out no request. What was sent before this call counts: it is read first."""
    shown = Plugin(host.paths.plugin_socket).metrics()
    return value(shown, "ovn_docker_requests_in_flight") == 0


def container_names(tenant: Tenant) -> set[str]:
    """The names of all containers of a host."""
    return set(tenant.docker("ps", "--all", "--format", "{{.Names}}").stdout.split())


def plugged(host: Machine) -> set[str]:
    """The sandboxes of all containers that are plugged in, once there are any; "" for one without."""
    found = eventually(lambda: records.interfaces(host), 10, "an interface is there")
    return {marks(interface).get("vm-id", "") for interface in found}


def flows(host: Machine) -> bool:
    """Whether OVN has installed the flows of each container."""
    return all(marks(interface).get("ovn-installed") == "true" for interface in records.interfaces(host))


@pytest.fixture(params=[(), OURS], ids=["own switch", "shared switch"])
def foo(request: pytest.FixtureRequest, tenant: Tenant) -> Network:
    return tenant.network("10.14.0.0/24", *request.param)


def only_network(lab: Lab, foo: Network) -> bool:
    """Whether nothing is left but a network: its switch, and what is held of its pool."""
    left = [line for line in records.left(lab) if line.split()[0] not in {"pool", "reserved", SWITCH}]
    return not left and len(records.rows(lab.central, SWITCH)) == bool(foo)


def test_a_container_is_plugged_in_with_its_flows_before_join(tenant: Tenant, foo: Network) -> None:
    peer = tenant.container(foo)
    tenant.docker("stop", "--time=0", peer.name)
    with before_join(tenant, lambda: tenant.container(foo)) as starting:
        eventually(lambda: flows(tenant.host), 10, "its flows are installed")
        assert plugged(tenant.host) == {""}
    box = starting.result()
    assert "" not in plugged(tenant.host)
    tenant.docker("start", peer.name)
    box.reaches(peer.address(foo))


def test_a_driver_that_is_killed_between_joins_when_it_is_back(tenant: Tenant, foo: Network) -> None:
    with before_join(tenant, lambda: tenant.container(foo)) as starting:
        tenant.host.kill("driver")
        tenant.host.start("driver")
    box = starting.result()
    peer = tenant.container(foo)
    box.reaches(peer.address(foo))
    assert len(records.interfaces(tenant.host)) == 2


def test_a_driver_that_is_stopped_between_joins_when_it_is_back(tenant: Tenant, foo: Network) -> None:
    with before_join(tenant, lambda: tenant.container(foo)) as starting:
        tenant.host.stop("driver")
        tenant.host.start("driver")
    box = starting.result()
    box.reaches(tenant.container(foo).address(foo))


def test_a_docker_run_that_is_killed_between_leaves_nothing(tenant: Tenant, lab: Lab, foo: Network) -> None:
    client = ["timeout", "--signal=KILL", "0.5", "docker"]
    run = [*client, "run", "--rm", "--net", foo.name, "--name", tenant.name(), IMAGE, "sleep", "1"]
    with before_join(tenant, lambda: tenant.host.run(run, check=False)) as starting:
        starting.result()  # the client is dead
    eventually(lambda: only_network(lab, foo), 30, "only the network is left")


def test_a_container_without_a_command_leaves_nothing(tenant: Tenant, lab: Lab, foo: Network) -> None:
    """Docker 28 finds that out before it makes an endpoint, older ones after Join."""
    run = ["run", "--rm", "--net", foo.name, "--name", tenant.name(), IMAGE, "/no/such"]
    assert tenant.docker(*run, check=False).returncode != 0
    eventually(lambda: only_network(lab, foo), 5, "only the network is left")


def test_what_a_killed_docker_and_a_killed_driver_have_forgotten_is_removed(
    tenant: Tenant, lab: Lab, foo: Network
) -> None:
    name = tenant.name()
    run = ["run", "-d", "--net", foo.name, "--name", name, IMAGE, "sleep", "100"]
    with before_join(tenant, lambda: tenant.docker(*run, check=False)) as starting:
        tenant.host.kill("driver")
        tenant.host.kill("dockerd")
    assert starting.result().returncode != 0
    tenant.host.start_driver(CHECKING)
    try:
        tenant.host.start("dockerd")
        tenant.docker("rm", "--force", name)
        eventually(lambda: only_network(lab, foo), REMOVED, "only the network is left")
    finally:
        tenant.host.stop("driver")
        tenant.host.start_driver()
