"""The list of hosts: one row of Northbound names them, so that who looks for hosts reads no other rows. Pure.

It is a row of DHCP_Options (leases.py tells why such a row costs nothing). An entry is a hint and never a
proof: whether a host is registered says its own row (hosts.py). So an entry is written and struck out with
that row, in one transaction, and each writer changes the entries of the hosts that it is about alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn.hosts import host_id
from ovn_docker.ovn.leases import KIND, TABLE
from ovn_docker.ovsdb.operations import Operation, Row, insert, mutate, row_is, select
from ovn_docker.ovsdb.values import Value, mapping, to_map, to_set

HOSTS = "hosts"
LISTED, FORMAT = "ovn-docker-listed", "1"
"""The mark of a list that is whole: since it was made, the table was gone through once."""


@dataclass(frozen=True, slots=True)
class HostList:
    """What the list says.

    Attributes:
        names: of hosts.
        is_whole: whether no host is missing that was registered before there was a list.
    """

    names: tuple[str, ...]
    is_whole: bool


def list_id() -> UUID:
    """The row id of the list."""
    return addressing.row_id(HOSTS)


def list_get() -> Operation:
    """Read the list; the rows go to `read_list`."""
    return select(TABLE, [row_is(list_id())], ["options", "external_ids"])


def read_list(rows: Sequence[Row]) -> HostList:
    """The list; without its row it is empty."""
    names = tuple(sorted(name for row in rows for name in mapping(row["options"])))
    return HostList(names, any(mapping(row["external_ids"]).get(LISTED) == FORMAT for row in rows))


def list_has(name: str) -> Operation:
    """Ask only whether the list names a host: the answer does not grow with the list."""
    return select(TABLE, [row_is(list_id()), ("options", "includes", _entries([name]))], ["_uuid"])


def list_enter(names: Iterable[str]) -> Operation:
    """Enter hosts; count is 0 where there is no list."""
    return mutate(TABLE, [row_is(list_id())], ("options", "insert", _entries(names)))


def list_finish(names: Iterable[str]) -> Operation:
    """Enter all hosts, and that these are all; count is 0 where there is no list."""
    operation = list_enter(names)
    operation["mutations"] += [
        ("external_ids", "delete", to_set([LISTED])),
        ("external_ids", "insert", to_map({LISTED: FORMAT})),
    ]
    return operation


def list_add(names: Iterable[str], *, is_whole: bool = False) -> Operation:
    """Make the list with its first entries; refused with `ConstraintError` where there is one."""
    ids = {KIND: HOSTS} | ({LISTED: FORMAT} if is_whole else {})
    row: Row = {"cidr": "", "options": _entries(names), "external_ids": to_map(ids)}
    return insert(TABLE, list_id(), row)


def list_strike(name: str) -> Operation:
    """Strike a host out."""
    return mutate(TABLE, [row_is(list_id())], ("options", "delete", to_set([name])))


def _entries(names: Iterable[str]) -> Value:
    """Each with the row id of the host's row: with nothing, an entry would read as a swarm's network."""
    return to_map({name: str(host_id(name)) for name in names})
