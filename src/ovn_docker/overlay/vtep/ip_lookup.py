"""--ip-lookup: keeps the switch's lookup flows as containers and VTEPs say. Runs beside requests.

It follows two replicas - this host's interfaces, the VTEPs in Northbound - and the switch's tables 0 and 200.
Every table is emptied when ovn-controller or ovs-vswitchd has been restarted; the switch tells of it, and
everything is read and installed anew.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from ovn_docker.errors import HostError, OvnDockerError
from ovn_docker.health.snapshot import LookupState
from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.host.ovn_settings import settings_of
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.vtep import openflow, pipeline, vtep_config
from ovn_docker.overlay.vtep.lookup_flows import (
    LOOKUP_TABLE,
    Book,
    LocalEndpoint,
    Plan,
    VtepTunnel,
    World,
    unambiguous,
)
from ovn_docker.overlay.vtep.ofctl import NO_HOOK, HookFinder, IntegrationBridge, no_way_back
from ovn_docker.overlay.vtep.openflow import COOKIE, COOKIE_MASK, Change, Flow, FlowEvent, Key
from ovn_docker.overlay.vtep.pipeline import Hooks, Location
from ovn_docker.overlay.vtep.vtep_config import ConfiguredVtep, VtepReport
from ovn_docker.ovn import switches
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.replica import Replica

# --- What the lookup flows follow from, read from this host's Open_vSwitch. No I/O. -------------------------
# A host has many interfaces and few of them change at a time: a row that has not changed is not parsed again.


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A row as it was, and what it means."""

    values: tuple[Any, ...]
    port: VxlanPort | None
    endpoint: LocalEndpoint | None


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

    def _endpoint(self, row: Mapping[str, Any]) -> LocalEndpoint | None:
        """The container's interface, once OVN has installed its flows."""
        attached = open_vswitch.read_attached(row)
        if not attached.network_id or not attached.installed or attached.ofport is None:
            return None
        switch = self._switches.get(attached.network_id) or northbound.switch_id(attached.network_id)
        mac = attached.external_ids.get("attached-mac", "")
        addresses = tuple(each for each in sorted(attached.addresses) if _is_address(each))
        return LocalEndpoint(attached.ofport, mac, addresses, switch) if mac else None

    def endpoints(self) -> dict[UUID, LocalEndpoint]:
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


def tunnels(ports: Iterable[VxlanPort]) -> dict[str, VtepTunnel]:
    """Through which port each VTEP is reached: OVN's own tunnel to that address where it has one."""
    ours_first = sorted((each for each in ports if each.ofport), key=lambda each: not each.vtep)
    return {each.remote: VtepTunnel(each.ofport or 0, ours=bool(each.vtep)) for each in ours_first}


# --- The VTEPs that were configured, as this host knows them, and which of OVN's own ports for them are up. -


class KnownVteps:
    """Those of the switches that this host watches.

    Attributes:
        up: the VTEPs' ports of OVN's own by name, and whether each was on its chassis at the last look.
    """

    def __init__(self, client: Client, *, wanted: bool) -> None:
        """Use a client that watches `schema.SWITCHES`; without --ip-lookup none is looked up by this host."""
        self._client = client
        self._wanted = wanted
        self.up: Mapping[str, bool] = {}

    def all(self) -> list[ConfiguredVtep]:
        """All of them."""
        return vtep_config.read(self._client.replica.rows(switches.SWITCH))

    def looked_up(self) -> list[ConfiguredVtep]:
        """Those for which this host keeps flows."""
        return [each for each in self.all() if self._wanted and each.mode == schema.LOOKUP]

    def ramps(self) -> set[str]:
        """The addresses of those that have ports of OVN's own, for a host that keeps flows."""
        return {
            str(each.vtep.remote) for each in self.all() if self._wanted and each.mode == schema.VTEP_PORT
        }

    async def look(self) -> None:
        """Ask by row id which ports of OVN's own are up; while OVN is away it stays as it was.

        Raises:
            DatabaseError: it refused.
        """
        ramps = [each.vtep for each in self.all() if each.mode == schema.VTEP_PORT]
        if ramps and not self._client.connected:
            return
        questions = [schema.lsp_ramp_state(each.switch, str(each.remote)) for each in ramps]
        results = await self._client.request(questions) if questions else []
        self.up = schema.ramp_ports_up(row for each in results for row in each["rows"])


# --- Lets a request wait until no flow leads to an endpoint any more. Starts nothing itself. ----------------


LONGEST_WAIT = 2.0
"""Seconds; a switch that does not answer must not keep a container from being removed."""


class FlowRemovals:
    """The endpoints that are being removed, and who waits for that.

    Attributes:
        asked: set when somebody waits or will soon, for whoever changes the flows.
    """

    def __init__(self, due: asyncio.Event) -> None:
        """`due` wakes who changes the flows."""
        self.asked = asyncio.Event()
        self._due = due
        self._rows: set[UUID] = set()
        self._waiting: list[asyncio.Future[None]] = []

    def __contains__(self, row: object) -> bool:
        """Whether the endpoint of that row of Interface is to have no flow, though the row may be there."""
        return row in self._rows

    def keep(self, rows: set[UUID]) -> None:
        """Forget those whose row is gone: `rows` are there."""
        self._rows &= rows

    async def wait(self, endpoint_id: str) -> None:
        """Return when the switch has no flow to an endpoint, or after `LONGEST_WAIT`."""
        self._rows.add(open_vswitch.interface_id(endpoint_id))
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self.asked.set()
        self._due.set()
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await future
        except TimeoutError:
            LOG.warning(
                "endpoint %s is removed, and its IP lookups may be in the switch still: it does not answer",
                endpoint_id,
            )
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def taken(self) -> list[asyncio.Future[None]]:
        """Who waits for the change that is made now."""
        self.asked.clear()
        taken, self._waiting = self._waiting, []
        return taken

    def give_back(self, waiting: list[asyncio.Future[None]]) -> None:
        """They wait on: the change was not made."""
        self._waiting += [each for each in waiting if not each.done()]

    @staticmethod
    def done(waiting: list[asyncio.Future[None]]) -> None:
        """The change was made."""
        for each in waiting:
            if not each.done():
                each.set_result(None)


LOG = logging.getLogger(__name__)

QUIET = 0.1
"""Seconds from a change to what follows from it: a Join is over by then, and is neither slowed down by it nor
taken up piece by piece."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.25
"""Seconds until it is tried again after a failure; doubled while nothing succeeds."""

RETIRE_TRIES, RETIRE_PAUSE = 5, 1.0
"""How often a driver without --ip-lookup asks a switch that does not answer."""

MOST_LOOKS = 5
"""How often tables are looked for that an old release of OVN does not have."""


@dataclass(slots=True)
class _Session:
    """What is known as long as nobody empties the tables."""

    switch: IntegrationBridge
    book: Book
    locations: dict[int, Location]
    plan: Plan
    hooks: Hooks | None = None
    looks: int = 0
    guarded: Mapping[int, tuple[Flow, ...]] | None = None
    changing: bool = False


class IpLookup:
    """The lookup flows of this host."""

    def __init__(self, ovs: Client, shared: SharedNetworks, driver_name: str, *, wanted: bool) -> None:
        """Keep them if they are wanted, else remove what an earlier run of this driver left."""
        self._owner = driver_name
        self.wanted = wanted
        self._ovs = ovs
        self._nb = shared.database.client
        self._vteps = KnownVteps(self._nb, wanted=wanted)
        self._shared = shared
        self._interfaces = Interfaces(ovs.replica)
        self._due = asyncio.Event()
        self._session: _Session | None = None
        self._finder = HookFinder()
        self._leaving = FlowRemovals(self._due)
        self._trouble = ""

    def about(self) -> dict[str, Any]:
        """What NetworkDriver.Database shows of it."""
        session = self._session
        hooks = session.hooks if session else None
        return {
            "table": LOOKUP_TABLE,
            "flows": len(session.book) if session else 0,
            "local_output_table": hooks.local_output if hooks else None,
            "output_table": hooks.output if hooks else None,
            "outage": self._trouble,
            "vteps": self._report().rows(),
        }

    def _report(self) -> VtepReport:
        self._read_interfaces()
        return VtepReport(
            configured=self._vteps.all(),
            ports=self._interfaces.ports(),
            up=self._vteps.up,
            switches={each.switch for each in self._interfaces.endpoints().values()},
        )

    async def look(self) -> None:
        """Find out what is to be shown of VTEPs that have ports of OVN's own."""
        await self._vteps.look()

    def hurry(self) -> None:
        """Take up the next change at once: an endpoint goes, and who removes it is going to wait for that."""
        self._leaving.asked.set()

    async def withdraw(self, endpoint_id: str) -> None:
        """Return when no flow leads to an endpoint any more, so that OVN may give its port's number away."""
        session = self._session
        if not self.wanted or (session is None and self._trouble):
            return  # there is none, or nobody can say
        leads = {None, open_vswitch.interface_id(endpoint_id)}  # None stands for what an earlier run left
        if session is None or session.changing or leads & session.book.groups.keys():
            await self._leaving.wait(endpoint_id)

    async def run(self) -> None:
        """Follow until cancelled; without --ip-lookup, only remove what an earlier run left."""
        pause = FIRST_PAUSE
        if not self.wanted:
            await self._retire_quietly()
            await asyncio.get_running_loop().create_future()
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._follow()
            except* OvnDockerError as errors:
                self._tell(str(_first(errors)))
            except* Exception as errors:  # whatever it is, Docker is to be served
                error = _first(errors)
                LOG.debug("IP lookup failed", exc_info=error)
                self._tell(f"IP lookup failed: {type(error).__name__}: {error}")
            self._session = None
            lasted = asyncio.get_running_loop().time() - began
            pause = FIRST_PAUSE if lasted > LONGEST_PAUSE else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _retire_quietly(self) -> None:
        for _ in range(RETIRE_TRIES):
            try:
                await self.retire()
            except HostError as error:
                LOG.debug("flows of IP lookups, if there are any, cannot be removed: %s", error)
                await asyncio.sleep(RETIRE_PAUSE)
            else:
                return

    async def retire(self) -> None:
        """Remove every flow and port of ours.

        Raises:
            HostError: the switch does not answer.
        """
        switch = await self._switch()
        self._interfaces.read({})
        ports = [each for each in self._interfaces.ports() if each.vtep and each.owner == self._owner]
        if ports:
            await self._ovs.transact([open_vswitch.del_vtep_port(each.vtep) for each in ports])
        flows = await switch.ours()
        if flows:
            await switch.apply(Change(deleted=tuple(flows)))
        if flows or ports:
            LOG.info("removed %d flow(s) and %d port(s) of IP lookups", len(flows), len(ports))

    async def inspect(self) -> LookupState:
        """Compare the switch with what it should hold, from nothing that is remembered; change nothing."""
        await self._nb.ready()
        await self._vteps.look()
        down = tuple(self._report().wrong())
        if not self.wanted:
            return LookupState(down=down)
        try:
            switch = await self._switch()
            wanted, outage = await self._wanted(switch)
            actual = {each.key: each for each in await switch.ours()}
        except HostError as error:
            return LookupState(outage=str(error), down=down)
        missing = [str(flow) for key, flow in wanted.items() if actual.get(key) != flow]
        stale = [str(flow) for key, flow in actual.items() if key not in wanted]
        return LookupState(tuple(missing), tuple(stale), outage, down)

    async def repair(self, _evidence: object = None) -> None:
        """Make the switch hold what it should.

        Raises:
            HostError: it cannot be done.
        """
        switch = await self._switch()
        await self._nb.ready()
        await self._provide()
        wanted, _ = await self._wanted(switch)
        change = Book(await switch.ours()).change({"all": tuple(wanted.values())})
        if change:
            await switch.apply(change)

    async def _wanted(self, switch: IntegrationBridge) -> tuple[dict[Key, Flow], str]:
        """The flows that should be there, by key, and why not everything is served, or ""."""
        await self._nb.ready()
        table = [flow for cookie, flow in await switch.dump("table=0") if cookie & COOKIE_MASK != COOKIE]
        world = self._look(dict(filter(None, map(pipeline.location, table))))
        world = replace(world, guarded=self._guarded(table))
        served = [where for _, where in world.served().values()]
        hooks = await self._finder.find(switch, served)
        flows = {flow.key: flow for each in Plan().groups(world, hooks).values() for flow in each}
        if not served:
            return flows, self._doubts(world)
        return flows, NO_HOOK if hooks is None else self._doubts(world) or no_way_back(hooks)

    def _doubts(self, world: World) -> str:
        """Why not every VTEP is served, as far as that does not depend on the switch, or ""."""
        vnis = {each.vtep.vni for each in self._vteps.looked_up()} - {each.vni for each in world.vteps}
        if vnis:
            return (
                f"VNI {', '.join(map(str, sorted(vnis)))} means several networks, so none is served:"
                " see 'ovn-docker vtep list'"
            )
        errors = {each.remote: each.error for each in self._interfaces.ports() if each.vtep}
        for remote in sorted({str(each.remote) for each in world.vteps} - world.tunnels.keys()):
            why = errors.get(remote) or "see whether the driver runs"
            return f"VTEP {remote} has no port on this host: {why}"
        return ""

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
            session = _Session(switch, Book(await switch.ours()), {}, Plan())
            self._session = session
            self._due.set()
            tasks.create_task(self._hear(events, session))
            for replica in (self._ovs.replica, self._nb.replica):
                tasks.create_task(self._notice(replica))
            tasks.create_task(self._work(session))

    async def _hear(self, events: Any, session: _Session) -> None:  # noqa: ANN401
        async for event in events:
            if event.deleted and event.cookie == session.switch.cookie and event.flow.key in session.book:
                raise HostError(f"the flows of {session.switch.bridge} were removed by somebody else")
            self._take(event, session.locations)
        raise HostError(f"ovs-vswitchd has closed the connection to {session.switch.bridge}")

    def _take(self, event: FlowEvent, locations: dict[int, Location]) -> None:
        found = pipeline.location(event.flow)
        if found is None:
            if event.cookie & COOKIE_MASK != COOKIE and self._session is not None:
                self._session.guarded = None  # it may be about a tunnel of OVN's
                self._due.set()
            return
        ofport, location = found
        if event.deleted:
            locations.pop(ofport, None)
        else:
            locations[ofport] = location
        self._due.set()

    async def _notice(self, replica: Replica) -> None:
        while True:
            looks = itertools.count()
            await replica.until(lambda looks=looks: next(looks) or None)  # type: ignore[misc]
            self._due.set()

    async def _work(self, session: _Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._due.wait()
            if len(session.book):  # packets are lost till the first are in
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._leaving.asked.wait(), QUIET)
            self._due.clear()
            waiting = self._leaving.taken()
            try:
                good = await self._install(session)
            except BaseException:
                self._leaving.give_back(waiting)
                raise
            self._leaving.done(waiting)
            if not good:
                loop.call_later(LONGEST_PAUSE, self._due.set)

    async def _install(self, session: _Session) -> bool:
        """Install what has changed; False if it has to be tried again."""
        await self._provide()
        world = replace(self._look(session.locations), guarded=await self._guards(session))
        lost = False
        if world.served() and _worth_a_look(session):
            session.looks += 1
            session.hooks = await self._finder.find(
                session.switch, (where for _, where in world.served().values())
            )
            lost = session.hooks is None
            if not lost:
                LOG.info("IP lookup: %s", session.hooks)
        change = session.book.change(session.plan.groups(world, session.hooks))
        if change:
            session.changing = True
            await session.switch.apply(change)
            session.changing = False
            LOG.debug("IP lookup: %d flow(s) added, %d removed", len(change.added), len(change.deleted))
        outage = self._doubts(world) or (no_way_back(session.hooks) if session.hooks else "")
        outage = NO_HOOK if lost else outage
        if self._trouble and not outage:
            LOG.info("IP lookup: everything is served")
        self._tell(outage)
        return not world.served() or not _worth_a_look(session)

    async def _guards(self, session: _Session) -> Mapping[int, tuple[Flow, ...]]:
        """What has to be guarded against, read anew after a change in table 0 while there is such a VTEP."""
        if not self._vteps.ramps():
            return {}
        if session.guarded is None:
            session.guarded = self._guarded(await session.switch.foreign("table=0"))
        return session.guarded

    def _guarded(self, table: Iterable[Flow]) -> dict[int, tuple[Flow, ...]]:
        """OVN's tunnels to VTEPs that have ports of its own, with what each takes for a host's packet."""
        flows, ramps = list(table), self._vteps.ramps()
        ports = [each for each in self._interfaces.ports() if each.ofport and not each.vtep]
        found = {
            each.ofport: pipeline.decapsulations(flows, each.ofport)
            for each in ports
            if each.ofport and each.remote in ramps
        }
        return {ofport: guarded for ofport, guarded in found.items() if guarded}

    def _look(self, locations: Mapping[int, Location]) -> World:
        """What is so now."""
        self._read_interfaces()
        there = self._interfaces.endpoints()
        self._leaving.keep(set(there))
        return World(
            vteps=tuple(unambiguous(each.vtep for each in self._vteps.looked_up())),
            tunnels=tunnels(self._interfaces.ports()),
            endpoints={row: each for row, each in there.items() if row not in self._leaving},
            locations=locations,
        )

    def _read_interfaces(self) -> None:
        self._interfaces.read({each.network_id: UUID(each.row) for each in self._shared.all()})

    async def _provide(self) -> None:
        """Add the ports that are missing, remove those that are too many; OVN's own serve where there are."""
        world = self._look({})
        ports = self._interfaces.ports()
        settings = settings_of(self._ovs)
        needed = {str(each.remote) for each in world.vteps} - {each.remote for each in ports if not each.vtep}
        there = {each.vtep for each in ports if each.vtep}
        surplus = {each.vtep for each in ports if each.owner == self._owner} - needed
        operations = [open_vswitch.del_vtep_port(each) for each in surplus]
        for remote in sorted(needed - there):
            local = (each for each in settings.encap_ips if (":" in each) is (":" in remote))
            operations += open_vswitch.add_vtep_port(settings.bridge, self._owner, remote, next(local, ""))
        if operations:
            await self._ovs.transact(operations)

    def _tell(self, trouble: str) -> bool:
        if trouble and trouble != self._trouble:
            LOG.warning("%s", trouble)
        self._trouble = trouble
        return False


def _worth_a_look(session: _Session) -> bool:
    """Whether tables are missing that OVN may not have filled yet."""
    if session.hooks is None:
        return True
    return bool(no_way_back(session.hooks)) and session.looks < MOST_LOOKS


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error itself, out of as many groups as it is in."""
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
