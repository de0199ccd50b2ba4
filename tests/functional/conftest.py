"""Private OVSDB servers for the functional tests; none outlives its test."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.functional.servers import Cluster, OvsdbServer

MakeServer = Callable[..., OvsdbServer]


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for a unix socket's name (108 bytes in all, unix(7))."""
    with tempfile.TemporaryDirectory(prefix="ovsdb-") as directory:
        yield Path(directory)


@pytest.fixture
def make_server(short_path: Path) -> Iterator[MakeServer]:
    """Makes and starts servers: of a database, with further options of ovsdb-server."""
    servers: list[OvsdbServer] = []

    def make(database: str, *options: str) -> OvsdbServer:
        server = OvsdbServer(short_path / str(len(servers)), database, options)
        servers.append(server)
        server.create()
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def northbound(make_server: MakeServer) -> OvsdbServer:
    return make_server("OVN_Northbound")


@pytest.fixture
def open_vswitch(make_server: MakeServer) -> OvsdbServer:
    return make_server("Open_vSwitch")


@pytest.fixture
def cluster(short_path: Path) -> Iterator[Cluster]:
    members = Cluster(short_path / "cluster", "OVN_Northbound")
    try:
        members.start()
        yield members
    finally:
        members.kill()
