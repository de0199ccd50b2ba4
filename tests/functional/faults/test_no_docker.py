"""The health check is on and Docker cannot be asked: one line says so, and dockerd is served all the same."""

import socket
from pathlib import Path

import pytest

from tests.functional.faults.hosts import configure
from tests.functional.faults.killing import driver_process
from tests.functional.faults.story import SHARED, Story
from tests.functional.overlay.overlay_host import SwitchDaemons
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer, until

pytestmark = pytest.mark.functional

HEALTH_CHECK = ("--health-check-on", "--health-check-interval=1", "-vconsole:warn")


@pytest.mark.parametrize("stands_there", ["nothing", "a socket that nobody serves"])
@in_private_network
async def test_without_dockers_socket_the_health_check_removes_nothing(
    stands_there: str, northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    configure(open_vswitch, str(northbound.remote))
    path = short_path / "docker.sock"
    if stands_there != "nothing":
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    flags = (*HEALTH_CHECK, f"--docker-socket=unix://{path}")
    with driver_process(short_path, str(open_vswitch.remote), *flags) as driver:
        pid = driver.pid
        async with SwitchDaemons(open_vswitch).serve():
            story = Story(driver.socket, 1, SHARED)
            joined = SHARED.index("Join") + 1
            await story.tell(SHARED[:joined])
            await until(lambda: driver.lines("health"), "the log says so")
            [line] = [line for line in driver.lines() if str(path) in line]
            assert "health check: " in line
            assert len(northbound.ports("name")) == 1
            await story.tell(SHARED[joined:])
        assert driver.pid == pid
