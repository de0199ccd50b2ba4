"""Docker's NetworkDriver over Neutron, inside a virtual machine: the "underlay" mode.

An endpoint is a Neutron port under the machine's own port; in the machine it is a VLAN on the bridge of the
machine's interface. Between two calls nothing is remembered but the Neutron network of each Docker network.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
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
from ovn_docker.underlay.neutron_ports import EndpointPorts
from ovn_docker.underlay.neutron_undo import NeutronUndo
from ovn_docker.underlay.vlans import ChildPorts

# --- Whether OS_VIF_ID is this machine's port: it marks what belongs to which machine in Neutron. -----------
# A copied openrc file or a cloned image has another machine's, and Docker in a cloned image even has that
# machine's networks and endpoints, which it deletes at its start.


UNUSABLE = frozenset({"vif-missing", "vif-elsewhere"})
"""Kinds of findings with which no call can be served."""

RETRY_INTERVAL = 5.0
"""Seconds until the port is looked at again."""


class VifIdentity:
    """Whether OS_VIF_ID (`host`) is this machine's port."""

    def __init__(self, neutron: Neutron, host: str, attachments: Attachments) -> None:
        self._neutron = neutron
        self._host = host
        self._attachments = attachments
        self._lock = asyncio.Lock()
        self._confirmed = False
        self._problem = ""

    def problem(self) -> str:
        """What was wrong at the last check, or ""."""
        return self._problem

    async def confirm(self) -> None:
        """Check that the port is this machine's, until it was once.

        Raises:
            ConfigError: it is not; nothing of it may be touched.
            NeutronError, UnreachableError: it cannot be read.
        """
        async with self._lock:
            if not self._confirmed:
                await self._check()

    async def _check(self) -> None:
        found = {finding.kind: finding.text for finding in check_identity(await self._read())}
        problem = "; ".join(text for kind, text in found.items() if kind in UNUSABLE)
        for text in found.values():
            if problem != self._problem or not problem:
                LOG.error("%s", text)
        self._problem = problem
        if problem:
            raise ConfigError(problem)
        self._confirmed = True

    async def run(self) -> None:
        """Log at the start what is wrong, once."""
        while not self._confirmed:
            try:
                await self.confirm()
            except OvnDockerError as error:
                LOG.debug("checking the port of this machine: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)
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
        if not UNUSABLE & {finding.kind for finding in check_identity(setup)} or vif is None:
            return setup
        # An interface of DPDK is known to Open vSwitch only.
        return replace(setup, bridges=await self._attachments.bridges())

    async def _vif(self) -> Vif | None:
        found = await self._neutron.find(f"ports/{self._host}")
        if found is None:
            return None
        port = found["port"]
        project = port.get("project_id") or ""
        return Vif(mac=port["mac_address"], project=project, enabled=True, status="", mtu=None)


LOG = logging.getLogger(__name__)

NEUTRON_SPACE = "neutron"
"""The address space of our IPAM."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """Neutron as this machine uses it.

    Attributes:
        host: the id of this machine's Neutron port (OS_VIF_ID).
        children: the VLANs of endpoints' ports.
        identity: whether that port is this machine's; every call that changes something checks it first.
    """

    neutron: Neutron
    host: str
    networks: UnderlayNetworks
    ports: EndpointPorts
    children: ChildPorts
    undoing: NeutronUndo
    identity: VifIdentity


class UnderlayDriver:
    """Networks are Neutron networks, endpoints are Neutron ports."""

    def __init__(
        self,
        cloud: Cloud,
        attachments: Attachments,
        scope: str,
        now: Callable[[], str],
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Serve Docker.

        Args:
            cloud: Neutron.
            attachments: to the bridge that the machine's interface is on.
            scope: ``local`` or ``global``, where Docker allocates networks.
            now: the time, UTC, RFC 3339.
            about: the configuration that NetworkDriver.Database shows.
        """
        self._cloud = cloud
        self._attachments = attachments
        self.scope = scope
        self._now = now
        self._about = about

    def outage(self) -> str:
        """Why Open vSwitch or Neutron cannot be used, or OS_VIF_ID, or ""."""
        cloud = self._cloud
        outages = self._attachments.outage(), cloud.neutron.outage(), cloud.identity.problem()
        return "; ".join(filter(None, outages))

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """Echo the options: swarm passes them to each worker's CreateNetwork."""
        return messages.AllocateNetworkResponse(options=request.options or {})

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """Do nothing: nothing was reserved."""

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        await self._cloud.identity.confirm()
        await self._cloud.networks.create(neutron_networks.read(request, NEUTRON_SPACE))

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        """Delete the network, unless others use it; one that existed before stays.

        Docker forgets it whatever the answer is (moby daemon/libnetwork/network.go deleteNetwork).
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
        """Create the port and put it under the machine's; a failure is undone in the background."""
        endpoint_id = request.endpoint_id
        await self._cloud.identity.confirm()
        self._cloud.undoing.forget(endpoint_id)
        ref = await self._cloud.networks.locate(request.network_id)
        port = None
        try:
            port = await self._port(ref, request)
            with _first_error():
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._cloud.ports.tag(port, request.network_id, endpoint_id))
                    under = both.create_task(self._cloud.children.add(port))
            await self._attachments.set_vlan(endpoint_id, under.result())
        except BaseException as error:
            # On a conflict the port that exists is another's.
            if port is not None or not isinstance(error, ConflictError):
                self._cloud.undoing.later(endpoint_id, lambda: self._cloud.ports.remove(endpoint_id))
            raise
        return network_options.created(request, port.mac)

    async def _port(self, ref: NeutronNetworkRef, request: messages.CreateEndpointRequest) -> NeutronPort:
        ips = [interface.ip for interface in network_options.addresses(request)]
        fixed_ips = [(ref.subnet_of(ip), str(ip)) for ip in ips]
        await self._supersede(request, [str(ip) for ip in ips])
        mac = network_options.requested_mac(request)
        default = addressing.mac_for(request.endpoint_id, ips)
        port = ref, request.endpoint_id, fixed_ips, mac, default
        try:
            return await self._cloud.ports.ensure(*port)
        except (ConflictError, NeutronError) as error:
            refused = isinstance(error, NeutronError) and error.status != HTTPStatus.CONFLICT
            if refused or not await self._supersede_ports(request, ref, ips):
                raise
        return await self._cloud.ports.ensure(*port)

    async def _supersede(self, request: messages.CreateEndpointRequest, addresses: Sequence[str]) -> None:
        """Delete the endpoints of containers that are gone, whose address Docker has given to this one."""
        for endpoint_id in await self._attachments.superseded(
            request.network_id, request.endpoint_id, addresses
        ):
            await self._replace(request, endpoint_id)

    async def _supersede_ports(
        self,
        request: messages.CreateEndpointRequest,
        ref: NeutronNetworkRef,
        addresses: Sequence[IPAddress],
    ) -> bool:
        """Delete those too that have no link, as the driver was killed before Join; whether there are any.

        Docker gives an address of a network to one endpoint at a time.
        """
        texts = [str(address) for address in addresses]
        rivals = await self._cloud.ports.rivals(ref, request.endpoint_id, texts)
        stale = [endpoint_id for endpoint_id in rivals if not self._attachments.linked(endpoint_id)]
        for endpoint_id in stale:
            await self._replace(request, endpoint_id)
        return bool(stale)

    async def _replace(self, request: messages.CreateEndpointRequest, other: str) -> None:
        LOG.warning("endpoint %s replaces %s, whose container is gone", request.endpoint_id, other)
        await self.delete_endpoint(messages.EndpointRequest(network_id=request.network_id, endpoint_id=other))

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Delete the port, and what a failed Join or a missing Leave has left on this machine.

        Docker calls once and forgets, so what Open vSwitch or Neutron does not do now is repeated later.
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
        """Delete the port once the interface is gone, so that no frame carries a VLAN that is reused.

        Requests to an Open vSwitch that is away are carried out when it is back (ovsdb/client.py).
        """
        if self._attachments.leftover(endpoint_id):
            if outage := self._attachments.outage():
                raise UnreachableError(outage)
            await self._attachments.detach(endpoint_id)
        await self._cloud.identity.confirm()
        await self._cloud.ports.remove(endpoint_id)

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
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

        Returns when the port is ACTIVE or the wait for that is over. Without a router no gateway is named,
        and Docker adds its own gateway bridge (remote.md, Join).
        """
        await self._cloud.identity.confirm()
        ref = await self._cloud.networks.locate(request.network_id)
        attached: asyncio.Task[str] | None = None
        try:
            with _first_error():
                async with asyncio.TaskGroup() as both:  # Open vSwitch works while Neutron answers
                    subnets = both.create_task(self._cloud.networks.subnets(ref.neutron))
                    routers = both.create_task(self._routers(ref))
                    port, spec = await self._read_port(request, ref)
                    attached = both.create_task(self._attachments.attach(spec))
                    both.create_task(self._cloud.ports.wait_active(port, request.endpoint_id))
        except BaseException:
            if attached is not None and not attached.cancelled() and attached.exception() is None:
                await self._attachments.detach(request.endpoint_id)
            raise
        used = {subnet for subnet, _ in port.fixed_ips}
        own_subnets = [subnet for subnet in subnets.result() if subnet.id in used]
        return _joined(ref, attached.result(), own_subnets, routers.result())

    async def _read_port(
        self, request: messages.JoinRequest, ref: NeutronNetworkRef
    ) -> tuple[NeutronPort, AttachSpec]:
        """The endpoint's port, and how it is plugged in."""
        port, vlans, network = await asyncio.gather(
            self._endpoint(request),
            self._cloud.children.vlans(request.endpoint_id),
            self._cloud.neutron.get(f"networks/{ref.neutron}", {"fields": "mtu"}),
        )
        if port.id not in vlans:
            raise NotFoundError(_no_endpoint(request))
        most = int(network["network"]["mtu"])
        return port, self._attach_spec(request, port, vlans[port.id], min(ref.mtu or most, most))

    async def _routers(self, ref: NeutronNetworkRef) -> set[str] | None:
        """The addresses of routers on a network that the driver created; None on an existing network."""
        if not ref.made:
            return None
        query = {"network_id": ref.neutron, "device_owner": resources.ROUTER}
        found = await self._cloud.neutron.get("ports", query)
        return {address for port in found["ports"] for address in resources.read_port(port).addresses}

    def _attach_spec(
        self, request: messages.JoinRequest, port: NeutronPort, vlan: int, mtu: int
    ) -> AttachSpec:
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
        await self._attachments.detach(request.endpoint_id)

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """Published ports are a Neutron router's to open."""
        warn_of_published_ports(request, "Neutron's: give the port a floating IP address")

    async def database(self) -> dict[str, Any]:
        containers = self._attachments.by_network()
        networks = {
            network_id: {
                "NetworkID": network_id,
                "Neutron_Network": ref.neutron,
                "Subnet": " ".join(ref.subnets),
                "Made": ref.made,
                "Containers": containers.get(network_id, {}),
            }
            for network_id, ref in self._cloud.networks.all().items()
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
def _first_error() -> Iterator[None]:
    """Raise the first error of a task group alone."""
    try:
        yield
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _joined(
    ref: NeutronNetworkRef, inside: str, subnets: Sequence[Subnet], routers: set[str] | None
) -> messages.JoinResponse:
    gateways = {}
    routes = []
    for subnet in subnets:
        if subnet.gateway is not None and (routers is None or str(subnet.gateway) in routers):
            gateways[subnet.cidr.version] = str(subnet.gateway)
        routes += [
            messages.StaticRoute(destination=to, route_type=0, next_hop=hop) for to, hop in subnet.routes
        ]
    if ref.internal:
        gateways, routes = {}, []
    return messages.JoinResponse(
        interface_name=messages.InterfaceName(src_name=inside, dst_prefix="eth"),
        gateway=gateways.get(4, ""),
        gateway_ipv6=gateways.get(6, ""),
        static_routes=routes,
        disable_gateway_service=ref.internal,
    )


def _no_endpoint(request: messages.EndpointRequest) -> str:
    return f"Neutron has no port for endpoint {request.endpoint_id} of network {request.network_id}"
