"""A host on which Docker, Northbound, Open vSwitch and the kernel agree, and parts of it to change.

For tests of the health check: a snapshot of such a host has no findings.
"""

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ovn_docker import address_pools, addressing
from ovn_docker.addressing import row_id
from ovn_docker.docker.dns_names import labels
from ovn_docker.docker.models import Container, DockerState, Endpoint, Network, PoolConfig
from ovn_docker.health.checks import names_of
from ovn_docker.health.snapshot import Owned, OwnedEndpoint, OwnedLease, OwnedNetwork, OwnedPool, Snapshot
from ovn_docker.host.open_vswitch import IFACE_ID, NETWORK, Attached
from ovn_docker.ovn.names import Named

DRIVER, CONTEXT = "openvswitch", "default"
OWN_IPAM, DOCKERS = DRIVER, "default"


def long_id(*words: object) -> str:
    """An id as Docker makes them, the same for the same words."""
    return hashlib.sha256(repr(words).encode()).hexdigest()


def container(name: str, labels: Mapping[str, str] | None = None) -> Container:
    """A container that runs."""
    return Container(long_id("container", name), name, labels or {})


def network(
    name: str, *subnets: str, members: Sequence[Container] = (), driver: str = DRIVER, ipam: str = DOCKERS
) -> Network:
    """A network with the containers that are on it; each has one address of each subnet."""
    network_id = long_id("network", name)
    ranges = [ipaddress.ip_network(subnet) for subnet in subnets]
    endpoints = [
        Endpoint(
            network_id=network_id,
            endpoint_id=long_id("endpoint", name, member.container_id),
            mac=addressing.mac_for("", [pool[number + 2] for pool in ranges[:1]]),
            interfaces=tuple(f"{pool[number + 2]}/{pool.prefixlen}" for pool in ranges),
            container_id=member.container_id,
        )
        for number, member in enumerate(members)
    ]
    return Network(
        network_id=network_id,
        name=name,
        driver=driver,
        ipam_driver=ipam,
        ipam_options={},
        pools=tuple(PoolConfig(str(range_), "", {}) for range_ in ranges),
        internal=False,
        ipv6=any(range_.version == 6 for range_ in ranges),
        options={},
        endpoints={endpoint.endpoint_id: endpoint for endpoint in endpoints},
    )


def docker(*networks: Network, containers: Sequence[Container] = ()) -> DockerState:
    """What Docker has."""
    return DockerState(
        {network.network_id: network for network in networks},
        {container.container_id: container for container in containers},
    )


def pool_key(network: Network, subnet: str) -> str:  # noqa: ARG001  (all are of one context)
    """What a pool is filed under."""
    return address_pools.switch_name(CONTEXT, addressing.network(subnet, "pool"))


def keys_of(network: Network, claimed: bool) -> dict[str, str]:  # noqa: FBT001
    """What the addresses of a network's endpoints are filed under, where they need a lease."""
    if network.is_leased_by(DRIVER) or (claimed and network.is_of(DRIVER)):
        return {pool.subnet: pool_key(network, pool.subnet) for pool in network.pools}
    return {}


def agreeing(state: DockerState, claimed: Sequence[str] = ()) -> Snapshot:
    """A snapshot without findings; the networks of these names are on shared switches with Docker's IPAM."""
    networks = list(state.networks.values())
    own = [network for network in networks if network.is_of(DRIVER)]
    joined = [(network, one) for network in own for one in network.endpoints.values() if one.container_id]
    return Snapshot(
        driver_name=DRIVER,
        docker=state,
        held=Owned(
            networks={
                network.network_id: _whole(network, keys_of(network, network.name in claimed))
                for network in own
            },
            endpoints=tuple(_port(state, one) for network in own for one in network.endpoints.values()),
            leases=tuple(
                lease(keys[str(whole.network)], str(whole.ip), one.endpoint_id if network in own else "")
                for network in networks
                if (keys := keys_of(network, network.name in claimed))
                for one in network.endpoints.values()
                for whole in map(ipaddress.ip_interface, one.interfaces)
            ),
            pools=tuple(_pools(networks)),
            reserved=tuple(
                replace(pool, cidr=str(addressing.network(pool.cidr, "pool")[1])) for pool in _pools(networks)
            ),
            names=tuple(
                _named(network, one, container)
                for network, one in joined
                if keys_of(network, network.name in claimed)
                and (container := state.containers.get(one.container_id))
            ),
        ),
        attached=tuple(attached(network.network_id, one.endpoint_id) for network, one in joined),
        links=frozenset(addressing.link_names(one.endpoint_id)[0] for _, one in joined),
        pool_key=pool_key,
    )


def _whole(network: Network, keys: Mapping[str, str]) -> OwnedNetwork:
    return OwnedNetwork(network.network_id, whole=True, keys=keys)


def _named(network: Network, endpoint: Endpoint, owner: Container) -> Named:
    switch, called = (
        addressing.row_id("switch", network.network_id),
        labels([owner.name, owner.container_id[:12]]),
    )
    return Named(network.network_id, endpoint.endpoint_id, switch, tuple(endpoint.addresses), called)


def _port(state: DockerState, endpoint: Endpoint) -> OwnedEndpoint:
    owner = state.containers.get(endpoint.container_id)
    return OwnedEndpoint(
        endpoint.network_id,
        endpoint.endpoint_id,
        (endpoint.mac, *endpoint.addresses),
        names_of(owner) if owner else {},
    )


def _pools(networks: Sequence[Network]) -> list[OwnedPool]:
    holds: dict[tuple[str, str], set[str]] = {}
    for network in networks:
        if network.is_leased_by(DRIVER):
            for pool in network.pools:
                place = pool_key(network, pool.subnet), pool.subnet
                holds.setdefault(place, set()).add(network.network_id[:12])
    return [
        OwnedPool(row_id("pool", key), key, cidr, frozenset(tokens)) for (key, cidr), tokens in holds.items()
    ]


def lease(key: str, address: str, endpoint_id: str) -> OwnedLease:
    """An address that this host has."""
    marks = {"ovn-docker-endpoint": endpoint_id, "ovn-docker-request": "r1"}
    return OwnedLease(row_id("lease", key, address), key, address, endpoint_id, marks)


def attached(network_id: str, endpoint_id: str) -> Attached:
    """An interface that is plugged in and works."""
    outside, _ = addressing.link_names(endpoint_id)
    ids = {IFACE_ID: endpoint_id, NETWORK: network_id, "ovn-installed": "true"}
    return Attached(
        outside, "", installed=True, network_id=network_id, endpoint_id=endpoint_id, external_ids=ids
    )
