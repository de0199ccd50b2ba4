"""Operations as RFC 7047 section 5.2 writes them, and refusals as typed errors."""

from typing import Any
from uuid import UUID

import pytest

from ovn_docker.errors import ConstraintError, DatabaseError, LockError, RequirementError, SchemaError
from ovn_docker.ovsdb import operations

ROW = UUID("6f766e2d-646f-5b65-8b00-6f76642e726f")
TWO_OPERATIONS = [operations.delete("Bridge", []), operations.insert("Port", ROW, {"name": "p"})]


def test_a_row_is_inserted_under_the_id_that_was_chosen() -> None:
    assert operations.insert("Port", ROW, {"name": "p"}) == {
        "op": "insert",
        "table": "Port",
        "uuid": str(ROW),
        "row": {"name": "p"},
    }


def test_a_row_is_addressed_by_its_id() -> None:
    assert operations.row_is(ROW) == ("_uuid", "==", ["uuid", str(ROW)])


def test_require_aborts_at_once_unless_the_rows_are_these() -> None:
    assert operations.require("Bridge", [("name", "==", "br")], ["name"], []) == {
        "op": "wait",
        "timeout": 0,
        "table": "Bridge",
        "where": [("name", "==", "br")],
        "columns": ["name"],
        "until": "==",
        "rows": [],
    }


def test_mutate_select_and_delete_carry_their_conditions_as_a_list() -> None:
    where = iter([operations.row_is(ROW)])
    assert operations.select("T", where, ("a",))["where"] == [operations.row_is(ROW)]
    assert operations.mutate("T", [], ("ports", "insert", "x"))["mutations"] == [("ports", "insert", "x")]
    assert operations.delete("T", []) == {"op": "delete", "table": "T", "where": []}


def test_check_gives_a_result_for_each_operation() -> None:
    results = [{"count": 1}, {"uuid": ["uuid", str(ROW)]}]
    assert operations.check(results, TWO_OPERATIONS) == results


@pytest.mark.parametrize(
    "results",
    [
        None,
        {},
        "x",
        [],
        [{"count": 1}],
        [{"count": 1}, {"uuid": 1}, {}],
        [None, {"uuid": 1}],
        [{"count": "1"}, {"uuid": 1}],
        [{"count": 1}, {}],
        [{"rows": []}, {"uuid": 1}],
    ],
)
def test_an_answer_of_another_shape_is_no_answer(results: object) -> None:
    with pytest.raises(DatabaseError, match="does not speak OVSDB"):
        operations.check(results, TWO_OPERATIONS)


@pytest.mark.parametrize("rows", [None, {}, [1], ["x"], [[]], "rows"])
def test_rows_are_a_list_of_objects(rows: object) -> None:
    with pytest.raises(DatabaseError, match="does not speak OVSDB"):
        operations.check([{"rows": rows}], [operations.select("T", [], ("a",))])


@pytest.mark.parametrize("error", [1, ["x"], {"a": 1}, True])
def test_a_refusal_that_is_no_text_is_one_all_the_same(error: object) -> None:
    with pytest.raises(DatabaseError, match="the database refused"):
        operations.check([{"error": error, "details": error}, None], TWO_OPERATIONS)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("constraint violation", ConstraintError),
        ("duplicate uuid", ConstraintError),
        ("timed out", RequirementError),
        ("not owner", LockError),
        ("unknown table", SchemaError),
        ("unknown column", SchemaError),
        ("referential integrity violation", DatabaseError),
        ("of tomorrow", DatabaseError),
    ],
)
def test_a_refusal_is_typed_by_its_error_string(error: str, kind: type[DatabaseError]) -> None:
    with pytest.raises(DatabaseError) as refused:
        operations.check([{"error": error, "details": "why"}, None], TWO_OPERATIONS)
    assert type(refused.value) is kind
    assert str(refused.value) == f"the database refused (Bridge): {error}: why"


@pytest.mark.parametrize(
    ("results", "text"),
    [
        # RFC 7047 section 4.1.3: null stands for the operations that were not tried ...
        ([{"count": 0}, {"error": "timed out"}], r"^the database refused \(Port\): timed out$"),
        ([{"error": "timed out"}, None], r"\(Bridge\)"),
        # ... and an error of the commit itself is one element more.
        ([{"count": 0}, {"uuid": 1}, {"error": "constraint violation", "details": "d"}], r"refused: constr"),
        ([{"error": "a\nb", "details": "c\n\td"}, None], r"^the database refused \(Bridge\): a b: c d$"),
    ],
)
def test_the_first_refusal_is_told_in_one_line_with_its_table(results: list[Any], text: str) -> None:
    with pytest.raises(DatabaseError, match=text):
        operations.check(results, TWO_OPERATIONS)


def test_an_operation_without_a_table_is_refused_without_one() -> None:
    with pytest.raises(DatabaseError, match=r"^the database refused: not owner$"):
        operations.check([{"error": "not owner"}], [operations.assert_lock("l")])


def test_rows_come_in_batches() -> None:
    assert [list(batch) for batch in operations.in_batches(range(5), 2)] == [[0, 1], [2, 3], [4]]
    assert list(operations.in_batches([], 2)) == []
