"""Ports of others in Northbound: they slow down whatever reads the whole database.

They belong to no chassis and to switches of their own, as the ports of all other hosts do.
"""

import uuid
from collections.abc import Iterator

from bench.ovsdb import Database
from ovn_docker.ovsdb.operations import Operation, delete, insert, mutate, reference, to_map, to_set

MARK = {"bench": "fill"}
_NAMESPACE = uuid.UUID("6f1e5c1c-4c0e-4d43-9f5e-6d6d2f0b8a11")
_AT_ONCE = 1000


def fill(database: Database, ports: int, switches: int) -> None:
    """Add ports, spread evenly over new switches, in transactions of at most 1,000."""
    for operations in transactions(ports, switches):
        database.transact(operations)


def fill_switch(database: Database, network_id: str, ports: int) -> None:
    """Add ports to a switch that is there, by its name; they go with it."""
    for start in range(0, ports, _AT_ONCE):
        added = [port(f"one-{number}", number) for number in range(start, min(start + _AT_ONCE, ports))]
        members = to_set([reference(uuid.UUID(row["uuid"])) for row in added])
        where = [("name", "==", network_id)]
        database.transact([*added, mutate("Logical_Switch", where, ("ports", "insert", members))])


def clear(database: Database) -> None:
    """Remove what fill() added; ports go with their switches (ovn-nb(5): they are not root rows)."""
    database.transact([delete("Logical_Switch", [("external_ids", "includes", to_map(MARK))])])


def transactions(ports: int, switches: int) -> Iterator[list[Operation]]:
    """Transactions of whole switches; a large switch's ports come in several."""
    per_switch = -(-ports // switches)
    for number in range(switches):
        mine = range(number * per_switch, min((number + 1) * per_switch, ports))
        for start in range(0, len(mine), _AT_ONCE):
            chunk = mine[start : start + _AT_ONCE]
            yield _switch(number, chunk) if start == 0 else _more(number, chunk)


def port(name: str, number: int) -> Operation:
    """Insert a port with a MAC address and an IPv4 address of its own."""
    low, middle, high = number & 0xFF, number >> 8 & 0xFF, number >> 16 & 0xFF
    addresses = f"06:00:00:{high:02x}:{middle:02x}:{low:02x} 10.{64 + high}.{middle}.{low}"
    row = {
        "name": f"bench-{name}",
        "addresses": addresses,
        "port_security": addresses,
        "external_ids": to_map(MARK),
    }
    return insert("Logical_Switch_Port", _id(f"port {name}"), row)


def _switch(number: int, chunk: range) -> list[Operation]:
    added = [port(str(number), number) for number in chunk]
    row = {"name": f"bench-switch-{number}", "ports": _members(added), "external_ids": to_map(MARK)}
    return [*added, insert("Logical_Switch", _id(f"switch {number}"), row)]


def _more(number: int, chunk: range) -> list[Operation]:
    added = [port(str(number), number) for number in chunk]
    where = [("_uuid", "==", reference(_id(f"switch {number}")))]
    return [*added, mutate("Logical_Switch", where, ("ports", "insert", _members(added)))]


def _members(added: list[Operation]) -> list[object]:
    return to_set([reference(uuid.UUID(row["uuid"])) for row in added])  # type: ignore[no-any-return]


def _id(name: str) -> uuid.UUID:
    return uuid.uuid5(_NAMESPACE, name)
