"""Addresses of a pool that are in use without a lease: an administrator's ports, a router's, exclude_ips.

The questions travel in the transaction that takes the address, so a lease costs none of its own, and what
they find is what the database held at that moment. Only when a switch's row has changed since (RFC 7047
section 3.2: _version) its list of ports is read again, and of these only the ones that are new; ports of our
own making are in the leases. A switch with very many ports of others is the exception: see `EXACT`.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from ovn_docker import addressing, pools
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.errors import RequestError
from ovn_docker.ovsdb.operations import Operation, Row
from ovn_docker.ovsdb.values import mapping, members
from ovn_docker.pools import Pool
from ovn_docker.schema import northbound, routers

Results = Sequence[Mapping[str, Any]]

PORTS_AT_ONCE = 1000
"""How many ports one transaction reads, so that others are served between two."""

EXACT = 64
"""Up to so many ports of others on a switch, each lease asks what they hold; it costs 50 us for each."""

PATIENCE = 0.001
"""With more, they are asked again after so many seconds for each. New ones are seen at once all the same;
only another address for an old one may be seen that much later."""


@dataclass(frozen=True, slots=True)
class Held:
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
class Port:
    """What somebody else's port holds: addresses as in `Held`, and the router port behind it, or ""."""

    name: str
    addresses: tuple[int | str, ...]
    router: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of one switch.

    Attributes:
        name: of the switch.
        row: its id, or None while there is none.
        version: of its row.
        ours: ports that carry our mark.
        foreign: all others.
        held: the addresses of the others, as in `Held`, and by whom.
        read: when the others were read last, all of them.
    """

    name: str
    row: UUID | None = None
    version: object = None
    ours: frozenset[UUID] = frozenset()
    foreign: Mapping[UUID, Port] = field(default_factory=dict)
    held: Mapping[int | str, str] = field(default_factory=dict)
    read: float = 0.0

    @property
    def routers(self) -> tuple[str, ...]:
        """The router ports behind the switch."""
        return tuple(port.router for port in self.foreign.values() if port.router)

    def to_ask(self, now: float) -> tuple[UUID, ...]:
        """The ports to ask again what they hold."""
        fresh = now - self.read < PATIENCE * len(self.foreign)
        return () if fresh and len(self.foreign) > EXACT else tuple(self.foreign)

    def with_foreign(self, foreign: Mapping[UUID, Port]) -> "Seen":
        """The same with these ports of others."""
        held = {
            address: f"logical switch port {port.name} holds it"
            for port in foreign.values()
            for address in port.addresses
        }
        return replace(self, foreign=foreign, held=held)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a transaction asks about one switch along with what else it does."""

    seen: Seen
    ports: tuple[UUID, ...]

    @property
    def operations(self) -> list[Operation]:
        """The switch, then its ports, then its router ports."""
        return [
            northbound.ls_state(self.seen.name, self.seen.row),
            *map(northbound.lsp_state, self.ports),
            *map(routers.lrp_get, self.seen.routers),
        ]


@dataclass(frozen=True, slots=True)
class Question:
    """What a transaction asks along with what else it does: `operations`, to be put into it in this order."""

    inquiries: tuple[Inquiry, ...]
    operations: list[Operation]


class Occupied:
    """Knows what to ask about the switches that a pool is for, and reads the answers."""

    def __init__(self, database: Northbound, switches: Callable[[Pool], Iterable[str]]) -> None:
        """Read from there; `switches` names the switches whose ports have addresses of a pool."""
        self._northbound = database
        self._switches = switches
        self._seen: dict[str, Seen] = {}

    def named(self, pool: Pool) -> list[str]:
        """The switches among them that have a name of their own, under which their addresses are claimed."""
        return [name for name in self._switches(pool) if name != pool.key]

    def question(self, pool: Pool) -> Question:
        """What to ask in the transaction that takes an address of a pool."""
        return self.about(self._switches(pool))

    def about(self, switches: Iterable[str]) -> Question:
        """What to ask in the transaction that takes an address on switches of these names."""
        now = asyncio.get_running_loop().time()
        seen = [self._seen.get(name, Seen(name)) for name in switches]
        inquiries = tuple(Inquiry(each, each.to_ask(now)) for each in seen)
        return Question(inquiries, [operation for each in inquiries for operation in each.operations])

    async def router_ports(self, switch: str) -> list[Row]:
        """The router ports on the switch of this name, as `routers.lrp_get` reads them."""
        question = self.about([switch])
        results = await self._northbound.transact(question.operations)
        [inquiry] = question.inquiries
        self._seen[switch], _, found = await self._current(inquiry, results)
        return [row for each in found for row in each["rows"]]

    async def held(self, question: Question, results: Results) -> Held:
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
                spans += pools.excluded(mapping(row["other_config"]).get("exclude_ips", ""))
            single += [seen.held, _routers_hold(seen.routers, router_ports)]
        return Held(single, spans)

    async def _current(self, inquiry: Inquiry, answers: Results) -> tuple[Seen, list[Row], Results]:
        """The switch as it is now, its row, and its router ports."""
        seen, switch = inquiry.seen, answers[0]["rows"]
        if not switch and seen.row is not None:  # deleted, and perhaps made again
            again = Inquiry(Seen(seen.name), ())
            return await self._current(again, await self._northbound.transact(again.operations))
        ports = answers[1 : 1 + len(inquiry.ports)]
        now = _with_answers(seen, [row for each in ports for row in each["rows"]])
        if switch and (northbound.read_uuid(switch[0]), switch[0]["_version"]) != (seen.row, seen.version):
            now = await self._read(now, northbound.read_uuid(switch[0]), switch[0]["_version"])
        if now.routers == seen.routers:
            return now, switch, answers[1 + len(inquiry.ports) :]
        questions = list(map(routers.lrp_get, now.routers))
        return now, switch, await self._northbound.transact(questions) if questions else []

    async def _read(self, seen: Seen, row: UUID, version: object) -> Seen:
        """Read which ports the switch has, and what those hold that are new and not ours.

        A change between `version` and this is seen by the next question, whose version is another. What was
        read is kept when the time is up meanwhile, so that the next request goes on from there.
        """
        [switch] = await self._northbound.transact([northbound.ls_ports(row)])
        ports = frozenset(port for each in switch["rows"] for port in members(each["ports"]))
        unknown = [port for port in ports - seen.ours if port not in seen.foreign]
        foreign = {uuid: port for uuid, port in seen.foreign.items() if uuid in ports}
        read = seen.read if seen.foreign else asyncio.get_running_loop().time()
        done = 0
        try:
            while done < len(unknown):
                foreign |= await self._foreign(unknown[done : done + PORTS_AT_ONCE])
                done += PORTS_AT_ONCE
        except asyncio.CancelledError:
            ours = ports.difference(foreign, unknown[done:])
            self._seen[seen.name] = replace(seen, row=row, ours=ours, read=read).with_foreign(foreign)
            raise
        now = replace(seen, row=row, version=version, ours=ports.difference(foreign), read=read)
        return now if foreign == seen.foreign else now.with_foreign(foreign)

    async def _foreign(self, ports: Sequence[UUID]) -> dict[UUID, Port]:
        """Those of the ports that are not ours."""
        results = await self._northbound.transact([northbound.lsp_state(port) for port in ports])
        rows = [row for result in results for row in result["rows"] if not northbound.is_endpoint(row)]
        return {northbound.read_uuid(row): _port(row) for row in rows}


def _with_answers(seen: Seen, rows: Iterable[Row]) -> Seen:
    """With what all ports of others hold by now."""
    foreign = {northbound.read_uuid(row): _port(row) for row in rows}
    if not foreign:
        return seen
    now = replace(seen, read=asyncio.get_running_loop().time())
    return now if foreign == seen.foreign else now.with_foreign(foreign)


def _port(row: Row) -> Port:
    words = " ".join([*members(row["addresses"]), *members(row["dynamic_addresses"])]).split()
    return Port(str(row["name"]), tuple(_addresses(words)), routers.read_router_port(row))


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
