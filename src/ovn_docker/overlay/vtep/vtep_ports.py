"""A VTEP's port of OVN's own ("ramp"): a chassis row in Southbound, a port in Northbound, and their binding.

Done by a command when a VTEP is configured, never by a driver: a driver has no need to write Southbound.
Every step may be repeated, and what was begun is ended by a repeat.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.errors import ConflictError, ConstraintError, HostError, NotFoundError, UnreachableError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.overlay.vtep import ramp_rules
from ovn_docker.overlay.vtep.ramp_rules import Asked
from ovn_docker.ovn import southbound
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovn.southbound import Fabric
from ovn_docker.ovn.vteps import RAMP, Entry, Keys
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation

REACH_TIMEOUT = 5.0
"""Seconds for Southbound to be reached."""

NORTHD_TIMEOUT = 5.0
"""Seconds for northd to make the port, and to give its switch the key."""

PAUSE = 0.05
"""Seconds between two looks at what northd has done."""


@dataclass(frozen=True, slots=True)
class Prospect:
    """What was found before anything is changed.

    Attributes:
        asked: what is to be.
        fabric: what Southbound says.
        why_not: why it cannot be, or "".
    """

    asked: Asked
    fabric: Fabric
    why_not: str

    @property
    def old_key(self) -> int | None:
        """The tunnel key that the switch has now."""
        switch = str(self.asked.switch)
        return next((key for key, (row, _) in self.fabric.keys.items() if row == switch), None)


class Ramp:
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

    async def look(self, remote: IPAddress, vni: int, switch: UUID, *, strict: bool) -> Prospect:
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
        asked = Asked(remote, vni, switch, keys, southbound.chassis_name(str(remote)))
        vxlan_mode = schema.read_vxlan_mode(options["rows"])
        why_not = ramp_rules.obstacle(asked, fabric, vxlan_mode=vxlan_mode, strict=strict)
        return Prospect(asked, fabric, why_not)

    async def add(self, prospect: Prospect) -> None:
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

    async def _add_port(self, asked: Asked) -> None:
        remote, switch = str(asked.remote), asked.switch
        mark = await self._northbound.mark()
        [there] = await self._northbound.transact([schema.lsp_ramp_get(switch, remote)])
        operations: list[Operation] = [
            schema.ls_vtep_add(switch, remote, Entry(asked.vni, RAMP)),
            *schema.ls_pin_key(switch, asked.keys, asked.vni),
        ]
        if not there["rows"]:
            operations += schema.lsp_ramp_add(switch, remote, asked.chassis, mark)
        [first, *_] = await self._northbound.transact(operations)
        if not first["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def _bind(self, asked: Asked) -> None:
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

    async def _undo(self, asked: Asked, *, chassis: bool) -> None:
        """Make it as it was before."""
        remote, before = str(asked.remote), asked.keys.vteps.get(str(asked.remote))
        now = await self.keys(asked.switch)
        if before is not None and before.mode == RAMP:
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
        pinned = any(each.mode == RAMP for each in others.values())
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
