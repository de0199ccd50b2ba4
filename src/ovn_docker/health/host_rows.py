"""Reads the rows of one host: what its index names, by row id, and of that what is the host's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ovn_docker.ovn import host_index
from ovn_docker.ovn.host_index import Index
from ovn_docker.ovsdb.operations import Operation, Row, in_batches

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
    [found] = await database.transact([host_index.index_get(host)])
    index = host_index.read_index(found["rows"])
    return await read_entries(database, host, index)


async def read_entries(database: Database, host: str, index: Index) -> HostRows:
    """Read these rows.

    Raises:
        DatabaseError: they cannot be read.
    """
    rows: dict[str, list[Row]] = {kind: [] for kind in host_index.ENTRIES}
    gone, foreign = {}, {}
    for batch in in_batches(list(index.entries.items()), AT_ONCE):
        results = await database.transact([host_index.entry_get(*entry) for entry in batch])
        for (uuid, kind), result in zip(batch, results, strict=True):
            for row in result["rows"]:
                if host_index.is_of(host, row):
                    rows[kind].append(row)
                else:
                    foreign[uuid] = kind, row
            if not result["rows"]:
                gone[uuid] = kind
    return HostRows(index, rows, gone, foreign)
