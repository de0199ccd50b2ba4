"""Reads what an OpenStack machine needs once: its port and trunk in Neutron, its bridge, its links."""

import asyncio
from typing import Any

from ovn_docker.errors import NeutronError
from ovn_docker.health.openstack_checks import NEEDED, TRUNK
from ovn_docker.health.setup import Setup, Vif, VifTrunk
from ovn_docker.host import veth
from ovn_docker.host.attachment import Attachments
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.sessions import Query
from ovn_docker.underlay.underlay_driver import Cloud

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
