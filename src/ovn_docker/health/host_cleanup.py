"""Gives up what a dead host left in OVN Northbound, a bounded part at a time.

Knows neither who decided it nor why. Each transaction asserts locks that are lost at the moment the host is
back: its driver takes them before its first transaction. So nothing that a host makes anew is ever removed.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from uuid import UUID

from ovn_docker.errors import ConflictError, ConstraintError, RequirementError
from ovn_docker.ovn import hosts, leases
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.hosts import Index, Use
from ovn_docker.ovn.leases import CLAIM, KIND, LEASE
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, Row, assert_lock, in_batches, mapping, members

# --- Reads the rows of one host: what its index names, by row id, and of that what is the host's. -----------


AT_ONCE = 1000
"""How many rows one transaction reads, so that others are served between two."""


class Database(Protocol):
    """Northbound."""

    async def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """Carry out one transaction."""


@dataclass(frozen=True, slots=True)
class HostRows:
    """What an index names.

    Attributes:
        index: as it was read.
        rows: those that are the host's, by the kind of their entries.
        gone: entries without a row.
        foreign: entries whose row is not the host's, with that row.
    """

    index: Index
    rows: Mapping[str, Sequence[Row]]
    gone: Mapping[UUID, str]
    foreign: Mapping[UUID, tuple[str, Row]]


async def read(database: Database, host: str) -> HostRows:
    """Read a host's index, and the rows that it names.

    Raises:
        DatabaseError: they cannot be read.
    """
    [found] = await database.transact([hosts.index_get(host)])
    index = hosts.read_index(found["rows"])
    return await read_entries(database, host, index)


async def read_entries(database: Database, host: str, index: Index) -> HostRows:
    """Read these rows.

    Raises:
        DatabaseError: they cannot be read.
    """
    rows: dict[str, list[Row]] = {kind: [] for kind in hosts.ENTRIES}
    gone, foreign = {}, {}
    for batch in in_batches(list(index.entries.items()), AT_ONCE):
        results = await database.transact([hosts.entry_get(*entry) for entry in batch])
        for (uuid, kind), result in zip(batch, results, strict=True):
            for row in result["rows"]:
                if hosts.is_of(host, row):
                    rows[kind].append(row)
                else:
                    foreign[uuid] = kind, row
            if not result["rows"]:
                gone[uuid] = kind
    return HostRows(index, rows, gone, foreign)


# --- What there is of one host in Northbound: by its index where that is whole, else in all tables. ---------


@dataclass(frozen=True, slots=True)
class Leftovers:
    """How much there is of a host, or was.

    Attributes:
        ports: rows of Logical_Switch_Port.
        leases: leased and claimed addresses.
        uses: pools and reserved addresses in which a network of the host stands as a user.
        switches: those that it made and that no port of others is on.
    """

    ports: int = 0
    leases: int = 0
    uses: int = 0
    switches: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any(asdict(self).values())

    def __str__(self) -> str:
        """For people."""
        return ", ".join(
            (
                _counted(self.ports, "port"),
                _counted(self.leases, "lease"),
                f"{_counted(self.uses, 'use')} of pools and reserved addresses",
                _counted(self.switches, "switch", "switches"),
            )
        )


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


class Finder(Protocol):
    """Finds the rows of a host, as they are when it is asked."""

    async def ports(self) -> list[UUID]:
        """Its ports."""

    async def leases(self) -> list[UUID]:
        """Its leases and claims."""

    async def uses(self) -> list[Use]:
        """Its parts in pools and reserved addresses."""

    async def switches(self) -> list[UUID]:
        """The switches that it made."""


async def finder(client: Client, host: str, *, deep: bool = False) -> Finder:
    """Who finds the rows of a host.

    Args:
        client: of Northbound.
        host: its ``system-id``.
        deep: whether to go through all tables in any case.
    """
    [found] = await client.transact([hosts.index_get(host)])
    is_whole = hosts.read_index(found["rows"]).is_whole
    return _Named(client, host) if is_whole and not deep else _Scanned(client, host)


async def remains(client: Client, host: str, *, deep: bool = False) -> Leftovers:
    """Count what there is of a host in Northbound; the arguments are those of `finder`."""
    find = await finder(client, host, deep=deep)
    own = set(await find.ports())
    made = await find.switches()
    held = await client.transact([northbound.ls_ports(each) for each in made]) if made else []
    return Leftovers(
        ports=len(own),
        leases=len(await find.leases()),
        uses=len(await find.uses()),
        switches=sum(own.issuperset(members(row["ports"])) for each in held for row in each["rows"]),
    )


class _Named:
    """By the host's index: what that names is read by row id, and told only if it is the host's."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    async def _rows(self, kind: str) -> Sequence[Row]:
        return (await read(self._client, self._host)).rows[kind]

    async def ports(self) -> list[UUID]:
        return _uuids(await self._rows("port"))

    async def leases(self) -> list[UUID]:
        rows = await self._rows("row")
        return _uuids([row for row in rows if mapping(row["external_ids"]).get(KIND) in {LEASE, CLAIM}])

    async def uses(self) -> list[Use]:
        return hosts.uses(self._host, await self._rows("row"))

    async def switches(self) -> list[UUID]:
        return _uuids(await self._rows("switch"))


class _Scanned:
    """By going through all tables."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    async def ports(self) -> list[UUID]:
        [found] = await self._client.transact([hosts.ports_of(self._host)])
        return _uuids(found["rows"])

    async def leases(self) -> list[UUID]:
        found = await self._client.transact(hosts.leases_of(self._host))
        return [uuid for each in found for uuid in _uuids(each["rows"])]

    async def uses(self) -> list[Use]:
        found = await self._client.transact(hosts.all_used())
        return [use for each in found for use in hosts.uses(self._host, each["rows"])]

    async def switches(self) -> list[UUID]:
        [found] = await self._client.transact([hosts.switches_of(self._host)])
        return _uuids(found["rows"])


def _uuids(rows: Sequence[Row]) -> list[UUID]:
    return [northbound.read_uuid(row) for row in rows]


BATCH = 100
"""Rows in one transaction: 9 ms for ports where there are 1,000 switches and 10,000 ports."""

PASSES = 5
"""How often the ports are looked for again when they have changed hands meanwhile."""


class HostCleanup:
    """The removal of all that one host left."""

    def __init__(self, client: Client, host: str, locks: Sequence[str], *, deep: bool = False) -> None:
        """Remove it with this client, as long as it has these locks; `deep` as in `remains.finder`."""
        self._client = client
        self._host = host
        self._deep = deep
        self._asserts = [assert_lock(name) for name in locks]

    async def run(self) -> Leftovers:
        """Remove all; the host itself is struck off last, so that what was cut short is found again.

        Returns:
            What was removed.

        Raises:
            LockError: a lock was lost, so the host may be back; what was removed until then is.
            ConflictError: its ports change all the time.
        """
        find = await finder(self._client, self._host, deep=self._deep)
        gone = Leftovers(
            ports=await self._ports(find),
            leases=await self._leases(await find.leases()),
            uses=await self._uses(await find.uses()),
            switches=await self._switches(await find.switches()),
        )
        await self._transact([hosts.host_del(self._host), hosts.list_remove(self._host)])
        return gone

    async def _transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        results = await self._client.transact([*self._asserts, *operations])
        return results[len(self._asserts) :]

    async def _ports(self, find: Finder) -> int:
        gone = 0
        for _ in range(PASSES):
            ports = await find.ports()
            if not ports:
                return gone
            gone += await self._drop_ports(ports)
        raise ConflictError(f"the ports of host {self._host} change while it is given up: is it running?")

    async def _drop_ports(self, ports: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(ports, BATCH):
            try:
                await self._transact(hosts.ports_del(self._host, batch))
            except RequirementError:  # one of them went, or is another's by now
                continue
            gone += len(batch)
        return gone

    async def _leases(self, leased: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(leased, BATCH):
            drops = [each for lease in batch for each in hosts.lease_drop(self._host, lease)]
            dropped = await self._transact(drops)
            gone += sum(each["count"] for each in dropped)
        return gone

    async def _uses(self, used: Sequence[Use]) -> int:
        """Strike the host out; with a pool's last user go the pool and what was reserved in it."""
        for use in used:
            _, went = await self._transact(hosts.use_drop(self._host, use))
            if went["count"] and use.kind == leases.POOL_ROW:
                await self._reserved(use.key)
        return len(used)

    async def _reserved(self, key: str) -> None:
        try:
            await self._transact(leases.reserved_del(key))
        except RequirementError:  # another host made the pool again
            return

    async def _switches(self, made: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(made, BATCH):
            dropped = await self._transact([hosts.switch_drop(self._host, each) for each in batch])
            gone += sum(each["count"] for each in dropped)
        return gone


# --- Which hosts are registered in Northbound: by the list of hosts, and once by going through the table. ---
# Going through DHCP_Options costs the server's only thread 0.6 us for each lease of any host. So it is done
# when an operator asks for it, and once where the list is not whole: after an upgrade from a version that had
# none, for hosts that have not been upgraded yet, or were dead by then, have not entered themselves.


LOG = logging.getLogger(__name__)


async def listed(database: Database, *, deep: bool = False) -> Sequence[str]:
    """The names of all hosts, in order; of some the row may be gone, see `registered`.

    Args:
        database: Northbound.
        deep: whether to go through the table in any case; then nothing is written.

    Raises:
        DatabaseError: they cannot be read.
    """
    [found] = await database.transact([hosts.list_get()])
    known = hosts.read_list(found["rows"])
    if known.is_whole and not deep:
        return known.names
    [found] = await database.transact([hosts.host_list()])
    names = sorted(map(hosts.read_host, found["rows"]))
    if not deep:
        await _finish(database, names)
    return names


async def registered(database: Database, names: Sequence[str]) -> list[str]:
    """Those that have a row still, for a version without a list strikes nobody out; 50 us for each.

    Raises:
        DatabaseError: they cannot be read.
    """
    there: list[str] = []
    for batch in in_batches(names, AT_ONCE):
        results = await database.transact([hosts.host_get(name) for name in batch])
        there += [name for name, each in zip(batch, results, strict=True) if each["rows"]]
    return there


async def _finish(database: Database, names: Sequence[str]) -> None:
    """Note that these are all; a list that another process makes meanwhile is finished the next time."""
    [done] = await database.transact([hosts.list_finish(names)])
    if not done["count"]:
        with contextlib.suppress(ConstraintError):
            await database.transact([hosts.list_add(names, is_whole=True)])
    LOG.info("the list of hosts in OVN Northbound is whole: it names %d host(s)", len(names))
