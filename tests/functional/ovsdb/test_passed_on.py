"""A client that systemd-socket-proxyd leads to a database, as the units do on the database's own machine."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from ovn_docker.ovsdb.operations import insert
from ovn_docker.ovsdb.remotes import Remote
from tests.functional.servers import OvsdbServer, connected, until
from tests.unit.test_systemd import DATABASE, UNITS, unit

PROGRAM, *FLAGS = unit(UNITS / DATABASE.format(".service"))["Service"]["ExecStart"].split()[:-1]

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(not Path(PROGRAM).exists(), reason="systemd is not installed"),
]


@pytest.fixture
def door(northbound: OvsdbServer, short_path: Path) -> Iterator[Remote]:
    """A socket that leads to Northbound, as the units make it."""
    path = short_path / "door"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&0 </dev/null', "sh", PROGRAM]
        process = subprocess.Popen([*command, *FLAGS, str(northbound.socket)], stdin=listener.fileno())
    yield Remote("unix", str(path))
    process.kill()
    process.wait()


async def test_it_is_served_again_after_a_restart_of_the_database(
    door: Remote, northbound: OvsdbServer
) -> None:
    async with connected([door], "OVN_Northbound") as client:
        for name in ("before", "after"):
            await client.transact([insert("Logical_Switch", uuid4(), {"name": name})])
            northbound.kill()
            await until(lambda: not client.connected, "the end is passed on")
            await until(
                lambda: "check that the database behind it is running" in client.outage(),
                "nobody is behind it",
            )
            northbound.start()
    assert sorted(row["name"] for row in northbound.rows("Logical_Switch", "name")) == ["after", "before"]
