"""Everything that the switch should hold of lookup flows, in groups that change each for itself. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from ovn_docker.overlay.vtep import lookup_flows
from ovn_docker.overlay.vtep.book import Group
from ovn_docker.overlay.vtep.lookup_flows import Endpoint, Tunnel, Vtep
from ovn_docker.overlay.vtep.openflow import Flow
from ovn_docker.overlay.vtep.pipeline import Hooks, Location


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
    tunnels: Mapping[str, Tunnel] = field(default_factory=dict)
    endpoints: Mapping[UUID, Endpoint] = field(default_factory=dict)
    locations: Mapping[int, Location] = field(default_factory=dict)
    guarded: Mapping[int, tuple[Flow, ...]] = field(default_factory=dict)

    def served(self) -> dict[UUID, tuple[Endpoint, Location]]:
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
            wanted[group] = (flows, lookup_flows.guard(flows)) if known is None or fresh else known
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
            wanted[row] = (inputs, lookup_flows.entries(*inputs)) if known is None or fresh else known
        for switch, datapath in datapaths.items():
            wanted |= self._network(by_switch[switch], datapath, world.tunnels, hooks)
        if wanted:
            wanted["otherwise"] = self._made.get("otherwise") or ((), lookup_flows.otherwise())
        return wanted

    def _network(
        self, vteps: Iterable[Vtep], datapath: int, tunnels: Mapping[str, Tunnel], hooks: Hooks
    ) -> dict[Group, tuple[object, tuple[Flow, ...]]]:
        reached = tuple((each, tunnels[str(each.remote)]) for each in vteps if str(each.remote) in tunnels)
        group, inputs = ("network", datapath), (reached, hooks)
        known = self._made.get(group)
        if known is not None and known[0] == inputs:
            return {group: known}
        flows = [flow for vtep, tunnel in reached for flow in lookup_flows.entrance(vtep, tunnel, hooks)]
        flows += lookup_flows.exits(datapath, [(vtep.vni, tunnel) for vtep, tunnel in reached], hooks)
        return {group: (inputs, tuple(flows))}


def _by_switch(vteps: Iterable[Vtep]) -> dict[UUID, list[Vtep]]:
    found: dict[UUID, list[Vtep]] = {}
    for each in sorted(vteps, key=lambda each: (each.vni, str(each.remote))):
        found.setdefault(each.switch, []).append(each)
    return found
