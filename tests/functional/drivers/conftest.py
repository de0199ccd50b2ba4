"""The databases of a host and a central."""

from pathlib import Path

import pytest

from tests.functional.drivers.overlay_host import Place
from tests.functional.servers import OvsdbServer


@pytest.fixture
def place(northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path) -> Place:
    return Place(northbound, open_vswitch, short_path)
