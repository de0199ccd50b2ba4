"""Containers with names: what Docker tells of them, and what Northbound then has."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from ovn_docker.docker import models
from ovn_docker.docker.dns_names import labels
from ovn_docker.health.snapshot import NamesState
from ovn_docker.ovn import names, switches
from ovn_docker.ovn.leases import KIND
from ovn_docker.ovn.names import Named
from ovn_docker.ovsdb.operations import mapping
from tests.functional.overlay.shared_host import SUBNET, Container, Host, Hosts, Network


@dataclass
class Box:
    """A container of a host with its endpoints, one on each of its networks."""

    host: Host
    name: str
    endpoints: list[Container]
    aliases: Sequence[str] = ()

    @property
    def ip(self) -> str:
        return self.endpoints[0].ip

    @property
    def endpoint_id(self) -> str:
        return self.endpoints[0].endpoint_id

    def told(self) -> models.Container:
        """What Docker says of it."""
        ids = tuple((each.network.network_id, each.endpoint_id) for each in self.endpoints)
        called = labels([self.name, *self.aliases])
        by_endpoint = {each.endpoint_id: called for each in self.endpoints}
        return models.Container(f"id-{self.name}", self.name, {}, ids, by_endpoint)

    async def publish(self) -> None:
        """What an event of its start leads to."""
        await self.host.naming.publish_container(self.told())

    async def rm(self) -> None:
        """``docker rm -f``."""
        for each in self.endpoints:
            await each.rm()


async def a_network(host: Host, *subnets: str) -> Network:
    """``docker network create``, with Docker's own way out, which is there at once."""
    return await host.network_create(*subnets, options={"egress": "docker"})


@contextlib.asynccontextmanager
async def two(hosts: Hosts) -> AsyncIterator[tuple[Host, Host, Network, Network]]:
    """Two hosts, each with its network on one switch."""
    async with hosts.several(2) as (one, other):
        yield one, other, await a_network(one, SUBNET), await a_network(other, SUBNET)


async def run(
    host: Host, name: str, *networks: Network, aliases: Sequence[str] = (), sandbox: str = "", **ids: str
) -> Box:
    """``docker run``, whose event has yet to come; `ids` are marks of its interfaces."""
    box = Box(host, name, [await host.run(network) for network in networks], aliases)
    for each in box.endpoints:
        await host.plug(each, sandbox, **ids)
    return box


async def published(
    host: Host, name: str, *networks: Network, aliases: Sequence[str] = (), sandbox: str = "", **ids: str
) -> Box:
    """``docker run``, with its event."""
    box = await run(host, name, *networks, aliases=aliases, sandbox=sandbox, **ids)
    await box.publish()
    return box


def filed(hosts: Hosts) -> dict[str, dict[str, tuple[str, ...]]]:
    """By name, or address, what is filed there by EndpointID; no name is on two switches."""
    rows = hosts.northbound.rows("DHCP_Options", "options", "external_ids")
    named = [row for row in rows if mapping(row["external_ids"])[KIND] == names.NAME_ROW]
    found = {mapping(row["external_ids"])[names.NAME]: names.read_name([row]) for row in named}
    assert len(found) == len(named)
    return found


def found(hosts: Hosts, name: str) -> set[str]:
    """All that is filed under a name, or address."""
    return {each for values in filed(hosts).get(name, {}).values() for each in values}


def records(hosts: Hosts) -> dict[str, set[str]]:
    """What the record of an endpoint lists, by EndpointID."""
    rows = hosts.northbound.rows("DHCP_Options", "options", "external_ids")
    return {
        mapping(row["external_ids"])[names.ENDPOINT]: set(mapping(row["options"]))
        for row in rows
        if names.is_record(row)
    }


def agrees(hosts: Hosts) -> bool:
    """Whether the records list what is filed, and nothing else."""
    told = {(endpoint_id, name) for endpoint_id, entries in records(hosts).items() for name in entries}
    return told == {(endpoint_id, name) for name, values in filed(hosts).items() for endpoint_id in values}


def left(hosts: Hosts) -> set[str]:
    """All names, and endpoints with a record."""
    return filed(hosts).keys() | records(hosts).keys()


async def looked_up(host: Host, network: Network, name: str) -> set[str]:
    """What the responder of a host reads under a name."""
    [options] = await host.naming.cache.get([names.name_id(switches.switch_id(network.pool.key), name)])
    return {each for value in options.values() for each in value.split()}


async def of_host(host: Host) -> tuple[Named, ...]:
    """The names that a host has published, as its health check reads them."""
    held = await host.inventory.held([each.network_id for each in host.shared.all()])
    return tuple(held.names)


async def wrong(host: Host) -> dict[str, str]:
    """What its health check finds of them."""
    state: NamesState = await host.naming.inspect(await of_host(host))
    return dict(state.wrong)
