"""What becomes of a lease that is not given up first, so that nobody else has its address between. Pure."""

from ovn_docker.addressing import IPAddress
from ovn_docker.ovn.leases import (
    ENDPOINT,
    HOLD,
    KIND,
    LEASE,
    NAME,
    POOL,
    REQUEST,
    RESERVED,
    SWARMS,
    TABLE,
    Lease,
    change,
    lease_id,
    of_endpoint,
)
from ovn_docker.ovn.switches import CREATED, HOST, Mark
from ovn_docker.ovsdb.operations import Condition, Operation, delete, row_is, update
from ovn_docker.ovsdb.values import to_map


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
