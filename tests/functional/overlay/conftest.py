"""The databases of a host and a central."""

from pathlib import Path

import pytest

from tests.functional.conftest import MakeServer
from tests.functional.overlay.overlay_host import Place
from tests.functional.overlay.shared_host import Hosts
from tests.functional.servers import OvsdbServer


@pytest.fixture
def place(northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path) -> Place:
    return Place(northbound, open_vswitch, short_path)


@pytest.fixture
def hosts(northbound: OvsdbServer, make_server: MakeServer, short_path: Path) -> Hosts:
    return Hosts(northbound, make_server, short_path)
