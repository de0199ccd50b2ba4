"""A Northbound full of other hosts' rows, as their drivers would have made them, and what it costs."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from ovn_docker import address_pools, addressing
from ovn_docker.ovn import hosts, leases, switches
from ovn_docker.ovn.leases import LEASE, Lease
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import in_batches, mutate, reference, row_is, to_set
from tests.functional.servers import OvsdbServer

CREATED = "2030-01-02T03:04:05Z"
AT_ONCE = 1000
"""Ports in one transaction."""


def milliseconds(server: OvsdbServer) -> float:
    """Processor time of a server's thread until now (Linux, Documentation/scheduler/sched-stats.rst)."""
    assert server._process is not None
    spent, _, _ = Path(f"/proc/{server._process.pid}/schedstat").read_text().split()
    return int(spent) / 1e6


async def cost(server: OvsdbServer, what: Callable[[], Awaitable[Any]], times: int = 10) -> float:
    """Milliseconds of a server's processor time for one of it, after a first that does not count."""
    await what()
    before = milliseconds(server)
    for _ in range(times):
        await what()
    return (milliseconds(server) - before) / times


async def fill(client: Client, subnet: str, ports: int, hosts_of_them: int = 100) -> str:
    """A shared switch with ports and their leases, of so many hosts that take turns; the switch's name."""
    network = ipaddress.ip_network(subnet)
    name = address_pools.switch_name("default", network)
    made = Mark("other-0", CREATED)
    await client.transact(
        [
            *switches.ls_add(Switch(_id(name), (network,), (network[1],)), made, name, "default"),
            *leases.pool_add("default", network, name, {"token": made.host}, {switches.CREATED: CREATED}),
        ]
    )
    for batch in in_batches(range(ports), AT_ONCE):
        await client.transact(list(_endpoints(name, network, batch, hosts_of_them)))
    return name


async def register(client: Client, count: int) -> None:
    """The rows of so many other hosts, and the list that names them."""
    names = [f"other-{number}" for number in range(count)]
    await client.transact([hosts.host_add(Mark(name, CREATED)) for name in names])
    await client.transact([hosts.list_add(names)])


def _endpoints(
    name: str, subnet: addressing.IPNetwork, numbers: Sequence[int], hosts_of_them: int
) -> Iterator[dict[str, Any]]:
    switch, made = switches.switch_id(name), []
    for number in numbers:
        mark = Mark(f"other-{number % hosts_of_them}", CREATED)
        address, endpoint_id = subnet[number + 2], _id(name, str(number))
        mac = addressing.mac_for(endpoint_id, [address])
        port = SwitchPort(_id(name), endpoint_id, f"{mac} {address}")
        yield switches.lsp_add(port, switch, (), mark)[0]
        yield leases.lease_add(name, address, Lease(LEASE, mark.host, endpoint_id, endpoint_id[:16]), mark)
        made.append(switches.port_id(port.network_id, endpoint_id))
    yield mutate(switches.SWITCH, [row_is(switch)], ("ports", "insert", to_set(map(reference, made))))


def _id(*words: str) -> str:
    """What Docker might call it."""
    return uuid5(NAMESPACE_OID, " ".join(words)).hex * 2
