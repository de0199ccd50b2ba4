"""Which VTEPs were configured for which network and in which mode, for every host to read."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.errors import (
    ConflictError,
    DatabaseError,
    HostError,
    NotFoundError,
    OvnDockerError,
    RequestError,
    UnreachableError,
)
from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay import networks
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.overlay.vtep.lookup_flows import Vtep
from ovn_docker.overlay.vtep.vtep_ports import VtepPorts, names, without_vxlan
from ovn_docker.ovn import switches, vteps
from ovn_docker.ovn.vteps import LOOKUP, RECORDED, VTEP_PORT, Entry
from ovn_docker.ovsdb.operations import Row

HIGHEST_VNI = (1 << 24) - 1

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class ConfiguredVtep:
    """A VTEP, the name of its network's logical switch, and how its packets come in."""

    vtep: Vtep
    switch_name: str
    mode: str = LOOKUP


@dataclass(frozen=True, slots=True)
class VtepOutcome:
    """What `Vteps.add` has done.

    Attributes:
        mode: that the VTEP has now.
        reason: why it is not `vtep`, or "".
        notes: what else has changed, for people.
    """

    mode: str
    reason: str = ""
    notes: tuple[str, ...] = ()


def read(rows: Mapping[UUID, Row]) -> list[ConfiguredVtep]:
    """The VTEPs of these switches; invalid entries are left out."""
    found = []
    for row_id, row in rows.items():
        for remote, entry in vteps.read_vteps(row).items():
            try:
                address = ip_address(remote)
            except ValueError:
                continue
            if 0 < entry.vni <= HIGHEST_VNI:
                vtep = Vtep(address, entry.vni, row_id)
                found.append(ConfiguredVtep(vtep, str(row.get("name", "")), entry.mode))
    return found


class Vteps:
    """The configuration of VTEPs."""

    def __init__(self, northbound: Northbound, ports: VtepPorts) -> None:
        """Keep it in Northbound."""
        self._northbound = northbound
        self._ports = ports

    async def all(self) -> list[ConfiguredVtep]:
        """Every VTEP of every network."""
        [found] = await self._northbound.transact([vteps.ls_vteps()])
        return read({switches.read_uuid(row): row for row in found["rows"]})

    async def add(self, remote: IPAddress, vni: int, switch: UUID, mode: str = AUTO) -> VtepOutcome:
        """Configure a VTEP for a network; a repeat changes its VNI, and its mode if one is named.

        Args:
            remote: its tunnel endpoint.
            vni: the network's VNI on it.
            switch: row id of the network's switch.
            mode: ``vtep``, ``lookup``, or ``auto`` for the one that it has, else the first that is possible.

        Raises:
            RequestError: invalid VNI or address.
            ConflictError: the VNI belongs to another network, or that mode is not possible.
            NotFoundError: the switch is gone.
            UnreachableError: Southbound is needed and does not answer.
            DatabaseError: a database refused.
        """
        known = await self.all()
        _check(remote, vni, switch, known)
        same = [vtep for vtep in known if vtep.vtep.remote == remote]
        here = {vtep.mode for vtep in same if vtep.vtep.switch == switch}
        elsewhere = {vtep.mode for vtep in same if vtep.vtep.switch != switch}
        wanted = next(iter(here or elsewhere), AUTO) if mode == AUTO else mode
        if elsewhere - {wanted} and wanted != AUTO:
            [other] = elsewhere - {wanted}
            raise ConflictError(
                f"VTEP {remote} is in mode {other} for other networks, and a VTEP has one mode: see"
                " 'ovn-docker vtep list'"
            )
        reason = ""
        if wanted != LOOKUP:
            try:
                return await self._add_port(remote, vni, switch, strict=wanted == AUTO)
            except (ConflictError, DatabaseError, HostError, UnreachableError) as error:
                if wanted == VTEP_PORT:
                    raise
                reason = str(error)
        await self._add_lookup(remote, vni, switch, had_port=VTEP_PORT in here)
        return VtepOutcome(LOOKUP, reason)

    async def _add_port(self, remote: IPAddress, vni: int, switch: UUID, *, strict: bool) -> VtepOutcome:
        prospect = await self._ports.look(remote, vni, switch, strict=strict)
        if prospect.obstacle:
            raise ConflictError(f"OVN can have no port for VTEP {remote}: {prospect.obstacle}")
        await self._ports.add(prospect)
        notes, old = [], prospect.old_key
        if old != vni:
            loss = f" (was {old}): some packets of its containers may have been lost" if old else ""
            notes.append(f"logical switch {prospect.spec.keys.name} now has the tunnel key {vni}{loss}")
        lacking = without_vxlan(prospect.fabric)
        if lacking:
            notes.append(f"{names(lacking)} does not reach the VTEP: its ovn-encap-type does not name vxlan")
        return VtepOutcome(VTEP_PORT, notes=tuple(notes))

    async def _add_lookup(self, remote: IPAddress, vni: int, switch: UUID, *, had_port: bool) -> None:
        operation = vteps.ls_vtep_add(switch, str(remote), Entry(vni, LOOKUP))
        if had_port:
            await self._ports.remove(str(remote), switch, last=True, also=[operation])
            return
        [done] = await self._northbound.transact([operation])
        if not done["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def remove(self, remote: IPAddress, switch: UUID) -> bool:
        """Take a VTEP away from a network; False when it was not there.

        Raises:
            UnreachableError: it has a port of type vtep, and Southbound does not answer; nothing was done.
        """
        known = await self.all()
        here = [vtep for vtep in known if vtep.vtep.switch == switch]
        present = [vtep for vtep in here if vtep.vtep.remote == remote]
        ports = [vtep for vtep in known if vtep.vtep.remote == remote and vtep.mode == VTEP_PORT]
        if any(vtep.mode == VTEP_PORT for vtep in present):
            await self._ports.remove(str(remote), switch, last=ports == present)
            return True
        operation = vteps.ls_vtep_del(switch, str(remote), last=here == present)
        await self._northbound.transact([operation])
        if not present and not ports:
            with contextlib.suppress(OvnDockerError):  # what an `add` that was killed left in Southbound
                await self._ports.remove(str(remote), switch, last=True)
        return bool(present)

    async def switch_named(self, name: str) -> UUID | None:
        """The row id of the only logical switch of that name, or None; raises as `networks.switch_named`."""
        row = await networks.switch_named(self._northbound, name)
        return None if row is None else switches.read_uuid(row)


def _check(remote: IPAddress, vni: int, switch: UUID, known: Sequence[ConfiguredVtep]) -> None:
    """Refuse what cannot be right in any mode."""
    if not 0 < vni <= HIGHEST_VNI:
        raise RequestError(f"VNI {vni} is not a valid VNI: give one of 1 to {HIGHEST_VNI} (RFC 7348)")
    if remote.is_multicast or remote.is_unspecified or remote.is_loopback:
        raise RequestError(f"{remote} is not a valid address of a VTEP: give that of its tunnel endpoint")
    for other in known:
        if other.vtep.vni == vni and other.vtep.switch != switch:
            raise ConflictError(
                f"VNI {vni} belongs to logical switch {other.switch_name}: use another VNI, or remove that"
                f" with 'ovn-docker vtep del --remote-ip {other.vtep.remote} --network {other.switch_name}'"
            )


# --- What is shown of the configured VTEPs, and what is wrong with those that OVN serves. Pure. -------------


@dataclass(frozen=True, slots=True)
class VtepReport:
    """What this host knows.

    Attributes:
        configured: all VTEPs.
        ports: the VXLAN ports of this host's switch, OVN's too.
        up: by name, whether each VTEP's port of type vtep is bound to its chassis.
        switches: those that have a container on this host.
    """

    configured: Sequence[ConfiguredVtep]
    ports: Sequence[VxlanPort]
    up: Mapping[str, bool]
    switches: Iterable[UUID]

    def rows(self) -> list[dict[str, Any]]:
        """For NetworkDriver.Database."""
        return [
            {
                "remote_ip": str(vtep.vtep.remote),
                "vni": vtep.vtep.vni,
                "Logical_Switch": vtep.switch_name,
                "mode": RECORDED[vtep.mode],
                "OVSPort": port.name if port else "",
                "Error": self._problem(vtep) or (port.error if port else ""),
            }
            for vtep, port in ((vtep, self._port(vtep)) for vtep in self.configured)
        ]

    def _port(self, vtep: ConfiguredVtep) -> VxlanPort | None:
        """The port through which a VTEP is reached: OVN's, where it has one."""
        ports = [port for port in self.ports if port.remote == str(vtep.vtep.remote)]
        return min(ports, key=lambda port: bool(port.vtep), default=None)

    def problems(self) -> list[tuple[str, str]]:
        """What is wrong with VTEPs that OVN should serve, each named by its address and its switch."""
        return [
            (f"{vtep.vtep.remote} {vtep.switch_name}", problem)
            for vtep in self.configured
            if (problem := self._problem(vtep))
        ]

    def _problem(self, configured: ConfiguredVtep) -> str:
        if configured.mode != VTEP_PORT:
            return ""
        remote, switch, name = str(configured.vtep.remote), configured.vtep.switch, configured.switch_name
        if not self.up.get(vteps.vtep_port_name(switch, remote)):
            return (
                f"VTEP {remote} is not bound to logical switch {name} in OVN: repeat 'ovn-docker"
                f" vtep add --remote-ip {remote} --vni {configured.vtep.vni} --network {name}'"
            )
        port = self._port(configured)
        if switch in self.switches and (port is None or port.vtep):
            return (
                f"OVN has no VXLAN tunnel from this host to VTEP {remote}: see whether ovn-encap-type names"
                " vxlan, and ovn-controller runs"
            )
        return ""
