"""Why a port's flows did not come, told from what both databases say of the port. Pure.

Each program of OVN's leaves a trace of what it has done. Southbound, which has more, is not asked, for a
driver is not connected to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ovn_docker.host.open_vswitch import Settings, lacking


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of a port that Open vSwitch has taken up.

    Attributes:
        made: whether ovn-northd has made it in Southbound, or None where Northbound does not tell.
        known: whether ovn-controller has given it a conntrack zone, which it does once Open vSwitch has taken
            its flows; or None where Open vSwitch does not tell.
        capabilities: of the bridge's datapath, ``"true"`` or ``"false"`` by name.
    """

    made: bool | None
    known: bool | None
    capabilities: Mapping[str, str]


def cause(traces: Traces, settings: Settings) -> str:
    """Why the port has no flows, and what to do, as far as it can be told."""
    lacks = lacking(traces.capabilities)
    if traces.made is False:
        return (
            "ovn-northd has not made its port in OVN Southbound: see whether both run, with"
            " 'ovn-appctl -t ovn-northd status' where they are"
        )
    for key, value in (("ovn-remote", settings.southbound), ("ovn-encap-ip", settings.encap_ips)):
        if not value:
            return f"external_ids:{key} is not set in Open_vSwitch, so ovn-controller does not join OVN"
    if lacks:
        return (
            f"Open vSwitch refuses them, for its datapath on this host lacks {', '.join(lacks)}: use a kernel"
            " with connection tracking, its zones and NAT, or the userspace datapath"
        )
    if traces.known:
        return "ovn-controller knows its port and has not finished: see ovn-controller's log"
    if traces.known is False and traces.made:
        return (
            f"ovn-controller has not taken up its port: see whether it runs and reaches {settings.southbound}"
            " (ovn-remote), with 'ovn-appctl -t ovn-controller connection-status', and its log"
        )
    return "see whether ovn-controller runs, is connected to ovn-remote, and ovn-northd runs"
