"""A VTEP's port of OVN's own ("ramp"): a chassis row in Southbound, a port in Northbound, and their binding.

Done by a command when a VTEP is configured, never by a driver: a driver has no need to write Southbound.
Every step may be repeated, and what was begun is ended by a repeat.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.errors import ConflictError, ConstraintError, HostError, NotFoundError, UnreachableError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import southbound
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovn.southbound import VXLAN, Fabric
from ovn_docker.ovn.vteps import KEY, VTEP_PORT, Entry, Keys
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation

# --- Whether a VTEP can have a port of OVN's own on a network, and if not, why not. Pure. -------------------
# OVN gives a port of the type vtep the packets of one chassis whose VNI is the tunnel key of its switch. So
# the switch has to have that key, and no switch of others may lose its own by it: northd takes a requested
# key from whoever has it.


LARGEST_VXLAN_KEY = 0xFFF
"""With VXLAN between hosts, a tunnel key has 12 bits (ovn-architecture(7), "Limitations of VXLAN")."""

MOST_NAMES = 5
"""How many hosts are named in a text."""


@dataclass(frozen=True, slots=True)
class VtepPortSpec:
    """What is to be.

    Attributes:
        remote: the VTEP's tunnel endpoint.
        vni: what it calls the network.
        switch: the row of the network's switch.
        keys: what that says of its tunnel key.
        chassis: what its chassis is called, or will be.
    """

    remote: IPAddress
    vni: int
    switch: UUID
    keys: Keys
    chassis: str


def obstacle(asked: VtepPortSpec, fabric: Fabric, *, vxlan_mode: bool, strict: bool) -> str:
    """Why it cannot be, or "".

    Args:
        asked: what is to be.
        fabric: what Southbound says.
        vxlan_mode: whether northd may go into VXLAN mode.
        strict: whether every host has to be able to reach the VTEP; otherwise one is enough.
    """
    return (
        _address(asked, fabric)
        or _hosts(fabric, strict=strict)
        or _range(asked.vni, fabric, vxlan_mode=vxlan_mode)
        or _key(asked, fabric)
        or _switch(asked)
    )


def _address(asked: VtepPortSpec, fabric: Fabric) -> str:
    for each in fabric.encaps:
        if each.chassis != asked.chassis and _same(each.address, asked.remote):
            return f"{asked.remote} is the tunnel endpoint of chassis {each.chassis}"
    return ""


def _same(text: str, address: IPAddress) -> bool:
    try:
        return ip_address(text) == address
    except ValueError:
        return False


def without_vxlan(fabric: Fabric) -> list[str]:
    """The hosts that cannot send VXLAN."""
    return sorted(name for name, kinds in _kinds(fabric).items() if VXLAN not in kinds)


def _kinds(fabric: Fabric) -> Mapping[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for each in fabric.encaps:
        if each.chassis not in fabric.peers:
            kinds.setdefault(each.chassis, set()).add(each.kind)
    return kinds


def _hosts(fabric: Fabric, *, strict: bool) -> str:
    hosts, lacking = _kinds(fabric), without_vxlan(fabric)
    if not hosts:
        return "OVN Southbound has no host"
    if lacking and (strict or len(lacking) == len(hosts)):
        return (
            f"ovn-encap-type of {names(lacking)} does not name vxlan: see"
            " 'Let OVN do it' in docs/how-to/vtep.md before you change it"
        )
    return ""


def names(hosts: list[str]) -> str:
    """Some hosts, for people."""
    more = f" and {len(hosts) - MOST_NAMES} more" if len(hosts) > MOST_NAMES else ""
    return f"host {', '.join(hosts[:MOST_NAMES])}{more}"


def _range(vni: int, fabric: Fabric, *, vxlan_mode: bool) -> str:
    if vni <= LARGEST_VXLAN_KEY:
        return ""
    if vxlan_mode:
        return (
            f"VNI {vni} is larger than {LARGEST_VXLAN_KEY}, and OVN may use VXLAN between hosts: if it uses"
            " Geneve, say so with 'ovn-nbctl set NB_Global . options:vxlan_mode=false'"
        )
    if any(kinds == {VXLAN} for kinds in _kinds(fabric).values()):
        return f"VNI {vni} is larger than {LARGEST_VXLAN_KEY}, and there are hosts that use VXLAN only"
    return ""


def _key(asked: VtepPortSpec, fabric: Fabric) -> str:
    row, name = fabric.keys.get(asked.vni, (str(asked.switch), ""))
    if row == str(asked.switch):
        return ""
    return f"{asked.vni} is the tunnel key of {name or 'another switch or router'} in OVN"


def _switch(asked: VtepPortSpec) -> str:
    keys, wanted = asked.keys, str(asked.vni)
    others = [
        each
        for each, entry in keys.vteps.items()
        if each != str(asked.remote) and entry.mode == VTEP_PORT and entry.vni != asked.vni
    ]
    if others:
        vni = keys.vteps[others[0]].vni
        return f"VTEP {others[0]} has a port of OVN's own there, so that the VNI is {vni}"
    if keys.requested == wanted:
        return ""
    if not keys.ours:
        return (
            f"logical switch {keys.name} is not of this driver's making: its owner gives it the VNI with"
            f" 'ovn-nbctl set Logical_Switch {keys.name} other_config:{KEY}={wanted}'"
        )
    if keys.requested and keys.requested != keys.pinned:
        return f"somebody has set other_config:{KEY}={keys.requested} of logical switch {keys.name}"
    return ""


REACH_TIMEOUT = 5.0
"""Seconds for Southbound to be reached."""

NORTHD_TIMEOUT = 5.0
"""Seconds for northd to make the port, and to give its switch the key."""

PAUSE = 0.05
"""Seconds between two looks at what northd has done."""


@dataclass(frozen=True, slots=True)
class VtepPortProspect:
    """What was found before anything is changed.

    Attributes:
        asked: what is to be.
        fabric: what Southbound says.
        why_not: why it cannot be, or "".
    """

    asked: VtepPortSpec
    fabric: Fabric
    why_not: str

    @property
    def old_key(self) -> int | None:
        """The tunnel key that the switch has now."""
        switch = str(self.asked.switch)
        return next((key for key, (row, _) in self.fabric.keys.items() if row == switch), None)


class VtepPorts:
    """The ports of VTEPs in OVN."""

    def __init__(self, database: Northbound, southbound: Client) -> None:
        """Write there; `southbound` need not be connected yet."""
        self._northbound = database
        self._southbound = southbound

    async def keys(self, switch: UUID) -> Keys:
        """What a switch says of its tunnel key and its VTEPs.

        Raises:
            NotFoundError: it is gone.
        """
        [found] = await self._northbound.transact([schema.ls_keys(switch)])
        if not found["rows"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")
        return schema.read_keys(found["rows"][0])

    async def look(self, remote: IPAddress, vni: int, switch: UUID, *, strict: bool) -> VtepPortProspect:
        """See whether a VTEP can have a port; change nothing.

        Raises:
            UnreachableError: Southbound does not answer.
            NotFoundError: the switch is gone.
        """
        await self._reached()
        keys = await self.keys(switch)
        encaps, chassis, datapaths = await self._southbound.request(southbound.fabric())
        [options] = await self._northbound.transact([schema.nb_vxlan_mode()])
        fabric = southbound.read_fabric(encaps["rows"], chassis["rows"], datapaths["rows"])
        asked = VtepPortSpec(remote, vni, switch, keys, southbound.chassis_name(str(remote)))
        vxlan_mode = schema.read_vxlan_mode(options["rows"])
        why_not = obstacle(asked, fabric, vxlan_mode=vxlan_mode, strict=strict)
        return VtepPortProspect(asked, fabric, why_not)

    async def add(self, prospect: VtepPortProspect) -> None:
        """Make the port, whatever of it was there; if that fails, what it made is gone again.

        Raises:
            DatabaseError: a database refused; of Southbound, because it lets a host write its own rows only.
            ConflictError: another chassis has the VTEP's address.
            UnreachableError: northd does not run.
        """
        asked, remote = prospect.asked, str(prospect.asked.remote)
        made = await self._add_chassis(remote)
        try:
            await self._add_port(asked)
            await self._bind(asked)
        except BaseException:
            await asyncio.shield(self._undo(asked, chassis=made))
            raise

    async def _add_chassis(self, remote: str) -> bool:
        """Make the VTEP's chassis; False if it was there."""
        mark = await self._northbound.mark()
        try:
            await self._southbound.request(southbound.chassis_add(remote, mark))
        except ConstraintError:
            [found] = await self._southbound.request([southbound.chassis_get(remote)])
            if not found["rows"]:
                raise ConflictError(f"{remote} is the tunnel endpoint of another chassis of OVN's") from None
            return False
        return True

    async def _add_port(self, asked: VtepPortSpec) -> None:
        remote, switch = str(asked.remote), asked.switch
        mark = await self._northbound.mark()
        [there] = await self._northbound.transact([schema.lsp_ramp_get(switch, remote)])
        operations: list[Operation] = [
            schema.ls_vtep_add(switch, remote, Entry(asked.vni, VTEP_PORT)),
            *schema.ls_pin_key(switch, asked.keys, asked.vni),
        ]
        if not there["rows"]:
            operations += schema.lsp_ramp_add(switch, remote, asked.chassis, mark)
        [first, *_] = await self._northbound.transact(operations)
        if not first["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def _bind(self, asked: VtepPortSpec) -> None:
        """Bind the port to the chassis, once northd has made it."""
        port, key = schema.ramp_port_name(asked.switch, str(asked.remote)), None
        try:
            async with asyncio.timeout(NORTHD_TIMEOUT):
                while key != asked.vni:
                    ports, datapaths = await self._southbound.request(
                        southbound.lsp_state(port, asked.switch)
                    )
                    key = southbound.read_key(ports["rows"], datapaths["rows"])
                    await asyncio.sleep(0 if key == asked.vni else PAUSE)
        except TimeoutError:
            if key is None:
                why = "ovn-northd did not make its port: see whether it runs"
                raise UnreachableError(f"{why}; nothing was changed") from None
            raise HostError(
                f"ovn-northd gives logical switch {asked.keys.name} the tunnel key {key}, not {asked.vni}:"
                " see its log; nothing was changed"
            ) from None
        [bound] = await self._southbound.request([southbound.lsp_bind(port, str(asked.remote))])
        if not bound["count"]:
            raise UnreachableError(f"logical switch port {port} went while it was bound; nothing was changed")

    async def _undo(self, asked: VtepPortSpec, *, chassis: bool) -> None:
        """Make it as it was before."""
        remote, before = str(asked.remote), asked.keys.vteps.get(str(asked.remote))
        now = await self.keys(asked.switch)
        if before is not None and before.mode == VTEP_PORT:
            operations = schema.ls_pin_key(asked.switch, now, before.vni)
        else:
            operations = self._port_gone(asked.switch, remote, now)
        if before is not None:
            operations.append(schema.ls_vtep_add(asked.switch, remote, before))
        await self._northbound.transact(operations)
        if chassis:
            await self._southbound.request([southbound.chassis_del(remote)])

    async def remove(self, remote: str, switch: UUID, *, last: bool, also: Sequence[Operation] = ()) -> None:
        """Take a VTEP's port away, and its chassis if this was the `last` of its ports.

        Southbound goes first: until Northbound has forgotten the VTEP, a repeat does what is left.

        Args:
            remote: the VTEP's tunnel endpoint.
            switch: the row of the network's switch.
            last: whether no other network has the VTEP in this mode.
            also: what Northbound is to do in the same transaction.

        Raises:
            UnreachableError: Southbound does not answer; nothing was done.
        """
        await self._reached()
        if last:
            await self._southbound.request([southbound.chassis_del(remote)])
        keys = await self.keys(switch)
        await self._northbound.transact([*self._port_gone(switch, remote, keys), *also])

    def _port_gone(self, switch: UUID, remote: str, keys: Keys) -> list[Operation]:
        """Without a VTEP's port; without the pinned key, unless another VTEP needs it."""
        others = {address: each for address, each in keys.vteps.items() if address != remote}
        pinned = any(each.mode == VTEP_PORT for each in others.values())
        return [
            schema.ls_vtep_del(switch, remote, last=not others),
            schema.lsp_ramp_del(switch, remote),
            *([] if pinned else schema.ls_unpin_key(switch, keys)),
        ]

    async def _reached(self) -> None:
        try:
            async with asyncio.timeout(REACH_TIMEOUT):
                await self._southbound.ready()
        except TimeoutError:
            why = self._southbound.outage() or "OVN Southbound does not answer"
            raise UnreachableError(why) from None
