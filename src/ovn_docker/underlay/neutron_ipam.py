"""Docker's IpamDriver over Neutron: addresses of a subnet that several machines use.

A leased address is a port without a name, which CreateEndpoint takes over. So Neutron alone assigns
addresses, to containers, virtual machines and routers alike.
"""

import ipaddress
import uuid
from collections.abc import Mapping

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, network
from ovn_docker.errors import NeutronError, NotFoundError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.resources import PortSpec, Subnet
from ovn_docker.underlay.neutron_networks import NETWORK, SUBNET, named
from ovn_docker.underlay.underlay_driver import NEUTRON_SPACE, Cloud

SEPARATOR = "|"


class UnderlayIpam:
    """Subnets and addresses of Neutron."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """One name for both scopes: the space is Neutron's."""
        return messages.AddressSpacesResponse(local=NEUTRON_SPACE, global_=NEUTRON_SPACE)

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Find the requested subnet; none is created, as Docker does not say for which network."""
        if request.sub_pool:
            raise RequestError(
                "--ip-range cannot be used with Neutron's addresses: set the subnet's allocation pools,"
                " 'openstack subnet set --allocation-pool start=ADDRESS,end=ADDRESS SUBNET'"
            )
        options = dict(request.options or {})
        unknown = sorted(set(options) - {NETWORK, SUBNET})
        if unknown:
            raise RequestError(f"unknown IPAM option '{unknown[0]}': this driver knows {NETWORK}, {SUBNET}")
        subnet = await self._find(request, options)
        return messages.RequestPoolResponse(
            pool_id=f"{subnet.id}{SEPARATOR}{subnet.cidr}", pool=str(subnet.cidr)
        )

    async def _find(self, request: messages.RequestPoolRequest, options: Mapping[str, str]) -> Subnet:
        """The only subnet that fits the request."""
        query = {"ip_version": "6" if request.v6 else "4"}
        if request.pool:
            cidr = network(request.pool, "pool")
            query = {"cidr": str(cidr), "ip_version": str(cidr.version)}
        if NETWORK in options:
            query["network_id"] = (await named(self._cloud.neutron, "network", options[NETWORK]))["id"]
        if SUBNET in options:
            query["id"] = (await named(self._cloud.neutron, "subnet", options[SUBNET]))["id"]
        elif not request.pool and NETWORK not in options:
            raise RequestError(
                f"no subnet of Neutron is named: give --ipam-opt {SUBNET}=NAME, or --subnet CIDR of one"
            )
        found = (await self._cloud.neutron.get("subnets", query))["subnets"]
        if not found:
            raise NotFoundError(
                f"Neutron has no such subnet ({request.pool or 'any CIDR'}): make it with"
                " 'openstack subnet create', or leave out --ipam-driver"
            )
        if len(found) > 1:
            raise RequestError(
                f"Neutron has {len(found)} such subnets: say which with --ipam-opt {SUBNET}=NAME"
            )
        return resources.read_subnet(found[0])

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Do nothing: the pool is a subnet of Neutron."""

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Create a port for the requested address, or for one of Neutron's choice."""
        await self._cloud.identity.confirm()
        subnet = await self._subnet(request.pool_id)
        requested = addressing.address(request.address)
        gateway = (request.options or {}).get(messages.ADDRESS_TYPE) == messages.GATEWAY_TYPE
        if gateway:
            address = _gateway(subnet, requested)
        elif requested is not None and requested == subnet.gateway:
            address = requested
        else:
            address = await self._lease(subnet, requested)
        return messages.RequestAddressResponse(address=f"{address}/{subnet.cidr.prefixlen}")

    async def _lease(self, subnet: Subnet, requested: IPAddress | None) -> IPAddress:
        """Create the port, and delete it if this fails: Docker releases only addresses that it was given."""
        device = resources.request_device(uuid.uuid4().hex)
        fixed_ip = subnet.id, str(requested) if requested else ""
        spec = PortSpec("", subnet.network_id, [fixed_ip], device=device)
        port = None
        try:
            port = await self._cloud.ports.make(spec)
            words = resources.tags(self._cloud.host, lease=port.addresses[0])
            await self._cloud.neutron.put(f"ports/{port.id}/tags", words)
        except BaseException as error:
            if port is not None or not isinstance(error, NeutronError):  # which refused it
                self._cloud.undoing.later(device, lambda: self._cloud.ports.release(device))
            raise
        return ipaddress.ip_address(port.addresses[0])

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Delete the port of the address, if this machine's driver created it."""
        subnet_id = request.pool_id.partition(SEPARATOR)[0]
        address = addressing.address(request.address)
        if address is None:
            raise RequestError("ReleaseAddress names no address")
        await self._cloud.identity.confirm()
        found = await self._cloud.neutron.get("subnets", {"id": subnet_id})
        for subnet in found["subnets"]:
            port = await self._cloud.ports.at(subnet["network_id"], str(address))
            if port is not None and port.tag(resources.LEASE):
                await self._cloud.ports.delete(port)

    async def _subnet(self, pool_id: str) -> Subnet:
        subnet_id = pool_id.partition(SEPARATOR)[0]
        found = await self._cloud.neutron.get("subnets", {"id": subnet_id})
        if not found["subnets"]:
            raise NotFoundError(
                f"pool {pool_id} is not a subnet of Neutron any more: create the network again"
            )
        return resources.read_subnet(found["subnets"][0])


def _gateway(subnet: Subnet, requested: IPAddress | None) -> IPAddress:
    if subnet.gateway is None:
        raise RequestError(
            f"Neutron subnet {subnet.cidr} has no gateway, and Docker needs the address of one:"
            " 'openstack subnet set --gateway ADDRESS SUBNET'"
        )
    if requested not in {None, subnet.gateway}:
        raise RequestError(
            f"the gateway of Neutron subnet {subnet.cidr} is {subnet.gateway}: leave out --gateway"
        )
    return subnet.gateway
