"""What is shown of the VTEPs that were configured, and what is wrong with those that OVN serves. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay.vtep.vtep_config import Configured
from ovn_docker.ovn import vteps as schema


@dataclass(frozen=True, slots=True)
class VtepReport:
    """What this host knows.

    Attributes:
        configured: all VTEPs.
        ports: the VXLAN ports of this host's switch, OVN's too.
        up: the VTEPs' ports of OVN's own by name, and whether each is on its chassis.
        switches: those that have a container on this host.
    """

    configured: Sequence[Configured]
    ports: Sequence[VxlanPort]
    up: Mapping[str, bool]
    switches: Iterable[UUID]

    def rows(self) -> list[dict[str, Any]]:
        """For NetworkDriver.Database."""
        return [self._row(each) for each in self.configured]

    def _row(self, each: Configured) -> dict[str, Any]:
        port = self._port(each)
        return {
            "remote_ip": str(each.vtep.remote),
            "vni": each.vtep.vni,
            "Logical_Switch": each.switch_name,
            "mode": each.mode,
            "OVSPort": port.name if port else "",
            "Error": self._wrong(each) or (port.error if port else ""),
        }

    def _port(self, each: Configured) -> VxlanPort | None:
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

    def _wrong(self, each: Configured) -> str:
        if each.mode != schema.RAMP:
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
