"""Finds and removes what one host has in OVN Northbound, a bounded part at a time.

Knows neither who decided it nor why. Each transaction asserts locks that are lost at the moment the host is
back: its driver takes them before its first transaction. So nothing that a host creates anew is ever removed.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from ovn_docker.errors import ConflictError, ConstraintError, RequirementError
from ovn_docker.ovn import hosts, leases, names, switches
from ovn_docker.ovn.hosts import Index, Use
from ovn_docker.ovn.leases import CLAIM, KIND, LEASE
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, Row, assert_lock, in_batches, mapping

LOG = logging.getLogger(__name__)

AT_ONCE = 1000
"""How many rows one transaction reads, so that others are served between two."""

BATCH = 100
"""Rows in one transaction: 9 ms for ports where there are 1,000 switches and 10,000 ports."""

PASSES = 5
"""How often the ports are looked for again when they have changed hands meanwhile."""

Transact = Callable[[Sequence[Operation]], Awaitable[list[dict[str, Any]]]]

# --- The rows of one host: those that its index names, by row id, if they are the host's --------------------


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


async def read_entries(transact: Transact, host: str, index: Index) -> HostRows:
    """Read the rows that an index of a host names."""
    rows: dict[str, list[Row]] = {kind: [] for kind in hosts.ENTRIES}
    gone, foreign = {}, {}
    for batch in in_batches(list(index.entries.items()), AT_ONCE):
        results = await transact([hosts.entry_get(*entry) for entry in batch])
        for (uuid, kind), result in zip(batch, results, strict=True):
            for row in result["rows"]:
                if hosts.is_of(host, row):
                    rows[kind].append(row)
                else:
                    foreign[uuid] = kind, row
            if not result["rows"]:
                gone[uuid] = kind
    return HostRows(index, rows, gone, foreign)


# --- What a host has: by its index where that is whole, else in all tables ----------------------------------


@dataclass(frozen=True, slots=True)
class Leftovers:
    """How much a host has, or had.

    Attributes:
        ports: rows of Logical_Switch_Port.
        leases: leased and claimed addresses.
        uses: pools and reserved addresses that a network of the host uses.
        switches: those that it created and that have no ports of others.
    """

    ports: int = 0
    leases: int = 0
    uses: int = 0
    switches: int = 0

    def __bool__(self) -> bool:
        return any(asdict(self).values())

    def __str__(self) -> str:
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


class Finder:
    """Finds the rows of a host as they are when it is asked: by its index, or in all tables."""

    def __init__(self, nb: Client, host: str, *, by_index: bool) -> None:
        self._nb = nb
        self._host = host
        self._by_index = by_index

    async def ports(self) -> list[UUID]:
        return _uuids(await self._rows("port", [hosts.ports_of(self._host)]))

    async def leases(self) -> list[UUID]:
        """Leases and claims."""
        rows = await self._rows("row", hosts.leases_of(self._host))
        if self._by_index:
            rows = [row for row in rows if mapping(row["external_ids"]).get(KIND) in {LEASE, CLAIM}]
        return _uuids(rows)

    async def names(self) -> list[Row]:
        """The records of what its endpoints are called."""
        return list(filter(names.is_record, await self._rows("row", [names.record_list(self._host)])))

    async def uses(self) -> list[Use]:
        """The pools and reserved addresses that it uses."""
        return hosts.uses(self._host, await self._rows("row", hosts.all_used()))

    async def switches(self) -> list[UUID]:
        """The switches that it created."""
        return _uuids(await self._rows("switch", [hosts.switches_of(self._host)]))

    async def _rows(self, kind: str, scan: Sequence[Operation]) -> Sequence[Row]:
        if not self._by_index:
            return [row for result in await self._nb.transact(scan) for row in result["rows"]]
        [found] = await self._nb.transact([hosts.index_get(self._host)])
        index = hosts.read_index(found["rows"])
        return (await read_entries(self._nb.transact, self._host, index)).rows[kind]


async def finder(nb: Client, host: str, *, deep: bool = False) -> Finder:
    """The finder for a host; `deep`: go through all tables even where its index is whole."""
    [found] = await nb.transact([hosts.index_get(host)])
    return Finder(nb, host, by_index=hosts.read_index(found["rows"]).is_whole and not deep)


async def remains(nb: Client, host: str, *, deep: bool = False) -> Leftovers:
    """Count what a host has in Northbound; the arguments are those of `finder`."""
    find = await finder(nb, host, deep=deep)
    own = set(await find.ports())
    created = await find.switches()
    held = await nb.transact([switches.ls_ports(switch) for switch in created]) if created else []
    return Leftovers(
        ports=len(own),
        leases=len(await find.leases()),
        uses=len(await find.uses()),
        switches=sum(
            own.issuperset(switches.read_occupants(row, switch))
            for switch, result in zip(created, held, strict=True)
            for row in result["rows"]
        ),
    )


def _uuids(rows: Iterable[Row]) -> list[UUID]:
    return [switches.read_uuid(row) for row in rows]


# --- The removal --------------------------------------------------------------------------------------------


class HostCleanup:
    """The removal of all that one host left."""

    def __init__(self, nb: Client, host: str, locks: Sequence[str], *, deep: bool = False) -> None:
        """Remove it while the client has these locks; `deep` as in `finder`."""
        self._nb = nb
        self._host = host
        self._deep = deep
        self._asserts = [assert_lock(name) for name in locks]

    async def run(self) -> Leftovers:
        """Remove everything and count it; the host's own row goes last, so that a cut-short run is repeated.

        Raises:
            LockError: a lock was lost, so the host may be back; what was removed until then is.
            ConflictError: its ports change all the time.
        """
        find = await finder(self._nb, self._host, deep=self._deep)
        await self._names(await find.names())
        removed = Leftovers(
            ports=await self._ports(find),
            leases=await self._leases(await find.leases()),
            uses=await self._uses(await find.uses()),
            switches=await self._switches(await find.switches()),
        )
        await self._transact([hosts.host_del(self._host), hosts.list_remove(self._host)])
        return removed

    async def _transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        results = await self._nb.transact([*self._asserts, *operations])
        return results[len(self._asserts) :]

    async def _ports(self, find: Finder) -> int:
        removed = 0
        for _ in range(PASSES):
            ports = await find.ports()
            if not ports:
                return removed
            for batch in in_batches(ports, BATCH):
                with contextlib.suppress(RequirementError):  # one of them went, or is another's by now
                    await self._transact(hosts.ports_del(self._host, batch))
                    removed += len(batch)
        raise ConflictError(f"the ports of host {self._host} change while they are removed: is it running?")

    async def _names(self, records: Sequence[Row]) -> None:
        for batch in in_batches(records, BATCH):
            await self._transact([each for record in batch for each in names.withdraw(record)])

    async def _leases(self, leased: Sequence[UUID]) -> int:
        removed = 0
        for batch in in_batches(leased, BATCH):
            drops = [operation for lease in batch for operation in hosts.lease_drop(self._host, lease)]
            removed += sum(result["count"] for result in await self._transact(drops))
        return removed

    async def _uses(self, uses: Sequence[Use]) -> int:
        """Remove the host's references; with a pool's last user go the pool and what was reserved in it."""
        for use in uses:
            _, pool = await self._transact(hosts.use_drop(self._host, use))
            if pool["count"] and use.kind == leases.POOL_ROW:
                with contextlib.suppress(RequirementError):  # another host created the pool again
                    await self._transact(leases.reserved_del(use.key))
        return len(uses)

    async def _switches(self, created: Sequence[UUID]) -> int:
        removed = 0
        for batch in in_batches(created, BATCH):
            drops = [drop for switch in batch for drop in hosts.switch_drop(self._host, switch)]
            results = await self._transact(drops)
            removed += sum(result["count"] for result in results)
        return removed


# --- Which hosts are registered: by the list of hosts, and once by going through the table ------------------
# Going through DHCP_Options costs the server's only thread 0.6 us for each lease of any host. So it is done
# when an operator asks for it, and once where the list is not whole: after an upgrade from a version that had
# none, hosts that have not been upgraded yet, or were dead by then, have not entered themselves.


async def listed(nb: Client, *, deep: bool = False) -> Sequence[str]:
    """The names of all hosts, in order; the row of some may be gone, see `registered`.

    With `deep` the table is gone through in any case; then nothing is written.
    """
    [found] = await nb.transact([hosts.list_get()])
    known = hosts.read_list(found["rows"])
    if known.is_whole and not deep:
        return known.names
    [found] = await nb.transact([hosts.host_list()])
    names = sorted(map(hosts.read_host, found["rows"]))
    if not deep:
        await _finish(nb, names)
    return names


async def registered(nb: Client, names: Sequence[str]) -> list[str]:
    """Those that still have a row, for a version without a list removes nobody from it; 50 us for each."""
    present: list[str] = []
    for batch in in_batches(names, AT_ONCE):
        results = await nb.transact([hosts.host_get(name) for name in batch])
        present += [name for name, result in zip(batch, results, strict=True) if result["rows"]]
    return present


async def _finish(nb: Client, names: Sequence[str]) -> None:
    """Note that these are all; a list that another process creates meanwhile is finished the next time."""
    [done] = await nb.transact([hosts.list_finish(names)])
    if not done["count"]:
        with contextlib.suppress(ConstraintError):
            await nb.transact([hosts.list_add(names, is_whole=True)])
    LOG.info("the list of hosts in OVN Northbound is whole: it names %d host(s)", len(names))
