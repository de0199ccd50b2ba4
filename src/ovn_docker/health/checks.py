"""From a snapshot to findings: one function for each thing that is compared. Pure.

The direction is always Docker's: what it has is to be whole, what it has not is to go.
"""

from collections.abc import Callable, Iterator, Mapping

from ovn_docker import addressing
from ovn_docker.docker.models import Container, Endpoint, Network, Stopped, Swarm, names
from ovn_docker.health import host_checks, lease_checks, openstack_checks
from ovn_docker.health.findings import Finding, allowed, container_name, endpoint_name, short
from ovn_docker.health.snapshot import OwnedEndpoint, Snapshot

# ------------------------------------------------------------------------------------------------------------
# Findings about what the driver is to Docker: a managed plugin in a swarm, of local scope outside. Pure.
# Docker tells the lack of it in other words: "no suitable node (missing plugin on 1 node)" for a task,
# "attaching to network failed" for a container, "legacy plugin … is not supported in swarm mode" for a
# network, "This node is not a swarm manager" for one of global scope.


def check_plugins(snapshot: Snapshot) -> Iterator[Finding]:
    """On a node of a swarm the driver is a managed plugin, enabled, and so on each node where tasks start.

    Outside a swarm its scope is one that this Docker takes.
    """
    if snapshot.refuses_global:
        text = global_refused(snapshot.driver_name, snapshot.refuses_global)
        yield Finding("scope-global", snapshot.driver_name, text)
    swarm = snapshot.docker.swarm
    if swarm is not None:
        yield from _on_this_node(snapshot, swarm)
        yield from _on_others(snapshot, swarm)


def global_refused(driver_name: str, version: str) -> str:
    """What is wrong with a driver of global scope, and what to do.

    Args:
        driver_name: what ``docker network create -d`` calls it.
        version: of Docker's API.
    """
    return (
        f"this Docker (API {version}) is in no swarm and makes no network of global scope, which driver"
        f" {driver_name} has: docker network create ends with 'This node is not a swarm manager': start the"
        " driver with --docker-driver-scope local and restart dockerd"
    )


def _on_this_node(snapshot: Snapshot, swarm: Swarm) -> Iterator[Finding]:
    name = snapshot.driver_name
    managed = {plugin: enabled for plugin, enabled in swarm.plugins.items() if names(plugin, name)}
    for plugin in sorted(plugin for plugin, enabled in managed.items() if not enabled):
        text = (
            f"plugin {plugin} is disabled: swarm starts no task of its networks on this node, and stops none"
            f" properly: enable it with 'docker plugin enable {plugin}'"
        )
        yield Finding("plugin-disabled", plugin, text)
    if not managed and not any(each.is_of(name) for each in snapshot.docker.networks.values()):
        text = (
            f"this host is a node of a swarm and driver {name} is not a managed plugin: Docker refuses it for"
            " networks of the swarm; install the managed plugin, whose name --driver-name takes here"
        )
        yield Finding("plugin-legacy", name, text)


def _on_others(snapshot: Snapshot, swarm: Swarm) -> Iterator[Finding]:
    networks = (*snapshot.docker.networks.values(), *snapshot.docker.elsewhere.values())
    drivers = {each.driver for each in networks if each.is_of(snapshot.driver_name)}
    for node in (each for each in swarm.nodes if each.usable):
        for driver in sorted(drivers - node.plugins):
            text = (
                f"node {node.name} has no plugin {driver}, so swarm starts no task of its networks there:"
                " install and enable it there"
            )
            yield Finding("plugin-missing", f"{node.name} {driver}", text)


# ------------------------------------------------------------------------------------------------------------
# Findings about containers that Docker should have started and could not, because of their network. Pure.
# dockerd makes one attempt at each start that a restart policy asks for, when it starts itself and when a
# container ends. What the network prevented is made up for. A start that failed otherwise is left, and so is
# a container that its user stopped.


DOCKERS_OWN = frozenset({"bridge", "host", "null", "overlay", "macvlan", "ipvlan"})
"""Drivers of networks about which no plugin is asked."""


def check_stopped(snapshot: Snapshot) -> Iterator[Finding]:
    """Each container whose policy asks for it runs, unless something else than its network is in the way."""
    wanted = [each for each in snapshot.docker.stopped if each.wanted]
    down = [each for each in wanted if each.failed_by_plugin and _by_our_network(snapshot, each)]
    for each in down:
        text = f"{_name(each)} is down because its network failed at its start, with --restart {each.policy}"
        yield Finding("container-down", each.container_id, text, each, each.error)
    on_ours = _running_on_ours(snapshot) | {each.container_id for each in down}
    for each in wanted:
        if each.failed_by_sharing and each.shares in on_ours:
            text = f"{_name(each)} is down because container {each.shares[:12]} was, whose network it shares"
            yield Finding("sharer-down", each.container_id, text, each)


def _name(stopped: Stopped) -> str:
    return f"container {stopped.name} ({stopped.container_id[:12]})"


def _by_our_network(snapshot: Snapshot, stopped: Stopped) -> bool:
    """Whether it was a network of ours that failed.

    Where Docker does not say which, the container must be on no network of another plugin.
    """
    known = {**snapshot.docker.elsewhere, **snapshot.docker.networks}
    ours, others = set(), set()
    for name, network_id in stopped.networks.items():
        network = known.get(network_id)
        if network_id in snapshot.held.networks or (network and _is_ours(snapshot, network)):
            ours.add(name)
        elif network is None or network.driver not in DOCKERS_OWN:
            others.add(name)
    return stopped.failed_on in ours if stopped.failed_on else bool(ours and not others)


def _is_ours(snapshot: Snapshot, network: Network) -> bool:
    name = snapshot.driver_name
    return network.is_of(name) or (network.driver in DOCKERS_OWN and network.is_leased_by(name))


def _running_on_ours(snapshot: Snapshot) -> set[str]:
    networks = (each for each in snapshot.docker.networks.values() if each.is_of(snapshot.driver_name))
    return {endpoint.container_id for each in networks for endpoint in each.endpoints.values()} - {""}


# --- What is wrong with the servers that all hosts share; only their administrator can repair it. Pure. -----


SLOW = 1.0
"""Seconds for a question of one row, which takes milliseconds."""

LATE = 5.0
"""Seconds for which ovn-northd may be behind: a start of a container waits for it for no more than 8.5 s."""


def check_central(snapshot: Snapshot) -> Iterator[Finding]:
    """Northbound answers soon and is not a relay, and ovn-northd keeps up with it."""
    central = snapshot.central
    if central is None:
        return
    if central.seconds > SLOW:
        cause = f"{central.seconds:.1f} s for a question of one row"
        yield Finding("central-slow", "OVN Northbound", "OVN Northbound answers slowly", cause=cause)
    if central.behind is not None and central.behind > LATE:
        text = "ovn-northd is behind OVN Northbound, so starts of containers fail"
        yield Finding("northd-behind", "ovn-northd", text, cause=f"by {central.behind:.0f} s")
    if central.relay:
        text = (
            "ovn-nb of Open_vSwitch leads to a relay, which keeps locks to itself: other hosts do not see"
            " that this one is there; name the servers behind it"
        )
        yield Finding("central-relay", "OVN Northbound", text)


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


def _compare(snapshot: Snapshot, endpoint: Endpoint, held: OwnedEndpoint) -> Iterator[Finding]:
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
    check_plugins,
    check_central,
    check_stopped,  # when all that they need is whole
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
