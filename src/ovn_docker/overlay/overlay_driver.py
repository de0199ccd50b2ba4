"""Docker's NetworkDriver over OVN Northbound: the "overlay" mode, one method for each verb.

Between two calls nothing is kept but caches.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.errors import ConflictError, ConstraintError, NotFoundError, OvnDockerError
from ovn_docker.host import open_vswitch
from ovn_docker.host.attachment import Attachments, AttachSpec
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.api import warn_of_published_ports
from ovn_docker.overlay.egress import Egress
from ovn_docker.overlay.endpoints import OwnPorts, SharedPorts
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses, Recent
from ovn_docker.overlay.ipam.ipam_driver import OverlayIpam
from ovn_docker.overlay.name_service import read_servers
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.network_spec import SharingPolicy
from ovn_docker.overlay.networks import NetworkMaking, SharedNetworks, no_network
from ovn_docker.overlay.overlay_inventory import own_switches
from ovn_docker.overlay.plugging import MissingFlows, Plugging
from ovn_docker.overlay.vtep.ip_lookup import IpLookup
from ovn_docker.ovn import gateway_ports, leases, nb_global, switches
from ovn_docker.ovn.switches import Switch, SwitchPort

LOG = logging.getLogger(__name__)

EARLY_TIMEOUT = 1.0
"""Seconds for which a start waits for its name to be published; the event of the start does it otherwise."""


class OverlayDriver:
    """Networks are logical switches, endpoints are their ports.

    Attributes:
        plugging: what CreateEndpoint has begun of Join, which is done only while its `run` is.
    """

    def __init__(
        self,
        attachments: Attachments,
        shared: SharedNetworks,
        occupied: ForeignAddresses,
        ipam: OverlayIpam,
        lookups: IpLookup,
        egress: Egress,
        naming: Naming,
        policy: SharingPolicy,
        scope: str,
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        """`policy` says how networks come to share switches, `scope` where Docker allocates them.

        `about` is the configuration that NetworkDriver.Database shows.
        """
        self._northbound = shared.database
        self._attachments = attachments
        self._shared = shared
        self._shared_ports = SharedPorts(shared, occupied, naming)
        self._own_ports = OwnPorts(self._northbound)
        self._missing_flows = MissingFlows(self._northbound, attachments)
        self.scope = scope
        self._making = NetworkMaking(shared, policy, ipam)
        self._ipam = ipam
        self._lookups = lookups
        self._egress = egress
        self._naming = naming
        self._about = about
        self._servers: Recent[str, str] = Recent()
        self.plugging = Plugging()

    def outage(self) -> str:
        """Which of the two databases cannot be reached, and why, or ""."""
        return "; ".join(filter(None, (self._attachments.outage(), self._northbound.outage())))

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """Enter the network into its pools, and echo its options: swarm hands them to each node.

        The first node that needs the switch creates it. A new leader asks again for each network.
        """
        return await self._making.allocate(request)

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """Remove the network from its pools, and its switch if that is still there."""
        await self._ipam.freed(request.network_id)

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        """Create the switch, or use a shared one, and this host's link to its gateway.

        A repeat finds it, and equal.
        """
        own = await self._making.create(request)
        await self._egress.opened(request.network_id, own)

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        """Remove the switch, unless another's port is on it; leave a shared one.

        The transaction names the ports that may be removed with the switch: none at first, then this host's
        leftovers. While ports come and go it is tried again with those that are there then.
        """
        network = self._shared.get(request.network_id)
        if network is not None:
            await self._egress.closed(request.network_id, network.row_id)
            await self._shared.delete(network)
            return
        switch = switches.switch_id(request.network_id)
        await self._egress.closed(request.network_id, switch)
        ports: list[UUID] | None = []
        while ports is not None:
            delete = switches.ls_del(switch, ports)
            deleted = switches.was_deleted(await self._northbound.transact(delete, delete))
            if deleted and ports:
                mark = await self._northbound.mark()
                await self._northbound.transact([leases.claims_del(request.network_id, mark.host)])
            ports = None if deleted else await self._leftovers(request.network_id)

    async def _leftovers(self, network_id: str) -> list[UUID] | None:
        """The ports on a network's switch, if all are leftovers of this host; None without a switch."""
        switch = switches.switch_id(network_id)
        [held] = await self._northbound.transact([switches.ls_ports(switch)])
        if not held["rows"]:
            return None
        ports = [port for row in held["rows"] for port in switches.read_occupants(row, switch)]
        if not ports:
            return []
        owners = await self._northbound.transact([switches.lsp_owner(port) for port in ports])
        mark = await self._northbound.mark()
        own = {switches.NETWORK: network_id, switches.HOST: mark.host}.items()
        foreign = [
            row["name"]
            for owner in owners
            for row in owner["rows"]
            if not own <= switches.read_marks(row).items()
        ]
        if foreign:
            raise ConflictError(
                f"logical switch {network_id} stays in OVN because {len(foreign)} port(s) of others are on"
                f" it, {foreign[0]} among them: remove them, then run 'ovn-nbctl ls-del {network_id}'"
            )
        return ports

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        """Make the port, and begin to plug it in, because a Join is next."""
        port, switch = await self.make_port(request)
        if switch is not None:
            self._servers[port.endpoint_id] = read_servers((request.options or {}).get(messages.DNS_SERVERS))
            await self._call(port)
            self.plugging.begin(port.endpoint_id, partial(self._plug_in, port, switch))
        return network_options.created(request, port.mac)

    async def _call(self, port: SwitchPort) -> None:
        """Publish the name of the container, where Docker has told it already; what fails is done later."""
        network = self._shared.get(port.network_id)
        if network is None:
            return
        told = (self._ipam.caller(network.key(ip), ip) for ip in port.ips)
        name = next(filter(None, told), "")
        try:
            async with asyncio.timeout(EARLY_TIMEOUT):
                await self._naming.publish_early(network, port.endpoint_id, map(str, port.ips), name)
        except (OvnDockerError, TimeoutError) as error:
            LOG.info("container %s: its name is not published yet: %s", name, error)

    async def make_port(self, request: messages.CreateEndpointRequest) -> tuple[SwitchPort, Switch | None]:
        """Make the port of an endpoint; the switch that it is on, or None for a repeat.

        Its MAC address is Docker's, or if Docker names none, the one that follows from its IP address.
        """
        interfaces = network_options.addresses(request)
        ips = [interface.ip for interface in interfaces]
        mac = network_options.requested_mac(request) or addressing.mac_for(request.endpoint_id, ips)
        network = self._shared.get(request.network_id)
        secure = network is None or network.port_security
        port = SwitchPort(request.network_id, request.endpoint_id, " ".join([mac, *map(str, ips)]), secure)
        await self._supersede(port, ips)
        try:
            if network is None:
                return port, await self._own_ports.add(port, [interface.network for interface in interfaces])
            await self._shared_ports.add(network, port, interfaces)
            return port, network.as_switch()
        except ConstraintError:
            await self._check_repeat(port)
            return port, None

    async def _plug_in(self, port: SwitchPort, switch: Switch) -> None:
        await self._attachments.plug_in(await self._spec(port, switch))

    async def _supersede(self, port: SwitchPort, addresses: Sequence[addressing.IPAddress]) -> None:
        """Remove endpoints whose containers are gone and whose address Docker has given to this one."""
        ids = port.network_id, port.endpoint_id
        for endpoint_id in await self._attachments.superseded(*ids, map(str, addresses)):
            LOG.warning("endpoint %s takes the place of %s, whose container is gone", ids[1], endpoint_id)
            await self.delete_endpoint(messages.EndpointRequest(network_id=ids[0], endpoint_id=endpoint_id))

    async def _check_repeat(self, port: SwitchPort) -> None:
        """Fail unless the port that is in the way is the requested one."""
        own, named, switch = await self._northbound.transact(
            [
                switches.lsp_get(port.network_id, port.endpoint_id),
                switches.lsp_named(port.endpoint_id),
                switches.ls_get(switches.switch_id(port.network_id)),
            ]
        )
        if any(switches.read_addresses(row) == port.addresses for row in own["rows"]):
            await self._own_ports.unsecure(port, switch["rows"])
            return
        holders = [switches.read_marks(row) for row in named["rows"]]
        host = next((marks.get(switches.HOST, "") for marks in holders), "")
        raise ConflictError(
            f"OVN has a logical switch port named {port.endpoint_id} with other addresses or on another"
            f" network, made by {'host ' + host if host else 'somebody else'}"
        )

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Remove the port, and what a failed Join or a missing Leave left on this host.

        Neither waits for the other: Docker asks once, and forgets.
        """
        await asyncio.gather(self._detach_leftover(request.endpoint_id), self._delete_port(request))

    async def _detach_leftover(self, endpoint_id: str) -> None:
        await self.plugging.end(endpoint_id)
        if self._attachments.leftover(endpoint_id):
            await self._attachments.detach(endpoint_id)

    async def _delete_port(self, request: messages.EndpointRequest) -> None:
        await self._lookups.withdraw(request.endpoint_id)  # OVN gives the number of a port away at once
        network = self._shared.get(request.network_id)
        if network is not None:
            await self._shared_ports.delete(network, request.endpoint_id)
            return
        await self._own_ports.delete(request.network_id, request.endpoint_id)

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
        """The endpoint's addresses and the host's end of its link."""
        [found] = await self._northbound.transact([switches.lsp_get(request.network_id, request.endpoint_id)])
        if not found["rows"]:
            raise NotFoundError(_no_endpoint(request))
        mac, *addresses = switches.read_addresses(found["rows"][0]).split()
        outside, _ = addressing.link_names(request.endpoint_id)
        return messages.EndpointInfoResponse(
            value={"mac_address": mac, "ip_address": " ".join(addresses), "veth_outside": outside}
        )

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        """Plug a veth pair into the integration bridge; Docker moves its other end into the container.

        The answer waits for the port's flows, so that the container's first packet arrives. Where it names no
        gateway, Docker adds its own gateway bridge (remote.md, Join), which also publishes the ports.
        """
        network = self._shared.get(request.network_id)
        row = switches.switch_id(request.network_id) if network is None else network.row_id
        port = switches.lsp_get(request.network_id, request.endpoint_id)
        queries = [switches.ls_get(row), port, gateway_ports.port_get(row)]
        found, ports, gateway = await self._northbound.transact(queries)
        if not found["rows"]:
            raise NotFoundError(no_network(request.network_id))
        if not ports["rows"]:
            raise NotFoundError(_no_endpoint(request))
        switch = switches.read_switch(request.network_id, found["rows"][0])
        if network is not None:
            switch = replace(network.as_switch(), host=switch.host)
        made = SwitchPort(request.network_id, request.endpoint_id, switches.read_addresses(ports["rows"][0]))
        own = switch.pools_of(made.ips)
        publishes = messages.publishes(request.options)
        gateways = await self._egress.gateways(switch, row, gateway["rows"], own, publishes=publishes)
        hops = {} if gateways else await self._egress.hops(switch, row, gateway["rows"], own)
        cause = partial(self._missing_flows.cause, request.network_id, request.endpoint_id)
        spec = await self._spec(made, switch, {open_vswitch.SANDBOX: request.sandbox_key.rpartition("/")[2]})
        await self.plugging.settled(request.endpoint_id)  # what CreateEndpoint began need not be done again
        inside = await self._attachments.attach(spec, cause)
        return messages.JoinResponse(
            interface_name=messages.InterfaceName(src_name=inside, dst_prefix="eth"),
            gateway=gateways.get(4, ""),
            gateway_ipv6=gateways.get(6, ""),
            static_routes=self._naming.routes(request.endpoint_id, hops),
            disable_gateway_service=switch.sealed,
        )

    async def _spec(
        self, port: SwitchPort, switch: Switch, ids: Mapping[str, str] | None = None
    ) -> AttachSpec:
        """What to attach for a port; `ids` are external_ids known only at its Join."""
        mac, *addresses = port.addresses.split()
        mark, servers = await self._northbound.mark(), self._servers.get(port.endpoint_id)
        marks = {
            open_vswitch.NETWORK: port.network_id,
            open_vswitch.CREATED: mark.created,
            open_vswitch.ADDRESSES: " ".join(addresses),
            open_vswitch.STATUS: "active",
            **({open_vswitch.SEALED: "true"} if switch.sealed else {}),
            **({open_vswitch.SERVERS: servers} if servers else {}),
        }
        return AttachSpec(
            endpoint_id=port.endpoint_id,
            mac=mac,
            mtu=switch.mtu,
            external_ids={**marks, **(ids or {})},
            encrypted=nb_global.encrypted(self._northbound.client.replica),
        )

    async def leave(self, request: messages.EndpointRequest) -> None:
        """Unplug the veth pair and remove it."""
        self._lookups.hurry()
        await self.plugging.end(request.endpoint_id)
        await self._attachments.detach(request.endpoint_id)

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """Published ports are an OVN router's to open."""
        warn_of_published_ports(request, f"the OVN router of network {request.network_id}")

    async def database(self) -> dict[str, Any]:
        """The networks of this host and the endpoints plugged in here; no networks while OVN is away."""
        await self._lookups.look()
        return {
            **self._about(),
            "networks": await self._networks(),
            "integration_bridge": self._attachments.settings().bridge,
            "system_id": self._attachments.settings().system_id,
            "outage": self.outage(),
        }

    async def _networks(self) -> dict[str, Any]:
        if not self._northbound.client.connected or self._northbound.outage():
            return {}
        rows = await own_switches(self._northbound, self._attachments.settings().system_id)
        containers = self._attachments.by_network()
        networks = {
            network_id: {**network, "Containers": containers.get(network_id, {})}
            for network_id, network in self._shared.describe().items()
        }
        for row in rows:
            marks = switches.read_marks(row)
            network_id = marks.get(switches.NETWORK, row["name"])
            if network_id != row["name"]:
                continue  # a shared switch, described by what this host remembers
            networks[network_id] = {
                "Logical_Switch": row["name"],
                "NetworkID": network_id,
                "Subnet": marks.get(switches.SUBNET, ""),
                "Gateway": marks.get(switches.GATEWAY, ""),
                "Containers": containers.get(network_id, {}),
            }
        return networks


def _no_endpoint(request: messages.EndpointRequest) -> str:
    return f"OVN has no port for endpoint {request.endpoint_id} of network {request.network_id}"
