"""Where OVN's pipeline can be entered and left on this switch, read from its flows. Pure.

OVN moves its tables between releases, even within stable series, so no table number is hard-coded: each table
is found by what its flows do (ovn-architecture(7), "Architectural Physical Life Cycle of a Packet").
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ovn_docker.overlay.vtep.openflow import Flow, match

UNKNOWN_GROUP = 0x8001
"""The multicast group of a switch's ports with unknown addresses (ovn lib/mcast-group-index.h)."""

GROUPS = "0x8000/0x8000"
"""The logical output ports that are multicast groups (ovn-architecture(7), "Logical output port field")."""

MAX_GAP = 4
"""After as many tables in a row that are not part of the output's chain, the search for its head ends.

OVN's chain has had no gap so far, but it grows: three tables in 23.03.1, four from 25.09 on
(controller/lflow.h, OFTABLE_OUTPUT_INIT). No table of the ingress pipeline passes on unmatched packets.
"""

_INGRESS = re.compile(r"in_port=(\d+)")
_DATAPATH = re.compile(r"set_field:(0x[0-9a-f]+)->metadata")
_PORT = re.compile(r"set_field:(0x[0-9a-f]+)->reg14")
_RESUBMIT = re.compile(r"resubmit\(,(\d+)\)")
_EXACT_VNI = re.compile(r"(?:^|,)tun_id=0x[0-9a-f]+(?:,|$)")
_NEXT = re.compile(r"resubmit\(,(\d+)\)$")


@dataclass(frozen=True, slots=True)
class Location:
    """How OVN identifies a port inside the switch: the tunnel keys of its datapath and of the port."""

    datapath: int
    port: int


@dataclass(frozen=True, slots=True)
class Hooks:
    """Tables and priorities for the driver's flows among OVN's.

    Attributes:
        local_output: the table that hands a packet with a logical output port to the local port, through
            conntrack zones, loopback check, egress pipeline and port security.
        output: the first table behind the ingress pipeline, or None where a flow there would have to outrank
            OVN's.
        after_output: where `output` sends unmatched packets.
        unknown: table and priority of OVN's drop of a packet to an unknown MAC address, or None.
    """

    local_output: int
    output: int | None = None
    after_output: int | None = None
    unknown: tuple[int, int] | None = None


def location(flow: Flow) -> tuple[int, Location] | None:
    """OpenFlow port and location, if this is the flow of table 0 for a container's port, or None."""
    port = _INGRESS.fullmatch(flow.match)
    keys = _DATAPATH.search(flow.actions), _PORT.search(flow.actions)
    if flow.table != 0 or port is None or None in keys:
        return None
    datapath, logical = (int(key[1], 16) for key in keys if key)
    return int(port[1]), Location(datapath, logical)


def local_output(flows: Iterable[Flow], where: Location) -> int | None:
    """The table that delivers to a port of this host: it loads the port's conntrack zone (register 13)."""
    delivery = match(f"reg15={where.port:#x}", f"metadata={where.datapath:#x}")
    for flow in flows:
        onward = _NEXT.search(flow.actions)
        if (
            flow.match == delivery
            and "->reg13" in flow.actions
            and onward
            and int(onward[1]) == flow.table + 1
        ):
            return flow.table
    return None


def passes_on(flows: Iterable[Flow]) -> int | None:
    """Where a table sends unmatched packets, or None if not simply to another table."""
    for flow in flows:
        if flow.priority == 0 and not flow.match:
            onward = _RESUBMIT.fullmatch(flow.actions)
            return int(onward[1]) if onward else None
    return None


def unseen(local: int, onward: Mapping[int, int | None]) -> list[int]:
    """The tables to read before `first_output` is known; none when it is.

    Args:
        local: the table of the local output.
        onward: `passes_on` of each table read so far.
    """
    begins = min((table for table, _ in _chain(local, onward)), default=local)
    return [table for table in range(max(begins - MAX_GAP, 0), begins) if table not in onward]


def first_output(local: int, onward: Mapping[int, int | None]) -> tuple[int, int] | None:
    """The table that packets reach from the ingress pipeline, and the one that follows it.

    It heads a chain of tables that pass on unmatched packets, up to the local output. The last link of the
    chain sends groups to other hosts, so where no table precedes it, there is no place for a flow.
    """
    first = min(_chain(local, onward), default=None)
    return first if first is not None and first[1] != local else None


def _chain(local: int, onward: Mapping[int, int | None]) -> list[tuple[int, int]]:
    """The tables that lead to the local output, and where each passes on to."""
    reaches, chain = {local}, list[tuple[int, int]]()
    for table in sorted(onward, reverse=True):
        target = onward[table]
        if target in reaches and target is not None:
            reaches.add(table)
            chain.append((table, target))
    return chain


def unknown_drop(flows: Iterable[Flow], datapath: int, before: int) -> tuple[int, int] | None:
    """Table and priority of OVN's flow for a packet whose destination no port of the switch has."""
    no_output = match("reg15=0", f"metadata={datapath:#x}")
    group = f"set_field:{UNKNOWN_GROUP:#x}->reg15,"
    for flow in flows:
        drops = flow.actions == "drop" or flow.actions.startswith(group)
        if flow.match == no_output and flow.table < before and drops:
            return flow.table, flow.priority
    return None


def decapsulations(flows: Iterable[Flow], ofport: int) -> tuple[Flow, ...]:
    """The flows of table 0 that take packets from a VTEP's tunnel for those of a host.

    They read parts of a VNI as a datapath and an output port. The flow for a VTEP's port compares the whole
    VNI; a flow that cannot be outranked without outranking that one is left out.

    Args:
        flows: OVN's, in table 0.
        ofport: of OVN's tunnel to the VTEP.
    """
    in_port = f"in_port={ofport}"
    from_tunnel = [flow for flow in flows if flow.table == 0 and in_port in flow.match.split(",")]
    exact = [flow.priority for flow in from_tunnel if _EXACT_VNI.search(flow.match)]
    others = [flow for flow in from_tunnel if not _EXACT_VNI.search(flow.match)]
    if not exact:
        return ()
    return tuple(flow for flow in others if flow.priority > max(exact) or flow.priority + 1 < min(exact))
