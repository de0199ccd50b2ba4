"""What OVN Northbound holds for a host, and how everything with its mark is found and removed. Pure.

Each driver registers its host as one row of DHCP_Options (leases.py explains why such a row costs nothing),
so that finding hosts does not take reading all ports. A removal names the row by its id and checks the host's
mark again in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn.leases import (
    CLAIM,
    HOST_ROW,
    KIND,
    LEASE,
    POOL,
    POOL_ROW,
    RESERVED,
    TABLE,
    drop,
    kind_list,
)
from ovn_docker.ovn.switches import CREATED, HOST, PORT, SWITCH, Mark, ls_del, read_uuid
from ovn_docker.ovsdb.operations import (
    Condition,
    Operation,
    Row,
    Value,
    assert_lock,
    delete,
    insert,
    mapping,
    members,
    mutate,
    reference,
    replace_keys,
    require,
    row_is,
    select,
    to_map,
    to_set,
)

COLLECTOR_LOCK = "ovn_docker_collector"
"""The holder of this lock of Northbound removes dead hosts automatically."""


def host_id(name: str) -> UUID:
    """The row id of a host."""
    return addressing.row_id("host", name)


def presence_lock(name: str) -> str:
    """The lock of Northbound that a host's driver holds while it is connected.

    A lock's name may have only letters, digits and underscores; a host's name may have others.
    """
    return f"ovn_docker_host_{host_id(name).hex}"


def name_lock(name: str) -> str:
    """The lock of Northbound that the driver of the host with this name holds."""
    return f"ovn_docker_name_{host_id(name).hex}"


def session_lock(session: str) -> str:
    """The lock of a host's own Open_vSwitch that its driver holds while it is connected.

    A driver that is refused it is on the same host; a machine with a copy of the host's files is not.
    """
    return f"ovn_docker_session_{addressing.row_id('session', session).hex}"


@dataclass(frozen=True, slots=True)
class HostIdentity:
    """The machine that uses a name, as the host's row says.

    Attributes:
        machine: a random number, kept in the machine's state file.
        hostname: of the machine.
        encap_ip: its tunnel endpoints that are its own addresses, separated by commas.
        session: of the driver that wrote it, for `session_lock`.
    """

    machine: str = ""
    hostname: str = ""
    encap_ip: str = ""
    session: str = ""

    def agreements(self, other: "HostIdentity") -> int:
        """How many of the first three fields agree."""
        pairs = zip(astuple(self)[:3], astuple(other)[:3], strict=True)
        return sum(bool(one) and one == another for one, another in pairs)

    def __str__(self) -> str:
        """For people."""
        address = f" (tunnel address {self.encap_ip})" if self.encap_ip else ""
        return f"{self.hostname or 'a host'}{address}"


NOBODY = HostIdentity()
"""From a row that a driver of an earlier version wrote."""

MACHINE, HOSTNAME = "ovn-docker-machine", "ovn-docker-hostname"
ENCAP_IP, SESSION = "ovn-docker-encap-ip", "ovn-docker-session"
IDENTITY = (MACHINE, HOSTNAME, ENCAP_IP, SESSION)
"""The marks that say which machine uses a name; `options` of the same row are the host's index."""


def host_get(name: str) -> Operation:
    """Read a host's row; it goes to `read_identity`."""
    return select(TABLE, [row_is(host_id(name))], ["external_ids"])


def read_identity(rows: Sequence[Row]) -> HostIdentity | None:
    """The machine that uses a name; None where the host is not registered."""
    if not rows:
        return None
    ids = mapping(rows[0]["external_ids"])
    return HostIdentity(*(ids.get(key, "") for key in IDENTITY))


def _marks(identity: HostIdentity) -> dict[str, str]:
    return {key: value for key, value in zip(IDENTITY, astuple(identity), strict=True) if value}


def host_add(mark: Mark, identity: HostIdentity = NOBODY) -> Operation:
    """Register a host; refused with `ConstraintError` when it already is."""
    ids = {KIND: HOST_ROW, HOST: mark.host, CREATED: mark.created, **_marks(identity)}
    return insert(TABLE, host_id(mark.host), {"cidr": "", "external_ids": to_map(ids)})


def host_claim(name: str, identity: HostIdentity) -> list[Operation]:
    """Record which machine uses a name, if this client has the name's lock.

    The last count is 0 when the host is not registered. The host's index and its marks are left as they are.
    """
    written = mutate(
        TABLE,
        [row_is(host_id(name))],
        ("external_ids", "delete", to_set(IDENTITY)),
        ("external_ids", "insert", to_map(_marks(identity))),
    )
    return [assert_lock(name_lock(name)), written]


def host_list() -> Operation:
    """Read all hosts (a scan over pools and leases); the rows go to `read_host`."""
    return select(TABLE, [("external_ids", "includes", to_map({KIND: HOST_ROW}))], ["external_ids"])


def host_del(name: str) -> Operation:
    """Unregister a host."""
    return delete(TABLE, [row_is(host_id(name)), ("external_ids", "includes", to_map({KIND: HOST_ROW}))])


def read_host(row: Row) -> str:
    """The host that a row is marked with, or ""."""
    return mapping(row["external_ids"]).get(HOST, "")


# --- Ports --------------------------------------------------------------------------------------------------


def ports_of(host: str) -> Operation:
    """Read the row ids of a host's ports (a scan)."""
    return select(PORT, [_marked(host)], ["_uuid"])


def ports_del(host: str, ports: Sequence[UUID]) -> list[Operation]:
    """Remove ports from the switches that hold them, if all are still the host's.

    Refused with `RequirementError` when one is not. The mutation covers all switches, and changes only those
    that hold one of the ports: there is no record of the shared switch that another host's port is on.
    """
    checks = [require(PORT, [row_is(port), _marked(host)], ["_uuid"], [_row(port)]) for port in ports]
    return [*checks, mutate(SWITCH, [], ("ports", "delete", to_set(map(reference, ports))))]


# --- Leases, and the users of pools and reserved addresses --------------------------------------------------


def leases_of(host: str) -> list[Operation]:
    """Read the row ids of a host's leases and claims (two scans)."""
    return [
        select(TABLE, [("external_ids", "includes", to_map({KIND: kind, HOST: host}))], ["_uuid"])
        for kind in (LEASE, CLAIM)
    ]


def lease_drop(host: str, lease: UUID) -> list[Operation]:
    """Release a lease or claim if it is the host's; the counts add up to 0 when it is not."""
    return drop([row_is(lease), _marked(host)])


@dataclass(frozen=True, slots=True)
class Use:
    """One host's use of a pool or a reserved address.

    Attributes:
        row: of DHCP_Options.
        kind: ``pool`` or ``reserved``.
        key: that the pool's row id follows from.
        tokens: of the host's networks.
    """

    row: UUID
    kind: str
    key: str
    tokens: tuple[str, ...]


def all_used() -> list[Operation]:
    """Read all pools and reserved addresses with their users (two scans); the rows go to `uses`."""
    return [kind_list(POOL_ROW), kind_list(RESERVED)]


def uses(host: str, rows: Iterable[Row]) -> list[Use]:
    """The pools and reserved addresses that a host uses."""
    found = []
    for row in rows:
        ids, users = mapping(row["external_ids"]), mapping(row["options"])
        tokens = tuple(token for token, user in users.items() if user == host)
        if tokens:
            found.append(Use(read_uuid(row), ids.get(KIND, ""), ids.get(POOL, ""), tokens))
    return found


def use_drop(host: str, use: Use) -> list[Operation]:
    """Remove the host's networks, and the row if no user is left; the last count says whether it went."""
    where: list[Condition] = [row_is(use.row), ("external_ids", "includes", to_map({KIND: use.kind}))]
    tokens = to_map(dict.fromkeys(use.tokens, host))
    return [
        mutate(TABLE, where, ("options", "delete", tokens)),
        delete(TABLE, [*where, ("options", "==", to_map({}))]),
    ]


# --- Switches -----------------------------------------------------------------------------------------------


def switches_of(host: str) -> Operation:
    """Read the switches that a host made, with their ports (a scan over switches)."""
    return select(SWITCH, [_marked(host)], ["_uuid", "ports"])


def switch_drop(host: str, switch: UUID) -> list[Operation]:
    """Delete a switch if the host made it and it has no port but its gateway port, as `ls_del` does."""
    return ls_del(switch, (), _marked(host))


def _marked(host: str) -> Condition:
    return ("external_ids", "includes", to_map({HOST: host}))


def _row(uuid: UUID) -> Row:
    return {"_uuid": reference(uuid)}


# --- The index: a host's row names each of the host's rows, among those of all hosts. -----------------------
# An entry is a hint and not a proof: the row itself says whose it is. So an entry is written with the row, in
# one transaction; it may exist before the row and after it. It is removed only in a transaction that finds
# the row gone, or unchanged since it was found not to be the host's.


INDEXED, INDEX_FORMAT = "ovn-docker-indexed", "1"
"""The mark of a complete index: since it was made, all tables were scanned once."""

ENTRIES = {"port": PORT, "switch": SWITCH, "row": TABLE}
"""Kinds of entries, and the table of their rows."""

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
        entries: kinds by row id.
        is_whole: whether it names every row of the host.
        created: when the host was registered, or "" when it is not.
    """

    entries: Entries
    is_whole: bool
    created: str = ""


def index_get(host: str) -> Operation:
    """Read a host's index; the rows go to `read_index`."""
    return select(TABLE, [row_is(host_id(host))], ["options", "external_ids"])


def read_index(rows: Sequence[Row]) -> Index:
    """The index, empty without the host's row."""
    entries = {}
    for key, kind in (pair for row in rows for pair in mapping(row["options"]).items()):
        try:
            uuid = UUID(key)
        except ValueError:
            continue
        if kind in ENTRIES:
            entries[uuid] = kind
    ids = mapping(rows[0]["external_ids"]) if rows else {}
    return Index(entries, ids.get(INDEXED) == INDEX_FORMAT, ids.get(CREATED, ""))


def index_add(host: str, entries: Entries) -> Operation:
    """Add rows to the index; count is 0 where the host is not registered."""
    return mutate(TABLE, [row_is(host_id(host))], ("options", "insert", _pairs(entries)))


def index_finish(mark: Mark, entries: Entries) -> Operation:
    """Add all rows of a host, and mark the index as complete.

    Count is 0 where the host is not registered, or was registered again: what it made since has no entry.

    Args:
        mark: the host, and when it was registered, as read before the tables were scanned.
        entries: what was found.
    """
    same_host: Condition = ("external_ids", "includes", to_map({CREATED: mark.created}))
    return mutate(
        TABLE,
        [row_is(host_id(mark.host)), same_host],
        ("options", "insert", _pairs(entries)),
        *replace_keys("external_ids", {INDEXED: INDEX_FORMAT}),
    )


def index_remove(host: str, gone: Entries) -> list[Operation]:
    """Remove entries of deleted rows; refused with `RequirementError` when one of the rows exists."""
    absent = [require(ENTRIES[kind], [row_is(uuid)], ["_uuid"], []) for uuid, kind in gone.items()]
    return [*absent, _remove(host, gone)]


def index_remove_foreign(host: str, uuid: UUID, kind: str, row: Row) -> list[Operation]:
    """Remove the entry of a row that is not the host's; refused with `RequirementError` if it has changed."""
    columns: list[str] = [column for column in ("options", "external_ids") if column in row]
    as_it_was: Row = {column: row[column] for column in columns}
    return [require(ENTRIES[kind], [row_is(uuid)], columns, [as_it_was]), _remove(host, [uuid])]


def _remove(host: str, uuids: Iterable[UUID]) -> Operation:
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
    """The rows that a transaction creates for a host or hands to it: those to add to the index."""
    found = {}
    for operation in operations:
        if operation["op"] not in _WRITES or operation["table"] not in _KINDS:
            continue
        uuid = _row_of(operation)
        if uuid is not None and any(is_of(host, row) for row in _written(operation)):
            found[uuid] = _KINDS[operation["table"]]
    return found


def _written(operation: Operation) -> list[Row]:
    """What an operation writes into the columns that say whose a row is, in the form of a row."""
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
    """The row that an operation names by its id, if it does."""
    if operation["op"] == "insert":
        return UUID(operation["uuid"]) if "uuid" in operation else None
    where: Sequence[Condition] = operation.get("where", ())
    return next((UUID(value[1]) for column, how, value in where if (column, how) == ("_uuid", "==")), None)


def _pairs(entries: Entries) -> Any:  # noqa: ANN401  (an OVSDB value)
    return to_map({str(uuid): kind for uuid, kind in entries.items()})


# --- The list of hosts: one row of DHCP_Options names them, so that no other row has to be read. ------------
# An entry is a hint and not a proof: a host's own row says whether it is registered. So an entry is written
# and removed with that row, in one transaction, and each writer changes only the entries of its own hosts.


HOSTS = "hosts"
LISTED, LIST_FORMAT = "ovn-docker-listed", "1"
"""The mark of a complete list: since it was made, the table was scanned once."""


@dataclass(frozen=True, slots=True)
class HostList:
    """What the list says.

    Attributes:
        names: of hosts.
        is_whole: whether it names hosts too that were registered before there was a list.
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
    """The list, empty without its row."""
    names = tuple(sorted(name for row in rows for name in mapping(row["options"])))
    return HostList(names, any(mapping(row["external_ids"]).get(LISTED) == LIST_FORMAT for row in rows))


def list_has(name: str) -> Operation:
    """Read only whether the list names a host: the answer does not grow with the list."""
    return select(TABLE, [row_is(list_id()), ("options", "includes", _entries([name]))], ["_uuid"])


def list_enter(names: Iterable[str]) -> Operation:
    """Add hosts; count is 0 where there is no list."""
    return mutate(TABLE, [row_is(list_id())], ("options", "insert", _entries(names)))


def list_finish(names: Iterable[str]) -> Operation:
    """Add all hosts and mark the list as complete; count is 0 where there is no list."""
    return mutate(
        TABLE,
        [row_is(list_id())],
        ("options", "insert", _entries(names)),
        *replace_keys("external_ids", {LISTED: LIST_FORMAT}),
    )


def list_add(names: Iterable[str], *, is_whole: bool = False) -> Operation:
    """Make the list with its first entries; refused with `ConstraintError` where there is one."""
    ids = {KIND: HOSTS} | ({LISTED: LIST_FORMAT} if is_whole else {})
    row: Row = {"cidr": "", "options": _entries(names), "external_ids": to_map(ids)}
    return insert(TABLE, list_id(), row)


def list_remove(name: str) -> Operation:
    """Remove a host from the list."""
    return mutate(TABLE, [row_is(list_id())], ("options", "delete", to_set([name])))


def _entries(names: Iterable[str]) -> Value:
    """Each with the id of the host's row: an entry without a value would read as a swarm's network."""
    return to_map({name: str(host_id(name)) for name in names})


# --- When a host's driver was last connected, as its host's row says. ---------------------------------------
# A connected driver holds a lock, but a lock leaves no trace when its connection ends. So each driver writes
# the time into its host's row now and then, and once more when it is stopped. It is shown to people; nothing
# is decided by it, since the clocks of hosts differ.


SEEN, STOPPED = "ovn-docker-seen", "ovn-docker-stopped"


@dataclass(frozen=True, slots=True)
class LastSeen:
    """When a driver was last connected.

    Attributes:
        moment: in the form of `switches.timestamp`, or "" where it was never recorded.
        stopped: whether the driver was stopped at that moment; else it went away at most some minutes later.
    """

    moment: str = ""
    stopped: bool = False

    def __str__(self) -> str:
        """For people: ``2026-11-27 14:52 UTC``, ``about 2026-11-27 14:50 UTC``, or ""."""
        if not self.moment:
            return ""
        minute = f"{self.moment[:10]} {self.moment[11:16]} UTC"
        return minute if self.stopped else f"about {minute}"


def seen_set(host: str, moment: str, *, stopped: bool = False) -> Operation:
    """Record when a host's driver was last connected; count is 0 where the host is not registered."""
    return mutate(
        TABLE,
        [row_is(host_id(host))],
        ("external_ids", "delete", to_set([SEEN, STOPPED])),
        ("external_ids", "insert", to_map({SEEN: moment} | ({STOPPED: "true"} if stopped else {}))),
    )


def seen_get(host: str) -> Operation:
    """Read a host's row; it goes to `read_seen`."""
    return select(TABLE, [row_is(host_id(host))], ["external_ids"])


def read_seen(rows: Sequence[Row]) -> LastSeen:
    """When a host's driver was last connected; an invalid time counts as never recorded."""
    ids = mapping(rows[0]["external_ids"]) if rows else {}
    moment = ids.get(SEEN, "")
    return LastSeen(moment, STOPPED in ids) if _is_timestamp(moment) else LastSeen()


def _is_timestamp(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007  (only its form matters)
    except ValueError:
        return False
    return True
