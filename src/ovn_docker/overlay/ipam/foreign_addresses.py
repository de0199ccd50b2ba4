"""Addresses of a pool that are in use without a lease: an administrator's ports, a router's, exclude_ips.

The queries are part of the transaction that takes the address: they cost no round trip, and the answers are
of that moment. The list of others' ports is remembered until the switch's row changes (RFC 7047 section 3.2:
_version). Of a large switch a survey says what the last reading by any host found, see `SMALL`. What those
ports hold is asked each time, see `EXACT`.
"""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

from ovn_docker import address_pools, addressing
from ovn_docker.address_pools import Pool
from ovn_docker.errors import ConstraintError, DatabaseError, OvnDockerError, RequestError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import surveys, switches
from ovn_docker.ovn.surveys import Survey
from ovn_docker.ovsdb.operations import Operation, Row, in_batches, mapping, members

K = TypeVar("K")
V = TypeVar("V")

LIMIT = 256
"""How many switches, pools or the like are remembered; a host with more of them asks again."""


class Recent(dict[K, V]):
    """A cache that does not grow: the value set longest ago, by `[]`, goes first."""

    def __init__(self, limit: int = LIMIT) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._limit:
            del self[next(iter(self))]


LOG = logging.getLogger(__name__)

Results = Sequence[Mapping[str, Any]]

PORTS_AT_ONCE = 1000
"""How many ports one transaction reads, so that the server serves others between two."""

SMALL = 256
"""Up to this many ports of a switch, their list is read whenever it has changed: that costs 3 us of the
server for each port and as much here, and every container that any host starts is a change."""

EXACT = 64
"""Up to this many ports of others on a switch, each lease asks what they hold, at 50 us for each."""

REREAD_INTERVAL = 0.001
"""Above these limits the list, or what the ports hold, is read again after this many seconds for each port:
so much later may a change to an old port of others be seen, or a new port on a large switch on which
containers come and go. It costs 0.3 % of the server's time, for all hosts together."""


@dataclass(frozen=True, slots=True)
class AddressesInUse:
    """Which addresses (IP as integers, MAC as text) are in use, and by whom, for people."""

    single: Sequence[Mapping[int | str, str]]
    spans: Sequence[tuple[int, int]]

    def by(self, number: int) -> str:
        """Who uses an address, or ""."""
        if any(first <= number <= last for first, last in self.spans):
            return "other_config:exclude_ips of its switch names it"
        return self.by_port(number)

    def by_port(self, address: int | str) -> str:
        """Which port uses an address, or ""; an address in exclude_ips may still be requested explicitly."""
        return next((users[address] for users in self.single if address in users), "")


@dataclass(frozen=True, slots=True)
class ForeignPort:
    """A port that is not ours: its addresses as in `AddressesInUse`, and the router port behind it, or ""."""

    name: str
    addresses: tuple[int | str, ...]
    router: str


@dataclass(frozen=True, slots=True)
class SwitchView:
    """What was read of one switch.

    Attributes:
        row: its id, or None while it does not exist.
        version: of its row when its ports were listed.
        size: how many ports it had then.
        digest: of the ports of others that it had then, as in `Survey`.
        foreign: those of them that still exist.
        held: their addresses as in `AddressesInUse`, and by whom.
        read: when all of them were read last, by the event loop's clock.
    """

    name: str
    row: UUID | None = None
    version: str = ""
    size: int = 0
    digest: str = ""
    foreign: Mapping[UUID, ForeignPort] = field(default_factory=dict)
    held: Mapping[int | str, str] = field(default_factory=dict)
    read: float = 0.0

    @property
    def is_large(self) -> bool:
        """Whether a survey says which ports are others'."""
        return self.size > SMALL

    @property
    def routers(self) -> tuple[str, ...]:
        """The router ports behind the switch."""
        return tuple(port.router for port in self.foreign.values() if port.router)

    def to_ask(self, now: float) -> tuple[UUID, ...]:
        """The ports whose addresses are to be read again."""
        fresh = now - self.read < REREAD_INTERVAL * len(self.foreign)
        return () if fresh and len(self.foreign) > EXACT else tuple(self.foreign)

    def with_foreign(self, foreign: Mapping[UUID, ForeignPort]) -> "SwitchView":
        """The same switch with these ports of others."""
        if foreign == self.foreign:
            return self
        held = {
            address: f"logical switch port {port.name} holds it"
            for port in foreign.values()
            for address in port.addresses
        }
        return replace(self, foreign=foreign, held=held)


@dataclass(frozen=True, slots=True)
class SwitchQuery:
    """What a transaction asks about one switch besides what it does."""

    seen: SwitchView
    ports: tuple[UUID, ...]

    @property
    def operations(self) -> list[Operation]:
        """In this order: the switch, its survey, its ports, its router ports."""
        row = self.seen.row
        return [
            switches.ls_state(self.seen.name, row),
            *([surveys.survey_get(row)] if row is not None else []),
            *map(switches.lsp_state, self.ports),
            *map(switches.lrp_get, self.seen.routers),
        ]


@dataclass(frozen=True, slots=True)
class AddressQuery:
    """What a transaction asks about several switches: `operations` are to be put into it in this order."""

    switches: tuple[SwitchQuery, ...]
    operations: list[Operation]


class ForeignAddresses:
    """Knows what to ask about the switches of a pool, and reads the answers."""

    def __init__(self, database: Northbound, switches_of: Callable[[Pool], Iterable[str]]) -> None:
        """`switches_of` names the switches whose ports have addresses of a pool."""
        self._northbound = database
        self._switches_of = switches_of
        self._seen: Recent[str, SwitchView] = Recent()
        self._listing: dict[UUID, asyncio.Task[SwitchView]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    def named(self, pool: Pool) -> list[str]:
        """The switches of a pool that an administrator named; their addresses are claimed under that name."""
        return [name for name in self._switches_of(pool) if name != pool.key]

    def query(self, pool: Pool) -> AddressQuery:
        """What to ask in the transaction that takes an address of a pool."""
        return self.about(self._switches_of(pool))

    def about(self, names: Iterable[str]) -> AddressQuery:
        """What to ask in the transaction that takes an address on these switches."""
        now = asyncio.get_running_loop().time()
        views = [self._seen.get(name, SwitchView(name)) for name in names]
        queries = tuple(SwitchQuery(view, view.to_ask(now)) for view in views)
        return AddressQuery(queries, [operation for query in queries for operation in query.operations])

    async def router_ports(self, switch: str) -> list[Row]:
        """The router ports on a switch, as `switches.lrp_get` reads them."""
        [query] = self.about([switch]).switches
        results = await self._northbound.transact(query.operations)
        self._seen[switch], _, found = await self._current(query, results)
        return [row for result in found for row in result["rows"]]

    def changed(self, switch: str) -> None:
        """Renew the survey of a large switch after this host has changed it, so that no lease has to."""
        seen = self._seen.get(switch)
        if seen is None or not seen.is_large or switch in self._following:
            return
        task = asyncio.ensure_future(self._follow(switch))
        self._following[switch] = task
        task.add_done_callback(lambda _: self._following.pop(switch))

    async def _follow(self, switch: str) -> None:
        try:
            await self.router_ports(switch)
        except OvnDockerError as error:
            LOG.debug("the survey of logical switch %s is not renewed: %s", switch, error)

    async def in_use(self, query: AddressQuery, results: Results) -> AddressesInUse:
        """The addresses in use, from the results of the query's operations."""
        single: list[Mapping[int | str, str]] = []
        spans: list[tuple[int, int]] = []
        rest = list(results)
        for part in query.switches:
            count = len(part.operations)
            seen, switch, router_ports = await self._current(part, rest[:count])
            rest = rest[count:]
            self._seen[seen.name] = seen
            for row in switch:
                spans += address_pools.excluded(mapping(row["other_config"]).get("exclude_ips", ""))
            single += [seen.held, _held_by_routers(seen.routers, router_ports)]
        return AddressesInUse(single, spans)

    async def _current(self, query: SwitchQuery, answers: Results) -> tuple[SwitchView, list[Row], Results]:
        """The switch as it is now, its row, and its router ports."""
        seen, switch = query.seen, answers[0]["rows"]
        if not switch and seen.row is not None:  # deleted, and perhaps created again
            again = SwitchQuery(SwitchView(seen.name), ())
            return await self._current(again, await self._northbound.transact(again.operations))
        rest = list(answers[1:])
        survey = surveys.read_survey(rest.pop(0)["rows"]) if seen.row is not None else None
        ports, router_ports = rest[: len(query.ports)], rest[len(query.ports) :]
        now = _with_answers(seen, [row for result in ports for row in result["rows"]])
        for row in switch:
            now = await self._up_to_date(now, row, survey)
        if now.routers == seen.routers:
            return now, switch, router_ports
        queries = list(map(switches.lrp_get, now.routers))
        return now, switch, await self._northbound.transact(queries) if queries else []

    async def _up_to_date(self, seen: SwitchView, switch: Row, survey: Survey | None) -> SwitchView:
        """What is known of the switch's ports: from what was seen, a survey, or a reading of our own."""
        row, version = switches.read_uuid(switch), switches.read_version(switch)
        if (row, version) == (seen.row, seen.version):
            return seen
        if row != seen.row:
            seen = SwitchView(seen.name, row)
            [found] = await self._northbound.transact([surveys.survey_get(row)])
            survey = surveys.read_survey(found["rows"])
        if survey is not None and self._serves(survey, version):
            return await self._adopted(seen, survey)
        return await self._listed(seen, version)

    def _serves(self, survey: Survey, version: str) -> bool:
        """Whether a survey is of the switch as it is now, or a recent one of a large switch.

        Hosts' clocks differ. One that is far off costs a reading, or makes "recent" twice as long.
        """
        age = abs(self._northbound.moment() - survey.taken)
        return survey.version == version or (survey.size > SMALL and age < REREAD_INTERVAL * survey.size)

    async def _adopted(self, seen: SwitchView, survey: Survey) -> SwitchView:
        if survey.digest != seen.digest:
            assert seen.row is not None
            [named] = await self._northbound.transact([surveys.survey_ports(seen.row)])
            ports = surveys.read_ports(named["rows"])
            seen = replace(await self._with_foreign(seen, ports), digest=surveys.digest_of(ports))
        return replace(seen, version=survey.version, size=survey.size)

    async def _listed(self, seen: SwitchView, version: str) -> SwitchView:
        """Read which ports the switch has; requests that come meanwhile wait for the same reading.

        It goes on when the request that began it times out, so that the next one need not begin again.
        """
        assert seen.row is not None
        begun = self._listing.get(seen.row)
        now = await asyncio.shield(begun or self._begin(seen.row, seen))
        if begun is not None and now.version != version and not now.is_large:
            now = await asyncio.shield(self._begin(seen.row, seen))  # that one began before the change
        return now

    def _begin(self, row: UUID, seen: SwitchView) -> "asyncio.Task[SwitchView]":
        def ended(task: asyncio.Task[SwitchView]) -> None:
            if self._listing.get(row) is task:
                del self._listing[row]
            if not task.cancelled():
                task.exception()  # nobody may be waiting for it any more

        task = asyncio.ensure_future(self._list(row, seen))
        self._listing[row] = task
        task.add_done_callback(ended)
        return task

    async def _list(self, row: UUID, seen: SwitchView) -> SwitchView:
        taken = self._northbound.moment()
        [found] = await self._northbound.transact([switches.ls_listing(row)])
        if not found["rows"]:
            return SwitchView(seen.name)
        [switch] = found["rows"]
        size, ports = switches.read_ports(switch)
        now = await self._with_foreign(seen, ports)
        digest = surveys.digest_of(now.foreign)
        now = replace(now, version=switches.read_version(switch), size=size, digest=digest)
        if now.is_large:
            await self._write(row, Survey(now.version, taken, size, now.digest), now.foreign)
        return now

    async def _write(self, row: UUID, survey: Survey, foreign: Iterable[UUID]) -> None:
        again, first = surveys.survey_set(row, survey, foreign)
        try:
            [written] = await self._northbound.transact([again])
            if not written["count"]:
                await self._northbound.transact([first])
        except ConstraintError:
            return  # another host was quicker
        except DatabaseError as error:
            LOG.debug("no survey of logical switch %s is written: %s", row, error)

    async def _with_foreign(self, seen: SwitchView, ports: Sequence[UUID]) -> SwitchView:
        """The same switch with those of these ports that are not ours; new ones are read."""
        foreign = {port: seen.foreign[port] for port in ports if port in seen.foreign}
        read = seen.read if foreign else asyncio.get_running_loop().time()
        for batch in in_batches([port for port in ports if port not in foreign], PORTS_AT_ONCE):
            results = await self._northbound.transact([switches.lsp_state(port) for port in batch])
            rows = [row for result in results for row in result["rows"] if not switches.is_endpoint(row)]
            foreign |= {switches.read_uuid(row): _port(row) for row in rows}
        return replace(seen, read=read).with_foreign(foreign)


def _with_answers(seen: SwitchView, rows: Iterable[Row]) -> SwitchView:
    """The same switch with what all ports of others hold now."""
    foreign = {switches.read_uuid(row): _port(row) for row in rows}
    if not foreign:
        return seen
    return replace(seen, read=asyncio.get_running_loop().time()).with_foreign(foreign)


def _port(row: Row) -> ForeignPort:
    words = " ".join([*members(row["addresses"]), *members(row["dynamic_addresses"])]).split()
    return ForeignPort(str(row["name"]), tuple(_addresses(words)), switches.read_router_port(row))


def _held_by_routers(names: Sequence[str], results: Results) -> dict[int | str, str]:
    used: dict[int | str, str] = {}
    for name, result in zip(names, results, strict=True):
        words = [text.partition("/")[0] for row in result["rows"] for text in members(row["networks"])]
        words += [str(row["mac"]) for row in result["rows"]]
        used.update(dict.fromkeys(_addresses(words), f"router port {name} holds it"))
    return used


def _addresses(words: Iterable[str]) -> list[int | str]:
    """The words that are IP addresses, as integers, or MAC addresses; the others are left out."""
    found: list[int | str] = []
    for word in words:
        try:
            found.append(int(ipaddress.ip_address(word)))
        except ValueError:
            with contextlib.suppress(RequestError):
                found.append(addressing.mac(word))
    return found
