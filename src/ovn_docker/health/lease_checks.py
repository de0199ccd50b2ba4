"""Findings about addresses: pools, leases and reserved addresses against what Docker has. Pure."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from ovn_docker.address_pools import first_gateway
from ovn_docker.docker.models import Endpoint, Network, PoolConfig
from ovn_docker.health.findings import Finding, container_name, endpoint_name, short
from ovn_docker.health.snapshot import OwnedLease, Snapshot


def check_pools(snapshot: Snapshot) -> Iterator[Finding]:
    """Each network of our IPAM is registered in its pools, and its gateway is reserved."""
    registered = {pool.key for pool in snapshot.held.pools if pool.tokens}
    for network in snapshot.docker.networks.values():
        if not network.is_leased_by(snapshot.driver_name):
            continue
        for pool in (pool for pool in network.pools if pool.subnet):
            subnet, key = pool.subnet, snapshot.pool_key(network, pool.subnet)
            if key and (key not in registered or not _reserves(snapshot, key, pool)):
                text = (
                    f"pool {subnet} of network {network.name} has no reference to this host, or its gateway"
                    " or an auxiliary address is not reserved"
                )
                yield Finding("pool-missing", f"{network.network_id} {subnet}", text, (network, subnet))


def _reserves(snapshot: Snapshot, key: str, pool: PoolConfig) -> bool:
    """Whether gateway and auxiliary addresses are reserved.

    Docker has requested a gateway even where nobody named one, but does not always say which one it got.
    """
    holds = {token for held in snapshot.held.pools if held.key == key for token in held.tokens}
    reserved = {held.cidr for held in snapshot.held.reserved if held.key == key and held.tokens & holds}
    auxiliary = set(pool.aux_addresses.values())
    usual = str(first_gateway(ipaddress.ip_network(pool.subnet)))  # which may be an auxiliary address too
    gateway = pool.gateway in reserved if pool.gateway else bool(reserved - auxiliary or usual in reserved)
    return gateway and auxiliary <= reserved


def check_leases(snapshot: Snapshot) -> Iterator[Finding]:
    """Each address that needs a lease has one of this host, for its endpoint."""
    leased = {(lease.key, lease.address, lease.endpoint_id) for lease in snapshot.held.leases}
    taken = {(lost.key, lost.address, lost.endpoint_id): lost.holder for lost in snapshot.held.taken}
    for network in snapshot.docker.networks.values():
        by_our_ipam = network.is_leased_by(snapshot.driver_name)
        for endpoint in network.endpoints.values():
            for key, address in _needed(snapshot, network, endpoint):
                if (key, address, endpoint.endpoint_id) in leased or (
                    # of a driver without ports of ours, so that nobody wrote the endpoint into the lease
                    not network.is_of(snapshot.driver_name) and (key, address, "") in leased
                ):
                    continue
                subject = f"{key} {address} {endpoint.endpoint_id}"
                if holder := taken.get((key, address, endpoint.endpoint_id)):
                    yield Finding("address-taken", subject, _lost(snapshot, endpoint, address, holder))
                    continue
                text = f"{endpoint_name(snapshot.docker, endpoint)} has no lease for {address}"
                yield Finding("lease-missing", subject, text, (key, address, endpoint, by_our_ipam))


def _lost(snapshot: Snapshot, endpoint: Endpoint, address: str, holder: str) -> str:
    """That another has an endpoint's address now, and what to type if a container uses the endpoint."""
    lost = f"{endpoint_name(snapshot.docker, endpoint)} has lost its address {address} in OVN: {holder}"
    if not endpoint.container_id:
        return lost
    container = container_name(snapshot.docker, endpoint).split()[1]
    return (
        f"{lost}; 'docker restart {container}' gives it another address, but if --ip named this one, create"
        " the container again with another --ip"
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
    """A lease belongs to an endpoint of Docker's, or at least to an address that Docker uses."""
    in_use = {
        address
        for network in snapshot.docker.networks.values()
        if network.has_foreign_ipam
        for address in _addresses(network)
    }
    for lease in snapshot.held.leases:
        if not _is_live(snapshot, lease, in_use):
            user = f"endpoint {short(lease.endpoint_id)}" if lease.endpoint_id else "no endpoint"
            text = f"address {lease.address} is leased to {user}, and Docker does not use it"
            subject = " ".join([str(lease.row), *sorted(lease.marks.values())])
            yield Finding("lease-stale", subject, text, lease)


def _addresses(network: Network) -> Iterator[str]:
    """The addresses that a network's endpoints have, and its auxiliary addresses."""
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
        interface.endpoint_id == lease.endpoint_id and interface.network_id not in snapshot.docker.networks
        for interface in snapshot.attached
    )


def check_stale_pools(snapshot: Snapshot) -> Iterator[Finding]:
    """This host refers to a pool, and reserves addresses in it, only while one of its networks uses it.

    Docker does not say which reference is which network's, so that a surplus one goes with the last.
    """
    docker = snapshot.docker
    subnets = {
        pool.subnet
        for network in (*docker.networks.values(), *docker.elsewhere.values())
        if network.has_foreign_ipam  # a manager may hold a pool for a swarm's network that is elsewhere
        for pool in network.pools
    }
    holds = {pool.key: pool.tokens for pool in snapshot.held.pools if pool.cidr in subnets}
    missing = {
        snapshot.pool_key(network, pool.subnet)
        for network in snapshot.docker.networks.values()
        if network.is_leased_by(snapshot.driver_name)
        for pool in network.pools
        if pool.subnet
    } - {key for key, tokens in holds.items() if tokens}
    for pool in snapshot.held.pools:
        if pool.tokens and pool.cidr not in subnets:
            text = f"this host has a reference to pool {pool.cidr}, which none of its networks uses"
            yield Finding("pool-stale", f"{pool.key} {' '.join(sorted(pool.tokens))}", text, pool)
    for address in snapshot.held.reserved:
        surplus = address.tokens - holds.get(address.key, frozenset())
        if surplus and address.key not in missing:
            text = f"address {address.cidr} is reserved for a network that this host does not have"
            subject = f"{address.key} {address.cidr} {' '.join(sorted(surplus))}"
            yield Finding("reserved-stale", subject, text, replace(address, tokens=surplus))
