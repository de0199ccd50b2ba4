"""What is said of a unix socket that cannot be opened: whose it is, with which mode, and the remedy."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ovn_docker.ovsdb.remotes import Remote
from tests.functional.servers import OvsdbServer, connected, until

pytestmark = pytest.mark.functional

NOBODY = 65534
ASK = """
import os, socket, sys
from ovn_docker.ovsdb.remotes import socket_failure
os.setgroups([]), os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except OSError as error:
    print(socket_failure(sys.argv[1], error))
"""


def as_nobody(path: Path) -> str:
    """What a user without any right is told."""
    command = [sys.executable, "-c", ASK, str(path), str(NOBODY)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("closed", "whose"),
    [
        ("db.sock", "the socket belongs to root:daemon with mode 0750"),
        ("", "directory {} belongs to root:daemon with mode 0750"),
        (".", "directory {} belongs to root:daemon with mode 0750"),
    ],
)
def test_a_socket_of_another_user_is_named_with_owner_mode_and_remedy(
    northbound: OvsdbServer, closed: str, whose: str
) -> None:
    northbound.directory.chmod(0o755)
    northbound.directory.parent.chmod(0o755)
    barrier = northbound.directory.parent if closed == "" else northbound.directory / closed
    barrier.chmod(0o750)
    os.chown(barrier, 0, 1)
    assert as_nobody(northbound.socket) == (
        f"Permission denied: {whose.format(barrier)}, and this runs as nobody:"
        " run it as root, or the driver by its systemd unit (scripts/install-unit)\n"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("left", "Connection refused: check that its ovsdb-server is running"),
        ("none", "No such file or directory: check that its ovsdb-server is running and uses this path"),
    ],
)
async def test_a_socket_without_a_server_is_named_with_the_remedy(
    short_path: Path, name: str, reason: str
) -> None:
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(short_path / "left"))
    async with connected([Remote("unix", str(short_path / name))], "OVN_Northbound") as client:
        await until(lambda: client.outage().endswith(f"{name}: {reason}"), reason)
