"""Two hosts on which the faults are injected, in a lab of their own, so that no other test meets them."""

from collections.abc import Iterator, Sequence

import pytest

from ovn_docker_lab import Lab
from tests.integration.conftest import lab_name
from tests.integration.faults.talk import Talk, begin
from tests.integration.tenant import Tenant

HEALTH_CHECK = ("--health-check-on", "--health-check-interval=2")


@pytest.fixture(scope="session")
def two_hosts(_no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Two hosts whose drivers have local scope, and look every 2 s whether all is as Docker has it."""
    shared = Lab.up(lab_name("faults"), 2)
    try:
        for host in shared.hosts:  # dockerd asks for the scope once, with the first network
            host.stop("driver")
            host.start_driver(HEALTH_CHECK)
        yield shared
    finally:
        shared.down()


@pytest.fixture
def lab(two_hosts: Lab) -> Iterator[Lab]:
    """The two hosts, whole again after the test."""
    yield two_hosts
    for machine in (two_hosts.central, *two_hosts.hosts):
        machine.repair()


@pytest.fixture
def talk(lab: Lab, users: Sequence[Tenant]) -> Talk:
    """Containers of both hosts that ping each other."""
    return begin(lab.central, users, "10.60.0.0/24")
