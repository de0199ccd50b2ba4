"""A swarm over hosts that share a Northbound: what its leader asks of a driver, and what its nodes ask."""

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ovn_docker.errors import OvnDockerError
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE, GLOBAL_SPACE
from ovn_docker.ovn import leases, switches
from ovn_docker.ovsdb.operations import mapping
from tests.functional.overlay.shared_host import GATEWAY_OPTIONS, Container, Host, Hosts, Network, create

SERIAL = {messages.SERIAL: "true"}


@dataclass
class SwarmNetwork:
    """What swarm keeps of a network: its id, subnets with gateways, the options from AllocateNetwork."""

    network_id: str
    pools: dict[str, str]
    leased: bool
    options: dict[str, str] = field(default_factory=dict)
    ipam_options: dict[str, str] = field(default_factory=dict)


@dataclass
class Leader:
    """A manager that leads: what its dockerd asks (moby libnetwork/cnmallocator/networkallocator.go).

    Its PoolIDs are in memory only, so a new leader asks anew for all that the swarm has.
    """

    host: Host
    pool_ids: dict[str, list[str]] = field(default_factory=dict)

    async def network_create(
        self, *subnets: str, leased: bool = True, network_id: str = "", **options: str
    ) -> SwarmNetwork:
        """``docker network create`` on a manager."""
        network = SwarmNetwork(network_id or secrets.token_hex(12) + "z", dict.fromkeys(subnets, ""), leased)
        network.options = dict(options)
        await self.allocate(network)
        return network

    async def allocate(self, network: SwarmNetwork) -> None:
        """Allocate a network, for the first time or as a new leader; its options are what Docker keeps."""
        if network.leased:
            self.pool_ids[network.network_id] = []
            for subnet, gateway in list(network.pools.items()):
                network.pools[subnet] = await self._pool(network, subnet, gateway)
        else:
            network.pools = {each: _first(each) for each in network.pools}
        data = [
            messages.IPAMData(pool=pool, gateway=_whole(gateway, pool))
            for pool, gateway in network.pools.items()
            if ":" not in pool
        ]
        request = messages.AllocateNetworkRequest(
            network_id=network.network_id, options=dict(network.options), ipv4_data=data
        )
        try:
            answer = await self.host.driver.allocate_network(request)
        except OvnDockerError:
            await self._release(network)
            raise
        network.options = answer.options

    async def _pool(self, network: SwarmNetwork, subnet: str, gateway: str) -> str:
        request = messages.RequestPoolRequest(
            address_space=GLOBAL_SPACE, pool=subnet, options=dict(network.ipam_options) or None
        )
        pool = await self.host.ipam.request_pool(request)
        self.pool_ids[network.network_id].append(pool.pool_id)
        own = await self.host.request(
            pool.pool_id, gateway, {**network.ipam_options, **GATEWAY_OPTIONS, **SERIAL}
        )
        if network.ipam_options:  # Go's map is the network's own, and keeps what the allocator puts into it
            network.ipam_options |= SERIAL
        return own.partition("/")[0]

    async def task(self, network: SwarmNetwork, address: str = "") -> str:
        """Allocate a task's address, or as a new leader the one that it has; without prefix length."""
        [pool_id, *_] = self.pool_ids[network.network_id]
        whole = await self.host.request(pool_id, address, SERIAL)
        return whole.partition("/")[0]

    async def task_rm(self, network: SwarmNetwork, address: str) -> None:
        """A task ended, or is forgotten."""
        await self.host.release(self.pool_ids[network.network_id][0], address)

    async def network_rm(self, network: SwarmNetwork) -> None:
        """``docker network rm``: the network, then its gateways and pools."""
        await self.host.driver.free_network(messages.NetworkRequest(network_id=network.network_id))
        await self._release(network)

    async def _release(self, network: SwarmNetwork) -> None:
        for pool_id, gateway in zip(
            self.pool_ids.get(network.network_id, ()), network.pools.values(), strict=False
        ):
            await self.host.release(pool_id, gateway)
            await self.host.ipam.release_pool(messages.PoolRequest(pool_id=pool_id))


async def node_network(host: Host, network: SwarmNetwork) -> Network:
    """What a node does before its first task of a network; local address space, the swarm's NetworkID."""
    own = Network(network.network_id)
    for subnet, gateway in network.pools.items():
        space = "LocalDefault"
        if network.leased:
            request = messages.RequestPoolRequest(
                address_space=ADDRESS_SPACE, pool=subnet, options=dict(network.ipam_options) or None
            )
            pool = await host.ipam.request_pool(request)
            own.pool_ids.append(pool.pool_id)
            own.held.append((pool.pool_id, await host.request(pool.pool_id, gateway, GATEWAY_OPTIONS)))
            space = ADDRESS_SPACE
        own.data.append(messages.IPAMData(address_space=space, pool=subnet, gateway=_whole(gateway, subnet)))
    await host.driver.create_network(create(own, network.options))
    return own


async def start(host: Host, network: Network, address: str) -> Container:
    """A node starts a task with the address that the leader allocated."""
    if network.pool_ids:
        return await host.run(network, address)
    whole = _whole(address, network.data[0].pool)
    container = Container(host, network, secrets.token_hex(32), [whole])
    await host.endpoint(network, container.endpoint_id, whole)
    return container


def holders(hosts: Hosts) -> dict[str, tuple[str, ...]]:
    """Who has each leased address: ``swarm``, and the host that uses it."""
    rows = hosts.northbound.rows("DHCP_Options", "cidr", "external_ids")
    marks = {row["cidr"]: mapping(row["external_ids"]) for row in rows}
    return {
        address: tuple(filter(None, ("swarm" if leases.SWARM in ids else "", ids.get(switches.HOST, ""))))
        for address, ids in sorted(marks.items())
        if ids.get(leases.KIND) == leases.LEASE
    }


def users(hosts: Hosts) -> dict[str, list[str]]:
    """Of each pool and reserved address the hosts that use it, and the swarm's networks."""
    rows: Sequence[dict[str, Any]] = hosts.northbound.rows("DHCP_Options", "cidr", "options", "external_ids")
    return {
        row["cidr"]: sorted(host or token for token, host in mapping(row["options"]).items())
        for row in rows
        if mapping(row["external_ids"])[leases.KIND] in {leases.POOL_ROW, leases.RESERVED}
    }


def _first(subnet: str) -> str:
    return str(ipaddress.ip_network(subnet)[1])


def _whole(address: str, subnet: str) -> str:
    return f"{address}/{subnet.partition('/')[2]}"
