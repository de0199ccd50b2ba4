"""From what is known of endpoints and VTEPs to the flows that lead to and fro. Pure.

A packet that a VTEP sends is looked up in table 200 by VNI and destination address, gets what OVN's own
decapsulation would have given it - datapath and logical output port - and goes on in OVN's local output.
What a container sends to everybody, or to a MAC address that no port has, is copied to the network's VTEPs
where OVN's ingress pipeline ends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.overlay.vtep.openflow import Flow, match
from ovn_docker.overlay.vtep.pipeline import GROUPS, UNKNOWN_GROUP, Hooks, Location

LOOKUP_TABLE = 200
"""The guide's. No release of OVN up to 26.03 uses it."""

ENTRY, HOOK, COPY = 200, 150, 1
"""Priorities: of an entry; of the hook in table 0, where OVN has no flow for our ports; of what comes before
OVN's catch-all with priority 0 and nothing else."""

LARGEST_TUNNEL_VNI = 0xFFF
"""OVN takes the upper 12 bits of a VNI on a VXLAN tunnel of its own for an output port."""


@dataclass(frozen=True, slots=True)
class Vtep:
    """A VTEP, as it was configured for a network.

    Attributes:
        remote: its tunnel endpoint.
        vni: what it calls the network.
        switch: the row of the network's logical switch.
    """

    remote: IPAddress
    vni: int
    switch: UUID


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The OpenFlow port through which a VTEP is reached, and whether it is one of ours or OVN's."""

    ofport: int
    ours: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A container's interface on this host.

    Attributes:
        ofport: in the integration bridge.
        mac: of the container's end.
        addresses: its IP addresses.
        switch: the row of its network's logical switch.
    """

    ofport: int
    mac: str
    addresses: tuple[str, ...]
    switch: UUID


def unambiguous(vteps: Iterable[Vtep]) -> list[Vtep]:
    """Without those whose VNI means several networks: nobody could say which container is meant."""
    everything = list(vteps)
    means: dict[int, set[UUID]] = {}
    for each in everything:
        means.setdefault(each.vni, set()).add(each.switch)
    return [each for each in everything if len(means[each.vni]) == 1]


def entries(endpoint: Endpoint, where: Location, vnis: Iterable[int], hooks: Hooks) -> tuple[Flow, ...]:
    """The entries of an endpoint: for an IP packet to its address, and for a question for its MAC address."""
    return tuple(
        flow
        for vni in vnis
        for address in _addresses(endpoint)
        for flow in _entry(endpoint.mac, address, f"tun_id={vni:#x}", _deliver(where, hooks))
    )


def _deliver(where: Location, hooks: Hooks) -> str:
    return (
        f"set_field:{where.datapath:#x}->metadata,set_field:{where.port:#x}->reg15,"
        f"resubmit(,{hooks.local_output})"
    )


def _addresses(endpoint: Endpoint) -> list[IPAddress]:
    """Its addresses, and the link-local one that goes with IPv6 and that OVN's port security lets it use."""
    addresses = [ip_address(each) for each in endpoint.addresses]
    if any(each.version == 6 for each in addresses):  # noqa: PLR2004  (IPv6)
        addresses.append(link_local(endpoint.mac))
    return addresses


def link_local(mac: str) -> IPv6Address:
    """The IPv6 address that follows from a MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def _entry(mac: str, address: IPAddress, vni: str, deliver: str) -> tuple[Flow, Flow]:
    rewrite = f"set_field:{mac}->eth_dst,{deliver}"
    if isinstance(address, IPv6Address):
        packet = match("ipv6", vni, f"ipv6_dst={address}")
        question = match("icmp6", vni, "icmp_type=135", f"nd_target={address}")
        # A solicitation to the address itself matches both, and either is right for it.
        return (
            Flow(LOOKUP_TABLE, ENTRY, packet, rewrite),
            Flow(LOOKUP_TABLE, ENTRY + 1, question, deliver),
        )
    return (
        Flow(LOOKUP_TABLE, ENTRY, match("ip", vni, f"nw_dst={address}"), rewrite),
        Flow(LOOKUP_TABLE, ENTRY, match("arp", vni, f"arp_tpa={address}"), deliver),
    )


def entrance(vtep: Vtep, tunnel: Tunnel, hooks: Hooks) -> tuple[Flow, ...]:
    """What leads a VTEP's packets of one VNI to the lookup.

    Through a port of ours they arrive in table 0, where OVN has no flow for it. Through a tunnel of OVN's own
    they have been given no output port by the time of the local output, which drops them with priority 0.
    """
    lookup = f"resubmit(,{LOOKUP_TABLE})"
    fields = [f"in_port={tunnel.ofport}", f"tun_id={vtep.vni:#x}"]
    if tunnel.ours:
        return (Flow(0, HOOK, match(*fields), lookup),)
    if vtep.vni > LARGEST_TUNNEL_VNI:
        return ()
    return (Flow(hooks.local_output, COPY, match(*fields, "reg15=0"), lookup),)


def exits(datapath: int, ways: Iterable[tuple[int, Tunnel]], hooks: Hooks) -> tuple[Flow, ...]:
    """What copies a network's broadcasts and packets to unknown MAC addresses to its VTEPs.

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
    flows = [Flow(hooks.output, COPY, match(f"reg15={GROUPS}", network), ",".join(onward))]
    if hooks.unknown is not None:
        table, priority = hooks.unknown
        # What OVN itself does as soon as the network has a port with unknown addresses.
        group = f"set_field:{UNKNOWN_GROUP:#x}->reg15,resubmit(,{hooks.output})"
        flows.append(Flow(table, priority + 1, match("reg15=0", network), group))
    return tuple(flows)


def otherwise() -> tuple[Flow, ...]:
    """What is looked up and not found goes nowhere."""
    return (Flow(LOOKUP_TABLE, 0, "", "drop"),)


def guard(decapsulations: Iterable[Flow]) -> tuple[Flow, ...]:
    """What drops the packets of a VTEP that OVN would take for a host's: of all VNIs but its ports'."""
    return tuple(Flow(each.table, each.priority + 1, each.match, "drop") for each in decapsulations)
