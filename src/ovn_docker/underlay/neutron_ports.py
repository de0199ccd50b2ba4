"""An endpoint's port in Neutron: created, or taken over from our IPAM, found again, waited for, deleted.

A port's name is its EndpointID and its description says whose it is, so that each call of Docker's finds it
without memory. Once it is renamed for its container, the EndpointID is in its tags.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from ovn_docker.errors import ConflictError, NeutronError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import ACTIVE, NeutronPort, PortSpec
from ovn_docker.underlay.neutron_networks import NeutronNetworkRef
from ovn_docker.underlay.vlans import ChildPorts

LOG = logging.getLogger(__name__)

ACTIVE_TIMEOUT = 5.0
"""Seconds to wait for a port to become ACTIVE before its container is started anyway."""

FIRST_POLL, LONGEST_POLL = 0.05, 0.5
"""Seconds between two reads of a port's status; doubled from the first to the longest."""


class EndpointPorts:
    """The ports that this machine's driver created; `host` is the id of the machine's port."""

    def __init__(self, neutron: Neutron, host: str, children: ChildPorts) -> None:
        self._neutron = neutron
        self._host = host
        self._children = children

    async def find(self, endpoint_id: str) -> NeutronPort | None:
        return next(iter(await self._of(endpoint_id)), None)

    async def _of(self, endpoint_id: str) -> list[NeutronPort]:
        first, later = resources.queries(endpoint_id)
        return await self._own(**first) or await self._own(**later)

    async def all(self) -> list[NeutronPort]:
        """All ports, including those of leased addresses."""
        return await self._own()

    async def at(self, neutron: str, address: str) -> NeutronPort | None:
        """Our port with an address on a Neutron network, or None."""
        found = await self._own(network_id=neutron, fixed_ips=f"ip_address={address}")
        return next(iter(found), None)

    async def rivals(self, ref: NeutronNetworkRef, endpoint_id: str, addresses: Sequence[str]) -> list[str]:
        """Other endpoints of a network that have one of these addresses in Neutron.

        A port without tags is from a CreateEndpoint that got no further.
        """
        if not addresses:
            return []  # without a filter all ports would be found
        found = await self._own(
            network_id=ref.neutron, fixed_ips=[f"ip_address={address}" for address in addresses]
        )
        networks = {"", ref.network_id}
        others = [port for port in found if port.endpoint not in {"", endpoint_id}]
        return [port.endpoint for port in others if port.tag(resources.NETWORK) in networks]

    async def _own(self, **query: str | list[str]) -> list[NeutronPort]:
        found = await self._neutron.get("ports", {"description": resources.mark(self._host), **query})
        return [resources.read_port(port) for port in found["ports"]]

    async def ensure(
        self,
        ref: NeutronNetworkRef,
        endpoint_id: str,
        fixed_ips: Sequence[tuple[str, str]],
        mac: str,
        default_mac: str,
    ) -> NeutronPort:
        """The endpoint's port, created unless it exists.

        Args:
            ref: the network.
            endpoint_id: the port's name.
            fixed_ips: id of the subnet and address, for each address.
            mac: that Docker's user asked for, or "".
            default_mac: used where this project may choose one.

        Raises:
            ConflictError: it exists with other addresses.
        """
        if ref.leased:
            port = await self._take_over(ref, endpoint_id, fixed_ips)
            if port is not None:
                return port
        spec = PortSpec(
            name=endpoint_id,
            network_id=ref.neutron,
            fixed_ips=fixed_ips,
            mac=mac or default_mac,
            security_groups=ref.groups,
            port_security=ref.port_security,
        )
        try:
            return await self._make(spec, may_drop_mac=not mac)
        except NeutronError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            port = await self.find(endpoint_id)
            if port is None:
                raise
        return _same(port, spec, mac)

    async def _make(self, spec: PortSpec, *, may_drop_mac: bool) -> NeutronPort:
        try:
            return await self.make(spec)
        except NeutronError as error:
            if error.status != HTTPStatus.FORBIDDEN or not (may_drop_mac and spec.mac):
                raise
        return await self.make(replace(spec, mac=""))

    async def make(self, spec: PortSpec) -> NeutronPort:
        body = resources.new_port(spec, self._host)
        return resources.read_port((await self._neutron.post("ports", body))["port"])

    async def _take_over(
        self, ref: NeutronNetworkRef, endpoint_id: str, fixed_ips: Sequence[tuple[str, str]]
    ) -> NeutronPort | None:
        """Give the port of a leased address to an endpoint.

        For an endpoint with an IPv4 and an IPv6 address two ports were leased; the first gets both addresses.
        """
        leased = [port for _, address in fixed_ips if (port := await self.at(ref.neutron, address))]
        foreign = [port for port in leased if port.endpoint not in {"", endpoint_id}]
        if foreign:
            raise ConflictError(
                f"address {foreign[0].addresses[0]} is endpoint {foreign[0].endpoint}'s, not {endpoint_id}'s"
            )
        if not leased:
            return None
        first = leased[0]
        for other in {port.id for port in leased} - {first.id}:
            await self._neutron.delete(f"ports/{other}")
        # Neutron puts no port with a device_id under a trunk.
        change: dict[str, Any] = {} if first.name else {"name": endpoint_id, "device_id": ""}
        change |= resources.security(ref.groups, ref.port_security)
        if set(first.fixed_ips) != set(fixed_ips):
            change |= resources.moved_port(fixed_ips)["port"]
        if not first.name or "fixed_ips" in change:
            found = await self._neutron.put(f"ports/{first.id}", {"port": change})
            first = resources.read_port(found["port"])
        return first

    async def tag(self, port: NeutronPort, network_id: str, endpoint_id: str, name: str = "") -> None:
        """Write our tags: whose port it is, of which of Docker's networks and endpoints."""
        words = resources.tags(
            self._host,
            network=network_id,
            endpoint=endpoint_id,
            lease=port.tag(resources.LEASE),
            name=name or port.tag(resources.NAME),
        )
        if set(words["tags"]) != set(port.tags):
            await self._neutron.put(f"ports/{port.id}/tags", words)

    async def rename(self, port: NeutronPort, name: str) -> None:
        """Rename a port, which must have its tags to be found afterwards."""
        if name != port.name:
            await self._neutron.put(f"ports/{port.id}", resources.changed_port(name=name))

    async def readdress(self, port: NeutronPort, fixed_ips: Sequence[tuple[str, str]], mac: str) -> None:
        change: dict[str, Any] = {}
        if set(port.fixed_ips) != set(fixed_ips):
            change |= resources.moved_port(fixed_ips)["port"]
        if mac and mac != port.mac:
            change["mac_address"] = mac
        if change:
            await self._neutron.put(f"ports/{port.id}", {"port": change})

    async def wait_active(self, port: NeutronPort, endpoint_id: str) -> None:
        """Wait until Neutron says that the port is ACTIVE, for a limited time.

        Neutron handles events of ports one after another, and each port that went away delays the next by
        seconds (ML2/OVN, update_lsp_host_info), while packets pass long before. So the container is started
        anyway.
        """
        status, pause = port.status, FIRST_POLL
        deadline = asyncio.get_running_loop().time() + ACTIVE_TIMEOUT
        while status != ACTIVE:
            if asyncio.get_running_loop().time() > deadline:
                LOG.warning(
                    "Neutron port %s of endpoint %s is %s after %.0f s: if it stays so, see whether the port"
                    " of this machine (OS_VIF_ID) is ACTIVE",
                    port.id,
                    endpoint_id,
                    status,
                    ACTIVE_TIMEOUT,
                )
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_POLL)
            found = await self._neutron.get(f"ports/{port.id}", {"fields": "status"})
            status = found["port"]["status"]

    async def remove(self, endpoint_id: str) -> None:
        """Delete an endpoint's port; an address that our IPAM has leased stays leased."""
        for port in await self._of(endpoint_id):
            if port.tag(resources.LEASE):
                await self._children.remove(port.id)
                await self._detach_endpoint(port)
            else:
                await self._children.before_delete(port.id)
                await self.delete(port)

    async def _detach_endpoint(self, port: NeutronPort) -> None:
        await self._neutron.put(f"ports/{port.id}", resources.changed_port(name=""))
        words = resources.tags(self._host, lease=port.tag(resources.LEASE))
        await self._neutron.put(f"ports/{port.id}/tags", words)

    async def delete(self, port: NeutronPort) -> None:
        """Delete a port, even one that is still under the machine's."""
        try:
            await self._neutron.delete(f"ports/{port.id}")
        except NeutronError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            await self._children.before_delete(port.id)
            await self._neutron.delete(f"ports/{port.id}")

    async def release(self, device: str) -> None:
        """Delete the port that a request created for an address, unless an endpoint has it."""
        for port in await self._own(device_id=device):
            if not port.endpoint:
                await self.delete(port)

    async def remove_from(self, neutron: str) -> None:
        """Delete all of our ports on a Neutron network."""
        for port in await self._own(network_id=neutron):
            await self._children.before_delete(port.id)
            await self.delete(port)


def _same(port: NeutronPort, spec: PortSpec, mac: str) -> NeutronPort:
    """Accept a port that exists already, if it is as requested."""
    wanted = {(subnet, address) for subnet, address in spec.fixed_ips if address}
    if port.network_id != spec.network_id or set(port.fixed_ips) != wanted or mac not in {"", port.mac}:
        raise ConflictError(f"Neutron has a port of endpoint {spec.name} with other addresses")
    return port
