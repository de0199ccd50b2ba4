"""Ports under the virtual machine's port by ``binding:profile``, for an account that may write it: no trunk.

Neutron guards no VLAN there, so each is claimed first. A claim is the port's device_id; it is written, then
all claims are looked at, and only who sees the VLAN claimed by nobody else uses it. Of two that claim one, at
least one looks after the other has written, and takes another: so no two use one. A trunk's VLANs are no
claims; therefore a machine's port has either a trunk or these.

A port is ACTIVE only when it is bound to a hypervisor: the machine's. When the machine moves to another, the
health check binds its ports there. One that Neutron hears to be up before it has bound it stays DOWN there,
though packets pass (neutron/plugins/ml2/plugin.py, "is not bound").

Source: networking-ovn "Containers"; Networking API v2.0, "Ports"; neutron/conf/policies/port.py.
"""

import asyncio
from collections.abc import Mapping

from ovn_docker.errors import ConflictError, NeutronError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import Port
from ovn_docker.underlay.vlans import ATTEMPTS, choose_vlans

FORBIDDEN, NOT_FOUND = 403, 404


class ProfilePorts:
    """The ports under one virtual machine's port."""

    def __init__(self, neutron: Neutron, host: str) -> None:
        """Put ports under this one."""
        self._neutron = neutron
        self._host = host

    async def vlans(self, endpoint_id: str = "") -> Mapping[str, int]:
        """The VLAN of each port that is under the machine's, by the port's id.

        Args:
            endpoint_id: whose port is asked for, or "" for all that are on the machine's hypervisor.
        """
        if endpoint_id:
            first, later = resources.queries(endpoint_id)
            ports = await self._own(**first) or await self._own(**later)
        else:
            every, hypervisor = await asyncio.gather(self._own(), self._hypervisor())
            ports = [each for each in every if each.hypervisor == hypervisor]
        return {each.id: each.vlan for each in ports if each.parent == self._host and each.vlan is not None}

    async def prepare(self) -> None:
        """Nothing: there is no trunk."""

    async def _hypervisor(self) -> str:
        """That the machine is on."""
        found = await self._neutron.get(f"ports/{self._host}", {"fields": resources.HYPERVISOR})
        return str(found["port"].get(resources.HYPERVISOR) or "")

    async def _own(self, **query: str) -> list[Port]:
        found = await self._neutron.get("ports", {"description": resources.mark(self._host), **query})
        return [resources.read_port(each) for each in found["ports"]]

    async def add(self, port: Port) -> int:
        """Put a port under the machine's and return its VLAN; one that is there keeps its own.

        Raises:
            NeutronError: this account may not, or Neutron refused for another reason.
            ConflictError: the machine's port has a trunk.
            RequestError: no VLAN is free.
        """
        hypervisor = await self._hypervisor()
        if port.parent == self._host and port.vlan is not None:
            if port.hypervisor != hypervisor:
                await self._bind(port, port.vlan, hypervisor)
            return port.vlan
        vlan = resources.claimed(port.device, self._host)
        if vlan is None:
            vlan = choose_vlans([port.id], [])[port.id]
            await self._claim(port, vlan)
        for _ in range(ATTEMPTS):
            others = await self._others(port)
            if vlan not in others:
                await self._bind(port, vlan, hypervisor)
                return vlan
            vlan = choose_vlans([port.id], others)[port.id]
            await self._claim(port, vlan)
        raise ConflictError(f"no VLAN could be had for port {port.id}: others took each one at the same time")

    async def _claim(self, port: Port, vlan: int) -> None:
        body = resources.changed_port(device_id=resources.claim(self._host, vlan))
        await self._neutron.put(f"ports/{port.id}", body)

    async def _others(self, port: Port) -> set[int]:
        """The VLANs that other ports claim or have."""
        ports, trunk = await asyncio.gather(self._claimants(), self._trunk())
        if trunk:
            raise ConflictError(
                f"port {self._host} (OS_VIF_ID) has trunk {trunk}, whose VLANs would be used twice: start the"
                " driver with --child-ports trunk, or remove the trunk"
            )
        others = [each for each in ports if each.id != port.id]
        vlans = (resources.claimed(each.device, self._host) or each.vlan for each in others)
        return {each for each in vlans if each is not None}

    async def _claimants(self) -> list[Port]:
        """All of our ports, those too by which `ovn-docker check --probe` looks whether packets pass."""
        marks = [resources.mark(self._host), resources.probe_mark(self._host)]
        found = await self._neutron.get("ports", {"description": marks})
        return [resources.read_port(each) for each in found["ports"]]

    async def _trunk(self) -> str:
        """The id of the trunk of the machine's port, or ""; not every cloud has trunks."""
        try:
            found = await self._neutron.get("trunks", {"port_id": self._host, "fields": "id"})
        except NeutronError as error:
            if error.status != NOT_FOUND:
                raise
            return ""
        return next((str(each["id"]) for each in found["trunks"]), "")

    async def _bind(self, port: Port, vlan: int, hypervisor: str) -> None:
        body = resources.changed_port(**resources.child(self._host, vlan, hypervisor))
        try:
            await self._neutron.put(f"ports/{port.id}", body)
        except NeutronError as error:
            if error.status != FORBIDDEN:
                raise
            raise NeutronError(
                f"this account may not write binding:profile, as --child-ports profile needs: {error}",
                error.status,
                error.kind,
            ) from error

    async def remove(self, port_id: str) -> None:
        """Take a port from under the machine's; one that is not there is success.

        Raises:
            NeutronError: Neutron refused.
        """
        try:
            await self._neutron.put(f"ports/{port_id}", resources.changed_port(**resources.no_child()))
        except NeutronError as error:
            if error.status != NOT_FOUND:
                raise

    async def let_go(self, port_id: str) -> None:
        """Nothing: a port may be removed as it is, and has its VLAN until then."""
