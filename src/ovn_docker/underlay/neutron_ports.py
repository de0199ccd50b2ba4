"""An endpoint's port in Neutron: made, or taken over from our IPAM, found again, waited for, removed.

A port is named by its EndpointID and described as this host's, so that each verb finds it without memory.
When it is named for its container, the EndpointID stands in its tags.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ovn_docker.errors import ConflictError, NeutronError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import ACTIVE, NeutronPort, PortSpec
from ovn_docker.underlay.neutron_networks import NeutronNetworkRef
from ovn_docker.underlay.vlans import ChildPorts

LOG = logging.getLogger(__name__)

ACTIVE_TIMEOUT = 5.0
"""Seconds for a port to become ACTIVE before its container is started nevertheless."""

FIRST_LOOK, LONGEST_LOOK = 0.05, 0.5
"""Seconds between two looks at a port's status; doubled from the first to the longest."""

FORBIDDEN, CONFLICT, GONE = 403, 409, 404


class EndpointPorts:
    """The ports that this host made."""

    def __init__(self, neutron: Neutron, host: str, children: ChildPorts) -> None:
        """Use these; `host` is the id of this machine's Neutron port."""
        self._neutron = neutron
        self._host = host
        self._children = children

    async def find(self, endpoint_id: str) -> NeutronPort | None:
        """An endpoint's port, or None."""
        return next(iter(await self._of(endpoint_id)), None)

    async def _of(self, endpoint_id: str) -> list[NeutronPort]:
        first, later = resources.queries(endpoint_id)
        return await self._own(**first) or await self._own(**later)

    async def all(self) -> list[NeutronPort]:
        """All ports of this host, those of leased addresses too."""
        return await self._own()

    async def at(self, neutron: str, address: str) -> NeutronPort | None:
        """This host's port with an address on a Neutron network, or None."""
        found = await self._own(network_id=neutron, fixed_ips=f"ip_address={address}")
        return next(iter(found), None)

    async def rivals(self, place: NeutronNetworkRef, endpoint_id: str, addresses: Sequence[str]) -> list[str]:
        """Other endpoints of a network that have one of these addresses in Neutron.

        A port without tags is one of a CreateEndpoint that came no further.
        """
        if not addresses:
            return []  # no filter would be one for all ports
        found = await self._own(
            network_id=place.neutron, fixed_ips=[f"ip_address={each}" for each in addresses]
        )
        networks = {"", place.network_id}
        others = [each for each in found if each.endpoint not in {"", endpoint_id}]
        return [each.endpoint for each in others if each.tag(resources.NETWORK) in networks]

    async def _own(self, **query: str | list[str]) -> list[NeutronPort]:
        found = await self._neutron.get("ports", {"description": resources.mark(self._host), **query})
        return [resources.read_port(each) for each in found["ports"]]

    async def ensure(
        self,
        place: NeutronNetworkRef,
        endpoint_id: str,
        fixed_ips: Sequence[tuple[str, str]],
        mac: str,
        default_mac: str,
    ) -> NeutronPort:
        """The endpoint's port, which is made unless it is there.

        Args:
            place: of the network.
            endpoint_id: its name.
            fixed_ips: id of the subnet and address, for each address.
            mac: that Docker's user asked for, or "".
            default_mac: to be taken where this project may choose one.

        Raises:
            ConflictError: it is there with other addresses.
            NeutronError: Neutron refused.
        """
        if place.leased:
            port = await self._take_over(place, endpoint_id, fixed_ips)
            if port is not None:
                return port
        wish = PortSpec(
            name=endpoint_id,
            network_id=place.neutron,
            fixed_ips=fixed_ips,
            mac=mac or default_mac,
            security_groups=place.groups,
            port_security=place.port_security,
        )
        try:
            return await self._make(wish, may_drop_mac=not mac)
        except NeutronError as error:
            if error.status != CONFLICT:
                raise
            port = await self.find(endpoint_id)
            if port is None:
                raise
        return _same(port, wish, mac)

    async def _make(self, wish: PortSpec, *, may_drop_mac: bool) -> NeutronPort:
        try:
            return await self.make(wish)
        except NeutronError as error:
            if error.status != FORBIDDEN or not (may_drop_mac and wish.mac):
                raise
        return await self.make(
            PortSpec(
                wish.name,
                wish.network_id,
                wish.fixed_ips,
                security_groups=wish.security_groups,
                port_security=wish.port_security,
            )
        )

    async def make(self, wish: PortSpec) -> NeutronPort:
        """Make a port.

        Raises:
            NeutronError: Neutron refused.
        """
        body = resources.new_port(wish, self._host)
        return resources.read_port((await self._neutron.post("ports", body))["port"])

    async def _take_over(
        self, place: NeutronNetworkRef, endpoint_id: str, fixed_ips: Sequence[tuple[str, str]]
    ) -> NeutronPort | None:
        """Give the port of a leased address to an endpoint.

        An endpoint with an IPv4 and an IPv6 address has leased two ports; the second's address goes to the
        first.
        """
        leased = [port for _, address in fixed_ips if (port := await self.at(place.neutron, address))]
        foreign = [each for each in leased if each.endpoint not in {"", endpoint_id}]
        if foreign:
            raise ConflictError(
                f"address {foreign[0].addresses[0]} is endpoint {foreign[0].endpoint}'s, not {endpoint_id}'s"
            )
        if not leased:
            return None
        first = leased[0]
        for other in {each.id for each in leased} - {first.id}:
            await self._neutron.delete(f"ports/{other}")
        # Neutron puts no port under a trunk that belongs to a device.
        change: dict[str, Any] = {} if first.name else {"name": endpoint_id, "device_id": ""}
        change |= resources.security(place.groups, place.port_security)
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
        """Give a port that has its tags another name."""
        if name != port.name:
            await self._neutron.put(f"ports/{port.id}", resources.changed_port(name=name))

    async def readdress(self, port: NeutronPort, fixed_ips: Sequence[tuple[str, str]], mac: str) -> None:
        """Give a port these addresses."""
        change: dict[str, Any] = {}
        if set(port.fixed_ips) != set(fixed_ips):
            change |= resources.moved_port(fixed_ips)["port"]
        if mac and mac != port.mac:
            change["mac_address"] = mac
        if change:
            await self._neutron.put(f"ports/{port.id}", {"port": change})

    async def wait_active(self, port: NeutronPort, endpoint_id: str) -> None:
        """Wait until Neutron says that packets pass the port, but not for ever.

        Neutron hears of ports one after another, and is silent for some seconds about each that went away
        (ML2/OVN, update_lsp_host_info), while packets pass long since. So a container is not kept from its
        start by that.
        """
        status, pause = port.status, FIRST_LOOK
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
            pause = min(pause * 2, LONGEST_LOOK)
            found = await self._neutron.get(f"ports/{port.id}", {"fields": "status"})
            status = found["port"]["status"]

    async def remove(self, endpoint_id: str) -> None:
        """Remove an endpoint's port; an address that our IPAM has leased stays leased."""
        for port in await self._of(endpoint_id):
            if port.tag(resources.LEASE):
                await self._children.remove(port.id)
                await self._give_back(port)
            else:
                await self._children.let_go(port.id)
                await self.destroy(port)

    async def _give_back(self, port: NeutronPort) -> None:
        await self._neutron.put(f"ports/{port.id}", resources.changed_port(name=""))
        words = resources.tags(self._host, lease=port.tag(resources.LEASE))
        await self._neutron.put(f"ports/{port.id}/tags", words)

    async def destroy(self, port: NeutronPort) -> None:
        """Remove a port, also one that is under the machine's still."""
        try:
            await self._neutron.delete(f"ports/{port.id}")
        except NeutronError as error:
            if error.status != CONFLICT:
                raise
            await self._children.let_go(port.id)
            await self._neutron.delete(f"ports/{port.id}")

    async def give_up(self, device: str) -> None:
        """Remove what a request made for an address, if no endpoint has it."""
        for port in await self._own(device_id=device):
            if not port.endpoint:
                await self.destroy(port)

    async def remove_from(self, neutron: str) -> None:
        """Remove all of this host's ports from a Neutron network."""
        for port in await self._own(network_id=neutron):
            await self._children.let_go(port.id)
            await self.destroy(port)


def _same(port: NeutronPort, wish: PortSpec, mac: str) -> NeutronPort:
    """The port that is there, if it is the one that is wished for."""
    wanted = {each for each in wish.fixed_ips if each[1]}
    if port.network_id != wish.network_id or set(port.fixed_ips) != wanted or mac not in {"", port.mac}:
        raise ConflictError(f"Neutron has a port of endpoint {wish.name} with other addresses")
    return port
