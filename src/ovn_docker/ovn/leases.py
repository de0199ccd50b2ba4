"""What OVN Northbound holds for address pools and leases. Pure.

A pool, a reserved address and a lease are each a row of DHCP_Options that no port refers to: northd watches
that table but computes nothing from such a row, nothing of it reaches Southbound or a chassis, and unlike a
row of Address_Set it costs no other change anything. The row ids follow from the pool and the address, so
the database itself refuses to lease an address twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.ovn.switches import CREATED, HOST, Mark
from ovn_docker.ovsdb.operations import (
    Condition,
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
    update,
)

TABLE = "DHCP_Options"
KIND, POOL, CONTEXT, NEXT = "ovn-docker", "ovn-docker-pool", "ovn-docker-context", "ovn-docker-next"
CHOSEN = "ovn-docker-chosen"
ENDPOINT, REQUEST = "ovn-docker-endpoint", "ovn-docker-request"
SWARM = "ovn-docker-swarm"
HOLD, NAME = "ovn-docker-hold", "ovn-docker-name"

LEASE, CLAIM, RESERVED = "lease", "claim", "reserved"
POOL_ROW, HOST_ROW, NAMES = "pool", "host", "names"
"""Other kinds of rows: pools, a host's own row (hosts.py), and the names of an endpoint (names.py)."""

Address = IPAddress | str
"""An IP address, or a MAC address as text."""

SWARMS = {SWARM: "true"}
"""The mark of a lease that belongs to a swarm."""

OF_A_SWARM: Condition = ("external_ids", "includes", to_map(SWARMS))

DURABLE: Operation = {"op": "commit", "durable": True}
"""RFC 7047 section 5.2.7: the transaction is on disk before it is answered."""


def pool_id(key: str) -> UUID:
    """The row id of a pool."""
    return addressing.row_id("pool", key)


def lease_id(key: str, address: Address) -> UUID:
    """The row id of an address, leased or reserved, in a pool or on a switch."""
    return addressing.row_id("lease", key, str(address))


@dataclass(frozen=True, slots=True)
class Lease:
    """Who has an address.

    Attributes:
        kind: ``lease`` from this IPAM, ``claim`` of an address that another IPAM chose or of a MAC address,
            ``reserved`` for all hosts (a gateway, an auxiliary address).
        host: that has it, or "".
        endpoint_id: the endpoint that uses it, or "" before CreateEndpoint.
        request: distinguishes a repeat of the request that made it from another request.
        swarm: whether it belongs to a swarm, which gives it to one host after the other; then `host` is the
            current user, or "".
        hold: the token of the pool through which the address was requested explicitly, or "".
        name: of the container that requested it, where Docker says it.
        created: when it was made; as read, for writing takes a `Mark`.
    """

    kind: str
    host: str = ""
    endpoint_id: str = ""
    request: str = ""
    swarm: bool = False
    hold: str = ""
    name: str = ""
    created: str = ""

    def holder(self) -> str:
        """For people: who has it."""
        if self.kind == RESERVED:
            return "it is the gateway or an auxiliary address of its network"
        if self.swarm and not self.host:
            return "a swarm has given it to a task"
        container = f"container {self.name}" if self.name else ""
        if self.endpoint_id:
            user = f"endpoint {self.endpoint_id}" + (f" of {container}" if container else "")
        else:
            user = container or "an endpoint still being created"
        return f"{user} on host {self.host} has it"


def pool_use(key: str, token: str, host: str) -> Operation:
    """Add a user to a pool; count is 0 without the pool."""
    return enter([row_is(pool_id(key))], token, host)


def pool_add(
    context: str, subnet: IPNetwork, key: str, user: Mapping[str, str], marks: Mapping[str, str]
) -> list[Operation]:
    """Make a pool with its first user, and remove reserved addresses left by an earlier one.

    Args:
        context: of the pool.
        subnet: of the pool.
        key: that its row id follows from.
        user: token and host.
        marks: `CREATED`, and `CHOSEN` with the token for which the subnet was chosen.
    """
    row: Row = {
        "cidr": str(subnet),
        "options": to_map(user),
        "external_ids": to_map({KIND: "pool", POOL: key, CONTEXT: context, **marks}),
    }
    return [_reserved_delete(key), insert(TABLE, pool_id(key), row), DURABLE]


def pool_users(key: str) -> Operation:
    """Read who uses a pool; the row goes to `read_users`."""
    return select(TABLE, [row_is(pool_id(key))], ["options"])


def pool_choice(key: str) -> Operation:
    """Read for whom the subnet of a pool was chosen; the row goes to `read_chooser`."""
    return select(TABLE, [row_is(pool_id(key))], ["options", "external_ids"])


def pool_leave(key: str, token: str) -> list[Operation]:
    """Remove a user, and with the last one the pool; the second count says whether the pool is gone."""
    return leave(pool_id(key), [token])


def leave(row: UUID, tokens: Sequence[str]) -> list[Operation]:
    """Remove users of a pool or a reserved address, and with the last one the row, as `pool_leave`."""
    return _leave([row_is(row)], tokens)


def reserved_del(key: str) -> list[Operation]:
    """Remove the reserved addresses of a deleted pool, and a swarm's leases that no host uses (two scans).

    Refused with `RequirementError` when the pool exists again: they may be another host's by now.
    """
    unused = [swarm_on(""), ("external_ids", "includes", to_map({POOL: key}))]
    gone = require(TABLE, [row_is(pool_id(key))], ["_uuid"], [])
    return [gone, _reserved_delete(key), delete(TABLE, unused)]


def _reserved_delete(key: str) -> Operation:
    return delete(TABLE, [("external_ids", "includes", to_map({KIND: RESERVED, POOL: key}))])


def enter(where: Sequence[Condition], token: str, host: str) -> Operation:
    """Add a user to a row; users are kept in ``options``, which OVN reads only in rows it refers to."""
    return mutate(TABLE, where, ("options", "insert", to_map({token: host})))


def _leave(where: Sequence[Condition], tokens: Sequence[str]) -> list[Operation]:
    """Remove users, and delete rows that have none left."""
    return [
        mutate(TABLE, where, ("options", "delete", to_set(tokens))),
        delete(TABLE, [*where, ("options", "==", to_map({}))]),
    ]


def reserved_use(key: str, address: IPAddress, token: str, host: str) -> Operation:
    """Add a user to a reserved address; count is 0 when it is not reserved."""
    return enter(_reserved(key, address), token, host)


def reserved_add(key: str, address: IPAddress, token: str, mark: Mark) -> list[Operation]:
    """Reserve an address for all hosts; refused with `ConstraintError` when it is taken."""
    ids = {KIND: RESERVED, POOL: key, CREATED: mark.created}
    row: Row = {"cidr": str(address), "options": to_map({token: mark.host}), "external_ids": to_map(ids)}
    return [insert(TABLE, lease_id(key, address), row), DURABLE]


def reserved_leave(key: str, address: IPAddress, token: str) -> list[Operation]:
    """Remove a user of a reserved address, and with the last one the reservation."""
    return _leave(_reserved(key, address), [token])


def _reserved(key: str, address: IPAddress) -> list[Condition]:
    return [row_is(lease_id(key, address)), ("external_ids", "includes", to_map({KIND: RESERVED}))]


def pool_get(key: str) -> Operation:
    """Read the address leased last; the row goes to `read_next`."""
    return select(TABLE, [row_is(pool_id(key))], ["external_ids"])


def pool_list(context: str) -> Operation:
    """Read the subnets of all pools of a context (a scan: only where a pool is made)."""
    marks = to_map({KIND: "pool", CONTEXT: context})
    return select(TABLE, [("external_ids", "includes", marks)], ["cidr"])


def lease_list(host: str) -> Operation:
    """Read all leases and claims of a host (a scan: not for a container's path)."""
    marked = ("external_ids", "includes", to_map({HOST: host}))
    others = [("external_ids", "excludes", to_map({KIND: kind})) for kind in (HOST_ROW, NAMES)]
    return select(TABLE, [marked, *others], ["_uuid", "cidr", "external_ids"])


def kind_list(kind: str) -> Operation:
    """Read all pools, or all reserved addresses, of all hosts (a scan)."""
    columns = ["_uuid", "cidr", "options", "external_ids"]
    return select(TABLE, [("external_ids", "includes", to_map({KIND: kind}))], columns)


def lease_del_unchanged(row: UUID, marks: Mapping[str, str]) -> list[Operation]:
    """Release a lease if its external_ids are still these."""
    return drop([row_is(row), ("external_ids", "==", to_map(marks))])


def read_next(row: Row) -> int | None:
    """The address that was leased last, as an integer."""
    text = mapping(row["external_ids"]).get(NEXT, "")
    return int(text) if text.isdecimal() else None


def lease_add(key: str, address: Address, lease: Lease, mark: Mark) -> Operation:
    """Take an address; refused with `ConstraintError` when it is taken."""
    ids = {
        KIND: lease.kind,
        POOL: key,
        HOST: lease.host,
        CREATED: mark.created,
        REQUEST: lease.request,
        ENDPOINT: lease.endpoint_id,  # a condition cannot ask for a key that is absent, so it is always there
        **(SWARMS if lease.swarm else {}),
        **({HOLD: lease.hold} if lease.hold else {}),
        **({NAME: lease.name} if lease.name else {}),
    }
    return insert(TABLE, lease_id(key, address), {"cidr": str(address), "external_ids": to_map(ids)})


def hint(key: str, address: IPAddress) -> Operation:
    """Record which address was leased last."""
    return change([row_is(pool_id(key))], {NEXT: str(int(address))})


def lease_get(key: str, address: Address) -> Operation:
    """Read who has an address; the row goes to `read_lease`."""
    return select(TABLE, [row_is(lease_id(key, address))], ["external_ids"])


def lease_probe(key: str, address: IPAddress) -> Operation:
    """Read only whether an address is taken."""
    return select(TABLE, [row_is(lease_id(key, address))], ["_uuid"])


def lease_held(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Abort the transaction with `RequirementError` unless this host has the lease for this endpoint.

    The endpoint is "" where none uses the lease yet.
    """
    uuid = lease_id(key, address)
    own = [row_is(uuid), of_endpoint(host, LEASE, endpoint_id)]
    return require(TABLE, own, ["_uuid"], [{"_uuid": reference(uuid)}])


def lease_bind(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Record the endpoint in this host's lease; count is 0 when this host has none."""
    own = ("external_ids", "includes", to_map({HOST: host}))
    return change([row_is(lease_id(key, address)), own], {ENDPOINT: endpoint_id})


def lease_take(key: str, address: Address, host: str) -> Operation:
    """Record this host in a swarm's lease that no host uses; count is 0 where there is no such lease."""
    return change([row_is(lease_id(key, address)), swarm_on("")], {HOST: host})


def swarm_on(host: str) -> Condition:
    """That a lease belongs to a swarm and this host uses it; "" means no host."""
    return ("external_ids", "includes", to_map({KIND: LEASE, HOST: host} | SWARMS))


def change(where: Sequence[Condition], ids: Mapping[str, str]) -> Operation:
    """Write keys of external_ids, replacing their values."""
    return mutate(TABLE, where, *replace_keys("external_ids", ids))


def lease_undo(key: str, address: IPAddress, request: str) -> list[Operation]:
    """Release the lease that this request made, and no other's."""
    made_by = ("external_ids", "includes", to_map({REQUEST: request}))
    return [delete(TABLE, [row_is(lease_id(key, address)), made_by])]


def lease_unbind(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Remove the endpoint from its lease; another endpoint's lease is left as it is."""
    return _unbind([row_is(lease_id(key, address)), of_endpoint(host, LEASE, endpoint_id)])


def _unbind(where: Sequence[Condition]) -> Operation:
    return change(where, {ENDPOINT: ""})


def of_endpoint(host: str, kind: str, endpoint_id: str) -> Condition:
    """That a lease or claim of this host is this endpoint's; "" means no endpoint."""
    return ("external_ids", "includes", to_map({HOST: host, KIND: kind, ENDPOINT: endpoint_id}))


def lease_del(key: str, address: IPAddress, host: str) -> list[Operation]:
    """Release a lease of this host that no endpoint uses; a swarm's goes back to the swarm.

    Docker repeats a ReleaseAddress whose reply was lost (moby
    pkg/plugins/client.go callWithRetry). By then another container of this host may have the address.
    """
    return drop([row_is(lease_id(key, address)), of_endpoint(host, LEASE, "")])


def drop(where: Sequence[Condition]) -> list[Operation]:
    """Delete leases and claims, and return a swarm's to it; the sum of the counts says how many."""
    return [
        delete(TABLE, [*where, ("external_ids", "excludes", to_map(SWARMS))]),
        change([*where, OF_A_SWARM], {HOST: "", ENDPOINT: ""}),
    ]


def claim_del(key: str, address: Address, host: str, endpoint_id: str) -> Operation:
    """Release the address that an endpoint of this host claimed."""
    return delete(TABLE, [row_is(lease_id(key, address)), of_endpoint(host, CLAIM, endpoint_id)])


def claims_del(key: str, host: str) -> Operation:
    """Release all claims of this host on a switch (a scan: only when it was deleted with ports on it)."""
    marks = to_map({KIND: CLAIM, POOL: key, HOST: host})
    return delete(TABLE, [("external_ids", "includes", marks)])


def endpoint_del(endpoint_id: str, host: str) -> list[Operation]:
    """Remove an endpoint of this host from its leases and claims (two scans: only when its port is gone)."""
    return [
        delete(TABLE, [of_endpoint(host, CLAIM, endpoint_id)]),
        _unbind([of_endpoint(host, LEASE, endpoint_id)]),
    ]


def read_users(row: Row) -> Mapping[str, str]:
    """The users of a pool: token to host."""
    return mapping(row["options"])


def read_chooser(row: Row) -> str:
    """The host for whose network the subnet was chosen; "" if it was given explicitly, or that host left."""
    return read_users(row).get(mapping(row["external_ids"]).get(CHOSEN, ""), "")


def read_lease(row: Row) -> Lease:
    """Who has the address of a row."""
    ids = mapping(row["external_ids"])
    return Lease(
        kind=ids.get(KIND, ""),
        host=ids.get(HOST, ""),
        endpoint_id=ids.get(ENDPOINT, ""),
        request=ids.get(REQUEST, ""),
        swarm=SWARMS.items() <= ids.items(),
        hold=ids.get(HOLD, ""),
        name=ids.get(NAME, ""),
        created=ids.get(CREATED, ""),
    )


# --- Leases and networks of a swarm, which outlive the manager that requested them. -------------------------
# A swarm's leader allocates each address, and the node that runs the task requests the same one again (moby
# libnetwork/cnmallocator/networkallocator.go AllocateTask). So a lease has up to two holders, the swarm and a
# host, and goes with the last.


def lease_adopt(key: str, address: IPAddress) -> Operation:
    """Make the swarm a holder of a lease of any host; count is 0 without the lease."""
    leased: Condition = ("external_ids", "includes", to_map({KIND: LEASE}))
    return change([row_is(lease_id(key, address)), leased], SWARMS)


def swarm_lease_del(key: str, address: IPAddress, host: str) -> list[Operation]:
    """Release a lease of the global address space; a host that still uses a swarm's keeps it.

    Outside a swarm Docker takes the addresses of a network of global scope from there too (moby
    libnetwork/network.go deriveAddressSpace): a lease that belongs to no swarm is this host's.
    """
    this = row_is(lease_id(key, address))
    not_a_swarms: Condition = ("external_ids", "excludes", to_map(SWARMS))
    return [
        delete(TABLE, [this, not_a_swarms, of_endpoint(host, LEASE, "")]),
        delete(TABLE, [this, swarm_on("")]),
        mutate(TABLE, [this, OF_A_SWARM], ("external_ids", "delete", to_map(SWARMS))),
    ]


def network_enter(network_id: str, token: str, host: str) -> Operation:
    """Make a swarm's network the user of a pool and its gateway, replacing the manager's hold (a scan).

    The network is entered without a host, for the manager may change.

    Args:
        network_id: of the swarm's network.
        token: the hold of the manager that requested the pool.
        host: that manager's.
    """
    return mutate(
        TABLE,
        [("options", "includes", to_map({token: host}))],
        ("options", "insert", to_map({network_id: ""})),
        ("options", "delete", to_set([token])),
    )


def network_uses(network_id: str) -> Operation:
    """Read the pools and reserved addresses that a swarm's network uses (a scan)."""
    where: list[Condition] = [("options", "includes", to_map({network_id: ""}))]
    return select(TABLE, where, ["_uuid", "cidr", "external_ids"])


# --- Changes of a lease without releasing it first, so that nobody else can take the address meanwhile. -----


def lease_reserve(key: str, address: IPAddress, token: str, mark: Mark) -> Operation:
    """Reserve an address that this host has leased for no endpoint; count is 0 without such a lease."""
    not_a_swarms: Condition = ("external_ids", "excludes", to_map(SWARMS))
    unused = [row_is(lease_id(key, address)), of_endpoint(mark.host, LEASE, ""), not_a_swarms]
    ids = {KIND: RESERVED, POOL: key, CREATED: mark.created}
    return update(TABLE, unused, {"options": to_map({token: mark.host}), "external_ids": to_map(ids)})


def lease_release_unused(key: str, address: IPAddress, token: str) -> Operation:
    """Release an address that was requested explicitly through this hold, if no endpoint uses it."""
    unused = {KIND: LEASE, HOLD: token, ENDPOINT: ""}
    return delete(TABLE, [row_is(lease_id(key, address)), ("external_ids", "includes", to_map(unused))])


def lease_take_over(key: str, address: IPAddress, found: Lease, lease: Lease, mark: Mark) -> Operation:
    """Hand the lease of one request to another request of the same host, before any endpoint uses it.

    Count is 0 where the lease has changed since it was found. An undo of the first request no longer matches.
    """
    was = {KIND: LEASE, HOST: mark.host, ENDPOINT: found.endpoint_id, REQUEST: found.request}
    unchanged: Condition = ("external_ids", "includes", to_map(was))
    ids = {ENDPOINT: "", REQUEST: lease.request, HOLD: lease.hold, NAME: lease.name, CREATED: mark.created}
    return change([row_is(lease_id(key, address)), unchanged], ids)


def pools_are(context: str, subnets: Iterable[str]) -> Operation:
    """Abort the transaction with `RequirementError` unless a context has exactly these pools (a scan)."""
    marks = to_map({KIND: POOL_ROW, CONTEXT: context})
    rows = [{"cidr": subnet} for subnet in subnets]
    return require(TABLE, [("external_ids", "includes", marks)], ["cidr"], rows)
