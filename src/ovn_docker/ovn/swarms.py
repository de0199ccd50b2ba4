"""What a swarm has in pools: leases that outlive the manager who asked for them, and its networks. Pure.

A swarm's leader allocates each address, and the node that runs the task asks for the same one again (moby
libnetwork/cnmallocator/networkallocator.go AllocateTask). So a lease has up to two holders, the swarm and a
host, and goes with the last.
"""

from ovn_docker.addressing import IPAddress
from ovn_docker.ovn.leases import (
    KIND,
    LEASE,
    OF_A_SWARM,
    SWARMS,
    TABLE,
    change,
    enter,
    lease_id,
    of_endpoint,
    swarm_on,
)
from ovn_docker.ovsdb.operations import Condition, Operation, delete, mutate, row_is, select
from ovn_docker.ovsdb.values import to_map, to_set


def lease_adopt(key: str, address: IPAddress) -> Operation:
    """Enter the swarm into a lease, whoever's; count is 0 where there is none."""
    leased: Condition = ("external_ids", "includes", to_map({KIND: LEASE}))
    return change([row_is(lease_id(key, address)), leased], SWARMS)


def lease_del(key: str, address: IPAddress, host: str) -> list[Operation]:
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
    operation = enter([("options", "includes", to_map({token: host}))], network_id, "")
    operation["mutations"] += [("options", "delete", to_set([token]))]
    return operation


def network_uses(network_id: str) -> Operation:
    """Read the pools and reserved addresses that a swarm's network stands in (a scan)."""
    where: list[Condition] = [("options", "includes", to_map({network_id: ""}))]
    return select(TABLE, where, ["_uuid", "cidr", "external_ids"])
