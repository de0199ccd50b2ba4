"""What this machine holds in Neutron, for the health check, and the repairs that no verb of Docker's does."""

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from ovn_docker.docker.models import Endpoint, Network
from ovn_docker.errors import NeutronError, OvnDockerError
from ovn_docker.health.checks import NAME
from ovn_docker.health.openstack_checks import NEEDED, TRUNK
from ovn_docker.health.snapshot import (
    EndpointIds,
    Names,
    Owned,
    OwnedEndpoint,
    OwnedLease,
    OwnedNetwork,
    OwnedPool,
    OwnedSwitch,
    Setup,
    Vif,
    VifTrunk,
)
from ovn_docker.host import veth
from ovn_docker.host.attachment import Attachments
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Query
from ovn_docker.underlay.neutron.resources import NeutronPort
from ovn_docker.underlay.neutron_networks import NeutronNetworkRef
from ovn_docker.underlay.underlay_driver import Cloud

# --- Reads what an OpenStack machine needs once: its port and trunk in Neutron, its bridge, its links. ------


GONE = 404

IDS = 100
"""How many ids are in one URL: 4 kB, of the 8 that a web server takes."""


class UnderlaySetup:
    """The set-up of this machine."""

    def __init__(self, cloud: Cloud, attachments: Attachments, *, trunked: bool = True) -> None:
        """Look there; `trunked` where containers' ports are to be under a trunk."""
        self._cloud = cloud
        self._attachments = attachments
        self._trunked = trunked
        self._needed = NEEDED.keys() if trunked else NEEDED.keys() - {TRUNK}
        self._found: set[str] = set()

    async def read(self) -> Setup:
        """One reading.

        Raises:
            NeutronError, UnreachableError: not all of it can be read.
        """
        lacks, vif, project, networks, bridges = await asyncio.gather(
            self._lacks(),
            self._vif(),
            self._cloud.neutron.project(),
            self._networks(),
            self._attachments.bridges(),
        )
        return Setup(
            vif_id=self._cloud.host,
            vif=vif,
            project=project,
            lacks=lacks,
            trunk=await self._trunk() if self._trunked and TRUNK not in lacks else None,
            bridge=self._attachments.bridge,
            bridges=bridges,
            links=veth.macs(),
            networks=networks,
            trunked=self._trunked,
        )

    async def _lacks(self) -> tuple[str, ...]:
        """Extensions of Neutron that are not there; what was there once is not asked for again."""
        for alias in self._needed - self._found:
            if await self._body(f"extensions/{alias}"):
                self._found.add(alias)
        return tuple(sorted(self._needed - self._found))

    async def _vif(self) -> Vif | None:
        found = await self._body(f"ports/{self._cloud.host}")
        if found is None:
            return None
        port = found["port"]
        network = await self._body(f"networks/{port['network_id']}")
        return Vif(
            mac=port["mac_address"],
            project=port.get("project_id") or "",
            enabled=port.get("admin_state_up") is not False,
            status=port.get("status") or "",
            mtu=(resources.read_network(network["network"]).mtu or None) if network else None,
        )

    async def _trunk(self) -> VifTrunk | None:
        found = await self._body("trunks", {"port_id": self._cloud.host}) or {"trunks": []}
        trunk = next(map(resources.read_trunk, found["trunks"]), None)
        return None if trunk is None else VifTrunk(trunk.id, trunk.enabled, trunk.status)

    async def _networks(self) -> dict[str, int]:
        """The MTU of each network in use."""
        places = self._cloud.networks.all()
        if not places:
            return {}
        ids = sorted({each.neutron for each in places.values()})
        mtus: dict[str, int] = {}
        for batch in (ids[at : at + IDS] for at in range(0, len(ids), IDS)):
            found = await self._cloud.neutron.get("networks", {"id": batch, "fields": ["id", "mtu"]})
            mtus |= {each["id"]: int(each.get("mtu") or 0) for each in found["networks"]}
        return {
            network_id: mtus[each.neutron] for network_id, each in places.items() if mtus.get(each.neutron)
        }

    async def _body(self, path: str, query: Query | None = None) -> dict[str, Any] | None:
        """What is there, or None where nothing is."""
        try:
            return await self._cloud.neutron.get(path, query)
        except NeutronError as error:
            if error.status != GONE:
                raise
            return None


RENAMED_AT_ONCE = 8
"""How many ports are named at the same time."""


class UnderlayInventory:
    """Reads and repairs what the underlay driver and its IPAM hold."""

    store = "Neutron"

    def __init__(self, cloud: Cloud, attachments: Attachments, *, trunked: bool = True) -> None:
        """Use these; `trunked` where endpoints' ports are to be under a trunk."""
        self._cloud = cloud
        self._attachments = attachments
        self._setup = UnderlaySetup(cloud, attachments, trunked=trunked)

    async def setup(self) -> Setup | None:
        """Read what this machine needs once.

        Raises:
            NeutronError, UnreachableError: it cannot be read.
        """
        return await self._setup.read()

    def pool_key(self, network: Network, subnet: str) -> str:  # noqa: ARG002
        """Nothing: the subnet is Neutron's, and nobody enters it."""
        return ""

    async def complete(self, held: Owned, missing: object) -> Owned:  # noqa: ARG002
        """Nothing is missing that Neutron has: all of it was asked for."""
        return held

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read all that is described as this machine's, and whether those networks are whole.

        Raises:
            NeutronError, UnreachableError: it cannot be read.
        """
        own = {each.name: each for each in await self._cloud.networks.own()}
        places = dict(self._cloud.networks.all())
        known = {network_id: await self._is_whole(place) for network_id, place in places.items()}
        found = dict.fromkeys([*networks, *own], False) | dict.fromkeys(own, True) | known
        vlans = await self._cloud.children.vlans()
        ports = await self._cloud.ports.all()
        of_neutron = {place.neutron: network_id for network_id, place in places.items()}
        of_neutron |= {each.id: name for name, each in own.items()}
        return Owned(
            networks={each: OwnedNetwork(each, whole, {}) for each, whole in found.items()},
            endpoints=tuple(
                _endpoint(each, of_neutron.get(each.network_id, ""), vlans.get(each.id))
                for each in ports
                if each.endpoint
            ),
            leases=tuple(lease for each in ports if not each.endpoint for lease in _leases(each)),
        )

    async def _is_whole(self, place: NeutronNetworkRef) -> bool:
        found = await self._cloud.networks.subnets(place.neutron)
        return set(place.subnets.values()) <= {each.id for each in found}

    async def restore(self, network_id: str) -> bool:
        """Forget where a network was that is not there any more, so that it is looked for by its options."""
        place = self._cloud.networks.all().get(network_id)
        if place is not None and not await self._is_whole(place):
            await self._cloud.networks.forget(network_id)
        return False

    async def remove_switch(self, switch: OwnedSwitch) -> None:
        """There are none."""

    async def readdress(self, endpoint: Endpoint) -> None:
        """Give the endpoint's port its addresses and its VLAN again."""
        port = await self._cloud.ports.find(endpoint.endpoint_id)
        if port is None:
            return
        place = await self._cloud.networks.locate(endpoint.network_id)
        fixed_ips = [(place.subnet_of(ip_address(each)), each) for each in endpoint.addresses]
        await self._cloud.ports.readdress(port, fixed_ips, endpoint.mac)
        vlan = await self._cloud.children.add(port)
        await self._attachments.set_vlan(endpoint.endpoint_id, vlan)

    async def plug(self, endpoint: Endpoint) -> None:
        """Plug in the link of an endpoint that has lost its interface."""
        port = await self._cloud.ports.find(endpoint.endpoint_id)
        if port is None:
            return
        vlan = await self._cloud.children.add(port)
        await self._attachments.set_vlan(endpoint.endpoint_id, vlan)
        await self._attachments.plug_again(
            endpoint.network_id, endpoint.endpoint_id, endpoint.mac, endpoint.addresses, vlan
        )

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Name ports for their containers, each with calls of its own: Neutron has no transactions."""
        few = asyncio.Semaphore(RENAMED_AT_ONCE)

        async def rename(ids: EndpointIds) -> str:
            async with few:
                return await self._rename(*ids, names[ids].get(NAME, ""))

        whys = await asyncio.gather(*map(rename, names))
        return {ids: why for ids, why in zip(names, whys, strict=True) if why}

    async def _rename(self, network_id: str, endpoint_id: str, name: str) -> str:
        """Name one port; why it could not be, or ""."""
        try:
            port = await self._cloud.ports.find(endpoint_id)
            if port is not None:
                # By its tags it is found from now on.
                await self._cloud.ports.tag(port, network_id, endpoint_id, name)
                await self._cloud.ports.rename(port, name or endpoint_id)
        except OvnDockerError as error:
            return str(error)
        return ""

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: ARG002, FBT001
        """An endpoint's port is its lease."""
        await self.readdress(endpoint)

    async def release(self, lease: OwnedLease) -> None:
        """Give an address up that no endpoint has."""
        try:
            found = await self._cloud.neutron.get(f"ports/{lease.row}")
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise
            return
        port = resources.read_port(found["port"])
        if not port.endpoint:
            await self._cloud.ports.destroy(port)

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Nothing is entered: the subnet is Neutron's."""

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Nothing was entered."""


def _endpoint(port: NeutronPort, network_id: str, vlan: int | None) -> OwnedEndpoint:
    """An endpoint; one that is not under the trunk has no use of its addresses."""
    return OwnedEndpoint(
        network_id=port.tag(resources.NETWORK) or network_id,
        endpoint_id=port.endpoint,
        addresses=(port.mac, *port.addresses) if vlan is not None else (),
        names=None,
        vlan=vlan,
    )


def _leases(port: NeutronPort) -> list[OwnedLease]:
    """The addresses of a port that no endpoint has."""
    return [OwnedLease(UUID(port.id), subnet_id, address, "", {}) for subnet_id, address in port.fixed_ips]
