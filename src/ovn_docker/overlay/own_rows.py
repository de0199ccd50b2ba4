"""The rows of this host in Northbound: by its index, and once by going through all tables.

Going through them costs the server's only thread 2 us for each row of any host. So it is done when an
operator asks for it, and once where the index is not whole: after an upgrade from a version that had none, or
when the host's row was lost. That may be so on all hosts at the same time, so each waits for a time of its
own.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from ovn_docker.errors import RequirementError
from ovn_docker.health import host_rows
from ovn_docker.health.host_rows import HostRows
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import host_index, leases, surveys
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.host_index import Entries, Index
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Row
from ovn_docker.ovsdb.values import mapping

LOG = logging.getLogger(__name__)

SPREAD = 3600.0
"""Seconds over which the hosts of a cluster go through all tables."""


def at_once() -> float:
    """The delay of who goes through all tables now."""
    return 0.0


def some_time() -> float:
    """The delay of one of many hosts."""
    return random.uniform(0.0, SPREAD)  # noqa: S311  (to spread load)


class Scan(Protocol):
    """How a command has all tables gone through."""

    def __call__(self, *, always: bool, note: bool) -> None:
        """Go through them: `always`, or where the index is not whole; `note` what is found in the index."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a host; of pools and reserved addresses those that it has a part in."""

    switches: Sequence[Row]
    ports: Sequence[Row]
    leases: Sequence[Row]
    pools: Sequence[Row]
    reserved: Sequence[Row]

    def entries(self) -> dict[UUID, str]:
        """What an index that is whole names."""
        by_kind = {
            "switch": self.switches,
            "port": self.ports,
            "row": [*self.leases, *self.pools, *self.reserved],
        }
        return {northbound.read_uuid(row): kind for kind, rows in by_kind.items() for row in rows}


class OwnRows:
    """Finds them."""

    def __init__(self, database: Northbound, delay: Callable[[], float]) -> None:
        """Read there; `delay` is how many seconds to wait where the index is not whole."""
        self._northbound = database
        self._delay = delay
        self._due: float | None = None
        self._always = False
        self._note = True

    def scan(self, *, always: bool, note: bool) -> None:
        """See `Scan`."""
        self._always, self._note, self._delay, self._due = always, note, at_once, None

    async def read(self) -> Rows:
        """Read all that is this host's.

        Raises:
            DatabaseError, HostError: it cannot be read.
        """
        host = (await self._northbound.mark()).host
        [found] = await self._northbound.transact([host_index.index_get(host)])
        index = host_index.read_index(found["rows"])
        if self._always or (not index.is_whole and self._is_due()):
            return await self._scanned(Mark(host, index.created))
        read = await host_rows.read_entries(self._northbound, host, index)
        if self._note:
            await self._strike(host, read)
        return _sorted(read.rows)

    async def named(self, entries: Entries) -> Rows:
        """Read rows that the host should have, and enter into the index those that are there and its own."""
        host = (await self._northbound.mark()).host
        read = await host_rows.read_entries(self._northbound, host, Index(entries, is_whole=False))
        rows = _sorted(read.rows)
        if self._note and (found := rows.entries()):
            await self._northbound.transact([host_index.index_add(host, found)])
        return rows

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._delay()
        return now >= self._due

    async def _scanned(self, mark: Mark) -> Rows:
        """Go through all tables (five scans); `mark` is that of the host's row."""
        host = mark.host
        operations = [
            northbound.ls_list(host),
            northbound.lsp_list(host),
            leases.lease_list(host),
            leases.kind_list(leases.POOL_ROW),
            leases.kind_list(leases.RESERVED),
        ]
        switches, ports, leased, pools, reserved = (
            [row for row in each["rows"] if host_index.is_of(host, row)]
            for each in await self._northbound.transact(operations)
        )
        rows = Rows(switches, ports, leased, pools, reserved)
        if self._note:
            await self._finish(mark, rows.entries())
            if self._always:
                await self._forget_surveys()
        return rows

    async def _finish(self, mark: Mark, entries: Entries) -> None:
        """Note what was found, unless the driver has not registered this host yet, or anew meanwhile."""
        [done] = await self._northbound.transact([host_index.index_finish(mark, entries)])
        if done["count"]:
            self._due = None
            LOG.info("the index of this host in OVN Northbound is whole: it names %d row(s)", len(entries))

    async def _forget_surveys(self) -> None:
        """Remove what drivers wrote down of switches that are gone."""
        [found] = await self._northbound.transact([leases.kind_list(surveys.SURVEY)])
        switches = surveys.read_switches(found["rows"])
        questions = [northbound.ls_exists_question(each) for each in switches]
        there = await self._northbound.transact(questions) if questions else []
        gone = [switch for switch, each in zip(switches, there, strict=True) if not each["rows"]]
        if gone:
            await self._northbound.transact([surveys.survey_del(each) for each in gone])

    async def _strike(self, host: str, read: HostRows) -> None:
        """Strike out what the index names and the host has not; what has changed since stays until later."""
        if read.gone:
            await self._northbound.strike(read.gone)
        for uuid, (kind, row) in read.foreign.items():
            try:
                await self._northbound.transact(host_index.index_strike_foreign(host, uuid, kind, row))
            except RequirementError:
                continue


async def own_switches(database: Northbound, host: str) -> Sequence[Row]:
    """The switches that a host made: in all of the table only where the index is not whole.

    Raises:
        DatabaseError, HostError: they cannot be read.
    """
    [found] = await database.transact([host_index.index_get(host)])
    index = host_index.read_index(found["rows"])
    if not index.is_whole:
        [found] = await database.transact([northbound.ls_list(host)])
        return list(found["rows"])
    entries = {uuid: kind for uuid, kind in index.entries.items() if kind == "switch"}
    return (await host_rows.read_entries(database, host, replace(index, entries=entries))).rows["switch"]


def _sorted(rows: Mapping[str, Sequence[Row]]) -> Rows:
    kinds: dict[str, list[Row]] = {}
    for row in rows["row"]:
        kinds.setdefault(mapping(row["external_ids"]).get(leases.KIND, ""), []).append(row)
    return Rows(
        switches=rows["switch"],
        ports=rows["port"],
        leases=[*kinds.get(leases.LEASE, ()), *kinds.get(leases.CLAIM, ())],
        pools=kinds.get(leases.POOL_ROW, ()),
        reserved=kinds.get(leases.RESERVED, ()),
    )
