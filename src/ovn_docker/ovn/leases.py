"""What stands in OVN Northbound for address pools and leases. Pure.

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
POOL_ROW, HOST_ROW = "pool", "host"

Address = IPAddress | str
"""An IP address, or a MAC address as text."""

SWARMS = {SWARM: "true"}
"""The mark of a lease that a swarm has."""

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
        kind: ``lease`` from our IPAM, ``claim`` where another IPAM chose it or it is a MAC address,
            ``reserved`` for all hosts (a gateway, an auxiliary address).
        host: whose, or "".
        endpoint_id: the endpoint that uses it, or "" before CreateEndpoint.
        request: tells a repeat of the request that made it from another request.
        swarm: whether a swarm has it, which gives it to one host after the other; then `host` is the one that
            uses it, or "".
        hold: the token of the pool through which the address was asked for, where it was asked for itself.
        name: of the container that asked, where Docker says it.
        created: when it was made, as it was read.
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
            user = container or "an endpoint that is just being made"
        return f"{user} on host {self.host} has it"


def pool_use(key: str, token: str, host: str) -> Operation:
    """Enter a user into a pool that exists; count is 0 when it does not."""
    return enter([row_is(pool_id(key))], token, host)


def pool_add(
    context: str, subnet: IPNetwork, key: str, user: Mapping[str, str], marks: Mapping[str, str]
) -> list[Operation]:
    """Make a pool with its first user, without the reserved addresses of one that stood there before.

    Args:
        context: of the pool.
        subnet: of the pool.
        key: what it is filed under.
        user: token and host.
        marks: when it is made, and for whom a subnet was chosen: its `CREATED` and `CHOSEN`.
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
    """Strike a user out, and with the last one the pool; the second answer's count says whether it went."""
    return leave(pool_id(key), [token])


def leave(row: UUID, tokens: Sequence[str]) -> list[Operation]:
    """Strike users out of a pool or a reserved address, which goes with the last one, as `pool_leave`."""
    return _leave([row_is(row)], tokens)


def reserved_del(key: str) -> list[Operation]:
    """Remove the reserved addresses of a pool that went, and a swarm's leases that no host uses (two scans).

    Refused with `RequirementError` when the pool is there again: they may be another host's by now.
    """
    unused = [swarm_on(""), ("external_ids", "includes", to_map({POOL: key}))]
    gone = require(TABLE, [row_is(pool_id(key))], ["_uuid"], [])
    return [gone, _reserved_delete(key), delete(TABLE, unused)]


def _reserved_delete(key: str) -> Operation:
    return delete(TABLE, [("external_ids", "includes", to_map({KIND: RESERVED, POOL: key}))])


def enter(where: Sequence[Condition], token: str, host: str) -> Operation:
    """Add a user to what has users: they stand in ``options``, which OVN reads only in rows it refers to."""
    return mutate(TABLE, where, ("options", "insert", to_map({token: host})))


def _leave(where: Sequence[Condition], tokens: Sequence[str]) -> list[Operation]:
    """Strike users out, and delete what has none left."""
    return [
        mutate(TABLE, where, ("options", "delete", to_set(tokens))),
        delete(TABLE, [*where, ("options", "==", to_map({}))]),
    ]


def reserved_use(key: str, address: IPAddress, token: str, host: str) -> Operation:
    """Enter a user into a reserved address; count is 0 when it is not reserved."""
    return enter(_reserved(key, address), token, host)


def reserved_add(key: str, address: IPAddress, token: str, mark: Mark) -> list[Operation]:
    """Reserve an address for all hosts; refused with `ConstraintError` when it is taken."""
    ids = {KIND: RESERVED, POOL: key, CREATED: mark.created}
    row: Row = {"cidr": str(address), "options": to_map({token: mark.host}), "external_ids": to_map(ids)}
    return [insert(TABLE, lease_id(key, address), row), DURABLE]


def reserved_leave(key: str, address: IPAddress, token: str) -> list[Operation]:
    """Strike a user out of a reserved address, and with the last one free it."""
    return _leave(_reserved(key, address), [token])


def _reserved(key: str, address: IPAddress) -> list[Condition]:
    return [row_is(lease_id(key, address)), ("external_ids", "includes", to_map({KIND: RESERVED}))]


def pool_get(key: str) -> Operation:
    """Read the pool's hint."""
    return select(TABLE, [row_is(pool_id(key))], ["external_ids"])


def pool_list(context: str) -> Operation:
    """Read the subnets of all pools of a context (a scan: only where a pool is made)."""
    marks = to_map({KIND: "pool", CONTEXT: context})
    return select(TABLE, [("external_ids", "includes", marks)], ["cidr"])


def lease_list(host: str) -> Operation:
    """Read all leases and claims of a host (a scan: not for a container's path)."""
    marked = ("external_ids", "includes", to_map({HOST: host}))
    no_host = ("external_ids", "excludes", to_map({KIND: HOST_ROW}))  # the host's own row, hosts.py
    return select(TABLE, [marked, no_host], ["_uuid", "cidr", "external_ids"])


def kind_list(kind: str) -> Operation:
    """Read all pools, or all reserved addresses, whoever's (a scan)."""
    columns = ["_uuid", "cidr", "options", "external_ids"]
    return select(TABLE, [("external_ids", "includes", to_map({KIND: kind}))], columns)


def lease_del_unchanged(row: UUID, marks: Mapping[str, str]) -> list[Operation]:
    """Give up a lease of a host if its external_ids are these still."""
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
    """Write down which address was leased last."""
    return change([row_is(pool_id(key))], {NEXT: str(int(address))})


def lease_get(key: str, address: Address) -> Operation:
    """Read who has an address; the row goes to `read_lease`."""
    return select(TABLE, [row_is(lease_id(key, address))], ["external_ids"])


def lease_probe(key: str, address: IPAddress) -> Operation:
    """Ask only whether an address is taken."""
    return select(TABLE, [row_is(lease_id(key, address))], ["_uuid"])


def lease_held(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Abort the transaction with `RequirementError` unless this host has the lease for this endpoint.

    Args:
        key: of the pool.
        address: the one leased.
        host: this one's ``system-id``.
        endpoint_id: the endpoint that stands in the lease, or "" for none yet.
    """
    uuid = lease_id(key, address)
    mine = [row_is(uuid), of_endpoint(host, LEASE, endpoint_id)]
    return require(TABLE, mine, ["_uuid"], [{"_uuid": reference(uuid)}])


def lease_bind(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Enter the endpoint into the lease of this host; count is 0 when this host has none."""
    mine = ("external_ids", "includes", to_map({HOST: host}))
    return change([row_is(lease_id(key, address)), mine], {ENDPOINT: endpoint_id})


def lease_take(key: str, address: Address, host: str) -> Operation:
    """Enter this host into a swarm's lease that no host uses; count is 0 where there is no such lease."""
    return change([row_is(lease_id(key, address)), swarm_on("")], {HOST: host})


def swarm_on(host: str) -> Condition:
    """That a lease is a swarm's and used by this host, or by none where that is ""."""
    return ("external_ids", "includes", to_map({KIND: LEASE, HOST: host} | SWARMS))


def change(where: Sequence[Condition], ids: Mapping[str, str]) -> Operation:
    """Write keys into external_ids in place of those that are there."""
    return mutate(TABLE, where, *replace_keys("external_ids", ids))


def lease_undo(key: str, address: IPAddress, request: str) -> list[Operation]:
    """Give up the lease that one request made, and no other's."""
    return [
        delete(
            TABLE, [row_is(lease_id(key, address)), ("external_ids", "includes", to_map({REQUEST: request}))]
        )
    ]


def lease_unbind(key: str, address: IPAddress, host: str, endpoint_id: str) -> Operation:
    """Strike the endpoint out of its lease; another endpoint's lease is left as it is."""
    return _unbind([row_is(lease_id(key, address)), of_endpoint(host, LEASE, endpoint_id)])


def _unbind(where: Sequence[Condition]) -> Operation:
    return change(where, {ENDPOINT: ""})


def of_endpoint(host: str, kind: str, endpoint_id: str) -> Condition:
    """That a lease or claim is this endpoint's of this host; the endpoint is "" where none uses it."""
    return ("external_ids", "includes", to_map({HOST: host, KIND: kind, ENDPOINT: endpoint_id}))


def lease_del(key: str, address: IPAddress, host: str) -> list[Operation]:
    """Give up a lease of this host that no endpoint uses; what another has, and what is reserved, stays.

    What a swarm has is its own again. Docker repeats a ReleaseAddress whose reply was lost (moby
    pkg/plugins/client.go callWithRetry). By then the address may be another container's of this host.
    """
    return drop([row_is(lease_id(key, address)), of_endpoint(host, LEASE, "")])


def drop(where: Sequence[Condition]) -> list[Operation]:
    """Delete leases and claims, and give a swarm back what is a swarm's; the counts together say how many."""
    return [
        delete(TABLE, [*where, ("external_ids", "excludes", to_map(SWARMS))]),
        change([*where, OF_A_SWARM], {HOST: "", ENDPOINT: ""}),
    ]


def claim_del(key: str, address: Address, host: str, endpoint_id: str) -> Operation:
    """Give up the address that an endpoint of this host claimed."""
    return delete(TABLE, [row_is(lease_id(key, address)), of_endpoint(host, CLAIM, endpoint_id)])


def claims_del(key: str, host: str) -> Operation:
    """Give up all that this host claimed on a switch (a scan: only for one that went with ports on it)."""
    marks = to_map({KIND: CLAIM, POOL: key, HOST: host})
    return delete(TABLE, [("external_ids", "includes", marks)])


def endpoint_del(endpoint_id: str, host: str) -> list[Operation]:
    """Strike an endpoint of this host out of whatever it has (two scans: only where its port is gone)."""
    return [
        delete(TABLE, [of_endpoint(host, CLAIM, endpoint_id)]),
        _unbind([of_endpoint(host, LEASE, endpoint_id)]),
    ]


def read_users(row: Row) -> Mapping[str, str]:
    """The users of a pool: token to host."""
    return mapping(row["options"])


def read_chooser(row: Row) -> str:
    """The host for whose network the subnet was chosen; "" where somebody named it, or that one left."""
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


# --- What a swarm has in pools: leases that outlive the manager who asked for them, and its networks. Pure. -
# A swarm's leader allocates each address, and the node that runs the task asks for the same one again (moby
# libnetwork/cnmallocator/networkallocator.go AllocateTask). So a lease has up to two holders, the swarm and a
# host, and goes with the last.


def lease_adopt(key: str, address: IPAddress) -> Operation:
    """Enter the swarm into a lease, whoever's; count is 0 where there is none."""
    leased: Condition = ("external_ids", "includes", to_map({KIND: LEASE}))
    return change([row_is(lease_id(key, address)), leased], SWARMS)


def swarm_lease_del(key: str, address: IPAddress, host: str) -> list[Operation]:
    """Give up a lease of the global address space: a swarm's, which stays with a host that uses it still.

    Outside a swarm Docker takes the addresses of a network of global scope from there too (moby
    libnetwork/network.go deriveAddressSpace): where no swarm has the lease it is this host's.
    """
    this = row_is(lease_id(key, address))
    not_a_swarms: Condition = ("external_ids", "excludes", to_map(SWARMS))
    return [
        delete(TABLE, [this, not_a_swarms, of_endpoint(host, LEASE, "")]),
        delete(TABLE, [this, swarm_on("")]),
        mutate(TABLE, [this, OF_A_SWARM], ("external_ids", "delete", to_map(SWARMS))),
    ]


def network_enter(network_id: str, token: str, host: str) -> Operation:
    """Enter a swarm's network into a pool and its gateway, in place of the manager who asked (a scan).

    The network stands there without a host: which manager asked is nothing that lasts.

    Args:
        network_id: of the swarm's network.
        token: the hold of the manager who asked.
        host: that manager's.
    """
    return mutate(
        TABLE,
        [("options", "includes", to_map({token: host}))],
        ("options", "insert", to_map({network_id: ""})),
        ("options", "delete", to_set([token])),
    )


def network_uses(network_id: str) -> Operation:
    """Read the pools and reserved addresses that a swarm's network stands in (a scan)."""
    where: list[Condition] = [("options", "includes", to_map({network_id: ""}))]
    return select(TABLE, where, ["_uuid", "cidr", "external_ids"])


# --- What becomes of a lease that is not given up first, so that nobody else has its address between. Pure. -


def lease_reserve(key: str, address: IPAddress, token: str, mark: Mark) -> Operation:
    """Keep from all hosts what this one has leased for no endpoint; count is 0 where it has no such lease."""
    not_a_swarms: Condition = ("external_ids", "excludes", to_map(SWARMS))
    unused = [row_is(lease_id(key, address)), of_endpoint(mark.host, LEASE, ""), not_a_swarms]
    ids = {KIND: RESERVED, POOL: key, CREATED: mark.created}
    return update(TABLE, unused, {"options": to_map({token: mark.host}), "external_ids": to_map(ids)})


def lease_forsake(key: str, address: IPAddress, token: str) -> Operation:
    """Give up what was leased by its address through one hold on a pool, and no endpoint uses."""
    unused = {KIND: LEASE, HOLD: token, ENDPOINT: ""}
    return delete(TABLE, [row_is(lease_id(key, address)), ("external_ids", "includes", to_map(unused))])


def lease_take_over(key: str, address: IPAddress, found: Lease, lease: Lease, mark: Mark) -> Operation:
    """Make the lease of one request another request's of the same host, which no endpoint uses yet.

    Count is 0 where it is not as it was found. An undo of the first request, if one is due still, meets
    nothing of its own from then on.
    """
    was = {KIND: LEASE, HOST: mark.host, ENDPOINT: found.endpoint_id, REQUEST: found.request}
    unchanged: Condition = ("external_ids", "includes", to_map(was))
    ids = {ENDPOINT: "", REQUEST: lease.request, HOLD: lease.hold, NAME: lease.name, CREATED: mark.created}
    return change([row_is(lease_id(key, address)), unchanged], ids)


# --- The pools of a routing context, of which no two overlap. Pure. -----------------------------------------


def pools_are(context: str, subnets: Iterable[str]) -> Operation:
    """Abort the transaction with `RequirementError` unless these are all pools of a context (a scan)."""
    marks = to_map({KIND: POOL_ROW, CONTEXT: context})
    rows = [{"cidr": each} for each in subnets]
    return require(TABLE, [("external_ids", "includes", marks)], ["cidr"], rows)
