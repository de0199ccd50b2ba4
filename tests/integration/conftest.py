"""A lab that the integration tests share, and the care that none stays behind."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, down
from tests.integration.probing import Probe, build, import_probe, write_probe_image

_TEST_LAB = re.compile(r"t([0-9]+)-.*")


def lab_name(suffix: str) -> str:
    """Name of a lab of this test run; the process id in it tells whose it is."""
    return f"t{os.getpid()}-{suffix}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("integration"):
            item.add_marker(pytest.mark.skip(reason="needs root: run scripts/test"))


@pytest.fixture(scope="session", autouse=True)
def _no_labs_of_dead_runs() -> None:
    """Take down what a test run that was killed could not."""
    if os.geteuid() != 0:
        return
    for name in Lab.names():
        owner = _TEST_LAB.fullmatch(name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            down(name)


@pytest.fixture(scope="session")
def lab(_no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Two hosts with Docker and the overlay driver; shared, so leave it as you found it."""
    shared = Lab.up(lab_name("main"), 2)
    try:
        yield shared
    finally:
        shared.down()


@pytest.fixture(scope="session")
def probe(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    """The program that asks and tells, and its image on both hosts of the lab."""
    program = build(tmp_path_factory.mktemp("probe"))
    tar = write_probe_image(program)
    for host in lab.hosts:
        import_probe(host, tar)
    return Probe(program)


@pytest.fixture(scope="session")
def three_hosts(_no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Three hosts; shared, so leave them as you found them."""
    shared = Lab.up(lab_name("three"), 3)
    try:
        yield shared
    finally:
        shared.down()
