"""What the lookup flows follow from, read from this host's Open_vSwitch. No I/O.

A host has many interfaces and few of them change at a time: a row that has not changed is not parsed again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay.vtep.lookup_flows import Endpoint, Tunnel
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovsdb.replica import Replica


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A row as it was, and what it means."""

    values: tuple[Any, ...]
    port: VxlanPort | None
    endpoint: Endpoint | None


class Interfaces:
    """The rows of Interface that matter."""

    def __init__(self, replica: Replica) -> None:
        """Read them there."""
        self._replica = replica
        self._parsed: dict[UUID, _Parsed] = {}
        self._switches: Mapping[str, UUID] = {}

    def read(self, switches: Mapping[str, UUID]) -> None:
        """Take up what has changed.

        Args:
            switches: Docker's network to the row of its switch, where that does not follow from its id.
        """
        if switches != self._switches:
            self._parsed, self._switches = {}, dict(switches)
        rows = self._replica.rows(open_vswitch.INTERFACE)
        for gone in self._parsed.keys() - rows.keys():
            del self._parsed[gone]
        for uuid, row in rows.items():
            values = (row.get("external_ids"), row.get("ofport"), row.get("options"), row.get("error"))
            known = self._parsed.get(uuid)
            if known is None or known.values != values:
                self._parsed[uuid] = _Parsed(values, open_vswitch.read_vxlan_port(row), self._endpoint(row))

    def _endpoint(self, row: Mapping[str, Any]) -> Endpoint | None:
        """The container's interface, once OVN has installed its flows."""
        attached = open_vswitch.read_attached(row)
        if not attached.network_id or not attached.installed or attached.ofport is None:
            return None
        switch = self._switches.get(attached.network_id) or northbound.switch_id(attached.network_id)
        mac = attached.external_ids.get("attached-mac", "")
        addresses = tuple(each for each in sorted(attached.addresses) if _is_address(each))
        return Endpoint(attached.ofport, mac, addresses, switch) if mac else None

    def endpoints(self) -> dict[UUID, Endpoint]:
        """The containers' interfaces, by row."""
        return {uuid: each.endpoint for uuid, each in self._parsed.items() if each.endpoint is not None}

    def ports(self) -> list[VxlanPort]:
        """All VXLAN ports, OVN's too."""
        return [each.port for each in self._parsed.values() if each.port is not None]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def tunnels(ports: Iterable[VxlanPort]) -> dict[str, Tunnel]:
    """Through which port each VTEP is reached: OVN's own tunnel to that address where it has one."""
    ours_first = sorted((each for each in ports if each.ofport), key=lambda each: not each.vtep)
    return {each.remote: Tunnel(each.ofport or 0, ours=bool(each.vtep)) for each in ours_first}
