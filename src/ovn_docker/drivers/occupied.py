"""Addresses of a pool that are in use without a lease: an administrator's ports, a router's, exclude_ips.

Nothing here talks on a lease's own account: the questions travel in the transaction that takes the address,
so what they find is what the database held at that moment. Only when a switch's row has changed since
(RFC 7047 section 3.2: _version) its ports are read again, and of those only the ones that are new; ports of
our own making are in the leases.
"""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from ovn_docker import pools
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.ovsdb.operations import Operation, Row
from ovn_docker.ovsdb.values import mapping, members
from ovn_docker.pools import Pool
from ovn_docker.schema import northbound

Results = Sequence[Mapping[str, Any]]

PORTS_AT_ONCE = 1000
"""How many ports one transaction reads, so that others are served between two."""


@dataclass(frozen=True, slots=True)
class Held:
    """The addresses in use, as integers, and by whom, for people."""

    single: Mapping[int, str]
    spans: Sequence[tuple[int, int]] = ()

    def by(self, number: int) -> str:
        """Who has an address, or ""."""
        if any(first <= number <= last for first, last in self.spans):
            return "other_config:exclude_ips of its switch names it"
        return self.single.get(number, "")


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of one switch.

    Attributes:
        name: of the switch.
        row: its id, or None while there is none.
        version: of its row.
        ours: ports that carry our mark, as OVSDB writes them.
        foreign: all others.
        routers: the names of the router ports among these.
    """

    name: str
    row: UUID | None = None
    version: object = None
    ours: frozenset[UUID] = frozenset()
    foreign: tuple[UUID, ...] = ()
    routers: tuple[str, ...] = ()

    def questions(self) -> list[Operation]:
        """What tells whether this is still so, and which addresses are held."""
        return [
            northbound.ls_state(self.name, self.row),
            *map(northbound.lsp_state, self.foreign),
            *map(northbound.lrp_get, self.routers),
        ]


@dataclass(frozen=True, slots=True)
class Question:
    """What a transaction asks along with what else it does.

    Attributes:
        seen: the switches as they were known when it was asked.
        operations: to be put into the transaction, in this order.
    """

    seen: tuple[Seen, ...]
    operations: list[Operation] = field(default_factory=list)


class Occupied:
    """Knows what to ask about the switches that a pool is for, and reads the answers."""

    def __init__(self, database: Northbound, switches: Callable[[Pool], Iterable[str]]) -> None:
        """Read from there; `switches` names the switches whose ports have addresses of a pool."""
        self._northbound = database
        self._switches = switches
        self._seen: dict[str, Seen] = {}

    def question(self, pool: Pool) -> Question:
        """What to ask in the transaction that takes an address of a pool."""
        seen = tuple(self._seen.get(name, Seen(name)) for name in self._switches(pool))
        return Question(seen, [operation for each in seen for operation in each.questions()])

    async def held(self, question: Question, results: Results) -> Held:
        """The addresses in use, from the results of the question's operations."""
        single: dict[int, str] = {}
        spans: list[tuple[int, int]] = []
        rest = list(results)
        for seen in question.seen:
            own, rest = rest[: len(seen.questions())], rest[len(seen.questions()) :]
            now, answers = await self._current(seen, own)
            self._seen[now.name] = now
            for row in answers[0]["rows"]:
                spans += pools.excluded(mapping(row["other_config"]).get("exclude_ips", ""))
            single |= _addresses(now, answers)
        return Held(single, spans)

    async def _current(self, seen: Seen, answers: Results) -> tuple[Seen, Results]:
        """The switch as it is now, with the answers to its questions."""
        if not answers[0]["rows"] and seen.row is not None:
            seen = Seen(seen.name)  # deleted, and perhaps made again
            answers = await self._northbound.transact(seen.questions())
        rows = answers[0]["rows"]
        if not rows:
            return seen, answers
        row, version = northbound.read_uuid(rows[0]), rows[0]["_version"]
        routers = _routers(_port_rows(seen, answers))
        if (row, version, routers) == (seen.row, seen.version, seen.routers):
            return seen, answers
        now = await self._read(seen, row, version)
        return now, await self._northbound.transact(now.questions()) if now.foreign else answers[:1]

    async def _read(self, seen: Seen, row: UUID, version: object) -> Seen:
        """Read the switch's ports, those known to be ours excepted.

        A change between `version` and this is seen by the next question, whose version is another.
        """
        [switch] = await self._northbound.transact([northbound.ls_ports(row)])
        ports = frozenset(port for each in switch["rows"] for port in members(each["ports"]))
        unknown = [port for port in ports if port not in seen.ours]
        foreign: list[Row] = []
        for start in range(0, len(unknown), PORTS_AT_ONCE):
            questions = [northbound.lsp_state(port) for port in unknown[start : start + PORTS_AT_ONCE]]
            results = await self._northbound.transact(questions)
            foreign += [
                each for result in results for each in result["rows"] if not northbound.is_endpoint(each)
            ]
        strange = [northbound.read_uuid(each) for each in foreign]
        return Seen(seen.name, row, version, ports.difference(strange), tuple(strange), _routers(foreign))


def _port_rows(seen: Seen, results: Results) -> list[Row]:
    return [row for each in results[1 : 1 + len(seen.foreign)] for row in each["rows"]]


def _routers(ports: Iterable[Row]) -> tuple[str, ...]:
    return tuple(mapping(row["options"]).get("router-port", "") for row in ports if row["type"] == "router")


def _addresses(seen: Seen, results: Results) -> dict[int, str]:
    """What the ports hold, and the router ports behind those of them that lead to a router."""
    used: dict[int, str] = {}
    for row in _port_rows(seen, results):
        words = " ".join([*members(row["addresses"]), *members(row["dynamic_addresses"])]).split()
        used.update(dict.fromkeys(_numbers(words), f"logical switch port {row['name']} holds it"))
    for name, result in zip(seen.routers, results[1 + len(seen.foreign) :], strict=True):
        words = [text.partition("/")[0] for row in result["rows"] for text in members(row["networks"])]
        used.update(dict.fromkeys(_numbers(words), f"router port {name} holds it"))
    return used


def _numbers(words: Iterable[str]) -> list[int]:
    """Those of the words that are IP addresses, as integers; a MAC address or "dynamic" is none."""
    numbers = []
    for word in words:
        try:
            numbers.append(int(ipaddress.ip_address(word)))
        except ValueError:
            continue
    return numbers
