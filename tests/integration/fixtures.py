"""Fixtures of the stories: users of the shared lab's hosts, after whom nothing may be left.

A story names this module in `pytest_plugins`.
"""

import itertools
from collections.abc import Iterator, Sequence

import pytest

from ovn_docker_lab import Lab, Machine
from ovn_docker_lab.processes import start_time
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.second_driver import Driver
from tests.integration.tenant import Tenant
from tests.polling import eventually

SECOND_DRIVERS = itertools.count(2)


@pytest.fixture
def central(lab: Lab) -> Machine:
    """Where Northbound is."""
    return lab.central


@pytest.fixture
def clean(lab: Lab) -> Iterator[None]:
    """See that the test leaves nothing of the driver's in the lab."""
    yield
    left: list[str] = []

    def is_clean() -> bool:
        left[:] = records.left(lab)
        return not left

    try:
        eventually(is_clean, 5, "nothing of the driver's is left")
    except AssertionError:
        records.wipe(lab)
        pytest.fail(f"left behind: {', '.join(left)}")


@pytest.fixture
def tenant(lab: Lab, clean: None) -> Iterator[Tenant]:  # noqa: ARG001
    """A user of the first host."""
    user = Tenant(lab.hosts[0])
    yield user
    user.clear()


@pytest.fixture
def other(lab: Lab, clean: None) -> Iterator[Tenant]:  # noqa: ARG001
    """A user of the second host."""
    user = Tenant(lab.hosts[1])
    yield user
    user.clear()


@pytest.fixture
def users(lab: Lab, clean: None) -> Iterator[Sequence[Tenant]]:  # noqa: ARG001
    """A user of each host, h1's first."""
    tenants = tuple(Tenant(host) for host in lab.hosts)
    yield tenants
    for user in tenants:
        user.clear()


@pytest.fixture
def plugin(lab: Lab, clean: None) -> Plugin:  # noqa: ARG001
    """The first host's driver."""
    return Plugin(lab.hosts[0].paths.plugin_socket)


@pytest.fixture
def driver(tenant: Tenant) -> Iterator[Driver]:
    """A second driver, not started yet; it and what it left are removed."""
    second = Driver(tenant.host, f"driver{next(SECOND_DRIVERS)}")
    yield second
    tenant.clear()
    if (pid := second.pid()) and start_time(pid) is not None:
        second.end()
    tenant.host.run(["rm", "-f", second.pidfile, second.spec, second.json])
