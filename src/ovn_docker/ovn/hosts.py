"""What stands in OVN Northbound for a host, and how all that carries its mark is found and removed. Pure.

Each driver leaves one row of DHCP_Options that says that its host is there (leases.py tells why such a row
costs nothing), so that who looks for hosts need not read all ports. Whatever removes something names it by
row id and asks for the host's mark once more, in the same transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
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
from ovn_docker.ovn.switches import CREATED, HOST, PORT, SWITCH, Mark, read_uuid
from ovn_docker.ovsdb.operations import (
    Condition,
    Operation,
    Row,
    assert_lock,
    delete,
    insert,
    mutate,
    require,
    row_is,
    select,
)
from ovn_docker.ovsdb.values import mapping, reference, to_map, to_set

COLLECTOR_LOCK = "ovn_docker_collector"
"""Who has this lock of Northbound gives up dead hosts by itself."""


def host_id(name: str) -> UUID:
    """The row id of a host."""
    return addressing.row_id("host", name)


def presence_lock(name: str) -> str:
    """The lock of Northbound that a host's driver has as long as it is connected.

    The name of a lock holds no other characters than letters, digits and underscores, that of a host may.
    """
    return f"ovn_docker_host_{host_id(name).hex}"


def name_lock(name: str) -> str:
    """The lock of Northbound that the driver has whose host's name this is."""
    return f"ovn_docker_name_{host_id(name).hex}"


def session_lock(session: str) -> str:
    """The lock of a host's own Open_vSwitch that its driver has as long as it is connected.

    Whoever is refused it there is on the same host, which no copy of that host's files can be.
    """
    return f"ovn_docker_session_{addressing.row_id('session', session).hex}"


@dataclass(frozen=True, slots=True)
class Identity:
    """The machine that uses a name, as the host's row says.

    Attributes:
        machine: a random number, kept in the machine's state file.
        hostname: as the machine calls itself.
        encap_ip: its tunnel endpoints that are addresses of it, separated by commas.
        session: of the driver that wrote it, for `session_lock`.
    """

    machine: str = ""
    hostname: str = ""
    encap_ip: str = ""
    session: str = ""

    def agreements(self, other: "Identity") -> int:
        """In how many of the first three the two agree."""
        pairs = zip(astuple(self)[:3], astuple(other)[:3], strict=True)
        return sum(bool(mine) and mine == theirs for mine, theirs in pairs)

    def __str__(self) -> str:
        """For people."""
        address = f" (tunnel address {self.encap_ip})" if self.encap_ip else ""
        return f"{self.hostname or 'a host'}{address}"


NOBODY = Identity()
"""What a row says that a driver of an earlier version wrote."""

MACHINE, HOSTNAME = "ovn-docker-machine", "ovn-docker-hostname"
ENCAP_IP, SESSION = "ovn-docker-encap-ip", "ovn-docker-session"
IDENTITY = (MACHINE, HOSTNAME, ENCAP_IP, SESSION)
"""The marks that say who uses a name; `options` of the same row are the host's index (host_index.py)."""


def host_get(name: str) -> Operation:
    """Read a host's row, which goes to `read_identity`."""
    return select(TABLE, [row_is(host_id(name))], ["external_ids"])


def read_identity(rows: Sequence[Row]) -> Identity | None:
    """Who uses a name; None where the host is not registered."""
    if not rows:
        return None
    ids = mapping(rows[0]["external_ids"])
    return Identity(*(ids.get(key, "") for key in IDENTITY))


def _marks(identity: Identity) -> dict[str, str]:
    return {key: value for key, value in zip(IDENTITY, astuple(identity), strict=True) if value}


def host_add(mark: Mark, identity: Identity = NOBODY) -> Operation:
    """Register a host; refused with `ConstraintError` when it is."""
    ids = {KIND: HOST_ROW, HOST: mark.host, CREATED: mark.created, **_marks(identity)}
    return insert(TABLE, host_id(mark.host), {"cidr": "", "external_ids": to_map(ids)})


def host_claim(name: str, identity: Identity) -> list[Operation]:
    """Write who uses a name, with its lock only; the last count is 0 when the host is not registered.

    The marks of an identity alone are written: the host's index stays, and whether it is whole.
    """
    written = mutate(TABLE, [row_is(host_id(name))], ("external_ids", "delete", to_set(IDENTITY)))
    written["mutations"] += [("external_ids", "insert", to_map(_marks(identity)))]
    return [assert_lock(name_lock(name)), written]


def host_list() -> Operation:
    """Read all hosts (a scan over pools and leases); the rows go to `read_host`."""
    return select(TABLE, [("external_ids", "includes", to_map({KIND: HOST_ROW}))], ["external_ids"])


def host_del(name: str) -> Operation:
    """Strike a host off."""
    return delete(TABLE, [row_is(host_id(name)), ("external_ids", "includes", to_map({KIND: HOST_ROW}))])


def read_host(row: Row) -> str:
    """The host that a row is marked with, or ""."""
    return mapping(row["external_ids"]).get(HOST, "")


# --- Ports --------------------------------------------------------------------------------------------------


def ports_of(host: str) -> Operation:
    """Read the row ids of a host's ports (a scan)."""
    return select(PORT, [_marked(host)], ["_uuid"])


def ports_del(host: str, ports: Sequence[UUID]) -> list[Operation]:
    """Take ports out of whichever switches hold them, which removes them, if all are the host's by then.

    Refused with `RequirementError` when one is not. All switches are gone through, of which only those that
    held one change: nobody knows on which shared switch another host's port is.
    """
    checks = [require(PORT, [row_is(each), _marked(host)], ["_uuid"], [_row(each)]) for each in ports]
    return [*checks, mutate(SWITCH, [], ("ports", "delete", to_set(map(reference, ports))))]


# --- Leases, and the users of pools and reserved addresses --------------------------------------------------


def leases_of(host: str) -> list[Operation]:
    """Read the row ids of a host's leases and claims (two scans)."""
    return [
        select(TABLE, [("external_ids", "includes", to_map({KIND: kind, HOST: host}))], ["_uuid"])
        for kind in (LEASE, CLAIM)
    ]


def lease_drop(host: str, lease: UUID) -> list[Operation]:
    """Give up a lease or claim if it is the host's; the counts together are 0 when it is not."""
    return drop([row_is(lease), _marked(host)])


@dataclass(frozen=True, slots=True)
class Use:
    """The part of one host in a pool or a reserved address.

    Attributes:
        row: of DHCP_Options.
        kind: ``pool`` or ``reserved``.
        key: what the pool is filed under.
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
    """What a host has a part in."""
    found = []
    for row in rows:
        ids, users = mapping(row["external_ids"]), mapping(row["options"])
        tokens = tuple(token for token, user in users.items() if user == host)
        if tokens:
            found.append(Use(read_uuid(row), ids.get(KIND, ""), ids.get(POOL, ""), tokens))
    return found


def use_drop(host: str, use: Use) -> list[Operation]:
    """Strike the host's networks out, and what has no user left with them; the last count says whether."""
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


def switch_drop(host: str, switch: UUID) -> Operation:
    """Delete a switch if the host made it and no port is on it, whoever's; count is 0 when it stays."""
    return delete(SWITCH, [row_is(switch), _marked(host), ("ports", "==", to_set(()))])


def _marked(host: str) -> Condition:
    return ("external_ids", "includes", to_map({HOST: host}))


def _row(uuid: UUID) -> Row:
    return {"_uuid": reference(uuid)}
