"""Operations of an OVSDB transaction (RFC 7047 section 5.2), and the reading of their results. Pure.

Several builders' lists joined make one atomic transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from ovn_docker.errors import ConstraintError, DatabaseError, LockError, RequirementError, SchemaError

# --- OVSDB's notation for values (RFC 7047 section 5.1) to Python values and back. --------------------------
# An atom stays as it is; a set becomes a list, a map a dict, a uuid a `uuid.UUID`. There is no schema here: a
# column whose type is "at most one" arrives as an atom or as an empty set, and `optional` reads both.


Value = Any
"""A value in JSON: an atom, or ["set", …], ["map", …], ["uuid", …], ["named-uuid", …]."""

PAIR = 2


def reference(uuid: UUID) -> Value:
    """A row id in OVSDB's notation."""
    return ["uuid", str(uuid)]


def to_set(atoms: Iterable[Value]) -> Value:
    """A set of atoms in OVSDB's notation."""
    return ["set", list(atoms)]


def to_map(pairs: Mapping[str, str]) -> Value:
    """A map of strings in OVSDB's notation."""
    return ["map", [[key, value] for key, value in pairs.items()]]


def _tagged(value: Value, tag: str) -> bool:
    return isinstance(value, list) and len(value) == PAIR and value[0] == tag


def atom(value: Value) -> Value:
    """The atom, as a `UUID` where it is one."""
    return UUID(value[1]) if _tagged(value, "uuid") else value


def members(value: Value) -> list[Value]:
    """The atoms of a set; a set of one may be written as its only atom (RFC 7047 section 5.1, <set>)."""
    if _tagged(value, "set"):
        return [atom(member) for member in value[1]]
    return [atom(value)]


def optional(value: Value) -> Value:
    """The only atom of a set of at most one, or None."""
    atoms = members(value)
    return atoms[0] if atoms else None


def mapping(value: Value) -> dict[str, str]:
    """A map of strings as a dict."""
    return dict(value[1]) if _tagged(value, "map") else {}


def merge(old: Value, difference: Value) -> Value:
    """The column's new value after an update2 "modify".

    ovsdb-server(7), section 4.1.14 (update2): a map's difference holds a changed or new key with its new
    value and a removed key with its old one; a column of at most one value holds the new value. Columns
    of many values are not supported, so none may be monitored.
    """
    if not _tagged(difference, "map"):
        return difference
    pairs = mapping(old)
    for key, value in difference[1]:
        if pairs.get(key) == value:
            del pairs[key]
        else:
            pairs[key] = value
    return to_map(pairs)


T = TypeVar("T")

Operation = dict[str, Any]
Condition = tuple[str, str, Value]
Mutation = tuple[str, str, Value]
Row = dict[str, Value]

MALFORMED = "the server does not speak OVSDB: its answer to a transaction is not a list of results"

_REFUSALS: Mapping[str, type[DatabaseError]] = {
    "constraint violation": ConstraintError,
    "duplicate uuid": ConstraintError,
    "timed out": RequirementError,
    "not owner": LockError,
    "unknown table": SchemaError,
    "unknown column": SchemaError,
}


def row_is(uuid: UUID) -> Condition:
    """The condition that OVSDB answers from its index, however large the table."""
    return ("_uuid", "==", reference(uuid))


def insert(table: str, uuid: UUID, row: Row) -> Operation:
    """Insert a row under a chosen id.

    ovsdb-server(7), section "insert": the member "uuid" (since Open vSwitch 2.13). An id in use aborts the
    transaction with "duplicate uuid", which becomes `ConstraintError`.
    """
    return {"op": "insert", "table": table, "uuid": str(uuid), "row": row}


def select(table: str, where: Iterable[Condition], columns: Sequence[str]) -> Operation:
    """Read columns of the rows that meet all conditions."""
    return {"op": "select", "table": table, "where": list(where), "columns": list(columns)}


def mutate(table: str, where: Iterable[Condition], *mutations: Mutation) -> Operation:
    """Change columns in place, one mutation after the other; the cost does not depend on their size."""
    return {"op": "mutate", "table": table, "where": list(where), "mutations": list(mutations)}


def replace_keys(column: str, pairs: Mapping[str, str]) -> tuple[Mutation, Mutation]:
    """The mutations that write keys of a map: "insert" alone leaves the old value of a key that is there."""
    return (column, "delete", to_set(pairs)), (column, "insert", to_map(pairs))


def update(table: str, where: Iterable[Condition], row: Row) -> Operation:
    """Set columns of the rows that meet all conditions."""
    return {"op": "update", "table": table, "where": list(where), "row": dict(row)}


def delete(table: str, where: Iterable[Condition]) -> Operation:
    """Delete the rows that meet all conditions."""
    return {"op": "delete", "table": table, "where": list(where)}


def require(table: str, where: Iterable[Condition], columns: Sequence[str], rows: Sequence[Row]) -> Operation:
    """Abort the transaction unless exactly these rows meet the conditions (RFC 7047 section 5.2.6, wait)."""
    return {
        "op": "wait",
        "timeout": 0,
        "table": table,
        "where": list(where),
        "columns": list(columns),
        "until": "==",
        "rows": list(rows),
    }


def assert_lock(name: str) -> Operation:
    """Abort the transaction unless its client holds the lock (RFC 7047 section 5.2.9, assert)."""
    return {"op": "assert", "lock": name}


def in_batches(rows: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Items of which a transaction should not hold too many, `size` at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def check(results: Any, operations: Sequence[Operation]) -> list[dict[str, Any]]:  # noqa: ANN401
    """The results, one for each operation.

    Args:
        results: the answer to "transact". RFC 7047 section 4.1.3: after a failed operation null stands for
            those not tried, and an error of the commit itself is one element more than there were operations.
        operations: that were sent.

    Raises:
        DatabaseError: the first refusal, as its own class, with the results before it; or the answer is
            malformed.
    """
    if not isinstance(results, list):
        raise DatabaseError(MALFORMED)
    for number, result in enumerate(results):
        if isinstance(result, dict) and result.get("error"):
            table = operations[number].get("table", "") if number < len(operations) else ""
            refused = refusal(str(result["error"]), str(result.get("details", "")), table)
            refused.results = tuple(results[:number])
            raise refused
    if len(results) != len(operations) or not all(map(_answers, results, operations)):
        raise DatabaseError(MALFORMED)
    return results


def _answers(result: Any, operation: Operation) -> bool:  # noqa: ANN401  (a JSON value)
    """Whether a result has the form that its operation requires (RFC 7047 section 5.2)."""
    if not isinstance(result, dict):
        return False
    rows = result.get("rows")
    match operation["op"]:
        case "select":
            return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        case "update" | "mutate" | "delete":
            return isinstance(result.get("count"), int)
        case "insert":
            return "uuid" in result
    return True


def refusal(error: str, details: str, table: str = "") -> DatabaseError:
    """The exception for one of OVSDB's error strings (RFC 7047 section 4.1.3 and 5.2)."""
    where = f" ({table})" if table else ""
    text = f"the database refused{where}: {error}" + (f": {details}" if details else "")
    return _REFUSALS.get(error, DatabaseError)(" ".join(text.split()))
