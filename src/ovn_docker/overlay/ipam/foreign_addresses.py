"""Addresses of a pool that are in use without a lease: an administrator's ports, a router's, exclude_ips.

The questions travel in the transaction that takes the address, so a lease costs none of its own, and what
they find is what the database held at that moment. Ports of our own making are in the leases; of the others
is known which there are until the switch's row has changed since (RFC 7047 section 3.2: _version). Then the
list of its ports is read again - at once on a switch with a few ports. On a large one a survey says what the
last look of any host found: see `SMALL`. What others' ports hold is asked each time: see `EXACT`.
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
from ovn_docker.ovn import surveys
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn import switches as routers
from ovn_docker.ovn.surveys import Survey
from ovn_docker.ovsdb.operations import Operation, Row, in_batches, mapping, members

# --- A cache that does not grow: what was set longest ago goes first. ---------------------------------------


K = TypeVar("K")
V = TypeVar("V")

MOST = 256
"""So many switches, pools or the like are remembered; who has more of them asks again."""


class Recent(dict[K, V]):
    """The values set last, by key. Only setting one counts, and only by `[]`."""

    def __init__(self, most: int = MOST) -> None:
        """Hold so many."""
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        """Set a value, and let go of the oldest if that is one too many."""
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]


LOG = logging.getLogger(__name__)

Results = Sequence[Mapping[str, Any]]

PORTS_AT_ONCE = 1000
"""How many ports one transaction reads, so that others are served between two."""

SMALL = 256
"""Up to so many ports of a switch, the list of them is read whenever it has changed: it costs 3 us for each,
of the server and as much here, and every container that any host starts is a change."""

EXACT = 64
"""Up to so many ports of others on a switch, each lease asks what they hold; it costs 50 us for each."""

PATIENCE = 0.001
"""With more, they are asked again, or the list of a switch's ports is read again, after so many seconds for
each port: another address for an old port of others, or on a large switch on which containers come and go
a new one, may be seen that much later. Of the server's time all hosts together take 0.3 %."""


@dataclass(frozen=True, slots=True)
class AddressesInUse:
    """The addresses in use, IP as integers and MAC as text, and by whom, for people."""

    single: Sequence[Mapping[int | str, str]]
    spans: Sequence[tuple[int, int]]

    def by(self, number: int) -> str:
        """Who has an address, or ""."""
        if any(first <= number <= last for first, last in self.spans):
            return "other_config:exclude_ips of its switch names it"
        return self.by_port(number)

    def by_port(self, address: int | str) -> str:
        """Which port has an address, or ""; what exclude_ips names may still be given on purpose."""
        return next((each[address] for each in self.single if address in each), "")


@dataclass(frozen=True, slots=True)
class ForeignPort:
    """What somebody else's port holds: addresses as in `Held`, and the router port behind it, or ""."""

    name: str
    addresses: tuple[int | str, ...]
    router: str


@dataclass(frozen=True, slots=True)
class SwitchView:
    """What was read of one switch.

    Attributes:
        name: of the switch.
        row: its id, or None while there is none.
        version: of its row, as text, when its ports were listed.
        size: how many ports it had then.
        digest: of the ports of others that it had then, as in `Survey`.
        foreign: those of them that are there still, and do not carry our mark.
        held: the addresses of those, as in `Held`, and by whom.
        read: when those were read last, all of them.
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
        """Whether a survey says which of its ports are others'."""
        return self.size > SMALL

    @property
    def routers(self) -> tuple[str, ...]:
        """The router ports behind the switch."""
        return tuple(port.router for port in self.foreign.values() if port.router)

    def to_ask(self, now: float) -> tuple[UUID, ...]:
        """The ports to ask again what they hold."""
        fresh = now - self.read < PATIENCE * len(self.foreign)
        return () if fresh and len(self.foreign) > EXACT else tuple(self.foreign)

    def with_foreign(self, foreign: Mapping[UUID, ForeignPort]) -> "SwitchView":
        """The same with these ports of others."""
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
    """What a transaction asks about one switch along with what else it does."""

    seen: SwitchView
    ports: tuple[UUID, ...]

    @property
    def operations(self) -> list[Operation]:
        """The switch, its survey, then its ports, then its router ports."""
        row = self.seen.row
        return [
            northbound.ls_state(self.seen.name, row),
            *([surveys.survey_get(row)] if row is not None else []),
            *map(northbound.lsp_state, self.ports),
            *map(routers.lrp_get, self.seen.routers),
        ]


@dataclass(frozen=True, slots=True)
class AddressQuery:
    """What a transaction asks along with what else it does: `operations`, to be put into it in this order."""

    inquiries: tuple[SwitchQuery, ...]
    operations: list[Operation]


class ForeignAddresses:
    """Knows what to ask about the switches that a pool is for, and reads the answers."""

    def __init__(self, database: Northbound, switches: Callable[[Pool], Iterable[str]]) -> None:
        """Read from there; `switches` names the switches whose ports have addresses of a pool."""
        self._northbound = database
        self._switches = switches
        self._seen: Recent[str, SwitchView] = Recent()
        self._listing: dict[UUID, asyncio.Task[SwitchView]] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    def named(self, pool: Pool) -> list[str]:
        """The switches among them that have a name of their own, under which their addresses are claimed."""
        return [name for name in self._switches(pool) if name != pool.key]

    def question(self, pool: Pool) -> AddressQuery:
        """What to ask in the transaction that takes an address of a pool."""
        return self.about(self._switches(pool))

    def about(self, switches: Iterable[str]) -> AddressQuery:
        """What to ask in the transaction that takes an address on switches of these names."""
        now = asyncio.get_running_loop().time()
        seen = [self._seen.get(name, SwitchView(name)) for name in switches]
        inquiries = tuple(SwitchQuery(each, each.to_ask(now)) for each in seen)
        return AddressQuery(inquiries, [operation for each in inquiries for operation in each.operations])

    async def router_ports(self, switch: str) -> list[Row]:
        """The router ports on the switch of this name, as `routers.lrp_get` reads them."""
        question = self.about([switch])
        results = await self._northbound.transact(question.operations)
        [inquiry] = question.inquiries
        self._seen[switch], _, found = await self._current(inquiry, results)
        return [row for each in found for row in each["rows"]]

    def changed(self, switch: str) -> None:
        """Have the survey of a large switch follow a change of this host's, so that no lease has to."""
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
            LOG.debug("the survey of logical switch %s does not follow: %s", switch, error)

    async def held(self, question: AddressQuery, results: Results) -> AddressesInUse:
        """The addresses in use, from the results of the question's operations."""
        single: list[Mapping[int | str, str]] = []
        spans: list[tuple[int, int]] = []
        rest = list(results)
        for inquiry in question.inquiries:
            count = len(inquiry.operations)
            seen, switch, router_ports = await self._current(inquiry, rest[:count])
            rest = rest[count:]
            self._seen[seen.name] = seen
            for row in switch:
                spans += address_pools.excluded(mapping(row["other_config"]).get("exclude_ips", ""))
            single += [seen.held, _routers_hold(seen.routers, router_ports)]
        return AddressesInUse(single, spans)

    async def _current(self, inquiry: SwitchQuery, answers: Results) -> tuple[SwitchView, list[Row], Results]:
        """The switch as it is now, its row, and its router ports."""
        seen, switch = inquiry.seen, answers[0]["rows"]
        if not switch and seen.row is not None:  # deleted, and perhaps made again
            again = SwitchQuery(SwitchView(seen.name), ())
            return await self._current(again, await self._northbound.transact(again.operations))
        rest = list(answers[1:])
        survey = surveys.read_survey(rest.pop(0)["rows"]) if seen.row is not None else None
        ports, routers_now = rest[: len(inquiry.ports)], rest[len(inquiry.ports) :]
        now = _with_answers(seen, [row for each in ports for row in each["rows"]])
        for row in switch:
            now = await self._up_to_date(now, row, survey)
        if now.routers == seen.routers:
            return now, switch, routers_now
        questions = list(map(routers.lrp_get, now.routers))
        return now, switch, await self._northbound.transact(questions) if questions else []

    async def _up_to_date(self, seen: SwitchView, switch: Row, survey: Survey | None) -> SwitchView:
        """What is known of the switch's ports, from what was seen, a survey, or a look of our own."""
        row, version = northbound.read_uuid(switch), northbound.read_version(switch)
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
        """Whether a survey is of the switch as it is, or at least a recent one of a large switch.

        Clocks of hosts differ. One that is far off costs a look, or makes "recent" twice as long.
        """
        age = abs(self._northbound.moment() - survey.taken)
        return survey.version == version or (survey.size > SMALL and age < PATIENCE * survey.size)

    async def _adopted(self, seen: SwitchView, survey: Survey) -> SwitchView:
        if survey.digest != seen.digest:
            assert seen.row is not None
            [named] = await self._northbound.transact([surveys.survey_ports(seen.row)])
            ports = surveys.read_ports(named["rows"])
            seen = replace(await self._with_foreign(seen, ports), digest=surveys.digest_of(ports))
        return replace(seen, version=survey.version, size=survey.size)

    async def _listed(self, seen: SwitchView, version: str) -> SwitchView:
        """Look which ports the switch has. Who comes meanwhile waits for the same look.

        It goes on when the time of who began it is up, so that the next request need not begin again.
        """
        assert seen.row is not None
        begun = self._listing.get(seen.row)
        now = await asyncio.shield(begun or self._begin(seen.row, seen))
        if begun is not None and now.version != version and not now.is_large:
            now = await asyncio.shield(self._begin(seen.row, seen))  # that one began too early
        return now

    def _begin(self, row: UUID, seen: SwitchView) -> "asyncio.Task[SwitchView]":
        def ended(task: asyncio.Task[SwitchView]) -> None:
            if self._listing.get(row) is task:
                del self._listing[row]
            if not task.cancelled():
                task.exception()  # which nobody may wait for any more

        task = asyncio.ensure_future(self._list(row, seen))
        self._listing[row] = task
        task.add_done_callback(ended)
        return task

    async def _list(self, row: UUID, seen: SwitchView) -> SwitchView:
        taken = self._northbound.moment()
        [found] = await self._northbound.transact([northbound.ls_listing(row)])
        if not found["rows"]:
            return SwitchView(seen.name)
        [switch] = found["rows"]
        size, ports = northbound.read_ports(switch)
        now = await self._with_foreign(seen, ports)
        digest = surveys.digest_of(now.foreign)
        now = replace(now, version=northbound.read_version(switch), size=size, digest=digest)
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
        """The same with those of these ports that are not ours; what is new among them is read."""
        foreign = {port: seen.foreign[port] for port in ports if port in seen.foreign}
        read = seen.read if foreign else asyncio.get_running_loop().time()
        for batch in in_batches([port for port in ports if port not in foreign], PORTS_AT_ONCE):
            results = await self._northbound.transact([northbound.lsp_state(port) for port in batch])
            rows = [row for result in results for row in result["rows"] if not northbound.is_endpoint(row)]
            foreign |= {northbound.read_uuid(row): _port(row) for row in rows}
        return replace(seen, read=read).with_foreign(foreign)


def _with_answers(seen: SwitchView, rows: Iterable[Row]) -> SwitchView:
    """With what all ports of others hold by now."""
    foreign = {northbound.read_uuid(row): _port(row) for row in rows}
    if not foreign:
        return seen
    return replace(seen, read=asyncio.get_running_loop().time()).with_foreign(foreign)


def _port(row: Row) -> ForeignPort:
    words = " ".join([*members(row["addresses"]), *members(row["dynamic_addresses"])]).split()
    return ForeignPort(str(row["name"]), tuple(_addresses(words)), routers.read_router_port(row))


def _routers_hold(names: Sequence[str], results: Results) -> dict[int | str, str]:
    used: dict[int | str, str] = {}
    for name, result in zip(names, results, strict=True):
        words = [text.partition("/")[0] for row in result["rows"] for text in members(row["networks"])]
        words += [str(row["mac"]) for row in result["rows"]]
        used.update(dict.fromkeys(_addresses(words), f"router port {name} holds it"))
    return used


def _addresses(words: Iterable[str]) -> list[int | str]:
    """Those of the words that are IP addresses, as integers, and MAC addresses; "dynamic" is neither."""
    found: list[int | str] = []
    for word in words:
        try:
            found.append(int(ipaddress.ip_address(word)))
        except ValueError:
            with contextlib.suppress(RequestError):
                found.append(addressing.mac(word))
    return found
