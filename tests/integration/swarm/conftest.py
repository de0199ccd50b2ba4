"""The plugin, built once, and a swarm of three hosts that the stories share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker_lab import Lab
from tests.integration import records
from tests.integration.conftest import lab_name
from tests.integration.managed import OUTPUT, build
from tests.integration.swarm.cluster import Cluster, join
from tests.polling import eventually
from tests.unit.test_plugin_settings import ROOT


@pytest.fixture(scope="session")
def plugin_directory() -> Path:
    """What ``docker plugin create`` takes."""
    return build(ROOT, OUTPUT)


@pytest.fixture(scope="session")
def swarm(_no_labs_of_dead_runs: None, plugin_directory: Path) -> Iterator[Cluster]:
    """One manager and two workers."""
    lab = Lab.up(lab_name("swarm"), 3, driver=False)
    try:
        yield join(lab, plugin_directory)
    finally:
        lab.down()


@pytest.fixture
def cluster(swarm: Cluster) -> Iterator[Cluster]:
    """The same, with all nodes there; a story leaves nothing on any of them."""
    eventually(lambda: set(swarm.nodes().values()) == {"Ready Active"}, 60, "all nodes are ready")
    yield swarm
    swarm.remove_services()
    swarm.remove_networks()
    left: list[str] = []

    def is_clean() -> bool:
        left[:] = records.left(swarm.lab)
        return not left

    try:
        eventually(is_clean, 30, "nothing of the driver's is left")
    except AssertionError:
        records.wipe(swarm.lab)
        pytest.fail(f"left behind: {', '.join(left)}")
