"""From a snapshot to findings: one function for each thing that is compared. Pure.

The direction is always Docker's: what it has is to be whole, what it has not is to go.
"""

from collections.abc import Callable, Iterator, Mapping

from ovn_docker import addressing
from ovn_docker.docker.models import Container, Endpoint, Network
from ovn_docker.health import (
    central_checks,
    container_checks,
    host_checks,
    lease_checks,
    openstack_checks,
    plugin_checks,
)
from ovn_docker.health.findings import Finding, allowed
from ovn_docker.health.snapshot import HeldEndpoint, Snapshot
from ovn_docker.health.wording import container_name, endpoint_name, short

CONTAINER, NAME, LABEL = "ovn-docker-container", "ovn-docker-name", "ovn-docker-label:"
"""Keys of a port's external_ids, by which people find it."""

MOST_LABELS, LONGEST_LABEL = 32, 256
"""How many labels of a container are written to its port, and how long: OVN hands each to every chassis.

A label with a longer key is left out, for a part of a key is another's key. OVSDB takes no NUL.
"""


def check(snapshot: Snapshot) -> list[Finding]:
    """Every discrepancy that may be told, in the order in which they are best repaired.

    While a container runs on a network that Docker does not know, nothing is to be removed: this Docker may
    not be the one that the driver serves, and then all that is held is another's. While this machine is not
    the one that it was told to be, nothing is to be repaired either (`findings.Kind.bars`).
    """
    return allowed(finding for each in CHECKS for finding in each(snapshot))


def check_name(snapshot: Snapshot) -> Iterator[Finding]:
    """What carries this host's name is its own."""
    if snapshot.taken is not None:
        yield Finding("name-taken", *snapshot.taken)


def check_host(snapshot: Snapshot) -> Iterator[Finding]:
    """OVN serves this host."""
    yield from host_checks.check_host(snapshot.host)


def check_networks(snapshot: Snapshot) -> Iterator[Finding]:
    """What Docker has is made again; what it has not goes, but never from under a container that runs."""
    for network in _ours(snapshot):
        held = snapshot.held.networks.get(network.network_id)
        if held is None or not held.whole:
            text = f"network {network.name} is not in {snapshot.store}, or not all of it"
            yield Finding("network-missing", network.network_id, text, network)
    alive = _networks_alive(snapshot)
    for network_id, remembered in snapshot.held.networks.items():
        if network_id in snapshot.docker.elsewhere and not remembered.keys:
            continue  # a swarm's, which other nodes hold
        if network_id not in snapshot.docker.networks and network_id not in alive:
            text = f"{snapshot.store} has network {short(network_id)}, which Docker on this host has not"
            yield Finding("network-stale", network_id, text, network_id)


def check_switches(snapshot: Snapshot) -> Iterator[Finding]:
    """A switch for several networks that was made for one which never came to be."""
    for switch in snapshot.held.switches:
        if switch.network_id in snapshot.docker.networks:
            continue  # of another driver on this host, which keeps a file of its own
        text = f"logical switch {switch.name} was made by this host, and none of its networks is on it"
        yield Finding("switch-stale", str(switch.row), text, switch)


def check_endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    """Each endpoint of Docker's has its port, with its addresses and its container's names."""
    held = {each.endpoint_id: each for each in snapshot.held.endpoints}
    for network in _ours(snapshot):
        for endpoint in network.endpoints.values():
            if endpoint.endpoint_id in held:
                yield from _compare(snapshot, endpoint, held[endpoint.endpoint_id])
            elif endpoint.endpoint_id not in snapshot.held.cut_off:  # a port would be a second of its address
                text = f"{endpoint_name(snapshot.docker, endpoint)} has no port in {snapshot.store}"
                yield Finding("endpoint-missing", endpoint.endpoint_id, text, endpoint)


def _compare(snapshot: Snapshot, endpoint: Endpoint, held: HeldEndpoint) -> Iterator[Finding]:
    what = f"the port of {endpoint_name(snapshot.docker, endpoint)}"
    wanted = {endpoint.mac, *endpoint.addresses} - {""}
    if not wanted <= set(held.addresses):
        docker = " ".join([endpoint.mac, *endpoint.addresses])
        text = f"{what} has the addresses {' '.join(held.addresses)}, Docker says {docker}"
        yield Finding("endpoint-changed", endpoint.endpoint_id, text, endpoint)
    container = snapshot.docker.containers.get(endpoint.container_id)
    if container is None or held.names is None:
        return
    if names_of(container) != held.names:
        text = f"{what} does not carry the container's name and labels"
        yield Finding("names-changed", endpoint.endpoint_id, text, (endpoint, names_of(container)))


def check_stale_endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    """What Docker has no endpoint for goes, unless a container runs on it: see `check_alive`."""
    alive = _endpoints_alive(snapshot)
    for held in snapshot.held.endpoints:
        if snapshot.docker.endpoint(held.endpoint_id) is None and held.endpoint_id not in alive:
            on = snapshot.docker.networks.get(held.network_id)
            text = (
                f"{snapshot.store} has a port for endpoint {short(held.endpoint_id)} of network"
                f" {on.name if on else short(held.network_id)}, which Docker has not"
            )
            yield Finding("endpoint-stale", held.endpoint_id, text, (held.network_id, held.endpoint_id))


def check_interfaces(snapshot: Snapshot) -> Iterator[Finding]:
    """Each joined endpoint's link is plugged in and in use; each interface has an endpoint."""
    attached = {each.endpoint_id: each for each in snapshot.attached}
    for network in _ours(snapshot):
        for endpoint in network.endpoints.values():
            if not endpoint.container_id:
                continue
            outside, _ = addressing.link_names(endpoint.endpoint_id)
            container = container_name(snapshot.docker, endpoint)
            what = f"interface {outside} of {endpoint_name(snapshot.docker, endpoint)}"
            found = attached.get(endpoint.endpoint_id)
            if outside not in snapshot.links:
                text = f"{what} is gone from the kernel: 'docker restart {container.split()[1]}'"
                yield Finding("interface-lost", endpoint.endpoint_id, text)
            elif found is None:
                text = f"{what} is not plugged into a bridge"
                yield Finding("interface-missing", endpoint.endpoint_id, text, endpoint)
            elif not found.installed and endpoint.endpoint_id not in snapshot.held.cut_off:
                why = found.error or _NOT_INSTALLED[found.vlan is not None]
                yield Finding("interface-dead", endpoint.endpoint_id, f"{what} carries nothing: {why}")
    alive = _endpoints_alive(snapshot)
    for each in snapshot.attached:
        if not each.endpoint_id:
            continue  # somebody took its iface-id away: whose it was cannot be told
        if snapshot.docker.endpoint(each.endpoint_id) is None and each.endpoint_id not in alive:
            endpoint_id = short(each.endpoint_id)
            text = f"interface {each.name} is plugged in for endpoint {endpoint_id}, which Docker has not"
            yield Finding("interface-stale", each.endpoint_id, text, each.endpoint_id)


def check_links(snapshot: Snapshot) -> Iterator[Finding]:
    """Each link of ours belongs to an endpoint that Docker has, or to an interface, which see."""
    known = {each.endpoint_id for network in snapshot.docker.networks.values() for each in _all(network)}
    known |= {each.endpoint_id for each in snapshot.attached}
    expected = {name for endpoint_id in known for name in addressing.link_names(endpoint_id)}
    for name in sorted(snapshot.links - expected):
        yield Finding("link-stale", name, f"link {name} belongs to no endpoint of Docker's", name)


def check_guard(snapshot: Snapshot) -> Iterator[Finding]:
    """The host's kernel drops what it hears from containers past Open vSwitch."""
    if snapshot.unguarded:
        text = "netfilter's table ovn-docker is not whole: containers may reach this host past OVN"
        yield Finding("guard-missing", "ovn-docker", text)


def check_alive(snapshot: Snapshot) -> Iterator[Finding]:
    """A container runs on a network that this Docker does not know: it may be another Docker's."""
    for endpoint_id, network_id in _endpoints_alive(snapshot).items():
        text = (
            f"a container runs on network {short(network_id)}, which Docker does not know, so nothing may be"
            " removed: see whether --docker-socket names the Docker that the driver serves"
        )
        yield Finding("interface-alive", endpoint_id, text)


def check_lookups(snapshot: Snapshot) -> Iterator[Finding]:
    """The switch holds the flows of IP lookups that it should, and no others of ours."""
    for kind, flows, what in (
        ("lookup-missing", snapshot.lookups.missing, "missing or wrong"),
        ("lookup-surplus", snapshot.lookups.stale, "there and should not be"),
    ):
        if flows:
            yield Finding(
                kind, "ip-lookup", f"{len(flows)} flow(s) of IP lookups are {what}, such as {flows[0]}"
            )
    if snapshot.lookups.outage:
        yield Finding("lookup-off", "ip-lookup", snapshot.lookups.outage)
    for subject, text in snapshot.lookups.down:
        yield Finding("vtep-down", subject, text)


_NOT_INSTALLED = {
    False: "ovn-controller has not installed its flows: 'ovn-appctl -t ovn-controller connection-status'",
    True: "ovs-vswitchd does not use it: 'ovs-vsctl show'",
}
"""Why an interface passes no packets, by whether it is an access port of a VLAN."""

CHECKS: tuple[Callable[[Snapshot], Iterator[Finding]], ...] = (
    check_name,
    check_guard,
    check_host,
    openstack_checks.check_cloud,
    openstack_checks.check_bridge,
    lease_checks.check_pools,
    check_networks,
    check_stale_endpoints,  # what Docker has forgotten may have the address of what it has
    lease_checks.check_stale_leases,
    lease_checks.check_leases,
    check_endpoints,
    check_interfaces,
    openstack_checks.check_vlans,
    check_alive,
    check_links,
    check_switches,
    check_lookups,
    lease_checks.check_stale_pools,
    plugin_checks.check_plugins,
    central_checks.check_central,
    container_checks.check_stopped,  # when all that they need is whole
)


def names_of(container: Container) -> dict[str, str]:
    """What a port's external_ids say of its container."""
    labels = sorted(each for each in container.labels.items() if len(each[0]) <= LONGEST_LABEL)[:MOST_LABELS]
    return {
        CONTAINER: container.container_id,
        NAME: container.name,
        **{LABEL + key: value[:LONGEST_LABEL] for key, value in labels if "\0" not in key + value},
    }


def is_name(key: str) -> bool:
    """Whether a key of external_ids is one that `names_of` writes."""
    return key in {CONTAINER, NAME} or key.startswith(LABEL)


def _ours(snapshot: Snapshot) -> list[Network]:
    return [each for each in snapshot.docker.networks.values() if each.is_of(snapshot.driver_name)]


def _all(network: Network) -> list[Endpoint]:
    return list(network.endpoints.values())


def _endpoints_alive(snapshot: Snapshot) -> Mapping[str, str]:
    """Endpoints of networks unknown to Docker whose container's end is in a container, with their network."""
    alive = {}
    for each in snapshot.attached:
        outside, inside = addressing.link_names(each.endpoint_id)
        if each.network_id in snapshot.docker.networks:
            continue
        if outside in snapshot.links and inside not in snapshot.links:
            alive[each.endpoint_id] = each.network_id
    return alive


def _networks_alive(snapshot: Snapshot) -> set[str]:
    return set(_endpoints_alive(snapshot).values())
