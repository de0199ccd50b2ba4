"""OVSDB's values, and the difference of an "update2" against a model of ovsdb-server."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovn_docker.ovsdb import operations

ONE, TWO = UUID(int=1), UUID(int=2)
maps = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=5)
atoms = st.none() | st.text(max_size=3) | st.integers() | st.booleans() | st.uuids()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", ["text"]),
        (7, [7]),
        ("", [""]),
        (["set", []], []),
        (["set", ["a", "b"]], ["a", "b"]),
        (["uuid", str(ONE)], [ONE]),
        (["set", [["uuid", str(ONE)], ["uuid", str(TWO)]]], [ONE, TWO]),
    ],
)
def test_members_reads_a_set_and_a_lone_atom_alike(value: operations.Value, expected: list[Any]) -> None:
    assert operations.members(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["set", []], None), (7, 7), ("", ""), (False, False), (["set", [3]], 3), (["uuid", str(ONE)], ONE)],
)
def test_optional_is_the_only_atom_or_none(value: operations.Value, expected: object) -> None:
    assert operations.optional(value) == expected


def test_an_atom_that_looks_like_a_list_of_two_is_left_alone() -> None:
    assert operations.atom(["named-uuid", "row"]) == ["named-uuid", "row"]


@given(maps)
def test_a_map_survives_the_way_there_and_back(pairs: dict[str, str]) -> None:
    assert operations.mapping(operations.to_map(pairs)) == pairs


@given(st.lists(st.uuids(), unique=True, max_size=4))
def test_a_set_of_row_ids_survives_the_way_there_and_back(uuids: list[UUID]) -> None:
    assert operations.members(operations.to_set(operations.reference(uuid) for uuid in uuids)) == uuids


def test_what_is_not_a_map_reads_as_an_empty_one() -> None:
    assert operations.mapping(["set", []]) == {}


def map_difference(old: dict[str, str], new: dict[str, str]) -> operations.Value:
    """What ovsdb-server sends for a map column (ovsdb-server(7), section 4.1.14).

    "If there are duplicate keys with different values, the value of the new one; … removed keys with their
    values": keys that are the same in both are left out.
    """
    changed = {key: value for key, value in new.items() if old.get(key) != value}
    removed = {key: value for key, value in old.items() if key not in new}
    return operations.to_map(removed | changed)


@given(maps, maps)
def test_a_maps_difference_turns_the_old_value_into_the_new(old: dict[str, str], new: dict[str, str]) -> None:
    merged = operations.merge(operations.to_map(old), map_difference(old, new))
    assert operations.mapping(merged) == new


@settings(max_examples=50)
@given(st.lists(maps, min_size=1, max_size=6))
def test_a_row_of_differences_leads_to_the_last_value(history: list[dict[str, str]]) -> None:
    value = operations.to_map(history[0])
    for old, new in pairwise(history):
        value = operations.merge(value, map_difference(old, new))
    assert operations.mapping(value) == history[-1]


@given(atoms, atoms)
def test_a_column_of_at_most_one_value_takes_the_new_value(old: object, new: object) -> None:
    def wire(value: object) -> operations.Value:
        if value is None:
            return operations.to_set([])
        return operations.reference(value) if isinstance(value, UUID) else value

    assert operations.optional(operations.merge(wire(old), wire(new))) == new


def test_merge_does_not_change_the_old_value() -> None:
    old = operations.to_map({"a": "1", "b": "2"})
    operations.merge(old, operations.to_map({"a": "1", "b": "3"}))
    assert old == ["map", [["a", "1"], ["b", "2"]]]
