"""From what is known of endpoints and VTEPs to the flows that lead to and fro. Pure.

A packet that a VTEP sends is looked up in table 200 by VNI and destination address, gets what OVN's own
decapsulation would have given it - datapath and logical output port - and goes on in OVN's local output.
What a container sends to everybody, or to a MAC address that no port has, is copied to the network's VTEPs
where OVN's ingress pipeline ends.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPAddress
from ovn_docker.overlay.vtep.openflow import Change, Flow, Key, match
from ovn_docker.overlay.vtep.pipeline import GROUPS, UNKNOWN_GROUP, Hooks, Location

# --- Which of our flows are in the switch, and what has to change so that the right ones are. Pure. ---------


Group = Hashable
"""What a few flows stand for together: an endpoint, a network, a VTEP."""


class Book:
    """Flows by key, and by what they stand for.

    It looks only at groups that have changed, so that one more container costs nothing for the others.
    """

    def __init__(self, installed: Iterable[Flow] = ()) -> None:
        """Begin with what is in the switch; all of it goes with the first change that does not name it."""
        self._installed = {each.key: each for each in installed}
        self._owners: dict[Key, Group] = dict.fromkeys(self._installed)
        self._groups: dict[Group, tuple[Flow, ...]] = {None: tuple(self._installed.values())}

    def __contains__(self, key: object) -> bool:
        """Whether a flow of that key ought to be in the switch by now."""
        return key in self._installed

    def __len__(self) -> int:
        """How many flows ought to be in the switch by now."""
        return len(self._installed)

    @property
    def groups(self) -> Mapping[Group, tuple[Flow, ...]]:
        """What the flows that ought to be in the switch by now stand for."""
        return self._groups

    def change(self, wanted: Mapping[Any, tuple[Flow, ...]]) -> Change:
        """What has to be done for these groups and no others; it is taken for done.

        An entry that two groups claim is the one's that came later: an address whose container has gone and
        that another has by now. A group whose flows are the same object as before is not looked at.
        """
        old = [each for each in self._groups if wanted.get(each) is not self._groups[each]]
        new = [each for each in wanted if self._groups.get(each) is not wanted[each]]
        claimed = {flow.key: (each, flow) for each in new for flow in wanted[each]}
        gone = {flow.key for each in old for flow in self._groups[each] if self._owners.get(flow.key) == each}
        deleted = [self._installed[key] for key in gone - claimed.keys()]
        added = []
        for key, (_, flow) in claimed.items():
            before = self._installed.get(key)
            if before != flow:
                added.append(flow)
            if before is not None and before.priority != flow.priority:
                deleted.append(before)
        self._note(gone, claimed)
        self._groups = dict(wanted)
        return Change(tuple(added), tuple(deleted))

    def _note(self, gone: Iterable[Key], claimed: Mapping[Key, tuple[Group, Flow]]) -> None:
        for key in gone:
            del self._installed[key], self._owners[key]
        for key, (owner, flow) in claimed.items():
            self._installed[key], self._owners[key] = flow, owner


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
class VtepTunnel:
    """The OpenFlow port through which a VTEP is reached, and whether it is one of ours or OVN's."""

    ofport: int
    ours: bool


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
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


def entries(endpoint: LocalEndpoint, where: Location, vnis: Iterable[int], hooks: Hooks) -> tuple[Flow, ...]:
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


def _addresses(endpoint: LocalEndpoint) -> list[IPAddress]:
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


def entrance(vtep: Vtep, tunnel: VtepTunnel, hooks: Hooks) -> tuple[Flow, ...]:
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


def exits(datapath: int, ways: Iterable[tuple[int, VtepTunnel]], hooks: Hooks) -> tuple[Flow, ...]:
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


# --- Everything that the switch should hold of lookup flows, in groups that change each for itself. Pure. ---


@dataclass(frozen=True, slots=True)
class World:
    """What the flows follow from.

    Attributes:
        vteps: those that are to be looked up.
        tunnels: by remote address.
        endpoints: the containers of this host, by row.
        locations: what OVN calls them, by OpenFlow port.
        guarded: OVN's tunnels to VTEPs that have ports of its own: what each would take for a host's packet.
    """

    vteps: tuple[Vtep, ...] = ()
    tunnels: Mapping[str, VtepTunnel] = field(default_factory=dict)
    endpoints: Mapping[UUID, LocalEndpoint] = field(default_factory=dict)
    locations: Mapping[int, Location] = field(default_factory=dict)
    guarded: Mapping[int, tuple[Flow, ...]] = field(default_factory=dict)

    def served(self) -> dict[UUID, tuple[LocalEndpoint, Location]]:
        """The endpoints whose network has a VTEP and that OVN has a place for."""
        switches = {each.switch for each in self.vteps}
        return {
            row: (each, self.locations[each.ofport])
            for row, each in self.endpoints.items()
            if each.switch in switches and each.ofport in self.locations
        }


class Plan:
    """Makes the groups; what a group follows from has not changed, is the same object again."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._made: dict[Group, tuple[object, tuple[Flow, ...]]] = {}

    def groups(self, world: World, hooks: Hooks | None) -> dict[Group, tuple[Flow, ...]]:
        """The flows of a host, by what they stand for; without hooks nothing is looked up."""
        wanted = self._lookups(world, hooks) if hooks is not None else {}
        for ofport, flows in world.guarded.items():
            group = ("guard", ofport)
            known = self._made.get(group)
            fresh = known is None or known[0] != flows
            wanted[group] = (flows, guard(flows)) if known is None or fresh else known
        self._made = wanted
        return {group: flows for group, (_, flows) in wanted.items()}

    def _lookups(self, world: World, hooks: Hooks) -> dict[Group, tuple[object, tuple[Flow, ...]]]:
        wanted: dict[Group, tuple[object, tuple[Flow, ...]]] = {}
        by_switch = _by_switch(world.vteps)
        datapaths: dict[UUID, int] = {}
        for row, (endpoint, where) in world.served().items():
            vnis = tuple(sorted({each.vni for each in by_switch[endpoint.switch]}))
            datapaths[endpoint.switch] = where.datapath
            inputs = (endpoint, where, vnis, hooks)
            known = self._made.get(row)
            fresh = known is None or known[0] != inputs
            wanted[row] = (inputs, entries(*inputs)) if known is None or fresh else known
        for switch, datapath in datapaths.items():
            wanted |= self._network(by_switch[switch], datapath, world.tunnels, hooks)
        if wanted:
            wanted["otherwise"] = self._made.get("otherwise") or ((), otherwise())
        return wanted

    def _network(
        self, vteps: Iterable[Vtep], datapath: int, tunnels: Mapping[str, VtepTunnel], hooks: Hooks
    ) -> dict[Group, tuple[object, tuple[Flow, ...]]]:
        reached = tuple((each, tunnels[str(each.remote)]) for each in vteps if str(each.remote) in tunnels)
        group, inputs = ("network", datapath), (reached, hooks)
        known = self._made.get(group)
        if known is not None and known[0] == inputs:
            return {group: known}
        flows = [flow for vtep, tunnel in reached for flow in entrance(vtep, tunnel, hooks)]
        flows += exits(datapath, [(vtep.vni, tunnel) for vtep, tunnel in reached], hooks)
        return {group: (inputs, tuple(flows))}


def _by_switch(vteps: Iterable[Vtep]) -> dict[UUID, list[Vtep]]:
    found: dict[UUID, list[Vtep]] = {}
    for each in sorted(vteps, key=lambda each: (each.vni, str(each.remote))):
        found.setdefault(each.switch, []).append(each)
    return found
