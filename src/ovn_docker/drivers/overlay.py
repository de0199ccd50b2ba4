"""Docker's NetworkDriver over OVN Northbound: the "overlay" mode.

Each method is the whole story of one verb: what Docker asks, the one transaction that does it, what is
answered. Nothing is remembered between two calls.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.drivers.gateways import RouterGateways
from ovn_docker.drivers.options import switch_for
from ovn_docker.errors import (
    ConflictError,
    ConstraintError,
    HostError,
    NotFoundError,
    RequestError,
    RequirementError,
)
from ovn_docker.host.attachment import Attachments, Wish
from ovn_docker.libnetwork import messages
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation
from ovn_docker.ovsdb.values import members
from ovn_docker.schema import northbound, open_vswitch
from ovn_docker.schema.northbound import Mark, Switch, SwitchPort

LOG = logging.getLogger(__name__)


class OverlayDriver:
    """Networks are logical switches, endpoints are their ports."""

    def __init__(
        self,
        northbound_client: Client,
        attachments: Attachments,
        scope: str,
        now: Callable[[], datetime],
        about: Mapping[str, Any],
    ) -> None:
        """Serve with these.

        Args:
            northbound_client: watches `northbound.ROUTER_PORTS`.
            attachments: this host's.
            scope: Docker's, ``local`` or ``global``.
            now: gives UTC.
            about: the configuration that `database` shows.
        """
        self._northbound = northbound_client
        self._attachments = attachments
        self._gateways = RouterGateways(northbound_client)
        self._scope = scope
        self._now = now
        self._about = about

    def capabilities(self) -> messages.CapabilitiesResponse:
        """Local or global as configured; connectivity is global, for a switch spans all hosts."""
        return messages.CapabilitiesResponse(
            scope=self._scope, connectivity_scope="global", gw_alloc_checker=True
        )

    def outage(self) -> str:
        """Which of the two databases cannot be reached, and why."""
        return "; ".join(filter(None, (self._attachments.outage(), self._northbound.outage())))

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """Echo the options: swarm hands them to each worker's CreateNetwork."""
        return messages.AllocateNetworkResponse(options=request.options or {})

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """Nothing was reserved; each node's DeleteNetwork removes what is its own."""

    async def gw_alloc_check(self, request: messages.GwAllocCheckRequest) -> messages.GwAllocCheckResponse:  # noqa: ARG002
        """Always reserve: a router may be attached to the switch at any time and takes that address."""
        return messages.GwAllocCheckResponse(skip_ipv4=False, skip_ipv6=False)

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        """Make the switch. A repeat finds it there, and equal."""
        switch, mark = switch_for(request), await self._mark()
        try:
            undo = northbound.ls_add_undo(request.network_id, mark)
            await self._transact(northbound.ls_add(switch, mark), undo)
        except ConstraintError:
            found = await self._switch(request.network_id)
            if not _alike(found, switch):
                raise ConflictError(
                    f"network {request.network_id} exists in OVN with other pools or options"
                ) from None
        except RequirementError:
            raise ConflictError(
                f"OVN has a logical switch named {request.network_id} that this driver did not make"
            ) from None

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        """Remove the switch, unless somebody else's port is on it.

        The transaction names the ports that may go with the switch, none at first; while others come and go
        it is tried with those that are there then.
        """
        ports: list[UUID] | None = []
        while ports is not None:
            [deleted] = await self._transact([northbound.ls_del(request.network_id, ports)])
            ports = None if deleted["count"] else await self._leftovers(request.network_id)

    async def _leftovers(self, network_id: str) -> list[UUID] | None:
        """The ports on a switch, if all are leftovers of this host on this network; None without switch."""
        [held] = await self._transact([northbound.ls_ports(network_id)])
        if not held["rows"]:
            return None
        ports = [port for row in held["rows"] for port in members(row["ports"])]
        if not ports:
            return []
        owners = await self._transact([northbound.lsp_owner(port) for port in ports])
        mark = await self._mark()
        ours = {northbound.NETWORK: network_id, northbound.HOST: mark.host}
        foreign = [row["name"] for each in owners for row in each["rows"] if not _has(row, ours)]
        if foreign:
            raise ConflictError(
                f"logical switch {network_id} stays in OVN because {len(foreign)} port(s) of others are on"
                f" it, {foreign[0]} among them: remove them, then run 'ovn-nbctl ls-del {network_id}'"
            )
        return ports

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        """Make the port. Docker's MAC address is taken; without one, it is told the one of the address."""
        asked = request.interface or messages.EndpointInterface()
        interfaces = [
            each
            for each in (
                addressing.interface(asked.address, "address"),
                addressing.interface(asked.address_ipv6, "IPv6 address"),
            )
            if each is not None
        ]
        ips = [each.ip for each in interfaces]
        mac = addressing.mac(asked.mac_address or addressing.mac_for(request.endpoint_id, ips))
        port = SwitchPort(request.network_id, request.endpoint_id, " ".join([mac, *map(str, ips)]))
        await self._add_port(port, [each.network for each in interfaces])
        if asked.mac_address:
            return messages.CreateEndpointResponse()
        return messages.CreateEndpointResponse(interface=messages.EndpointInterface(mac_address=mac))

    async def _add_port(self, port: SwitchPort, pools: Sequence[addressing.IPNetwork]) -> None:
        mark = await self._mark()
        try:
            undo = northbound.lsp_add_undo(port, mark)
            results = await self._transact(northbound.lsp_add(port, pools, mark), undo)
        except ConstraintError:
            await self._check_repeat(port)
            return
        if not results[-1]["count"]:
            switch = await self._switch(port.network_id)
            raise RequestError(
                f"endpoint {port.endpoint_id} cannot have {' and '.join(map(str, pools))}: network"
                f" {port.network_id} has the pools {', '.join(map(str, switch.pools)) or '(none)'}"
            )

    async def _check_repeat(self, port: SwitchPort) -> None:
        """Succeed if the port that is in the way is the one that was asked for."""
        own, named = await self._transact(
            [northbound.lsp_get(port.network_id, port.endpoint_id), northbound.lsp_named(port.endpoint_id)]
        )
        if any(northbound.read_addresses(row) == port.addresses for row in own["rows"]):
            return
        holders = [northbound.read_marks(row) for row in named["rows"]]
        host = next((marks.get(northbound.HOST, "") for marks in holders), "")
        raise ConflictError(
            f"OVN has a logical switch port named {port.endpoint_id} with other addresses or on another"
            f" network, made by {'host ' + host if host else 'somebody else'}"
        )

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Remove the port, and what a Join that failed or a Leave that never came left on this host."""
        if self._attachments.leftover(request.endpoint_id):
            await self._attachments.detach(request.endpoint_id)
        ids = request.network_id, request.endpoint_id
        [deleted] = await self._transact([northbound.lsp_del(*ids)])
        if not deleted["count"]:
            await self._transact([northbound.lsp_del_anywhere(*ids)])

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
        """Say the endpoint's addresses and the link that stays on the host."""
        [found] = await self._transact([northbound.lsp_get(request.network_id, request.endpoint_id)])
        if not found["rows"]:
            raise NotFoundError(_no_endpoint(request))
        mac, *addresses = northbound.read_addresses(found["rows"][0]).split()
        outside, _ = addressing.link_names(request.endpoint_id)
        return messages.EndpointInfoResponse(
            value={"mac_address": mac, "ip_address": " ".join(addresses), "veth_outside": outside}
        )

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        """Plug a veth pair into the integration bridge; Docker moves its other end into the container.

        Answered when the switch's flows are in, so the container's first packet arrives. Without a router on
        the switch no gateway is named, and Docker adds its own gateway bridge (remote.md, Join).
        """
        switches, ports = await self._transact(
            [
                northbound.ls_get(request.network_id),
                northbound.lsp_get(request.network_id, request.endpoint_id),
            ]
        )
        if not switches["rows"]:
            raise NotFoundError(_no_network(request.network_id))
        if not ports["rows"]:
            raise NotFoundError(_no_endpoint(request))
        switch = northbound.read_switch(request.network_id, switches["rows"][0])
        gateways = {} if switch.internal else await self._gateways.of(switch.network_id, switch.pools)
        mac, *_ = northbound.read_addresses(ports["rows"][0]).split()
        inside = await self._attachments.attach(await self._wish(request, switch, mac))
        return messages.JoinResponse(
            interface_name=messages.InterfaceName(src_name=inside, dst_prefix="eth"),
            gateway=gateways.get(4, ""),
            gateway_ipv6=gateways.get(6, ""),
            disable_gateway_service=switch.internal,
        )

    async def _wish(self, request: messages.JoinRequest, switch: Switch, mac: str) -> Wish:
        mark = await self._mark()
        marks = {
            open_vswitch.NETWORK: request.network_id,
            open_vswitch.CREATED: mark.created,
            "vm-id": request.sandbox_key.rpartition("/")[2],
            "iface-status": "active",
        }
        return Wish(endpoint_id=request.endpoint_id, mac=mac, mtu=switch.mtu, external_ids=marks)

    async def leave(self, request: messages.EndpointRequest) -> None:
        """Unplug the veth pair and remove it."""
        await self._attachments.detach(request.endpoint_id)

    async def discover_new(self, request: messages.DiscoverRequest) -> None:
        """Nothing to do: ovn-controller learns of other hosts from OVN Southbound."""

    async def discover_delete(self, request: messages.DiscoverRequest) -> None:
        """Nothing to do, likewise."""

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """Docker asks this only where Join named a gateway, which is an OVN router's to open."""
        if (request.options or {}).get("com.docker.network.portmap"):
            LOG.warning(
                "endpoint %s: published ports are not opened, its way out is the OVN router of network %s",
                request.endpoint_id,
                request.network_id,
            )

    async def revoke_external_connectivity(self, request: messages.EndpointRequest) -> None:
        """Nothing was programmed."""

    async def database(self) -> dict[str, Any]:
        """The networks that this host made and the endpoints joined here; empty while OVN is away."""
        return {
            **self._about,
            "networks": await self._networks(),
            "integration_bridge": self._attachments.settings().bridge,
            "system_id": self._attachments.settings().system_id,
            "outage": self.outage(),
        }

    async def _networks(self) -> dict[str, Any]:
        if not self._northbound.connected:
            return {}
        [found] = await self._transact([northbound.ls_list(self._attachments.settings().system_id)])
        containers = self._attachments.by_network()
        networks = {}
        for row in found["rows"]:
            marks = northbound.read_marks(row)
            network_id = marks.get(northbound.NETWORK, row["name"])
            networks[network_id] = {
                "Logical_Switch": row["name"],
                "NetworkID": network_id,
                "Subnet": marks.get(northbound.SUBNET, ""),
                "Gateway": marks.get(northbound.GATEWAY, ""),
                "Containers": containers.get(network_id, {}),
            }
        return networks

    async def _switch(self, network_id: str) -> Switch:
        [found] = await self._transact([northbound.ls_get(network_id)])
        if not found["rows"]:
            raise NotFoundError(_no_network(network_id))
        return northbound.read_switch(network_id, found["rows"][0])

    async def _transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """One transaction with Northbound; there is no use in waiting for one that nobody named."""
        settings = await self._attachments.known_settings()
        if not settings.northbound:
            raise HostError(
                "external_ids:ovn-nb is not set in Open_vSwitch: name OVN Northbound with"
                " 'ovs-vsctl set Open_vSwitch . external_ids:ovn-nb=tcp:ADDRESS:6641'"
            )
        return await self._northbound.transact(operations, undo)

    async def _mark(self) -> Mark:
        """This host and this second.

        Raises:
            HostError: the host has no name in OVN.
        """
        settings = await self._attachments.known_settings()
        if not settings.system_id:
            raise HostError("external_ids:system-id is not set in Open_vSwitch: OVN does not know this host")
        return Mark(host=settings.system_id, created=self._now().strftime("%Y-%m-%dT%H:%M:%SZ"))


def _alike(one: Switch, other: Switch) -> bool:
    return (set(one.pools), one.internal, one.mtu) == (set(other.pools), other.internal, other.mtu)


def _has(row: dict[str, Any], marks: dict[str, str]) -> bool:
    return marks.items() <= northbound.read_marks(row).items()


def _no_network(network_id: str) -> str:
    return f"OVN has no logical switch for network {network_id}: remove the network and create it again"


def _no_endpoint(request: messages.EndpointRequest) -> str:
    return f"OVN has no port for endpoint {request.endpoint_id} of network {request.network_id}"
