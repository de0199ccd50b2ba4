"""Operations of an OVSDB transaction (RFC 7047 section 5.2), and the reading of their results.

Builders only build; nothing here talks. Several builders' lists joined make one atomic transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from ovn_docker.errors import ConstraintError, DatabaseError, LockError, RequirementError, SchemaError
from ovn_docker.ovsdb.values import Value, reference

T = TypeVar("T")

Operation = dict[str, Any]
Condition = tuple[str, str, Value]
Row = dict[str, Value]

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
    """Insert a row under an id that the caller chose.

    ovsdb-server(7), section "insert": the member "uuid" (since Open vSwitch 2.13); an id that is taken
    aborts the transaction with "duplicate uuid", read here as `ConstraintError`.
    """
    return {"op": "insert", "table": table, "uuid": str(uuid), "row": row}


def select(table: str, where: Iterable[Condition], columns: Sequence[str]) -> Operation:
    """Read columns of the rows that meet all conditions."""
    return {"op": "select", "table": table, "where": list(where), "columns": list(columns)}


def mutate(table: str, where: Iterable[Condition], mutation: tuple[str, str, Value]) -> Operation:
    """Change a column in place, which does not depend on how many values it holds."""
    return {"op": "mutate", "table": table, "where": list(where), "mutations": [mutation]}


def update(table: str, where: Iterable[Condition], row: Row) -> Operation:
    """Set columns of the rows that meet all conditions."""
    return {"op": "update", "table": table, "where": list(where), "row": dict(row)}


def delete(table: str, where: Iterable[Condition]) -> Operation:
    """Delete the rows that meet all conditions."""
    return {"op": "delete", "table": table, "where": list(where)}


def require(table: str, where: Iterable[Condition], columns: Sequence[str], rows: Sequence[Row]) -> Operation:
    """Abort the transaction unless these, and only these, rows meet the conditions (RFC 7047 5.2.6, wait)."""
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
    """Abort the transaction unless its client has the lock (RFC 7047 section 5.2.9, assert)."""
    return {"op": "assert", "lock": name}


def in_batches(rows: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """The rows, or what else a transaction should not hold too many of, a number of them at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def check(results: Sequence[Any], operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """The results, one for each operation.

    Args:
        results: what "transact" answered. RFC 7047 section 4.1.3: after a failed operation null stands for
            those not tried, and an error of the commit itself is one element more than there were operations.
        operations: what was sent.

    Raises:
        DatabaseError: the first refusal, typed, with the results before it.
    """
    for number, result in enumerate(results):
        if isinstance(result, dict) and result.get("error"):
            table = operations[number].get("table", "") if number < len(operations) else ""
            refused = refusal(result["error"], result.get("details", ""), table)
            refused.results = tuple(results[:number])
            raise refused
    return [result for result in results if isinstance(result, dict)]


def refusal(error: str, details: str, table: str = "") -> DatabaseError:
    """The exception for one of OVSDB's error strings (RFC 7047 section 4.1.3 and 5.2)."""
    where = f" ({table})" if table else ""
    text = f"the database refused{where}: {error}" + (f": {details}" if details else "")
    return _REFUSALS.get(error, DatabaseError)(" ".join(text.split()))
