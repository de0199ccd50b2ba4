"""What this machine has in Neutron, for the health check, and repairs that no call of Docker's makes."""

import asyncio
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from uuid import UUID

from ovn_docker.docker.models import Container, Endpoint, Network
from ovn_docker.errors import OvnDockerError
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
from ovn_docker.underlay.neutron.resources import NeutronPort
from ovn_docker.underlay.neutron_networks import NeutronNetworkRef
from ovn_docker.underlay.underlay_driver import Cloud

# --- The set-up of an OpenStack machine: its port and trunk in Neutron, its bridge, its links. --------------


IDS = 100
"""Ids in one URL: 4 kB of the 8 that a web server accepts."""


class UnderlaySetup:
    """Reads the set-up; `trunked` where containers' ports are to be under a trunk."""

    def __init__(self, cloud: Cloud, attachments: Attachments, *, trunked: bool = True) -> None:
        self._cloud = cloud
        self._attachments = attachments
        self._trunked = trunked
        self._needed = NEEDED.keys() if trunked else NEEDED.keys() - {TRUNK}
        self._found: set[str] = set()

    async def read(self) -> Setup:
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
        """Missing extensions of Neutron; one that was found once is not looked for again."""
        for alias in self._needed - self._found:
            if await self._cloud.neutron.find(f"extensions/{alias}"):
                self._found.add(alias)
        return tuple(sorted(self._needed - self._found))

    async def _vif(self) -> Vif | None:
        found = await self._cloud.neutron.find(f"ports/{self._cloud.host}")
        if found is None:
            return None
        port = found["port"]
        network = await self._cloud.neutron.find(f"networks/{port['network_id']}")
        return Vif(
            mac=port["mac_address"],
            project=port.get("project_id") or "",
            enabled=port.get("admin_state_up") is not False,
            status=port.get("status") or "",
            mtu=(resources.read_network(network["network"]).mtu or None) if network else None,
        )

    async def _trunk(self) -> VifTrunk | None:
        found = await self._cloud.neutron.find("trunks", {"port_id": self._cloud.host}) or {"trunks": []}
        trunk = next(map(resources.read_trunk, found["trunks"]), None)
        return None if trunk is None else VifTrunk(trunk.id, trunk.enabled, trunk.status)

    async def _networks(self) -> dict[str, int]:
        """The MTU of each network in use."""
        refs = self._cloud.networks.all()
        if not refs:
            return {}
        ids = sorted({ref.neutron for ref in refs.values()})
        mtus: dict[str, int] = {}
        for batch in (ids[at : at + IDS] for at in range(0, len(ids), IDS)):
            found = await self._cloud.neutron.get("networks", {"id": batch, "fields": ["id", "mtu"]})
            mtus |= {network["id"]: int(network.get("mtu") or 0) for network in found["networks"]}
        return {network_id: mtus[ref.neutron] for network_id, ref in refs.items() if mtus.get(ref.neutron)}


RENAMED_AT_ONCE = 8


class UnderlayInventory:
    """Reads and repairs what the underlay driver and its IPAM have in Neutron."""

    store = "Neutron"

    def __init__(self, cloud: Cloud, attachments: Attachments, *, trunked: bool = True) -> None:
        self._cloud = cloud
        self._attachments = attachments
        self._setup = UnderlaySetup(cloud, attachments, trunked=trunked)

    async def setup(self) -> Setup | None:
        return await self._setup.read()

    def pool_key(self, network: Network, subnet: str) -> str:  # noqa: ARG002
        """Say that there is none: the subnet is Neutron's."""
        return ""

    async def complete(self, held: Owned, missing: object) -> Owned:  # noqa: ARG002
        """Add nothing: `held` reads all that Neutron has of this machine."""
        return held

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read everything that carries this machine's mark, and whether those networks are complete."""
        own = {network.name: network for network in await self._cloud.networks.own()}
        refs = dict(self._cloud.networks.all())
        known = {network_id: await self._is_whole(ref) for network_id, ref in refs.items()}
        found = dict.fromkeys([*networks, *own], False) | dict.fromkeys(own, True) | known
        vlans = await self._cloud.children.vlans()
        ports = await self._cloud.ports.all()
        of_neutron = {ref.neutron: network_id for network_id, ref in refs.items()}
        of_neutron |= {network.id: name for name, network in own.items()}
        return Owned(
            networks={name: OwnedNetwork(name, whole, {}) for name, whole in found.items()},
            endpoints=tuple(
                _endpoint(port, of_neutron.get(port.network_id, ""), vlans.get(port.id))
                for port in ports
                if port.endpoint
            ),
            leases=tuple(lease for port in ports if not port.endpoint for lease in _leases(port)),
        )

    async def _is_whole(self, ref: NeutronNetworkRef) -> bool:
        found = await self._cloud.networks.subnets(ref.neutron)
        return set(ref.subnets.values()) <= {subnet.id for subnet in found}

    async def restore(self, network_id: str) -> bool:
        """Forget where a network was that is gone, so that it is found by its options or created."""
        ref = self._cloud.networks.all().get(network_id)
        if ref is not None and not await self._is_whole(ref):
            await self._cloud.networks.forget(network_id)
        return False

    async def remove_switch(self, switch: OwnedSwitch) -> None:
        """Do nothing: there are none."""

    async def readdress(self, endpoint: Endpoint) -> None:
        """Give the endpoint's port its addresses and its VLAN again."""
        port = await self._cloud.ports.find(endpoint.endpoint_id)
        if port is None:
            return
        ref = await self._cloud.networks.locate(endpoint.network_id)
        fixed_ips = [(ref.subnet_of(ip_address(address)), address) for address in endpoint.addresses]
        await self._cloud.ports.readdress(port, fixed_ips, endpoint.mac)
        vlan = await self._cloud.children.add(port)
        await self._attachments.set_vlan(endpoint.endpoint_id, vlan)

    async def plug(self, endpoint: Endpoint) -> None:
        port = await self._cloud.ports.find(endpoint.endpoint_id)
        if port is None:
            return
        vlan = await self._cloud.children.add(port)
        await self._attachments.set_vlan(endpoint.endpoint_id, vlan)
        await self._attachments.plug_again(
            endpoint.network_id, endpoint.endpoint_id, endpoint.mac, endpoint.addresses, vlan
        )

    async def publish(self, container: Container) -> None:
        """Nothing: Neutron has its own names."""

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Name ports for their containers, one by one: Neutron has no transactions."""
        few = asyncio.Semaphore(RENAMED_AT_ONCE)

        async def rename(ids: EndpointIds) -> str:
            async with few:
                return await self._rename(*ids, names[ids].get(NAME, ""))

        errors = await asyncio.gather(*map(rename, names))
        return {ids: error for ids, error in zip(names, errors, strict=True) if error}

    async def _rename(self, network_id: str, endpoint_id: str, name: str) -> str:
        """Name one port; the error, or ""."""
        try:
            port = await self._cloud.ports.find(endpoint_id)
            if port is not None:
                # Once renamed it is found by its tags.
                await self._cloud.ports.tag(port, network_id, endpoint_id, name)
                await self._cloud.ports.rename(port, name or endpoint_id)
        except OvnDockerError as error:
            return str(error)
        return ""

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: ARG002, FBT001
        """Restore the endpoint's port, which is its lease."""
        await self.readdress(endpoint)

    async def release(self, lease: OwnedLease) -> None:
        """Release an address that no endpoint has."""
        found = await self._cloud.neutron.find(f"ports/{lease.row}")
        port = None if found is None else resources.read_port(found["port"])
        if port is not None and not port.endpoint:
            await self._cloud.ports.delete(port)

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Do nothing: the subnet is Neutron's."""

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Do nothing: the subnet is Neutron's."""


def _endpoint(port: NeutronPort, network_id: str, vlan: int | None) -> OwnedEndpoint:
    """An endpoint, without addresses if its port is not under the machine's, where they are of no use."""
    return OwnedEndpoint(
        network_id=port.tag(resources.NETWORK) or network_id,
        endpoint_id=port.endpoint,
        addresses=(port.mac, *port.addresses) if vlan is not None else (),
        names=None,
        vlan=vlan,
    )


def _leases(port: NeutronPort) -> list[OwnedLease]:
    return [OwnedLease(UUID(port.id), subnet_id, address, "", {}) for subnet_id, address in port.fixed_ips]
