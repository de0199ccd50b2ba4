"""Which VTEPs were configured for which network, as it stands in Northbound for every host to read."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.errors import ConflictError, NotFoundError, RequestError
from ovn_docker.flows.lookups import Vtep
from ovn_docker.ovsdb.operations import Row
from ovn_docker.schema import northbound

HIGHEST_VNI = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class Configured:
    """A VTEP and the name of its network's logical switch."""

    vtep: Vtep
    switch_name: str


def read(rows: Mapping[UUID, Row]) -> list[Configured]:
    """The VTEPs of these switches; what nobody can have meant is left out."""
    found = []
    for row_id, row in rows.items():
        for remote, vni in northbound.read_vteps(row).items():
            try:
                address = ip_address(remote)
            except ValueError:
                continue
            if 0 < vni <= HIGHEST_VNI:
                found.append(Configured(Vtep(address, vni, row_id), str(row.get("name", ""))))
    return found


class Vteps:
    """The configuration of VTEPs in Northbound."""

    def __init__(self, database: Northbound) -> None:
        """Keep it there."""
        self._northbound = database

    async def all(self) -> list[Configured]:
        """Every VTEP of every network."""
        [found] = await self._northbound.transact([northbound.ls_vteps()])
        return read({northbound.read_uuid(row): row for row in found["rows"]})

    async def add(self, remote: IPAddress, vni: int, switch: UUID) -> None:
        """Configure a VTEP for a network; a repeat changes its VNI.

        Raises:
            RequestError: the VNI is no VNI, or the address none of a host.
            ConflictError: the VNI means another network.
            NotFoundError: the switch is gone.
        """
        if not 0 < vni <= HIGHEST_VNI:
            raise RequestError(f"VNI {vni} is no VNI: give one of 1 to {HIGHEST_VNI} (RFC 7348)")
        if remote.is_multicast or remote.is_unspecified or remote.is_loopback:
            raise RequestError(f"{remote} is no address of a VTEP: give that of its tunnel endpoint")
        for each in await self.all():
            if each.vtep.vni == vni and each.vtep.switch != switch:
                raise ConflictError(
                    f"VNI {vni} means logical switch {each.switch_name}: take another VNI, or remove it there"
                    f" with 'ovn-docker vtep del --remote-ip {each.vtep.remote} --network {each.switch_name}'"
                )
        [done] = await self._northbound.transact([northbound.ls_vtep_add(switch, str(remote), vni)])
        if not done["count"]:
            raise NotFoundError(f"OVN has no logical switch {switch} any more")

    async def remove(self, remote: IPAddress, switch: UUID) -> bool:
        """Take a VTEP away from a network; False when it was not there."""
        there = [each.vtep.remote for each in await self.all() if each.vtep.switch == switch]
        last = there == [remote]
        await self._northbound.transact([northbound.ls_vtep_del(switch, str(remote), last=last)])
        return remote in there

    async def switch_named(self, name: str) -> UUID | None:
        """The row of the only logical switch of that name, or None.

        Raises:
            ConflictError: there are several.
        """
        [found] = await self._northbound.transact([northbound.ls_find(name)])
        rows = [northbound.read_uuid(row) for row in found["rows"]]
        if len(rows) > 1:
            raise ConflictError(f"OVN has {len(rows)} logical switches named {name}: rename all but one")
        return rows[0] if rows else None
