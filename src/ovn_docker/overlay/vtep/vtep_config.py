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
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.overlay.vtep.lookup_flows import Vtep
from ovn_docker.overlay.vtep.vtep_ports import VtepPorts, names, without_vxlan
from ovn_docker.ovn import switches
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovn.vteps import LOOKUP, VTEP_PORT, Entry
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
    """What has become of a wish.

    Attributes:
        mode: that the VTEP has now.
        why: why it is not the other, or "".
        notes: what else has changed, for people.
    """

    mode: str
    why: str = ""
    notes: tuple[str, ...] = ()


def read(rows: Mapping[UUID, Row]) -> list[ConfiguredVtep]:
    """The VTEPs of these switches; what nobody can have meant is left out."""
    found = []
    for row_id, row in rows.items():
        for remote, entry in schema.read_vteps(row).items():
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

    def __init__(self, database: Northbound, ramp: VtepPorts) -> None:
        """Keep it there; `ramp` makes ports of OVN's own."""
        self._northbound = database
        self._ramp = ramp

    async def all(self) -> list[ConfiguredVtep]:
        """Every VTEP of every network."""
        [found] = await self._northbound.transact([schema.ls_vteps()])
        return read({switches.read_uuid(row): row for row in found["rows"]})

    async def add(self, remote: IPAddress, vni: int, switch: UUID, mode: str = AUTO) -> VtepOutcome:
        """Configure a VTEP for a network; a repeat changes its VNI, and its mode if one is named.

        Args:
            remote: its tunnel endpoint.
            vni: what it calls the network.
            switch: the row of the network's switch.
            mode: ``ramp``, ``lookup``, or ``auto`` for the one that it has, else the first that is possible.

        Raises:
            RequestError: the VNI is no VNI, or the address none of a host.
            ConflictError: the VNI means another network, or it cannot be in that mode.
            NotFoundError: the switch is gone.
            UnreachableError: Southbound is needed and does not answer.
            DatabaseError: a database refused.
        """
        known = await self.all()
        _check(remote, vni, switch, known)
        own = [each for each in known if each.vtep.remote == remote]
        here = {each.mode for each in own if each.vtep.switch == switch}
        elsewhere = {each.mode for each in own if each.vtep.switch != switch}
        wish = next(iter(here or elsewhere), AUTO) if mode == AUTO else mode
        if elsewhere - {wish} and wish != AUTO:
            [other] = elsewhere - {wish}
            raise ConflictError(
                f"VTEP {remote} is in mode {other} for other networks, and a VTEP has one mode: see"
                " 'ovn-docker vtep list'"
            )
        why = ""
        if wish != LOOKUP:
            try:
                return await self._add_ramp(remote, vni, switch, strict=wish == AUTO)
            except (ConflictError, DatabaseError, HostError, UnreachableError) as error:
                if wish == VTEP_PORT:
                    raise
                why = str(error)
        await self._add_lookup(remote, vni, switch, leave=VTEP_PORT in here)
        return VtepOutcome(LOOKUP, why)

    async def _add_ramp(self, remote: IPAddress, vni: int, switch: UUID, *, strict: bool) -> VtepOutcome:
        prospect = await self._ramp.look(remote, vni, switch, strict=strict)
        if prospect.why_not:
            raise ConflictError(f"OVN can have no port for VTEP {remote}: {prospect.why_not}")
        await self._ramp.add(prospect)
        notes, old = [], prospect.old_key
        if old != vni:
            was = f", it was {old}: some packets of its containers may have been lost" if old else ""
            notes.append(f"logical switch {prospect.asked.keys.name} has the tunnel key {vni} now{was}")
        lacking = without_vxlan(prospect.fabric)
        if lacking:
            notes.append(f"{names(lacking)} does not reach the VTEP: its ovn-encap-type does not name vxlan")
        return VtepOutcome(VTEP_PORT, notes=tuple(notes))

    async def _add_lookup(self, remote: IPAddress, vni: int, switch: UUID, *, leave: bool) -> None:
        operation = schema.ls_vtep_add(switch, str(remote), Entry(vni, LOOKUP))
        if leave:
            await self._ramp.remove(str(remote), switch, last=True, also=[operation])
            return
        [done] = await self._northbound.transact([operation])
        if not done["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def remove(self, remote: IPAddress, switch: UUID) -> bool:
        """Take a VTEP away from a network; False when it was not there.

        Raises:
            UnreachableError: it has a port of OVN's own, and Southbound does not answer; nothing was done.
        """
        known = await self.all()
        here = [each for each in known if each.vtep.switch == switch]
        there = [each for each in here if each.vtep.remote == remote]
        ports = [each for each in known if each.vtep.remote == remote and each.mode == VTEP_PORT]
        if any(each.mode == VTEP_PORT for each in there):
            await self._ramp.remove(str(remote), switch, last=ports == there)
        else:
            operation = schema.ls_vtep_del(switch, str(remote), last=here == there)
            await self._northbound.transact([operation])
            await self._forget_chassis(remote, switch, there, ports)
        return bool(there)

    async def _forget_chassis(
        self,
        remote: IPAddress,
        switch: UUID,
        there: Sequence[ConfiguredVtep],
        ports: Sequence[ConfiguredVtep],
    ) -> None:
        """Remove what an `add` that was killed left in Southbound, if that answers."""
        if there or ports:
            return
        with contextlib.suppress(OvnDockerError):
            await self._ramp.remove(str(remote), switch, last=True)

    async def switch_named(self, name: str) -> UUID | None:
        """The row of the only logical switch of that name, or None.

        Raises:
            ConflictError: there are several.
        """
        [found] = await self._northbound.transact([switches.ls_find(name)])
        rows = [switches.read_uuid(row) for row in found["rows"]]
        if len(rows) > 1:
            raise ConflictError(f"OVN has {len(rows)} logical switches named {name}: rename all but one")
        return rows[0] if rows else None


def _check(remote: IPAddress, vni: int, switch: UUID, known: Sequence[ConfiguredVtep]) -> None:
    """Refuse what cannot be right, in whatever mode."""
    if not 0 < vni <= HIGHEST_VNI:
        raise RequestError(f"VNI {vni} is not a valid VNI: give one of 1 to {HIGHEST_VNI} (RFC 7348)")
    if remote.is_multicast or remote.is_unspecified or remote.is_loopback:
        raise RequestError(f"{remote} is not a valid address of a VTEP: give that of its tunnel endpoint")
    for each in known:
        if each.vtep.vni == vni and each.vtep.switch != switch:
            raise ConflictError(
                f"VNI {vni} means logical switch {each.switch_name}: take another VNI, or remove it there"
                f" with 'ovn-docker vtep del --remote-ip {each.vtep.remote} --network {each.switch_name}'"
            )


# --- What is shown of the VTEPs that were configured, and what is wrong with those that OVN serves. Pure. ---


@dataclass(frozen=True, slots=True)
class VtepReport:
    """What this host knows.

    Attributes:
        configured: all VTEPs.
        ports: the VXLAN ports of this host's switch, OVN's too.
        up: the VTEPs' ports of OVN's own by name, and whether each is on its chassis.
        switches: those that have a container on this host.
    """

    configured: Sequence[ConfiguredVtep]
    ports: Sequence[VxlanPort]
    up: Mapping[str, bool]
    switches: Iterable[UUID]

    def rows(self) -> list[dict[str, Any]]:
        """For NetworkDriver.Database."""
        return [self._row(each) for each in self.configured]

    def _row(self, each: ConfiguredVtep) -> dict[str, Any]:
        port = self._port(each)
        return {
            "remote_ip": str(each.vtep.remote),
            "vni": each.vtep.vni,
            "Logical_Switch": each.switch_name,
            "mode": each.mode,
            "OVSPort": port.name if port else "",
            "Error": self._wrong(each) or (port.error if port else ""),
        }

    def _port(self, each: ConfiguredVtep) -> VxlanPort | None:
        """The port through which a VTEP is reached: OVN's, where it has one."""
        there = [port for port in self.ports if port.remote == str(each.vtep.remote)]
        return min(there, key=lambda port: bool(port.vtep), default=None)

    def wrong(self) -> list[tuple[str, str]]:
        """The VTEPs that OVN should serve itself, each as its address and its switch, and what is wrong."""
        return [
            (f"{each.vtep.remote} {each.switch_name}", why)
            for each in self.configured
            if (why := self._wrong(each))
        ]

    def _wrong(self, each: ConfiguredVtep) -> str:
        if each.mode != schema.VTEP_PORT:
            return ""
        remote, switch = str(each.vtep.remote), each.vtep.switch
        if not self.up.get(schema.ramp_port_name(switch, remote)):
            return (
                f"VTEP {remote} is not bound to logical switch {each.switch_name} in OVN: repeat 'ovn-docker"
                f" vtep add --remote-ip {remote} --vni {each.vtep.vni} --network {each.switch_name}'"
            )
        port = self._port(each)
        if switch in self.switches and (port is None or port.vtep):
            return (
                f"OVN has no VXLAN tunnel from this host to VTEP {remote}: see whether ovn-encap-type names"
                " vxlan, and ovn-controller runs"
            )
        return ""
