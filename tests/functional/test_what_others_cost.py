"""What one driver costs Northbound does not depend on how many rows other hosts have there.

The server has one thread, which all hosts share: what each of a thousand drivers has it go through all rows
for, at each connection or each pass, keeps it from serving any. Measured is its processor time, for a clock
on the wall shows what else the machine does.
"""

from pathlib import Path
from statistics import median

import pytest

from ovn_docker.health import host_cleanup
from ovn_docker.ovn import vteps
from ovn_docker.ovsdb.client import Client
from tests.functional.conftest import MakeServer
from tests.functional.many_rows import cost, fill, milliseconds, register
from tests.functional.overlay.shared_host import Hosts
from tests.functional.servers import OvsdbServer, connected, running

pytestmark = pytest.mark.functional

CONNECT = 2.5
"""Milliseconds; one with a watch on Logical_Switch_Port takes 5 to 11."""

LISTING = 2.0
"""Milliseconds for the list of 100 hosts; going through the table takes 6 to 12."""

PASS = 5.0
"""Milliseconds for a host with 20 containers; going through the tables takes 20 to 60."""

LEASES, MORE = 30, 1.6
"""How many are measured, and by how much they may differ: to list 10,000 ports is 100 times as much."""

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


async def test_who_lists_the_hosts_has_the_server_read_no_leases(full: OvsdbServer) -> None:
    async with connected([full.remote], "OVN_Northbound") as client:

        async def listing() -> None:
            assert len(await host_cleanup.listed(client)) == 100

        assert await cost(full, listing) < LISTING


async def test_a_health_check_pass_makes_the_server_read_no_rows_of_other_hosts(
    full: OvsdbServer, make_server: MakeServer, short_path: Path
) -> None:
    hosts = Hosts(full, make_server, short_path, indexed=True)
    async with hosts.host("h") as host:
        networks = [await host.network_create(subnet) for subnet in SUBNETS[:2]]
        for network in networks:
            for _ in range(10):
                await host.run(network)

        async def reading() -> None:
            held = await host.inventory.held([network.network_id for network in networks])
            assert len(held.endpoints) == len(held.leases) == 20

        assert await cost(full, reading) < PASS


async def test_a_lease_costs_the_same_while_other_hosts_start_containers(
    northbound: OvsdbServer, make_server: MakeServer, short_path: Path
) -> None:
    hosts, subnet = Hosts(northbound, make_server, short_path), "10.64.0.0/16"
    async with connected([northbound.remote], "OVN_Northbound") as client:
        await fill(client, subnet, 10_000)
    async with hosts.several(2) as (one, other):
        network, same = await one.network_create(subnet), await other.network_create(subnet)
        await other.run(same)
        await one.request(network.pool_ids[0])
        costs: dict[str, list[float]] = {"busy": [], "quiet": []}
        for number in range(LEASES):
            await other.run(same, f"10.64.200.{number}")
            for spent in costs.values():
                before = milliseconds(northbound)
                await one.request(network.pool_ids[0])
                spent.append(milliseconds(northbound) - before)
        assert median(costs["busy"]) < MORE * median(costs["quiet"]), costs
