"""A VTEP's port of type vtep: a chassis row in Southbound, a port in Northbound, and their binding.

Made by a command when a VTEP is configured, never by a driver, which need not write Southbound. Every step
may be repeated, and a repeat completes what was begun.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.errors import ConflictError, ConstraintError, HostError, NotFoundError, UnreachableError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import nb_global, southbound, vteps
from ovn_docker.ovn.southbound import VXLAN, Fabric
from ovn_docker.ovn.vteps import KEY, VTEP_PORT, Entry, Keys
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation

# --- Whether a VTEP can have a port on a network, and if not, why not. Pure. --------------------------------
# OVN gives a port of type vtep the packets of one chassis whose VNI is the tunnel key of its switch. So the
# switch has to have that key, and must not take it from another: northd takes a requested key from whoever
# holds it.


LARGEST_VXLAN_KEY = 0xFFF
"""With VXLAN between hosts, a tunnel key has 12 bits (ovn-architecture(7), "Limitations of VXLAN")."""

MAX_NAMES = 5
"""Hosts named in a text."""


@dataclass(frozen=True, slots=True)
class VtepPortSpec:
    """The port to make.

    Attributes:
        remote: the VTEP's tunnel endpoint.
        vni: the network's VNI on it.
        switch: row id of the network's switch.
        keys: what that says of its tunnel key.
        chassis: name of the VTEP's chassis, which need not be there yet.
    """

    remote: IPAddress
    vni: int
    switch: UUID
    keys: Keys
    chassis: str


def obstacle(spec: VtepPortSpec, fabric: Fabric, *, vxlan_mode: bool, strict: bool) -> str:
    """Why the port cannot be made, or "".

    Args:
        spec: the port.
        fabric: what Southbound says.
        vxlan_mode: whether northd may go into VXLAN mode.
        strict: whether every host has to be able to reach the VTEP; otherwise one is enough.
    """
    return (
        _address_obstacle(spec, fabric)
        or _host_obstacle(fabric, strict=strict)
        or _range_obstacle(spec.vni, fabric, vxlan_mode=vxlan_mode)
        or _key_obstacle(spec, fabric)
        or _switch_obstacle(spec)
    )


def _address_obstacle(spec: VtepPortSpec, fabric: Fabric) -> str:
    for encap in fabric.encaps:
        if encap.chassis != spec.chassis and _same(encap.address, spec.remote):
            return f"{spec.remote} is the tunnel endpoint of chassis {encap.chassis}"
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
    for encap in fabric.encaps:
        if encap.chassis not in fabric.peers:
            kinds.setdefault(encap.chassis, set()).add(encap.kind)
    return kinds


def _host_obstacle(fabric: Fabric, *, strict: bool) -> str:
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
    more = f" and {len(hosts) - MAX_NAMES} more" if len(hosts) > MAX_NAMES else ""
    return f"host {', '.join(hosts[:MAX_NAMES])}{more}"


def _range_obstacle(vni: int, fabric: Fabric, *, vxlan_mode: bool) -> str:
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


def _key_obstacle(spec: VtepPortSpec, fabric: Fabric) -> str:
    row, name = fabric.keys.get(spec.vni, (str(spec.switch), ""))
    if row == str(spec.switch):
        return ""
    return f"{spec.vni} is the tunnel key of {name or 'another switch or router'} in OVN"


def _switch_obstacle(spec: VtepPortSpec) -> str:
    keys, wanted = spec.keys, str(spec.vni)
    others = [
        address
        for address, entry in keys.vteps.items()
        if address != str(spec.remote) and entry.mode == VTEP_PORT and entry.vni != spec.vni
    ]
    if others:
        vni = keys.vteps[others[0]].vni
        return f"the network's VNI is {vni}, because VTEP {others[0]} has a port of type vtep on it"
    if keys.requested == wanted:
        return ""
    if not keys.own:
        return (
            f"logical switch {keys.name} was not made by this driver: its owner gives it the VNI with"
            f" 'ovn-nbctl set Logical_Switch {keys.name} other_config:{KEY}={wanted}'"
        )
    if keys.requested and keys.requested != keys.pinned:
        return f"somebody has set other_config:{KEY}={keys.requested} of logical switch {keys.name}"
    return ""


REACH_TIMEOUT = 5.0
"""Seconds for Southbound to be reached."""

NORTHD_TIMEOUT = 5.0
"""Seconds for northd to make the port and to give its switch the key."""

POLL_INTERVAL = 0.05
"""Seconds between two looks at what northd has done."""


@dataclass(frozen=True, slots=True)
class VtepPortProspect:
    """What was found before anything is changed; `obstacle` says why the port cannot be made, or is ""."""

    spec: VtepPortSpec
    fabric: Fabric
    obstacle: str

    @property
    def old_key(self) -> int | None:
        """The tunnel key that the switch has now."""
        switch = str(self.spec.switch)
        return next((key for key, (row, _) in self.fabric.keys.items() if row == switch), None)


class VtepPorts:
    """The ports of VTEPs in OVN."""

    def __init__(self, northbound: Northbound, southbound_client: Client) -> None:
        """Write to both; Southbound need not be connected yet."""
        self._northbound = northbound
        self._southbound = southbound_client

    async def keys(self, switch: UUID) -> Keys:
        """What a switch says of its tunnel key and its VTEPs."""
        [found] = await self._northbound.transact([vteps.ls_keys(switch)])
        if not found["rows"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")
        return vteps.read_keys(found["rows"][0])

    async def look(self, remote: IPAddress, vni: int, switch: UUID, *, strict: bool) -> VtepPortProspect:
        """See whether a VTEP can have a port; change nothing."""
        await self._southbound.reached(REACH_TIMEOUT)
        keys = await self.keys(switch)
        encaps, chassis, datapaths = await self._southbound.request(southbound.fabric())
        [options] = await self._northbound.transact([nb_global.vxlan_mode_get()])
        fabric = southbound.read_fabric(encaps["rows"], chassis["rows"], datapaths["rows"])
        spec = VtepPortSpec(remote, vni, switch, keys, southbound.chassis_name(str(remote)))
        vxlan_mode = nb_global.read_vxlan_mode(options["rows"])
        return VtepPortProspect(spec, fabric, obstacle(spec, fabric, vxlan_mode=vxlan_mode, strict=strict))

    async def add(self, prospect: VtepPortProspect) -> None:
        """Make the port, or complete it; if that fails, remove what this call made.

        Raises:
            DatabaseError: a database refused; Southbound does where a host may write its own rows only.
            ConflictError: another chassis has the VTEP's address.
            UnreachableError: northd does not run.
        """
        spec = prospect.spec
        made = await self._add_chassis(str(spec.remote))
        try:
            await self._add_port(spec)
            await self._bind(spec)
        except BaseException:
            await asyncio.shield(self._undo(spec, chassis=made))
            raise

    async def _add_chassis(self, remote: str) -> bool:
        """Make the VTEP's chassis; False if it was there."""
        mark = await self._northbound.mark()
        try:
            await self._southbound.request(southbound.chassis_add(remote, mark))
        except ConstraintError:
            [found] = await self._southbound.request([southbound.chassis_get(remote)])
            if not found["rows"]:
                raise ConflictError(f"{remote} is the tunnel endpoint of another chassis in OVN") from None
            return False
        return True

    async def _add_port(self, spec: VtepPortSpec) -> None:
        remote, switch = str(spec.remote), spec.switch
        mark = await self._northbound.mark()
        [present] = await self._northbound.transact([vteps.lsp_vtep_get(switch, remote)])
        operations: list[Operation] = [
            vteps.ls_vtep_add(switch, remote, Entry(spec.vni, VTEP_PORT)),
            *vteps.ls_pin_key(switch, spec.keys, spec.vni),
        ]
        if not present["rows"]:
            operations += vteps.lsp_vtep_add(switch, remote, spec.chassis, mark)
        [first, *_] = await self._northbound.transact(operations)
        if not first["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def _bind(self, spec: VtepPortSpec) -> None:
        """Bind the port to the chassis, once northd has made it."""
        port, key = vteps.vtep_port_name(spec.switch, str(spec.remote)), None
        try:
            async with asyncio.timeout(NORTHD_TIMEOUT):
                while key != spec.vni:
                    ports, datapaths = await self._southbound.request(southbound.lsp_state(port, spec.switch))
                    key = southbound.read_key(ports["rows"], datapaths["rows"])
                    await asyncio.sleep(0 if key == spec.vni else POLL_INTERVAL)
        except TimeoutError:
            if key is None:
                raise UnreachableError(
                    f"ovn-northd did not make logical switch port {port}: see whether it runs;"
                    " nothing was changed"
                ) from None
            raise HostError(
                f"ovn-northd gives logical switch {spec.keys.name} the tunnel key {key}, not {spec.vni}:"
                " see its log; nothing was changed"
            ) from None
        [bound] = await self._southbound.request([southbound.lsp_bind(port, str(spec.remote))])
        if not bound["count"]:
            raise UnreachableError(
                f"logical switch port {port} disappeared while it was bound; nothing was changed"
            )

    async def _undo(self, spec: VtepPortSpec, *, chassis: bool) -> None:
        """Restore what was there before."""
        remote, before = str(spec.remote), spec.keys.vteps.get(str(spec.remote))
        now = await self.keys(spec.switch)
        if before is not None and before.mode == VTEP_PORT:
            operations = vteps.ls_pin_key(spec.switch, now, before.vni)
        else:
            operations = self._port_del(spec.switch, remote, now)
        if before is not None:
            operations.append(vteps.ls_vtep_add(spec.switch, remote, before))
        await self._northbound.transact(operations)
        if chassis:
            await self._southbound.request([southbound.chassis_del(remote)])

    async def remove(self, remote: str, switch: UUID, *, last: bool, also: Sequence[Operation] = ()) -> None:
        """Take a VTEP's port away, and its chassis if this was the `last` of its ports.

        Southbound goes first: as long as Northbound names the VTEP, a repeat does the rest. When Southbound
        does not answer (`UnreachableError`), nothing is done.

        Args:
            remote: the VTEP's tunnel endpoint.
            switch: row id of the network's switch.
            last: whether no other network has the VTEP in this mode.
            also: operations for Northbound, in the same transaction.
        """
        await self._southbound.reached(REACH_TIMEOUT)
        if last:
            await self._southbound.request([southbound.chassis_del(remote)])
        keys = await self.keys(switch)
        await self._northbound.transact([*self._port_del(switch, remote, keys), *also])

    def _port_del(self, switch: UUID, remote: str, keys: Keys) -> list[Operation]:
        """Remove a VTEP's port, and the pinned key unless another VTEP needs it."""
        others = {address: entry for address, entry in keys.vteps.items() if address != remote}
        pinned = any(entry.mode == VTEP_PORT for entry in others.values())
        return [
            vteps.ls_vtep_del(switch, remote, last=not others),
            vteps.lsp_vtep_del(switch, remote),
            *([] if pinned else vteps.ls_unpin_key(switch, keys)),
        ]
