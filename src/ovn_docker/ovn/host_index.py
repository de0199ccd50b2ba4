"""Where a host finds its own rows among those of all hosts: the host's row names each of them. Pure.

An entry is a hint and never a proof: whose a row is says the row. So an entry is written with the row, in one
transaction; it may be there before the row and after it. It is struck out only in a transaction that finds
the row gone, or as it was when it was nobody's of the host.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ovn_docker.ovn.hosts import host_id
from ovn_docker.ovn.leases import HOST_ROW, KIND, TABLE
from ovn_docker.ovn.switches import CREATED, HOST, PORT, SWITCH, Mark
from ovn_docker.ovsdb.operations import Condition, Operation, Row, mutate, require, row_is, select
from ovn_docker.ovsdb.values import mapping, members, to_map, to_set

INDEXED, FORMAT = "ovn-docker-indexed", "1"
"""The mark of an index that is whole: since it was made, all tables were gone through once."""

ENTRIES = {"port": PORT, "switch": SWITCH, "row": TABLE}
"""Kinds of entries, and the table that the row is in."""

_WRITES = frozenset({"insert", "update", "mutate"})
_KINDS = {table: kind for kind, table in ENTRIES.items()}
_COLUMNS = {
    "port": ["_uuid", "name", "addresses", "external_ids"],
    "switch": ["_uuid", "name", "external_ids"],
    "row": ["_uuid", "cidr", "options", "external_ids"],
}

Entries = Mapping[UUID, str]


@dataclass(frozen=True, slots=True)
class Index:
    """What a host's row names.

    Attributes:
        entries: row ids, and their kinds.
        is_whole: whether no row of the host is missing in it.
        created: when the host was registered, or "" when it is not.
    """

    entries: Entries
    is_whole: bool
    created: str = ""


def index_get(host: str) -> Operation:
    """Read a host's index; the rows go to `read_index`."""
    return select(TABLE, [row_is(host_id(host))], ["options", "external_ids"])


def read_index(rows: Sequence[Row]) -> Index:
    """The index; without the host's row it is empty."""
    entries = {}
    for key, kind in (pair for row in rows for pair in mapping(row["options"]).items()):
        try:
            uuid = UUID(key)
        except ValueError:
            continue
        if kind in ENTRIES:
            entries[uuid] = kind
    ids = mapping(rows[0]["external_ids"]) if rows else {}
    return Index(entries, ids.get(INDEXED) == FORMAT, ids.get(CREATED, ""))


def index_add(host: str, entries: Entries) -> Operation:
    """Enter rows; count is 0 where the host is not registered."""
    return mutate(TABLE, [row_is(host_id(host))], ("options", "insert", _pairs(entries)))


def index_finish(mark: Mark, entries: Entries) -> Operation:
    """Enter all rows of a host, and that these are all.

    Count is 0 where the host is not registered, or anew: what it made between has no entry.

    Args:
        mark: the host, and when it was registered as read before its rows were looked for.
        entries: what was found.
    """
    operation = index_add(mark.host, entries)
    operation["where"] += [("external_ids", "includes", to_map({CREATED: mark.created}))]
    operation["mutations"] += [
        ("external_ids", "delete", to_set([INDEXED])),
        ("external_ids", "insert", to_map({INDEXED: FORMAT})),
    ]
    return operation


def index_strike(host: str, gone: Entries) -> list[Operation]:
    """Strike rows out that are gone; refused with `RequirementError` when one is there."""
    absent = [require(ENTRIES[kind], [row_is(uuid)], ["_uuid"], []) for uuid, kind in gone.items()]
    return [*absent, _strike(host, gone)]


def index_strike_foreign(host: str, uuid: UUID, kind: str, row: Row) -> list[Operation]:
    """Strike a row out that is nobody's of the host; refused with `RequirementError` if it has changed."""
    columns: list[str] = [column for column in ("options", "external_ids") if column in row]
    as_it_was: Row = {column: row[column] for column in columns}
    return [require(ENTRIES[kind], [row_is(uuid)], columns, [as_it_was]), _strike(host, [uuid])]


def _strike(host: str, uuids: Iterable[UUID]) -> Operation:
    return mutate(TABLE, [row_is(host_id(host))], ("options", "delete", to_set(map(str, uuids))))


def entry_get(uuid: UUID, kind: str) -> Operation:
    """Read the row of an entry."""
    return select(ENTRIES[kind], [row_is(uuid)], _COLUMNS[kind])


def is_of(host: str, row: Row) -> bool:
    """Whether a row is a host's: by its mark, or as a user of a pool or a reserved address."""
    ids = mapping(row["external_ids"])
    if ids.get(KIND) == HOST_ROW:
        return False
    return ids.get(HOST) == host or host in mapping(row.get("options", [])).values()


# --- What a transaction does to rows ------------------------------------------------------------------------


def made(host: str, operations: Iterable[Operation]) -> dict[UUID, str]:
    """The rows that a transaction makes for a host, or makes the host's: those to enter."""
    found = {}
    for operation in operations:
        if operation["op"] not in _WRITES or operation["table"] not in _KINDS:
            continue
        uuid = _row_of(operation)
        if uuid is not None and any(is_of(host, row) for row in _written(operation)):
            found[uuid] = _KINDS[operation["table"]]
    return found


def _written(operation: Operation) -> list[Row]:
    """What an operation writes into the columns that say whose a row is, as if that were the row."""
    nobody: Row = {"external_ids": []}
    if operation["op"] != "mutate":
        return [nobody | operation["row"]]
    return [nobody | {column: value} for column, how, value in operation["mutations"] if how == "insert"]


def removed(operations: Sequence[Operation], results: Sequence[Mapping[str, Any]]) -> dict[UUID, str]:
    """The rows that a transaction has removed, as far as its operations name them."""
    found = {}
    for operation, result in zip(operations, results, strict=False):
        table = operation.get("table", "")
        if not result.get("count") or table not in _KINDS:
            continue
        if operation["op"] == "delete" and (uuid := _row_of(operation)) is not None:
            found[uuid] = _KINDS[table]
        elif operation["op"] == "mutate" and table == SWITCH:
            found |= dict.fromkeys(_unplugged(operation), "port")
    return found


def _unplugged(operation: Operation) -> list[UUID]:
    mutations = operation["mutations"]
    taken_out = [value for column, how, value in mutations if (column, how) == ("ports", "delete")]
    return [uuid for value in taken_out for uuid in members(value)]


def _row_of(operation: Operation) -> UUID | None:
    """The row that an operation is about, where it names it by its id."""
    if operation["op"] == "insert":
        return UUID(operation["uuid"]) if "uuid" in operation else None
    where: Sequence[Condition] = operation.get("where", ())
    return next((UUID(value[1]) for column, how, value in where if (column, how) == ("_uuid", "==")), None)


def _pairs(entries: Entries) -> Any:  # noqa: ANN401  (an OVSDB value)
    return to_map({str(uuid): kind for uuid, kind in entries.items()})
