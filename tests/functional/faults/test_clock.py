"""The clock is set back while the driver works. It is read for marks only; every wait has a clock of its own.

A time namespace (time_namespaces(7)) moves the monotonic and the boot clock, not the wall clock, so the wall
clock comes from a callable here, which is how the driver takes it.
"""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from tests.functional.overlay.overlay_host import NOW, Place, at, endpoint, join, network, of
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer

pytestmark = pytest.mark.functional


@in_private_network
async def test_a_clock_that_goes_back_with_every_question_changes_nothing(
    northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    days = itertools.count()
    place = Place(northbound, open_vswitch, short_path, now=lambda: NOW - timedelta(days=next(days)))
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.create_endpoint(endpoint())
        await host.driver.create_endpoint(endpoint())
        await host.driver.join(join())
        await host.driver.leave(of())
        await host.driver.delete_endpoint(of())
        await host.driver.delete_network(at())
        assert next(days) > 3, "the clock was read"
        assert (host.switches(), host.ports(), host.nothing_is_left()) == ([], [], True)
