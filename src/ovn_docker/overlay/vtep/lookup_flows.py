"""From endpoints and VTEPs to the flows that deliver their packets. Pure.

A VTEP's packet is looked up in table 200 by VNI and destination address, gets what OVN's own decapsulation
would have given it (datapath and logical output port) and continues in OVN's local output. A container's
broadcasts, and its packets to unknown MAC addresses, are copied to the network's VTEPs where OVN's ingress
pipeline ends.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.overlay.vtep.openflow import Flow, match
from ovn_docker.overlay.vtep.pipeline import GROUPS, UNKNOWN_GROUP, Hooks, Location

LOOKUP_TABLE = 200
"""The guide's. No release of OVN up to 26.03 uses it."""

ENTRY, HOOK, COPY = 200, 150, 1
"""Priorities: of an entry; of the hook in table 0, where OVN has no flow for the driver's ports; and of flows
that only have to precede OVN's catch-all of priority 0."""

LARGEST_TUNNEL_VNI = 0xFFF
"""On its own VXLAN tunnels OVN reads the upper 12 bits of a VNI as an output port."""

REMEMBERED = 16384
"""Endpoints whose entries are kept from one computation to the next; the switch has as many ports at most."""


@dataclass(frozen=True, slots=True)
class Vtep:
    """A VTEP as configured for a network.

    Attributes:
        remote: its tunnel endpoint.
        vni: the network's VNI on that VTEP.
        switch: row id of the network's logical switch.
    """

    remote: IPAddress
    vni: int
    switch: UUID


@dataclass(frozen=True, slots=True)
class VtepTunnel:
    """The OpenFlow port that reaches a VTEP, and whether this driver added it; otherwise it is OVN's."""

    ofport: int
    own: bool


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """A container's interface on this host.

    Attributes:
        ofport: in the integration bridge.
        mac: of the container's end.
        addresses: as its row of Interface has them.
        switch: row id of its network's logical switch.
    """

    ofport: int
    mac: str
    addresses: tuple[str, ...]
    switch: UUID


def unambiguous(vteps: Iterable[Vtep]) -> list[Vtep]:
    """Leave out VTEPs whose VNI stands for several networks: the container could not be told."""
    everything = list(vteps)
    switches: dict[int, set[UUID]] = {}
    for vtep in everything:
        switches.setdefault(vtep.vni, set()).add(vtep.switch)
    return [vtep for vtep in everything if len(switches[vtep.vni]) == 1]


@functools.lru_cache(maxsize=REMEMBERED)
def entries(
    endpoint: LocalEndpoint, where: Location, vnis: tuple[int, ...], hooks: Hooks
) -> tuple[Flow, ...]:
    """For IP packets to an endpoint's addresses, and for ARP and neighbor solicitations about them."""
    deliver = (
        f"set_field:{where.datapath:#x}->metadata,set_field:{where.port:#x}->reg15,"
        f"resubmit(,{hooks.local_output})"
    )
    rewrite = f"set_field:{endpoint.mac}->eth_dst,{deliver}"
    addresses = _addresses(endpoint)
    return tuple(
        flow
        for vni in vnis
        for address in addresses
        for flow in _entry(address, f"tun_id={vni:#x}", rewrite, deliver)
    )


def _addresses(endpoint: LocalEndpoint) -> list[IPAddress]:
    """Those that are valid; with IPv6 also the link-local one, which OVN's port security lets it use."""
    parsed = map(_address, endpoint.addresses)
    addresses = [address for address in parsed if address is not None]
    if any(address.version == 6 for address in addresses):  # noqa: PLR2004  (IPv6)
        addresses.append(link_local(endpoint.mac))
    return addresses


def _address(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def link_local(mac: str) -> IPv6Address:
    """The IPv6 address that follows from a MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def _entry(address: IPAddress, vni: str, rewrite: str, deliver: str) -> tuple[Flow, Flow]:
    if isinstance(address, IPv6Address):
        # A solicitation sent to the address itself matches both, and either is right for it.
        solicitation = match("icmp6", vni, "icmp_type=135", f"nd_target={address}")
        return (
            Flow(LOOKUP_TABLE, ENTRY, match("ipv6", vni, f"ipv6_dst={address}"), rewrite),
            Flow(LOOKUP_TABLE, ENTRY + 1, solicitation, deliver),
        )
    return (
        Flow(LOOKUP_TABLE, ENTRY, match("ip", vni, f"nw_dst={address}"), rewrite),
        Flow(LOOKUP_TABLE, ENTRY, match("arp", vni, f"arp_tpa={address}"), deliver),
    )


def entrance(vtep: Vtep, tunnel: VtepTunnel, hooks: Hooks) -> tuple[Flow, ...]:
    """Sends a VTEP's packets with its VNI to the lookup.

    From a port of the driver's they arrive in table 0, where OVN has no flow for it. From a tunnel of OVN's
    they reach the local output without an output port, where a flow of priority 0 would drop them.
    """
    lookup = f"resubmit(,{LOOKUP_TABLE})"
    fields = [f"in_port={tunnel.ofport}", f"tun_id={vtep.vni:#x}"]
    if tunnel.own:
        return (Flow(0, HOOK, match(*fields), lookup),)
    if vtep.vni > LARGEST_TUNNEL_VNI:
        return ()
    return (Flow(hooks.local_output, COPY, match(*fields, "reg15=0"), lookup),)


def exits(datapath: int, ways: Iterable[tuple[int, VtepTunnel]], hooks: Hooks) -> tuple[Flow, ...]:
    """Copies a network's broadcasts and packets to unknown MAC addresses to its VTEPs.

    Args:
        datapath: of the network.
        ways: VNI and tunnel of each VTEP.
        hooks: of the switch.
    """
    copies = [f"clone(set_field:{vni:#x}->tun_id,output:{tunnel.ofport})" for vni, tunnel in ways]
    if not copies or hooks.output is None:
        return ()
    network = f"metadata={datapath:#x}"
    onward = [*copies, f"resubmit(,{hooks.after_output})"]
    copied = [Flow(hooks.output, COPY, match(f"reg15={GROUPS}", network), ",".join(onward))]
    if hooks.unknown is not None:
        table, priority = hooks.unknown
        # What OVN itself does as soon as the network has a port with unknown addresses.
        group = f"set_field:{UNKNOWN_GROUP:#x}->reg15,resubmit(,{hooks.output})"
        copied.append(Flow(table, priority + 1, match("reg15=0", network), group))
    return tuple(copied)


def guard(decapsulations: Iterable[Flow]) -> tuple[Flow, ...]:
    """Drops a VTEP's packets that OVN would take for a host's: those of all VNIs but its ports'."""
    return tuple(Flow(flow.table, flow.priority + 1, flow.match, "drop") for flow in decapsulations)


@dataclass(frozen=True, slots=True)
class World:
    """What the flows follow from.

    Attributes:
        vteps: those to look up.
        tunnels: by remote address.
        served: the containers of this host on a network with such a VTEP, and where OVN has each, by row of
            Interface; the newest last.
        guarded: by OVN's tunnel to a VTEP that has a port of type vtep, the flows that take its packets for a
            host's.
    """

    vteps: tuple[Vtep, ...] = ()
    tunnels: Mapping[str, VtepTunnel] = field(default_factory=dict)
    served: Mapping[UUID, tuple[LocalEndpoint, Location]] = field(default_factory=dict)
    guarded: Mapping[int, tuple[Flow, ...]] = field(default_factory=dict)


def served(
    vteps: Iterable[Vtep], endpoints: Mapping[UUID, LocalEndpoint], locations: Mapping[int, Location]
) -> dict[UUID, tuple[LocalEndpoint, Location]]:
    """The endpoints whose network has a VTEP and whose OpenFlow port OVN has a location for."""
    switches = {vtep.switch for vtep in vteps}
    return {
        row: (endpoint, locations[endpoint.ofport])
        for row, endpoint in endpoints.items()
        if endpoint.switch in switches and endpoint.ofport in locations
    }


def flows(world: World, hooks: Hooks | None) -> Iterator[Flow]:
    """Every flow that the switch should hold; without hooks nothing is looked up.

    Of two flows with the same key the later one counts: a container has just taken over the address of
    another that is still going.
    """
    if hooks is not None:
        yield from _lookups(world, hooks)
    for decapsulations in world.guarded.values():
        yield from guard(decapsulations)


def leading_to(world: World, hooks: Hooks | None, rows: Iterable[UUID]) -> Iterator[Flow]:
    """The entries of some of the endpoints that are served, by row of Interface."""
    if hooks is None:
        return
    vnis = _vnis(world)
    for row in rows:
        endpoint, where = world.served[row]
        yield from entries(endpoint, where, vnis[endpoint.switch], hooks)


def _vnis(world: World) -> dict[UUID, tuple[int, ...]]:
    """The VNIs of each switch."""
    vnis: dict[UUID, set[int]] = {}
    for vtep in world.vteps:
        vnis.setdefault(vtep.switch, set()).add(vtep.vni)
    return {switch: tuple(sorted(numbers)) for switch, numbers in vnis.items()}


def _lookups(world: World, hooks: Hooks) -> Iterator[Flow]:
    vteps: dict[UUID, list[Vtep]] = {}
    for vtep in sorted(world.vteps, key=lambda vtep: (vtep.vni, str(vtep.remote))):
        vteps.setdefault(vtep.switch, []).append(vtep)
    yield from leading_to(world, hooks, world.served)
    datapaths = {endpoint.switch: where.datapath for endpoint, where in world.served.values()}
    for switch, datapath in datapaths.items():
        tunnels = [(vtep, world.tunnels.get(str(vtep.remote))) for vtep in vteps[switch]]
        reached = [(vtep, tunnel) for vtep, tunnel in tunnels if tunnel is not None]
        for vtep, tunnel in reached:
            yield from entrance(vtep, tunnel, hooks)
        yield from exits(datapath, [(vtep.vni, tunnel) for vtep, tunnel in reached], hooks)
    if datapaths:
        yield Flow(LOOKUP_TABLE, 0, "", "drop")  # what is looked up and not found
