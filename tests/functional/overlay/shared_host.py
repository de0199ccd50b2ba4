"""Hosts that share one Northbound, each with a driver of its own, and what dockerd asks of them."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ovn_docker import address_pools, addressing
from ovn_docker.address_pools import Pool, parse_pool
from ovn_docker.daemon.components import assemble_overlay, running
from ovn_docker.daemon.supervision import Supervision
from ovn_docker.errors import OvnDockerError
from ovn_docker.health.reader import Reader
from ovn_docker.health.repairs import Repairs
from ovn_docker.host import open_vswitch
from ovn_docker.host.attachment import Attachments
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE, OverlayIpam
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.overlay_driver import OverlayDriver
from ovn_docker.overlay.overlay_inventory import OverlayInventory
from ovn_docker.ovn import hosts
from ovn_docker.ovn import hosts as host_schema
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, mapping, members, mutate, to_map
from ovn_docker.ovsdb.remotes import Remote
from tests.flags import NO_DOCKER, driver_settings
from tests.functional.servers import OvsdbServer, run, until

SUBNET, BRIDGE = "10.0.0.0/24", "br-int"
GATEWAY_OPTIONS = {messages.ADDRESS_TYPE: messages.GATEWAY_TYPE}


@dataclass
class Flags:
    """What an operator gave the driver."""

    distributed: bool = False
    context: str = "default"
    default_pools: Sequence[str] = address_pools.DEFAULT_POOLS


@dataclass
class Network:
    """What dockerd keeps of a network that it made: its id, pools, gateways and auxiliary addresses."""

    network_id: str
    pool_ids: list[str] = field(default_factory=list)
    data: list[messages.IPAMData] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)

    @property
    def pool(self) -> Pool:
        return parse_pool(self.pool_ids[0])


@dataclass
class Host:
    """A driver, and the dockerd that asks it.

    The methods do what dockerd does for the command of that name, undoing what was done when a step fails
    (moby daemon/libnetwork: network.go ipamAllocate, endpoint.go assignAddress).
    """

    name: str
    driver: OverlayDriver
    ipam: OverlayIpam
    shared: SharedNetworks
    client: Client
    inventory: OverlayInventory
    repairs: Repairs
    open_vswitch: OvsdbServer
    naming: Naming
    ovs: Client
    reader: Reader

    @property
    def attachments(self) -> Attachments:
        return self.shared.database.attachments

    async def network_create(
        self,
        *subnets: str,
        gateway: str = "",
        aux: Sequence[str] = (),
        ip_range: str = "",
        options: dict[str, str] | None = None,
        ipam_options: dict[str, str] | None = None,
        versions: Sequence[int] = (),
    ) -> Network:
        """``docker network create --ipam-driver openvswitch``; versions are for pools that nobody names."""
        network = Network(secrets.token_hex(32))
        pools = [(subnet, ":" in subnet) for subnet in subnets]
        pools = pools or [("", version == 6) for version in versions or (4,)]
        try:
            for number, (subnet, v6) in enumerate(pools):
                first = number == 0
                request = messages.RequestPoolRequest(
                    pool=subnet, sub_pool=ip_range if first else "", options=ipam_options, v6=v6
                )
                pool = await self.ipam.request_pool(request)
                network.pool_ids.append(pool.pool_id)
                await self._reserve(network, pool, gateway if first else "", aux if first else ())
            await self.driver.create_network(create(network, options))
        except OvnDockerError:
            await self._release(network)
            raise
        return network

    async def _reserve(
        self, network: Network, pool: messages.RequestPoolResponse, gateway: str, aux: Sequence[str]
    ) -> None:
        own = await self.request(pool.pool_id, gateway, GATEWAY_OPTIONS)
        network.held.append((pool.pool_id, own))
        for each in aux:
            network.held.append((pool.pool_id, await self.request(pool.pool_id, each)))
        names = dict(zip(aux, (whole for _, whole in network.held[-len(aux) :]), strict=True)) if aux else {}
        network.data.append(
            messages.IPAMData(
                address_space=ADDRESS_SPACE, pool=pool.pool, gateway=own, aux_addresses=names or None
            )
        )

    async def _release(self, network: Network) -> None:
        for pool_id, address in network.held:
            await self.release(pool_id, address)
        for pool_id in network.pool_ids:
            await self.ipam.release_pool(messages.PoolRequest(pool_id=pool_id))

    async def network_rm(self, network: Network) -> None:
        """``docker network rm``: addresses and pools go first, as dockerd does it."""
        await self._release(network)
        await self.driver.delete_network(messages.NetworkRequest(network_id=network.network_id))

    async def plain_network_create(
        self, *subnets: str, gateway: str = "", options: dict[str, str] | None = None
    ) -> Network:
        """``docker network create`` with Docker's own IPAM."""
        network = Network(secrets.token_hex(32))
        for number, subnet in enumerate(subnets):
            prefix = subnet.partition("/")[2]
            own = f"{gateway}/{prefix}" if gateway and number == 0 else ""
            network.data.append(messages.IPAMData(address_space="LocalDefault", pool=subnet, gateway=own))
        await self.driver.create_network(create(network, options))
        return network

    async def run(self, network: Network, ip: str = "") -> "Container":
        """``docker run``, up to the endpoint; addresses with prefix length, one of each pool."""
        addresses: list[str] = []
        container = Container(self, network, secrets.token_hex(32), addresses)
        try:
            for number, pool_id in enumerate(network.pool_ids):
                addresses.append(await self.request(pool_id, ip if number == 0 else ""))
            await self.endpoint(network, container.endpoint_id, *addresses)
        except OvnDockerError:
            await container.release()
            raise
        return container

    async def endpoint(self, network: Network, endpoint_id: str, *addresses: str, mac: str = "") -> None:
        """CreateEndpoint with addresses that have prefix lengths; `mac` as by ``--mac-address``."""
        interface = messages.EndpointInterface(
            mac_address=mac,
            address=next((each for each in addresses if ":" not in each), ""),
            address_ipv6=next((each for each in addresses if ":" in each), ""),
        )
        await self.driver.create_endpoint(
            messages.CreateEndpointRequest(
                network_id=network.network_id, endpoint_id=endpoint_id, interface=interface
            )
        )

    async def plug(self, container: "Container", sandbox: str = "", **ids: str) -> None:
        """What Join leaves in Open_vSwitch, without a link; `sandbox` is 12 hex digits."""
        marks = {
            open_vswitch.IFACE_ID: container.endpoint_id,
            open_vswitch.NETWORK: container.network.network_id,
            open_vswitch.ADDRESSES: " ".join(each.partition("/")[0] for each in container.addresses),
            **({open_vswitch.SANDBOX: sandbox} if sandbox else {}),
            **{f"ovn-docker-{key}": value for key, value in ids.items()},
        }
        link, _ = addressing.link_names(container.endpoint_id)
        self.into_bridge(open_vswitch.add_port(BRIDGE, container.endpoint_id, link, marks))
        plugged = lambda: self.attachments.plugged(container.endpoint_id)  # noqa: E731
        await until(plugged, "the interface is known")

    def into_bridge(self, operations: Sequence[Operation]) -> None:
        """Add a port to the integration bridge, which is made with the first."""
        bridge = {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": BRIDGE}}
        holds = mutate("Open_vSwitch", [], ("bridges", "insert", ["set", [["named-uuid", "b"]]]))
        make = [] if self.open_vswitch.rows("Bridge", "name") else [bridge, holds]
        self.open_vswitch.transact(*make, *operations)

    async def request(self, pool_id: str, address: str = "", options: dict[str, str] | None = None) -> str:
        """RequestAddress: the address with prefix length."""
        request = messages.AddressRequest(pool_id=pool_id, address=address, options=options)
        return (await self.ipam.request_address(request)).address

    async def release(self, pool_id: str, address: str) -> None:
        """ReleaseAddress; dockerd gives the address without prefix length."""
        request = messages.AddressRequest(pool_id=pool_id, address=address.partition("/")[0])
        await self.ipam.release_address(request)


@dataclass
class Container:
    """An endpoint with its addresses."""

    host: Host
    network: Network
    endpoint_id: str
    addresses: list[str]

    @property
    def ip(self) -> str:
        """The first address, without prefix length."""
        return self.addresses[0].partition("/")[0]

    async def release(self) -> None:
        for pool_id, address in zip(self.network.pool_ids, self.addresses, strict=False):
            await self.host.release(pool_id, address)

    async def rm(self) -> None:
        """``docker rm -f``: the endpoint, then its addresses."""
        request = messages.EndpointRequest(network_id=self.network.network_id, endpoint_id=self.endpoint_id)
        await self.host.driver.delete_endpoint(request)
        await self.release()


def create(network: Network, options: dict[str, str] | None) -> messages.CreateNetworkRequest:
    """CreateNetwork as dockerd sends it."""
    return messages.CreateNetworkRequest(
        network_id=network.network_id,
        options={messages.GENERIC: options or {}},
        ipv4_data=[each for each in network.data if ":" not in each.pool],
        ipv6_data=[each for each in network.data if ":" in each.pool],
    )


@dataclass
class Hosts:
    """Makes hosts of one Northbound."""

    northbound: OvsdbServer
    make_server: Any
    directory: Path
    indexed: bool = False
    """Whether each host is registered, with an index that is whole from the beginning."""
    docker: str = NO_DOCKER

    @contextlib.asynccontextmanager
    async def host(
        self, name: str, flags: Flags | None = None, remote: Remote | None = None
    ) -> AsyncIterator[Host]:
        """A running driver; a second one of the same name is the first after a restart."""
        flags = flags or Flags()
        ovs_server = self.make_server("Open_vSwitch")
        remote = remote or self.northbound.remote
        ids = {"system-id": name, "ovn-nb": f"unix:{remote.address}"}
        row = {"external_ids": to_map(ids)}
        ovs_server.transact({"op": "insert", "table": "Open_vSwitch", "row": row})
        if self.indexed:
            self._register(name)
        settings = replace(
            driver_settings(ovs_server.remote, self.directory / f"{name}.json", docker=self.docker),
            distributed=flags.distributed,
            context=flags.context,
            default_pools=tuple(map(address_pools.parse_default_pool, flags.default_pools)),
        )
        parts = assemble_overlay(settings, dict)
        parts.inventory.scan(always=False, note=True)  # without a delay
        supervision = Supervision()
        async with running(parts, supervision):
            yield Host(
                name,
                parts.driver,
                parts.ipam,
                parts.shared,
                parts.northbound,
                parts.inventory,
                parts.repairs,
                ovs_server,
                parts.naming,
                parts.ovs,
                parts.reader,
            )
            assert supervision.problems() == []

    @contextlib.asynccontextmanager
    async def several(self, count: int) -> AsyncIterator[list[Host]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.host(f"h{number}")) for number in range(count)]

    def _register(self, name: str) -> None:
        """What a driver does at its first connection, and its health check once."""
        [found] = self.northbound.transact(host_schema.host_get(name))
        if not found["rows"]:
            mark = Mark(name, "2030-01-02T03:04:05Z")
            self.northbound.transact(host_schema.host_add(mark), hosts.index_finish(mark, {}))

    def port_security(self) -> dict[str, str]:
        """The port security of each port by name, "" for none."""
        rows = self.northbound.ports("name", "port_security")
        return {row["name"]: " ".join(members(row["port_security"])) for row in rows}

    def rows(self, kind: str) -> list[str]:
        """The addresses or subnets of our rows of a kind: pool, lease, claim, reserved."""
        rows = self.northbound.rows("DHCP_Options", "cidr", "external_ids")
        return sorted(row["cidr"] for row in rows if mapping(row["external_ids"]).get("ovn-docker") == kind)

    def switches(self) -> list[str]:
        return sorted(row["name"] for row in self.northbound.rows("Logical_Switch", "name"))

    def ports(self) -> list[str]:
        return sorted(row["name"] for row in self.northbound.ports("name"))

    def allowed_switch(self, name: str) -> None:
        """An administrator's switch that every host may use."""
        self.nbctl("ls-add", name)
        self.nbctl("set", "Logical_Switch", name, "external_ids:ovn-docker-allow=true")

    def nbctl(self, *words: str) -> str:
        """What an administrator types."""
        return run("ovn-nbctl", f"--db={self.northbound.remote}", *words).strip()
