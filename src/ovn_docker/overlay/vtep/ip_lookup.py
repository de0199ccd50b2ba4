"""--ip-lookup: keeps the switch's lookup flows in line with containers and VTEPs, beside requests.

Follows two replicas (this host's interfaces, the VTEPs in Northbound) and the switch's tables 0 and 200. A
restart of ovn-controller or ovs-vswitchd empties every table; the switch reports that, and everything is read
and installed anew.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from ovn_docker.errors import HostError, OvnDockerError
from ovn_docker.health.snapshot import LookupState
from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.host.ovn_settings import settings_of
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.vtep import lookup_flows, openflow, pipeline, vtep_config
from ovn_docker.overlay.vtep.lookup_flows import LOOKUP_TABLE, LocalEndpoint, VtepTunnel, World
from ovn_docker.overlay.vtep.ofctl import NO_HOOK, HookFinder, IntegrationBridge, no_way_back
from ovn_docker.overlay.vtep.openflow import COOKIE, COOKIE_MASK, Change, Flow, FlowEvent, Key
from ovn_docker.overlay.vtep.pipeline import Hooks, Location
from ovn_docker.overlay.vtep.vtep_config import ConfiguredVtep, VtepReport
from ovn_docker.ovn import switches, vteps
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Row, mapping, optional
from ovn_docker.ovsdb.replica import Replica

LOG = logging.getLogger(__name__)

DEBOUNCE = 0.1
"""Seconds from a change to the flows that follow from it: a Join is over by then, so that it is not slowed
down and its steps are one change."""

FLOWS_A_STEP = 500
"""Flows computed before other tasks may run; 3 ms. A host with 5,000 containers has 10,000 for each VNI."""

FIRST_RETRY, LONGEST_RETRY = 0.05, 0.25
"""Seconds before another attempt; doubled while none succeeds."""

RETIRE_TRIES, RETIRE_PAUSE = 5, 1.0
"""Attempts of a driver without --ip-lookup to reach a switch that does not answer, and seconds between."""

MAX_LOOKS = 5
"""Searches for tables that an old release of OVN does not have."""

REMOVAL_TIMEOUT = 2.0
"""Seconds; a switch that does not answer must not keep a container from being removed."""


# --- What this host's Open_vSwitch says of containers and VXLAN ports. No I/O. ------------------------------


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The rows of Interface that matter here; `ports` are all VXLAN ports, OVN's too."""

    endpoints: Mapping[UUID, LocalEndpoint]
    ports: tuple[VxlanPort, ...]


class InterfaceReader:
    """Reads the watched rows of Interface; one that has not changed is not read again."""

    def __init__(self) -> None:
        self._read: dict[UUID, tuple[tuple[object, object], tuple[str, LocalEndpoint] | None]] = {}

    def read(self, rows: Mapping[UUID, Row], shared: Mapping[str, UUID]) -> Interfaces:
        """All endpoints and ports.

        Args:
            rows: of Interface, of which the replica replaces a changed value and never changes it in place.
            shared: by Docker's network id, the row of its switch where that does not follow from the id.
        """
        endpoints: dict[UUID, LocalEndpoint] = {}
        ports: list[VxlanPort] = []
        before, self._read = self._read, {}
        for row_id, row in rows.items():
            if row.get("type") == "vxlan":
                port = open_vswitch.read_vxlan_port(row)
                ports += [port] if port else []
                continue
            values = row.get("external_ids"), row.get("ofport")
            known, found = before.get(row_id, ((None, None), None))
            if known[0] is not values[0] or known[1] != values[1]:
                found = _endpoint(row)
            self._read[row_id] = values, found
            if found is not None:
                network_id, endpoint = found
                switch = shared.get(network_id)
                endpoints[row_id] = replace(endpoint, switch=switch) if switch else endpoint
        return Interfaces(endpoints, tuple(ports))


def _endpoint(row: Row) -> tuple[str, LocalEndpoint] | None:
    """A container's network, and its interface as if that network had a switch of its own; None until OVN has
    installed its flows.
    """
    ids = mapping(row.get("external_ids"))
    network_id, mac = ids.get(open_vswitch.NETWORK, ""), ids.get("attached-mac", "")
    ofport = optional(row.get("ofport"))
    if not network_id or not mac or ids.get("ovn-installed") != "true" or not ofport or ofport < 0:
        return None
    addresses = tuple(sorted(ids.get(open_vswitch.ADDRESSES, "").split()))
    return network_id, LocalEndpoint(ofport, mac, addresses, switches.switch_id(network_id))


def tunnels(ports: Iterable[VxlanPort]) -> dict[str, VtepTunnel]:
    """The port that reaches each VTEP, by remote address: OVN's own tunnel where there is one."""
    own_first = sorted((port for port in ports if port.ofport), key=lambda port: not port.vtep)
    return {port.remote: VtepTunnel(port.ofport or 0, own=bool(port.vtep)) for port in own_first}


class KnownVteps:
    """The VTEPs of the switches that this host watches.

    Attributes:
        up: by port name, whether each VTEP's port of type vtep was bound to its chassis at the last look.
    """

    def __init__(self, client: Client, *, wanted: bool) -> None:
        """Use a client that watches `vteps.SWITCHES`; `wanted` says whether this host keeps flows."""
        self._client = client
        self._wanted = wanted
        self.up: Mapping[str, bool] = {}

    def all(self) -> list[ConfiguredVtep]:
        """All of them."""
        return vtep_config.read(self._client.replica.rows(switches.SWITCH))

    def looked_up(self) -> list[ConfiguredVtep]:
        """Those for which this host keeps lookup flows."""
        return [vtep for vtep in self.all() if self._wanted and vtep.mode == vteps.LOOKUP]

    def guarded(self) -> set[str]:
        """Addresses of those that OVN serves, whose tunnels a host that keeps flows guards."""
        return {str(vtep.vtep.remote) for vtep in self.all() if self._wanted and vtep.mode == vteps.VTEP_PORT}

    async def look(self) -> None:
        """Read by row id which ports of type vtep are up; while OVN is away, keep what is known."""
        served = [vtep.vtep for vtep in self.all() if vtep.mode == vteps.VTEP_PORT]
        if served and not self._client.connected:
            return
        questions = [vteps.lsp_vtep_state(vtep.switch, str(vtep.remote)) for vtep in served]
        results = await self._client.request(questions) if questions else []
        self.up = vteps.vtep_ports_up(row for result in results for row in result["rows"])


class FlowRemovals:
    """The endpoints that are being removed, and the requests that wait until no flow leads to them.

    Attributes:
        urgent: set when a request waits, or soon will: entries are to be removed without delay.
        rows: of Interface, of the endpoints; their rows may still be there.
    """

    def __init__(self, due: asyncio.Event) -> None:
        """Set `due` when flows have to change."""
        self.urgent = asyncio.Event()
        self._due = due
        self.rows: set[UUID] = set()
        self._waiting: set[asyncio.Future[None]] = set()

    def remaining(self, endpoints: Mapping[UUID, LocalEndpoint]) -> dict[UUID, LocalEndpoint]:
        """The endpoints by row of Interface, without those that are going though their row is still there."""
        self.rows &= endpoints.keys()
        return {row_id: endpoint for row_id, endpoint in endpoints.items() if row_id not in self.rows}

    async def wait(self, endpoint_id: str) -> None:
        """Return when the switch has no flow to an endpoint, or after `REMOVAL_TIMEOUT`."""
        self.rows.add(open_vswitch.interface_id(endpoint_id))
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        self.urgent.set()
        self._due.set()
        try:
            async with asyncio.timeout(REMOVAL_TIMEOUT):
                await future
        except TimeoutError:
            LOG.warning(
                "the switch does not answer: flows of IP lookups may still lead to removed endpoint %s",
                endpoint_id,
            )
        finally:
            self._waiting.discard(future)

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        """Let the requests that wait now continue once the change made inside has succeeded."""
        self.urgent.clear()
        waiting = tuple(self._waiting)
        yield
        for future in waiting:
            if not future.done():
                future.set_result(None)


@dataclass(slots=True)
class _SwitchState:
    """What is known of the switch until its tables are emptied or it is gone.

    Attributes:
        followed: whether the switch is being followed at all.
        installed: the flows of this driver in it, by key.
        locations: what table 0 says of OpenFlow ports.
        world: what the installed flows follow from; None while an earlier run's may remain.
        coming: what those follow from that are being computed or installed.
        hooks: where OVN's pipeline is entered and left, once found; `looks` counts the searches.
        foreign: the flows of table 0 that are not any driver's, or None when they have to be read anew.
    """

    followed: bool = False
    installed: dict[Key, Flow] = field(default_factory=dict)
    locations: dict[int, Location] = field(default_factory=dict)
    world: World | None = None
    coming: World = field(default_factory=World)
    hooks: Hooks | None = None
    looks: int = 0
    foreign: list[Flow] | None = None

    def may_lead_to(self, row: UUID) -> bool:
        """Whether an entry may lead to an endpoint, given by its row of Interface."""
        if self.world is None:
            return True
        return self.hooks is not None and (row in self.world.served or row in self.coming.served)

    def incomplete(self) -> bool:
        """Whether tables are missing that OVN may not have filled yet."""
        if self.hooks is None:
            return True
        return bool(no_way_back(self.hooks)) and self.looks < MAX_LOOKS


class IpLookup:
    """The lookup flows of this host."""

    def __init__(self, ovs: Client, shared: SharedNetworks, driver_name: str, *, wanted: bool) -> None:
        """Keep them if they are wanted, else remove what an earlier run of this driver left."""
        self._owner = driver_name
        self._enabled = wanted
        self._ovs = ovs
        self._nb = shared.database.client
        self._vteps = KnownVteps(self._nb, wanted=wanted)
        self._shared = shared
        self._due = asyncio.Event()
        self._state = _SwitchState()
        self._finder = HookFinder()
        self._reader = InterfaceReader()
        self._removals = FlowRemovals(self._due)
        self._outage = ""

    def about(self) -> dict[str, Any]:
        """What NetworkDriver.Database shows of it."""
        hooks = self._state.hooks
        return {
            "table": LOOKUP_TABLE,
            "flows": len(self._state.installed),
            "local_output_table": hooks.local_output if hooks else None,
            "output_table": hooks.output if hooks else None,
            "outage": self._outage,
            "vteps": self._report().rows(),
        }

    def _report(self) -> VtepReport:
        interfaces = self._interfaces()
        return VtepReport(
            configured=self._vteps.all(),
            ports=interfaces.ports,
            up=self._vteps.up,
            switches={endpoint.switch for endpoint in interfaces.endpoints.values()},
        )

    async def look(self) -> None:
        """Refresh what `about` shows of the VTEPs that OVN serves."""
        await self._vteps.look()

    def hurry(self) -> None:
        """Remove at once the entries of the next endpoint that goes: a request is about to wait for that."""
        self._removals.urgent.set()

    async def withdraw(self, endpoint_id: str) -> None:
        """Return when no flow leads to an endpoint, so that OVN may give its port's number to another."""
        state = self._state
        if not self._enabled or (not state.followed and self._outage):
            return  # there is no flow, or there is no way to know
        row = open_vswitch.interface_id(endpoint_id)
        self._removals.rows.add(row)
        if state.may_lead_to(row):
            await self._removals.wait(endpoint_id)

    async def run(self) -> None:
        """Follow until cancelled; without --ip-lookup, only remove what an earlier run left."""
        pause = FIRST_RETRY
        if not self._enabled:
            await self._retire_quietly()
            await asyncio.get_running_loop().create_future()
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow()
            except* OvnDockerError as errors:
                self._set_outage(str(_first(errors)))
            except* Exception as errors:  # whatever it is, Docker is to be served
                error = _first(errors)
                LOG.debug("IP lookup failed", exc_info=error)
                self._set_outage(f"IP lookup failed: {type(error).__name__}: {error}")
            self._state = _SwitchState()
            lasted = asyncio.get_running_loop().time() - began
            pause = FIRST_RETRY if lasted > LONGEST_RETRY else min(pause * 2, LONGEST_RETRY)
            await asyncio.sleep(pause)

    async def _retire_quietly(self) -> None:
        for _ in range(RETIRE_TRIES):
            try:
                await self.retire()
            except HostError as error:
                LOG.debug("cannot remove flows of IP lookups, if there are any: %s", error)
                await asyncio.sleep(RETIRE_PAUSE)
            else:
                return

    async def retire(self) -> None:
        """Remove every flow and port of this driver."""
        switch = await self._switch()
        ports = [port for port in self._interfaces().ports if port.vtep and port.owner == self._owner]
        if ports:
            await self._ovs.transact([open_vswitch.del_vtep_port(port.vtep) for port in ports])
        flows = await switch.own()
        if flows:
            await switch.apply(Change(deleted=tuple(flows)))
        if flows or ports:
            LOG.info("removed %d flow(s) and %d port(s) of IP lookups", len(flows), len(ports))

    async def inspect(self) -> LookupState:
        """Compare the switch with what it should hold, reading everything anew; change nothing."""
        await self._nb.ready()
        await self._vteps.look()
        down = tuple(self._report().problems())
        if not self._enabled:
            return LookupState(down=down)
        try:
            switch = await self._switch()
            wanted, outage = await self._wanted(switch)
            present = _by_key(await switch.own())
        except HostError as error:
            return LookupState(outage=str(error), down=down)
        missing = [str(flow) for key, flow in wanted.items() if present.get(key) != flow]
        stale = [str(flow) for key, flow in present.items() if key not in wanted]
        return LookupState(tuple(missing), tuple(stale), outage, down)

    async def repair(self, _evidence: object = None) -> None:
        """Make the switch hold what it should."""
        switch = await self._switch()
        await self._nb.ready()
        await self._provide_ports(self._interfaces())
        wanted, _ = await self._wanted(switch)
        change = openflow.difference(_by_key(await switch.own()), wanted)
        if change:
            await switch.apply(change)

    async def _wanted(self, switch: IntegrationBridge) -> tuple[dict[Key, Flow], str]:
        """By key, the flows that should be there; and why not every VTEP is served, or ""."""
        foreign = await switch.foreign("table=0")
        interfaces = self._interfaces()
        world = self._world(interfaces, dict(filter(None, map(pipeline.location, foreign))), foreign)
        hooks = await self._finder.find(switch, [where for _, where in world.served.values()])
        return await _planned(world, hooks), self._unserved(world, hooks, interfaces)

    def _unserved(self, world: World, hooks: Hooks | None, interfaces: Interfaces) -> str:
        """Why not every VTEP is served, or ""."""
        if world.served and hooks is None:
            return NO_HOOK
        vnis = {vtep.vtep.vni for vtep in self._vteps.looked_up()} - {vtep.vni for vtep in world.vteps}
        if vnis:
            numbers = ", ".join(map(str, sorted(vnis)))
            return (
                f"VNI {numbers} is configured for several networks, so none is served:"
                " see 'ovn-docker vtep list'"
            )
        errors = {port.remote: port.error for port in interfaces.ports if port.vtep}
        for remote in sorted({str(vtep.remote) for vtep in world.vteps} - world.tunnels.keys()):
            reason = errors.get(remote) or "see whether the driver runs"
            return f"VTEP {remote} has no port on this host: {reason}"
        return no_way_back(hooks) if hooks else ""

    async def _switch(self) -> IntegrationBridge:
        """The integration bridge, once there is one."""

        def bridge() -> str | None:
            name = settings_of(self._ovs).bridge
            return name if open_vswitch.datapath(self._ovs.replica, name) is not None else None

        return IntegrationBridge(await self._ovs.replica.until(bridge), openflow.cookie_of(self._owner))

    async def _follow(self) -> None:
        """Keep the flows until the tables are emptied or the switch is gone.

        Raises:
            ExceptionGroup: of HostError, which says why it ended.
        """
        await self._nb.ready()
        switch = await self._switch()
        async with switch.watched((0, LOOKUP_TABLE)) as events, asyncio.TaskGroup() as tasks:
            self._state = _SwitchState(followed=True, installed=_by_key(await switch.own()))
            self._due.set()
            tasks.create_task(self._hear(events, switch))
            for replica in (self._ovs.replica, self._nb.replica):
                tasks.create_task(self._notice(replica))
            tasks.create_task(self._work(switch))

    async def _hear(self, events: AsyncIterator[FlowEvent], switch: IntegrationBridge) -> None:
        async for event in events:
            own = event.cookie == switch.cookie
            if event.deleted and own and event.flow.key in self._state.installed:
                raise HostError(f"the flows of {switch.bridge} were removed by somebody else")
            self._take(event)
        raise HostError(f"ovs-vswitchd has closed the connection to {switch.bridge}")

    def _take(self, event: FlowEvent) -> None:
        found = pipeline.location(event.flow)
        if found is not None:
            ofport, location = found
            if event.deleted:
                self._state.locations.pop(ofport, None)
            else:
                self._state.locations[ofport] = location
            self._due.set()
        elif event.cookie & COOKIE_MASK != COOKIE:
            self._state.foreign = None  # it may be about a tunnel of OVN's
            self._due.set()

    async def _notice(self, replica: Replica) -> None:
        while True:
            looks = itertools.count()
            await replica.until(lambda looks=looks: next(looks) or None)  # type: ignore[misc]
            self._due.set()

    async def _work(self, switch: IntegrationBridge) -> None:
        loop, state = asyncio.get_running_loop(), self._state
        while True:
            await self._due.wait()
            if state.installed:  # packets are lost until the first are in
                await self._remove_meanwhile(switch, state)
            self._due.clear()
            with self._removals.served():
                complete = await self._install(switch, state)
            if not complete:
                loop.call_later(LONGEST_RETRY, self._due.set)

    async def _remove_meanwhile(self, switch: IntegrationBridge, state: _SwitchState) -> None:
        """Wait for what else changes; remove the entries of endpoints that go as they go.

        So no removal waits until all flows are computed, unless that has begun. While an earlier run's flows
        may be in the switch, only the computation shows which to remove.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + DEBOUNCE
        while loop.time() < until:
            try:
                async with asyncio.timeout_at(until):
                    await self._removals.urgent.wait()
            except TimeoutError:
                return
            if state.world is None:
                return
            with self._removals.served():
                await self._remove(switch, state, state.world)

    async def _remove(self, switch: IntegrationBridge, state: _SwitchState, world: World) -> None:
        """Remove the entries of endpoints that have no Interface any more, or whose removal waits."""
        present = self._ovs.replica.rows(open_vswitch.INTERFACE).keys() - self._removals.rows
        served = {row: endpoint for row, endpoint in world.served.items() if row in present}
        found = lookup_flows.leading_to(world, state.hooks, world.served.keys() - served.keys())
        entries = {flow.key: flow for flow in found if state.installed.get(flow.key) == flow}
        for key in entries:
            del state.installed[key]
        if entries:
            await switch.apply(Change(deleted=tuple(entries.values())))
        state.world = state.coming = replace(world, served=served)

    async def _install(self, switch: IntegrationBridge, state: _SwitchState) -> bool:
        """Install what has changed; False if it has to be tried again."""
        await self._provide_ports(self._interfaces())
        if self._vteps.guarded() and state.foreign is None:
            state.foreign = await switch.foreign("table=0")
        interfaces = self._interfaces()  # what has changed meanwhile
        world = state.coming = self._world(interfaces, state.locations, state.foreign or [])
        if world.served and state.incomplete():
            state.looks += 1
            state.hooks = await self._finder.find(switch, [where for _, where in world.served.values()])
            if state.hooks is not None:
                LOG.info("IP lookup: %s", state.hooks)
        wanted = await _planned(world, state.hooks)
        change = openflow.difference(state.installed, wanted)
        state.installed = wanted
        if change:
            await switch.apply(change)
            LOG.debug("IP lookup: %d flow(s) added, %d removed", len(change.added), len(change.deleted))
        state.world = world
        outage = self._unserved(world, state.hooks, interfaces)
        if self._outage and not outage:
            LOG.info("IP lookup: everything is served")
        self._set_outage(outage)
        return not (world.served and state.incomplete())

    def _world(self, interfaces: Interfaces, locations: Mapping[int, Location], foreign: list[Flow]) -> World:
        """What the flows follow from; `foreign` are the flows of table 0 that are no driver's."""
        looked_up, guarded = self._looked_up(), self._vteps.guarded()
        decapsulations = {
            port.ofport: pipeline.decapsulations(foreign, port.ofport)
            for port in interfaces.ports
            if port.ofport and not port.vtep and port.remote in guarded
        }
        return World(
            vteps=tuple(looked_up),
            tunnels=tunnels(interfaces.ports),
            served=lookup_flows.served(looked_up, self._removals.remaining(interfaces.endpoints), locations),
            guarded={ofport: flows for ofport, flows in decapsulations.items() if flows},
        )

    def _looked_up(self) -> list[lookup_flows.Vtep]:
        return lookup_flows.unambiguous(vtep.vtep for vtep in self._vteps.looked_up())

    def _interfaces(self) -> Interfaces:
        shared = {network.network_id: network.row_id for network in self._shared.all()}
        return self._reader.read(self._ovs.replica.rows(open_vswitch.INTERFACE), shared)

    async def _provide_ports(self, interfaces: Interfaces) -> None:
        """Add missing ports and remove stale ones; where OVN has a tunnel of its own, that serves."""
        own = [port for port in interfaces.ports if port.vtep]
        tunnels_of_ovn = {port.remote for port in interfaces.ports if not port.vtep}
        needed = {str(vtep.remote) for vtep in self._looked_up()} - tunnels_of_ovn
        stale = {port.vtep for port in own if port.owner == self._owner} - needed
        operations = [open_vswitch.del_vtep_port(vtep) for vtep in stale]
        settings = settings_of(self._ovs)
        for remote in sorted(needed - {port.vtep for port in own}):
            local = (address for address in settings.encap_ips if (":" in address) is (":" in remote))
            operations += open_vswitch.add_vtep_port(settings.bridge, self._owner, remote, next(local, ""))
        if operations:
            await self._ovs.transact(operations)

    def _set_outage(self, outage: str) -> None:
        if outage and outage != self._outage:
            LOG.warning("%s", outage)
        self._outage = outage


async def _planned(world: World, hooks: Hooks | None) -> dict[Key, Flow]:
    """By key, every flow that the switch should hold; lets other tasks run meanwhile."""
    wanted = {}
    for number, flow in enumerate(lookup_flows.flows(world, hooks), start=1):
        wanted[flow.key] = flow
        if number % FLOWS_A_STEP == 0:
            await asyncio.sleep(0)
    return wanted


def _by_key(flows: Iterable[Flow]) -> dict[Key, Flow]:
    return {flow.key: flow for flow in flows}


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error itself, out of however many groups it is in."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
