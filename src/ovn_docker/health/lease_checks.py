"""Findings about addresses: pools, leases and reserved addresses against what Docker has. Pure."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from ovn_docker.address_pools import first_gateway
from ovn_docker.docker.models import Endpoint, Network, PoolConfig
from ovn_docker.health.findings import Finding, container_name, endpoint_name, short
from ovn_docker.health.snapshot import OwnedLease, Snapshot


def check_pools(snapshot: Snapshot) -> Iterator[Finding]:
    """Each network with our IPAM's addresses is entered into its pools, and its gateway is reserved."""
    entered = {each.key for each in snapshot.held.pools if each.tokens}
    for network in snapshot.docker.networks.values():
        if not network.is_leased_by(snapshot.driver_name):
            continue
        for pool in (each for each in network.pools if each.subnet):
            subnet, key = pool.subnet, snapshot.pool_key(network, pool.subnet)
            if key and (key not in entered or not _reserves(snapshot, key, pool)):
                text = (
                    f"pool {subnet} of network {network.name} does not know this host, or lacks its gateway"
                )
                yield Finding("pool-missing", f"{network.network_id} {subnet}", text, (network, subnet))


def _reserves(snapshot: Snapshot, key: str, pool: PoolConfig) -> bool:
    """Whether gateway and auxiliary addresses are kept from all containers.

    Docker has asked for a gateway even where nobody named one, but does not always say which it was told.
    """
    holds = {token for each in snapshot.held.pools if each.key == key for token in each.tokens}
    reserved = {each.cidr for each in snapshot.held.reserved if each.key == key and each.tokens & holds}
    others = set(pool.aux_addresses.values())
    usual = str(first_gateway(ipaddress.ip_network(pool.subnet)))  # which may be an auxiliary address too
    gateway = pool.gateway in reserved if pool.gateway else bool(reserved - others or usual in reserved)
    return gateway and others <= reserved


def check_leases(snapshot: Snapshot) -> Iterator[Finding]:
    """Each address that needs a lease has one of this host, for its endpoint."""
    have = {(each.key, each.address, each.endpoint_id) for each in snapshot.held.leases}
    taken = {(each.key, each.address, each.endpoint_id): each.holder for each in snapshot.held.taken}
    for network in snapshot.docker.networks.values():
        leased = network.is_leased_by(snapshot.driver_name)
        for endpoint in network.endpoints.values():
            for key, address in _needed(snapshot, network, endpoint):
                if (key, address, endpoint.endpoint_id) in have or (
                    # of a driver without ports of ours, so that nobody entered the endpoint into the lease
                    not network.is_of(snapshot.driver_name) and (key, address, "") in have
                ):
                    continue
                subject = f"{key} {address} {endpoint.endpoint_id}"
                if holder := taken.get((key, address, endpoint.endpoint_id)):
                    yield Finding("address-taken", subject, _lost(snapshot, endpoint, address, holder))
                    continue
                text = f"{endpoint_name(snapshot.docker, endpoint)} has no lease for {address}"
                yield Finding("lease-missing", subject, text, (key, address, endpoint, leased))


def _lost(snapshot: Snapshot, endpoint: Endpoint, address: str, holder: str) -> str:
    """That another has an endpoint's address by now, and what to type where a container is on it."""
    lost = f"{endpoint_name(snapshot.docker, endpoint)} has lost its address {address} in OVN: {holder}"
    if not endpoint.container_id:
        return lost
    container = container_name(snapshot.docker, endpoint).split()[1]
    return (
        f"{lost}; 'docker restart {container}' gives it another address, but where --ip named this one,"
        " make the container again with another --ip"
    )


def _needed(snapshot: Snapshot, network: Network, endpoint: Endpoint) -> Iterator[tuple[str, str]]:
    held = snapshot.held.networks.get(network.network_id)
    for interface in endpoint.interfaces:
        whole = ipaddress.ip_interface(interface)
        subnet = str(whole.network)
        if held is not None and held.keys:
            key = held.keys.get(subnet, "")
        elif network.is_leased_by(snapshot.driver_name):
            key = snapshot.pool_key(network, subnet)
        else:
            key = ""
        if key:
            yield key, str(whole.ip)


def check_stale_leases(snapshot: Snapshot) -> Iterator[Finding]:
    """A lease belongs to an endpoint of Docker's, or at least to an address that Docker has in use."""
    in_use = {
        address
        for network in snapshot.docker.networks.values()
        if network.has_foreign_ipam
        for address in _addresses(network)
    }
    for lease in snapshot.held.leases:
        if not _is_live(snapshot, lease, in_use):
            whose = f"endpoint {short(lease.endpoint_id)}" if lease.endpoint_id else "no endpoint"
            text = f"address {lease.address} is leased to {whose}, and Docker does not use it"
            subject = " ".join([str(lease.row), *sorted(lease.marks.values())])
            yield Finding("lease-stale", subject, text, lease)


def _addresses(network: Network) -> Iterator[str]:
    """The addresses that a network has in use, or keeps from its containers."""
    for endpoint in network.endpoints.values():
        yield from endpoint.addresses
    for pool in network.pools:
        yield from pool.aux_addresses.values()


def _is_live(snapshot: Snapshot, lease: OwnedLease, in_use: set[str]) -> bool:
    if not lease.endpoint_id:
        return lease.address in in_use
    endpoint = snapshot.docker.endpoint(lease.endpoint_id)
    if endpoint is not None:
        return True
    # A container that runs on a network which this Docker does not know keeps its address too.
    return any(
        each.endpoint_id == lease.endpoint_id and each.network_id not in snapshot.docker.networks
        for each in snapshot.attached
    )


def check_stale_pools(snapshot: Snapshot) -> Iterator[Finding]:
    """A pool that no network of Docker's has is left; a reserved address goes with the pool it is of.

    Docker does not tell which hold is which network's, so that a surplus one goes with the last.
    """
    docker = snapshot.docker
    subnets = {
        pool.subnet
        for network in (*docker.networks.values(), *docker.elsewhere.values())
        if network.has_foreign_ipam  # a manager may hold a pool for a swarm's network that is elsewhere
        for pool in network.pools
    }
    holds = {each.key: each.tokens for each in snapshot.held.pools if each.cidr in subnets}
    to_be_entered = {
        snapshot.pool_key(network, pool.subnet)
        for network in snapshot.docker.networks.values()
        if network.is_leased_by(snapshot.driver_name)
        for pool in network.pools
        if pool.subnet
    } - {key for key, tokens in holds.items() if tokens}
    for pool in snapshot.held.pools:
        if pool.tokens and pool.cidr not in subnets:
            text = f"this host stands in pool {pool.cidr}, and no network here has its addresses from it"
            yield Finding("pool-stale", f"{pool.key} {' '.join(sorted(pool.tokens))}", text, pool)
    for address in snapshot.held.reserved:
        surplus = address.tokens - holds.get(address.key, frozenset())
        if surplus and address.key not in to_be_entered:
            text = f"address {address.cidr} is reserved for a network that this host has not"
            subject = f"{address.key} {address.cidr} {' '.join(sorted(surplus))}"
            yield Finding("reserved-stale", subject, text, replace(address, tokens=surplus))
