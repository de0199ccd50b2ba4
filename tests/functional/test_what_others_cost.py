"""What one driver costs Northbound does not depend on how many rows other hosts have there.

The server has one thread, which all hosts share: what each of a thousand drivers has it go through all rows
for, at each connection or each pass, keeps it from serving any. Measured is its processor time, for a clock
on the wall shows what else the machine does.
"""

import pytest

from ovn_docker.ovsdb.client import Client
from ovn_docker.schema import vteps
from tests.functional.many_rows import cost, fill, register
from tests.functional.servers import OvsdbServer, connected, running

pytestmark = pytest.mark.functional

CONNECT = 2.5
"""Milliseconds; one with a watch on Logical_Switch_Port takes 5 to 11."""

SUBNETS = tuple(f"10.{number}.0.0/16" for number in range(10))


@pytest.fixture
async def full(northbound: OvsdbServer) -> OvsdbServer:
    """A server with 10,000 ports and leases of 100 other hosts, on ten switches."""
    async with connected([northbound.remote], "OVN_Northbound") as client:
        await register(client, 100)
        for subnet in SUBNETS:
            await fill(client, subnet, 1000)
    return northbound


async def test_a_driver_that_connects_has_the_server_read_no_rows_of_other_hosts(full: OvsdbServer) -> None:
    async def connect() -> None:
        client = Client("OVN Northbound", "OVN_Northbound", vteps.WATCHES)
        client.redirect((full.remote,))
        async with running(client):
            await client.ready()

    assert await cost(full, connect) < CONNECT
