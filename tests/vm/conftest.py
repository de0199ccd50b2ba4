"""The machines that the tests share: one as scripts/quickstart leaves it, and two as the tutorial does."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.vm.documents import Player
from tests.vm.machines import TREE, Vm, remove_all, stop_all_but

QUICK, FIRST, SECOND = Vm(1), Vm(2), Vm(3)
TUTORIAL = "tutorial/two-hosts.md"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/vm/" in item.nodeid and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: run scripts/test vm"))


@pytest.fixture(scope="session")
def _lab() -> Iterator[None]:
    remove_all()
    yield
    remove_all()


@pytest.fixture(scope="session")
def first_output(_lab: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What scripts/quickstart says on a fresh machine."""
    stop_all_but({QUICK.number})
    QUICK.up()
    QUICK.put_tree(tmp_path_factory.mktemp("tree"))
    return QUICK.run(f"{TREE}/scripts/quickstart", timeout=900)


@pytest.fixture
def quick(first_output: str) -> Vm:  # noqa: ARG001
    """A machine with the demo of quickstart; shared, so leave it as you found it."""
    stop_all_but({QUICK.number})
    QUICK.up()
    return QUICK


@pytest.fixture(scope="session")
def _tutorial(_lab: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    stop_all_but({FIRST.number, SECOND.number})
    with ThreadPoolExecutor() as pool:
        list(pool.map(_prepare, (FIRST, SECOND), [tmp_path_factory.mktemp("tree") for _ in range(2)]))
    names = "\n".join(f"{machine.address} h{n}" for n, machine in enumerate((FIRST, SECOND), 1))
    for machine in (FIRST, SECOND):
        machine.run(f"echo '{names}' >>/etc/hosts")
    player().play(TUTORIAL, until="Then stop the driver on each host")


def _prepare(machine: Vm, directory: Path) -> None:
    """What the documents take for granted: Docker, curl and an image, for no registry has to be reached."""
    machine.up()
    machine.put_tree(directory)
    machine.run("apt-get -qq update && apt-get -qq install -y docker.io docker-cli curl >/dev/null", 600)
    machine.make_image()


def player() -> Player:
    """Shells on both machines, with the variables of the documents."""
    variables = {
        name: {"CENTRAL_IP": FIRST.address, "LOCAL_IP": machine.address, "NODE": name}
        for name, machine in (("h1", FIRST), ("h2", SECOND))
    }
    hosts = {"h1": FIRST, "h2": SECOND, "central": FIRST}
    return Player(hosts, variables | {"central": variables["h1"]})


@pytest.fixture
def pair(_tutorial: None) -> tuple[Vm, Vm]:
    """Two machines after the tutorial, without its network; shared, so leave them as you found them."""
    stop_all_but({FIRST.number, SECOND.number})
    FIRST.up()
    SECOND.up()
    return FIRST, SECOND


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory for what is carried between machines."""
    return tmp_path
