"""What OVN Northbound holds for the names of containers. Pure.

A name on a switch is a row of DHCP_Options that no port refers to (leases.py explains why such a row costs
nothing). Its id follows from switch and name, so a look-up is one read by row id, however many names there
are. Its options have a key for each endpoint with that name, on any host. The name of an address is filed in
the same way, under the address.

What an endpoint is called stands in a row of its own, its record, which carries the host's mark. Names are
written and removed with it in one transaction, so no name is left behind that no record tells of.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn.leases import KIND, NAMES, TABLE
from ovn_docker.ovn.switches import CREATED, HOST, NETWORK, Mark
from ovn_docker.ovn.switches import PORT as PORTS
from ovn_docker.ovn.switches import port_id as port_row
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    delete,
    insert,
    mapping,
    mutate,
    reference,
    replace_keys,
    require,
    row_is,
    select,
    to_map,
    to_set,
)

NAME_ROW, RECORD = "name", NAMES
"""Values of `KIND`: a name with its endpoints, and an endpoint with its names."""

SWITCH, NAME, ENDPOINT = "ovn-docker-switch", "ovn-docker-name", "ovn-docker-named"


@dataclass(frozen=True, slots=True)
class Named:
    """An endpoint and what it is called.

    Attributes:
        network_id: Docker's.
        endpoint_id: Docker's.
        switch: the row id of its switch.
        addresses: without prefix length.
        names: in lower case, each a single label; the first is that of its addresses.
    """

    network_id: str
    endpoint_id: str
    switch: UUID
    addresses: tuple[str, ...]
    names: tuple[str, ...]

    def entries(self) -> dict[str, tuple[str, ...]]:
        """By name, or address as text, what is filed under it."""
        primary = self.names[:1]
        reverse = dict.fromkeys(self.addresses if primary else (), primary)
        return {**dict.fromkeys(self.names, self.addresses), **reverse}


def name_id(switch: UUID, name: str) -> UUID:
    """The row id of a name, in lower case, or of an address as text, on a switch."""
    return addressing.row_id("name", str(switch), name)


def record_id(endpoint_id: str) -> UUID:
    """The row id of an endpoint's record."""
    return addressing.row_id("names", endpoint_id)


# --- Look-ups -----------------------------------------------------------------------------------------------


def name_get(row: UUID) -> Operation:
    """Read a name by its row id; the rows go to `read_name`."""
    return select(TABLE, [row_is(row)], ["options"])


def read_name(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """By EndpointID, what is filed under a name: addresses, or the names of an address; empty without it."""
    return {
        endpoint_id: tuple(value.split()[1:])
        for row in rows
        for endpoint_id, value in mapping(row["options"]).items()
    }


def record_get(endpoint_id: str) -> Operation:
    """Read the record of an endpoint; the rows go to `read_records`."""
    return select(TABLE, [row_is(record_id(endpoint_id))], ["options", "external_ids"])


def record_list(host: str) -> Operation:
    """Read the records of a host's endpoints (a scan: not for a container's path)."""
    marks = to_map({KIND: RECORD, HOST: host})
    return select(TABLE, [("external_ids", "includes", marks)], ["_uuid", "cidr", "options", "external_ids"])


def read_record(row: Row) -> Named:
    """What an endpoint is called, as far as its record says: the row has no order of names."""
    ids, entries = mapping(row["external_ids"]), mapping(row["options"])
    return Named(
        network_id=ids.get(NETWORK, ""),
        endpoint_id=ids.get(ENDPOINT, ""),
        switch=UUID(ids[SWITCH]),
        addresses=tuple(sorted(name for name, value in entries.items() if value == REVERSE)),
        names=tuple(sorted(name for name, value in entries.items() if value != REVERSE)),
    )


def is_record(row: Row) -> bool:
    """Whether a row of DHCP_Options is the record of an endpoint, and whole."""
    ids = mapping(row["external_ids"])
    return ids.get(KIND) == RECORD and {NETWORK, ENDPOINT} <= ids.keys() and _is_uuid(ids.get(SWITCH, ""))


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


FORWARD, REVERSE = "name", "address"
"""What the options of a record say of an entry."""


def is_published(named: Named, found: Mapping[UUID, Sequence[Row]], record: Row) -> bool:
    """Whether an endpoint is called by these names, and by no others.

    Args:
        named: the endpoint.
        found: what `name_get` read, by row id.
        record: what `record_get` read.
    """
    return mapping(record["options"]) == _recorded(named) and all(
        read_name(found.get(name_id(named.switch, name), ())).get(named.endpoint_id) == filed
        for name, filed in named.entries().items()
    )


def _recorded(named: Named) -> dict[str, str]:
    """The options of an endpoint's record."""
    return {name: REVERSE if name in named.addresses else FORWARD for name in named.entries()}


# --- Changes ------------------------------------------------------------------------------------------------


def _value(host: str, filed: Iterable[str]) -> str:
    """What a name's row says of an endpoint: its host, for people, and what is filed under the name."""
    return " ".join([host, *filed])


def publish(
    named: Named, mark: Mark, known: Iterable[UUID], old: Mapping[str, str] | None
) -> list[Operation]:
    """Call an endpoint by these names, and by no others.

    Refused with `RequirementError` when the endpoint's port is gone, which is the first operation, or when
    what was read has changed: a row in `known` is gone, or the record is not `old`. Refused with
    `ConstraintError` when a row exists that is not in `known`, or the record exists and `old` is None.

    Args:
        named: the endpoint; it has at least one name.
        mark: of this host.
        known: rows of its names and addresses that exist.
        old: the options of its record, or None if it has none.
    """
    entries, endpoint_id, rows = named.entries(), named.endpoint_id, set(known)
    operations = [_exists(PORTS, port_row(named.network_id, endpoint_id))]
    for name, filed in entries.items():
        row, entry = name_id(named.switch, name), {endpoint_id: _value(mark.host, filed)}
        if row in rows:
            operations += [_exists(TABLE, row), mutate(TABLE, [row_is(row)], *replace_keys("options", entry))]
        else:
            ids = {KIND: NAME_ROW, SWITCH: str(named.switch), NAME: name}
            content: Row = {"cidr": "", "options": to_map(entry), "external_ids": to_map(ids)}
            operations.append(insert(TABLE, row, content))
    record = _recorded(named)
    if old is None:
        ids = {
            KIND: RECORD,
            HOST: mark.host,
            CREATED: mark.created,
            NETWORK: named.network_id,
            ENDPOINT: endpoint_id,
            SWITCH: str(named.switch),
        }
        content = {"cidr": "", "options": to_map(record), "external_ids": to_map(ids)}
        return [*operations, insert(TABLE, record_id(endpoint_id), content)]
    this, gone = [row_is(record_id(endpoint_id))], [name for name in old if name not in entries]
    unchanged = require(TABLE, this, ["options"], [{"options": to_map(old)}])
    change = mutate(TABLE, this, ("options", "delete", to_set(old)), ("options", "insert", to_map(record)))
    return [*operations, unchanged, change, *_leave(named.switch, endpoint_id, gone)]


def _exists(table: str, uuid: UUID) -> Operation:
    return require(table, [row_is(uuid)], ["_uuid"], [{"_uuid": reference(uuid)}])


def record_del(endpoint_id: str) -> Operation:
    """Remove the record of an endpoint alone, which says nothing that can be used."""
    return delete(TABLE, [row_is(record_id(endpoint_id))])


def withdraw(record: Row) -> list[Operation]:
    """Remove an endpoint's names with its record, as `record_get` reads it.

    A record that says something else by now stays, for it tells of names that are left.
    """
    named = read_record(record)
    names = [*named.names, *named.addresses]
    gone = delete(TABLE, [row_is(record_id(named.endpoint_id)), ("options", "==", record["options"])])
    return [*_leave(named.switch, named.endpoint_id, names), gone]


def _leave(switch: UUID, endpoint_id: str, names: Iterable[str]) -> list[Operation]:
    """Take an endpoint out of names; a name goes with its last endpoint."""
    operations = []
    for name in names:
        where = [row_is(name_id(switch, name))]
        operations += [
            mutate(TABLE, where, ("options", "delete", to_set([endpoint_id]))),
            delete(TABLE, [*where, ("options", "==", to_map({}))]),
        ]
    return operations
