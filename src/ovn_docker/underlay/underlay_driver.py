"""Docker's NetworkDriver over Neutron, inside a virtual machine: the "underlay" mode.

An endpoint is a Neutron port under the trunk of the machine's own port; in the machine it is a VLAN on the
bridge that the machine's interface is on. Each method is the whole story of one verb. Between two calls
nothing is remembered but where each network is.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress
from ovn_docker.errors import (
    ConfigError,
    ConflictError,
    NeutronError,
    NotFoundError,
    OvnDockerError,
    UnreachableError,
)
from ovn_docker.health.openstack_checks import check_identity
from ovn_docker.health.snapshot import Setup, Vif
from ovn_docker.host import open_vswitch, veth
from ovn_docker.host.attachment import Attachments, AttachSpec
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.api import warn_of_published_ports
from ovn_docker.underlay import neutron_networks
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import NeutronPort, Subnet
from ovn_docker.underlay.neutron_networks import NeutronNetworkRef, UnderlayNetworks
from ovn_docker.underlay.neutron_ports import CONFLICT, EndpointPorts
from ovn_docker.underlay.neutron_undo import NeutronUndo
from ovn_docker.underlay.vlans import ChildPorts

# --- Whether OS_VIF_ID is this machine's: by it everything in Neutron is told apart from other machines'. ---
# A copied openrc file or a cloned image has another machine's, and Docker in a cloned image even has that
# machine's networks and endpoints, and asks to delete them at its start.


UNUSABLE = frozenset({"vif-missing", "vif-elsewhere"})
"""Kinds of findings with which no verb can be served."""

PAUSE = 5.0
"""Seconds between two looks at what is wrong."""


class VifIdentity:
    """What this machine is in the cloud."""

    def __init__(self, neutron: Neutron, host: str, attachments: Attachments) -> None:
        """Look there; `host` is the id of this machine's Neutron port, as it was told."""
        self._neutron = neutron
        self._host = host
        self._attachments = attachments
        self._looking = asyncio.Lock()
        self._confirmed = False
        self._wrong = ""

    def problem(self) -> str:
        """What the last look found wrong, or ""."""
        return self._wrong

    async def confirm(self) -> None:
        """Look whether the port is this machine's, until it was; then it stays so.

        Raises:
            ConfigError: it is not; nothing of it may be touched.
            NeutronError, UnreachableError: it cannot be looked at.
        """
        async with self._looking:  # who comes meanwhile is told the same
            if not self._confirmed:
                await self._look()

    async def _look(self) -> None:
        found = {each.kind: each.text for each in check_identity(await self._read())}
        wrong = "; ".join(text for kind, text in found.items() if kind in UNUSABLE)
        for text in found.values():
            if wrong != self._wrong or not wrong:
                LOG.error("%s", text)
        self._wrong = wrong
        if wrong:
            raise ConfigError(wrong)
        self._confirmed = True

    async def run(self) -> None:
        """Say at the start what is wrong, and no more than once."""
        while not self._confirmed:
            try:
                await self.confirm()
            except OvnDockerError as error:
                LOG.debug("a look at the port of this machine: %s", error)
                await asyncio.sleep(PAUSE)
        await asyncio.Event().wait()

    async def _read(self) -> Setup:
        vif = await self._vif()
        bridge, links = self._attachments.bridge, veth.macs()
        setup = Setup(
            vif_id=self._host,
            vif=vif,
            project=await self._neutron.project(),
            lacks=(),
            trunk=None,
            bridge=bridge,
            bridges=(),
            links=links,
            networks={},
        )
        if not UNUSABLE & {each.kind for each in check_identity(setup)} or vif is None:
            return setup
        # The kernel does not know an interface of DPDK's, Open vSwitch does.
        return replace(setup, bridges=await self._attachments.bridges())

    async def _vif(self) -> Vif | None:
        try:
            found = await self._neutron.get(f"ports/{self._host}")
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise
            return None
        port = found["port"]
        project = port.get("project_id") or ""
        return Vif(mac=port["mac_address"], project=project, enabled=True, status="", mtu=None)


LOG = logging.getLogger(__name__)

NEUTRON_SPACE = "neutron"
"""What our IPAM calls its addresses."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Neutron as this machine uses it.

    Attributes:
        neutron: the API.
        host: the id of this machine's Neutron port (OS_VIF_ID).
        networks: where each network is.
        ports: the endpoints' ports.
        children: their VLANs.
        undoing: what is taken back.
        identity: whether that port is this machine's, which each verb that changes something asks first.
    """

    neutron: Neutron
    host: str
    networks: UnderlayNetworks
    ports: EndpointPorts
    children: ChildPorts
    undoing: NeutronUndo
    identity: VifIdentity


class UnderlayDriver:
    """Networks are Neutron's, endpoints are its ports."""

    def __init__(
        self,
        cloud: Cloud,
        attachments: Attachments,
        scope: str,
        now: Callable[[], str],
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Serve with these.

        Args:
            cloud: Neutron.
            attachments: to the bridge that the machine's interface is on.
            scope: ``local`` or ``global``, where Docker allocates networks.
            now: UTC, RFC 3339.
            about: the configuration that NetworkDriver.Database shows.
        """
        self._cloud = cloud
        self._attachments = attachments
        self.scope = scope
        self._now = now
        self._about = about

    def outage(self) -> str:
        """Which of Open vSwitch and Neutron cannot be reached, and why, or whose port OS_VIF_ID is."""
        cloud = self._cloud
        outages = self._attachments.outage(), cloud.neutron.outage(), cloud.identity.problem()
        return "; ".join(filter(None, outages))

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """Echo the options: swarm hands them to each worker's CreateNetwork."""
        return messages.AllocateNetworkResponse(options=request.options or {})

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """Nothing was reserved."""

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        """Make the network and its subnets, or find those that are to be used."""
        await self._cloud.identity.confirm()
        await self._cloud.networks.create(neutron_networks.read(request, NEUTRON_SPACE))

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        """Remove the network, unless others use it; one that we did not make stays.

        Docker forgets it whatever is answered (moby daemon/libnetwork/network.go deleteNetwork).
        """
        try:
            await self._delete_network(request.network_id)
        except (ConflictError, ConfigError):
            raise
        except BaseException:
            self._cloud.undoing.later(request.network_id, lambda: self._delete_network(request.network_id))
            raise

    async def _delete_network(self, network_id: str) -> None:
        await self._cloud.identity.confirm()
        await self._cloud.networks.delete(network_id, self._cloud.ports.remove_from)

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        """Make the port and put it under the trunk. What fails half-way is taken back in the background."""
        endpoint_id = request.endpoint_id
        await self._cloud.identity.confirm()
        self._cloud.undoing.forget(endpoint_id)
        place = await self._cloud.networks.locate(request.network_id)
        port = None
        try:
            port = await self._port(place, request)
            with _alone():
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._cloud.ports.tag(port, request.network_id, endpoint_id))
                    under = both.create_task(self._cloud.children.add(port))
            await self._attachments.set_vlan(endpoint_id, under.result())
        except BaseException as error:
            if port is not None or not isinstance(
                error, ConflictError
            ):  # what is there is not ours to remove
                self._cloud.undoing.later(endpoint_id, lambda: self._cloud.ports.remove(endpoint_id))
            raise
        return network_options.created(request, port.mac)

    async def _port(self, place: NeutronNetworkRef, request: messages.CreateEndpointRequest) -> NeutronPort:
        ips = [each.ip for each in network_options.addresses(request)]
        fixed_ips = [(place.subnet_of(ip), str(ip)) for ip in ips]
        await self._supersede(request, [str(each) for each in ips])
        mac = network_options.requested_mac(request)
        default = addressing.mac_for(request.endpoint_id, ips)
        wish = place, request.endpoint_id, fixed_ips, mac, default
        try:
            return await self._cloud.ports.ensure(*wish)
        except (ConflictError, NeutronError) as error:
            refused = isinstance(error, NeutronError) and error.status != CONFLICT
            if refused or not await self._supersede_ports(request, place, ips):
                raise
        return await self._cloud.ports.ensure(*wish)

    async def _supersede(self, request: messages.CreateEndpointRequest, addresses: Sequence[str]) -> None:
        """Remove the endpoints of containers that are gone and whose address Docker has given to this one."""
        for endpoint_id in await self._attachments.superseded(
            request.network_id, request.endpoint_id, addresses
        ):
            await self._replace(request, endpoint_id)

    async def _supersede_ports(
        self,
        request: messages.CreateEndpointRequest,
        place: NeutronNetworkRef,
        addresses: Sequence[IPAddress],
    ) -> bool:
        """Remove those too that have no link, for the driver was killed before Join; whether there are any.

        Docker gives an address of a network to one endpoint at a time.
        """
        rivals = await self._cloud.ports.rivals(place, request.endpoint_id, [str(each) for each in addresses])
        stale = [each for each in rivals if not self._attachments.linked(each)]
        for endpoint_id in stale:
            await self._replace(request, endpoint_id)
        return bool(stale)

    async def _replace(self, request: messages.CreateEndpointRequest, other: str) -> None:
        LOG.warning("endpoint %s takes the place of %s, whose container is gone", request.endpoint_id, other)
        await self.delete_endpoint(messages.EndpointRequest(network_id=request.network_id, endpoint_id=other))

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Remove the port, and what a Join that failed or a Leave that never came left on this machine.

        Docker asks once, and forgets: what Open vSwitch or Neutron does not do now is asked of it again.
        """
        endpoint_id = request.endpoint_id
        try:
            if self._attachments.leftover(endpoint_id):
                await self._attachments.detach(endpoint_id)
            await self._cloud.identity.confirm()
            await self._cloud.ports.remove(endpoint_id)
        except ConfigError:
            raise
        except BaseException:
            self._cloud.undoing.later(endpoint_id, lambda: self._remove(endpoint_id))
            raise

    async def _remove(self, endpoint_id: str) -> None:
        """Remove the port when the machine's side is gone, so that no frame carries a VLAN of another's.

        What was asked of Open vSwitch while it was away is done when it is back (ovsdb/client.py).
        """
        if self._attachments.leftover(endpoint_id):
            if why := self._attachments.outage():
                raise UnreachableError(why)
            await self._attachments.detach(endpoint_id)
        await self._cloud.identity.confirm()
        await self._cloud.ports.remove(endpoint_id)

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
        """Say the endpoint's addresses, its port and the link that stays on the machine."""
        port = await self._endpoint(request)
        outside, _ = addressing.link_names(request.endpoint_id)
        value = {
            "mac_address": port.mac,
            "ip_address": " ".join(port.addresses),
            "veth_outside": outside,
            "neutron_port": port.id,
        }
        return messages.EndpointInfoResponse(value=value)

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        """Plug a veth pair into the bridge; Docker moves its other end into the container.

        Answered when the port is ACTIVE, or is late in being so. Without a way out no gateway is named, and
        Docker adds its own gateway bridge (remote.md, Join).
        """
        await self._cloud.identity.confirm()
        place = await self._cloud.networks.locate(request.network_id)
        attached: asyncio.Task[str] | None = None
        try:
            with _alone():
                async with asyncio.TaskGroup() as both:  # what Open vSwitch does, while Neutron answers
                    subnets = both.create_task(self._cloud.networks.subnets(place.neutron))
                    routers = both.create_task(self._routers(place))
                    port, wish = await self._wished(request, place)
                    attached = both.create_task(self._attachments.attach(wish))
                    both.create_task(self._cloud.ports.wait_active(port, request.endpoint_id))
        except BaseException:
            if attached is not None and not attached.cancelled() and attached.exception() is None:
                await self._attachments.detach(request.endpoint_id)
            raise
        used = {subnet for subnet, _ in port.fixed_ips}
        return _joined(
            place, attached.result(), [each for each in subnets.result() if each.id in used], routers.result()
        )

    async def _wished(
        self, request: messages.JoinRequest, place: NeutronNetworkRef
    ) -> tuple[NeutronPort, AttachSpec]:
        """The endpoint's port, and how it is plugged in."""
        port, vlans, network = await asyncio.gather(
            self._endpoint(request),
            self._cloud.children.vlans(request.endpoint_id),
            self._cloud.neutron.get(f"networks/{place.neutron}", {"fields": "mtu"}),
        )
        if port.id not in vlans:
            raise NotFoundError(_no_endpoint(request))
        most = int(network["network"]["mtu"])
        return port, self._wish(request, port, vlans[port.id], min(place.mtu or most, most))

    async def _routers(self, place: NeutronNetworkRef) -> set[str] | None:
        """The addresses of routers on a network that we made; None where the subnets' gateways hold."""
        if not place.made:
            return None
        query = {"network_id": place.neutron, "device_owner": resources.ROUTER}
        found = await self._cloud.neutron.get("ports", query)
        return {address for each in found["ports"] for address in resources.read_port(each).addresses}

    def _wish(self, request: messages.JoinRequest, port: NeutronPort, vlan: int, mtu: int) -> AttachSpec:
        marks = {
            open_vswitch.NETWORK: request.network_id,
            open_vswitch.CREATED: self._now(),
            open_vswitch.ADDRESSES: " ".join(port.addresses),
            open_vswitch.VLAN: str(vlan),
            open_vswitch.SANDBOX: request.sandbox_key.rpartition("/")[2],
            open_vswitch.STATUS: "active",
        }
        return AttachSpec(endpoint_id=request.endpoint_id, mac=port.mac, mtu=mtu, external_ids=marks)

    async def leave(self, request: messages.EndpointRequest) -> None:
        """Unplug the veth pair and remove it."""
        await self._attachments.detach(request.endpoint_id)

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """Published ports are a Neutron router's to open."""
        warn_of_published_ports(request, "Neutron's: give the port a floating IP address")

    async def database(self) -> dict[str, Any]:
        """The networks of this machine and the endpoints joined here."""
        containers = self._attachments.by_network()
        networks = {
            network_id: {
                "NetworkID": network_id,
                "Neutron_Network": place.neutron,
                "Subnet": " ".join(place.subnets),
                "Made": place.made,
                "Containers": containers.get(network_id, {}),
            }
            for network_id, place in self._cloud.networks.all().items()
        }
        bridge, host = self._attachments.bridge, self._cloud.host
        return {
            **self._about(),
            "networks": networks,
            "bridge": bridge,
            "vif_id": host,
            "outage": self.outage(),
        }

    async def _endpoint(self, request: messages.EndpointRequest) -> NeutronPort:
        port = await self._cloud.ports.find(request.endpoint_id)
        if port is None:
            raise NotFoundError(_no_endpoint(request))
        return port


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Raise what went wrong first where several things were done at the same time, and not all in a group."""
    try:
        yield
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _joined(
    place: NeutronNetworkRef, inside: str, subnets: Sequence[Subnet], routers: set[str] | None
) -> messages.JoinResponse:
    gateways = {}
    routes = []
    for subnet in subnets:
        if subnet.gateway is not None and (routers is None or str(subnet.gateway) in routers):
            gateways[subnet.cidr.version] = str(subnet.gateway)
        routes += [
            messages.StaticRoute(destination=to, route_type=0, next_hop=hop) for to, hop in subnet.routes
        ]
    if place.internal:
        gateways, routes = {}, []
    return messages.JoinResponse(
        interface_name=messages.InterfaceName(src_name=inside, dst_prefix="eth"),
        gateway=gateways.get(4, ""),
        gateway_ipv6=gateways.get(6, ""),
        static_routes=routes,
        disable_gateway_service=place.internal,
    )


def _no_endpoint(request: messages.EndpointRequest) -> str:
    return f"Neutron has no port for endpoint {request.endpoint_id} of network {request.network_id}"
