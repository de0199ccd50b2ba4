"""OVSDB's notation for values (RFC 7047 section 5.1) to Python values and back.

An atom stays as it is; a set becomes a list, a map a dict, a uuid a `uuid.UUID`. Knows no schema: a column
whose type is "at most one" arrives as an atom or as an empty set, and `optional` reads both.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

Value = Any
"""A value as it stands in JSON: an atom, or ["set", …], ["map", …], ["uuid", …], ["named-uuid", …]."""

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
    """An atom: itself, or a `UUID` where it is one."""
    return UUID(value[1]) if _tagged(value, "uuid") else value


def members(value: Value) -> list[Value]:
    """The atoms of a set; a set of one may be written as its only atom (RFC 7047 section 5.1, <set>)."""
    if _tagged(value, "set"):
        return [atom(each) for each in value[1]]
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
    value and a removed key with its old one; a column of at most one value holds the new value. A column of
    many values is not handled, so none may be monitored.
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
