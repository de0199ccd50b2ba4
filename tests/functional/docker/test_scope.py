"""A Docker before 24 refuses networks of global scope outside a swarm, in words that say nothing of it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.docker.test_engine import PING, Answer, docker, reply, serving
from tests.functional.servers import OvsdbServer, until
from tests.functional.test_daemon import Daemons, configure

pytestmark = pytest.mark.functional

WARNING = "this Docker (API 1.41) is not in a swarm and cannot create networks of global scope"


def docker_of(version: str, state: str = "inactive") -> Answer:
    """A Docker of an API version, which is in a swarm or is not."""
    pages = {
        "/_ping": PING.replace(b"1.45", version.encode()),
        f"/v{version}/networks": reply([]),
        f"/v{version}/containers/json": reply([]),
        f"/v{version}/info": reply({"Swarm": {"LocalNodeState": state, "NodeID": ""}}),
    }
    return lambda page: pages.get(page) or docker(page)


@pytest.mark.parametrize(
    ("version", "state", "refuses"),
    [
        ("1.41", "inactive", "1.41"),  # 20.10
        ("1.42", "inactive", "1.42"),  # 23
        ("1.41", "pending", "1.41"),
        ("1.41", "active", ""),
        ("1.43", "inactive", ""),  # 24
        ("1.51", "inactive", ""),
    ],
)
async def test_only_an_old_docker_outside_a_swarm_refuses_global_networks(
    short_path: Path, version: str, state: str, refuses: str
) -> None:
    async with serving(short_path / "docker.sock", docker_of(version, state)) as engine:
        assert await engine.refuses_global() == refuses


@pytest.fixture
def daemons(short_path: Path) -> Iterator[Daemons]:
    started = Daemons(short_path)
    yield started
    started.end()


def flags(directory: Path) -> tuple[str, ...]:
    """Those of a driver whose Docker is there, and whose log is in a file."""
    return (
        *("--unix-socket", str(directory / "driver.sock")),
        *("--docker-socket", f"unix://{directory}/docker.sock"),
        *("--log-file", str(directory / "log"), "-vfile:info"),
    )


async def test_a_driver_of_global_scope_warns_of_a_docker_that_refuses_it(
    daemons: Daemons, short_path: Path
) -> None:
    log = short_path / "log"
    async with serving(short_path / "docker.sock", docker_of("1.41")):
        daemons(*flags(short_path))
        await until(lambda: log.exists() and WARNING in log.read_text(), "it warns")
    [line] = [line for line in log.read_text().splitlines() if WARNING in line]
    assert "WARN" in line
    assert "start the driver with --docker-driver-scope local and restart dockerd" in line


async def test_a_driver_of_global_scope_waits_for_docker_to_be_there(
    daemons: Daemons, short_path: Path
) -> None:
    await asyncio.to_thread(daemons(*flags(short_path)).answers)
    async with serving(short_path / "docker.sock", docker_of("1.41")):
        await until(lambda: WARNING in (short_path / "log").read_text(), "it warns", 15)


async def test_the_health_check_of_a_driver_of_global_scope_finds_it(
    daemons: Daemons, short_path: Path, northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    configure(open_vswitch, **{"ovn-nb": str(northbound.remote)})
    log = short_path / "log"
    async with serving(short_path / "docker.sock", docker_of("1.41")):
        daemons(*flags(short_path), "--health-check-on", ovsdb=str(open_vswitch.remote))
        wanted = f"health check: scope-global: {WARNING}"
        await until(lambda: log.exists() and wanted in log.read_text(), "it is found", 15)
        assert log.read_text().count(WARNING) == 1


async def test_a_driver_of_local_scope_asks_nothing(daemons: Daemons, short_path: Path) -> None:
    requested: list[str] = []

    def answer(page: str) -> bytes | None:
        requested.append(page)
        return docker_of("1.41")(page)

    async with serving(short_path / "docker.sock", answer):
        daemons(*flags(short_path), "--docker-driver-scope=local", "--health-check-on")
        await until(lambda: "/v1.41/events" in requested, "Docker's events are listened to")
    assert "/v1.41/info" not in requested
