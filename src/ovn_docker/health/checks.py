"""From a snapshot to findings: one function for each thing that is compared. Pure.

Docker is right: what it has is made whole, what it does not have is removed.
"""

from collections.abc import Callable, Iterator, Mapping

from ovn_docker import addressing
from ovn_docker.docker.models import Container, Endpoint, Network, Stopped, Swarm, names
from ovn_docker.health import host_checks, lease_checks, name_checks, openstack_checks
from ovn_docker.health.findings import Finding, allowed, container_name, endpoint_name, short
from ovn_docker.health.snapshot import OwnedEndpoint, Snapshot

CONTAINER, NAME, LABEL = "ovn-docker-container", "ovn-docker-name", "ovn-docker-label:"
"""Keys of a port's external_ids, by which people find it."""

MOST_LABELS, LONGEST_LABEL = 32, 256
"""How many labels of a container are written to its port, and how long: OVN sends each to every chassis.

A label with a longer key is left out, for a part of a key is another's key. OVSDB takes no NUL.
"""

SLOW = 1.0
"""Seconds for a query of one row, which takes milliseconds."""

LATE = 5.0
"""Seconds for which ovn-northd may be behind: a start of a container waits for it for no more than 8.5 s."""

DOCKERS_OWN = frozenset({"bridge", "host", "null", "overlay", "macvlan", "ipvlan"})
"""Drivers of networks that need no plugin."""

_NOT_INSTALLED = {
    False: "ovn-controller has not installed its flows: 'ovn-appctl -t ovn-controller connection-status'",
    True: "ovs-vswitchd does not use it: 'ovs-vsctl show'",
}
"""Why an interface passes no packets, by whether it is an access port of a VLAN."""


def check(snapshot: Snapshot) -> list[Finding]:
    """Every discrepancy that may be reported, in the order in which they are best repaired.

    While a container runs on a network that Docker does not know, nothing is to be removed: this may not be
    the Docker that the driver serves, and then all that is held is another's. While this machine may not be
    the one whose name it has, nothing is to be repaired either (`findings.Kind.bars`).
    """
    return allowed(finding for compare in CHECKS for finding in compare(snapshot))


# --- Networks, endpoints, interfaces ------------------------------------------------------------------------


def check_name(snapshot: Snapshot) -> Iterator[Finding]:
    """No other machine has this host's name."""
    if snapshot.taken is not None:
        yield Finding("name-taken", *snapshot.taken)


def check_networks(snapshot: Snapshot) -> Iterator[Finding]:
    """Networks of Docker's are whole; others go, but never from under a container that runs."""
    for network in _own_networks(snapshot):
        held = snapshot.held.networks.get(network.network_id)
        if held is None or not held.whole:
            text = f"network {network.name} is missing from {snapshot.store}, or part of it is"
            yield Finding("network-missing", network.network_id, text, network)
    alive = set(_endpoints_alive(snapshot).values())
    for network_id, remembered in snapshot.held.networks.items():
        if network_id in snapshot.docker.elsewhere and not remembered.keys:
            continue  # a swarm's, which other nodes hold
        if network_id not in snapshot.docker.networks and network_id not in alive:
            text = f"{snapshot.store} has network {short(network_id)}, which Docker here does not have"
            yield Finding("network-stale", network_id, text, network_id)


def check_switches(snapshot: Snapshot) -> Iterator[Finding]:
    """A switch for several networks is gone if it was made for one that was never created."""
    for switch in snapshot.held.switches:
        if switch.network_id in snapshot.docker.networks:
            continue  # of another driver on this host, which has a state file of its own
        text = f"logical switch {switch.name} was created by this host, and none of its networks uses it"
        yield Finding("switch-stale", str(switch.row), text, switch)


def check_endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    """Each endpoint of Docker's has its port, with its addresses and its container's names."""
    held = {endpoint.endpoint_id: endpoint for endpoint in snapshot.held.endpoints}
    for network in _own_networks(snapshot):
        for endpoint in network.endpoints.values():
            if endpoint.endpoint_id in held:
                yield from _compare(snapshot, endpoint, held[endpoint.endpoint_id])
            elif endpoint.endpoint_id not in snapshot.held.cut_off:  # its address would be in OVN twice
                text = f"{endpoint_name(snapshot.docker, endpoint)} has no port in {snapshot.store}"
                yield Finding("endpoint-missing", endpoint.endpoint_id, text, endpoint)


def _compare(snapshot: Snapshot, endpoint: Endpoint, held: OwnedEndpoint) -> Iterator[Finding]:
    port = f"the port of {endpoint_name(snapshot.docker, endpoint)}"
    wanted = {endpoint.mac, *endpoint.addresses} - {""}
    if not wanted <= set(held.addresses):
        docker = " ".join([endpoint.mac, *endpoint.addresses])
        text = f"{port} has the addresses {' '.join(held.addresses)}, but Docker says {docker}"
        yield Finding("endpoint-changed", endpoint.endpoint_id, text, endpoint)
    container = snapshot.docker.containers.get(endpoint.container_id)
    if container is not None and held.names is not None and names_of(container) != held.names:
        text = f"{port} does not carry the container's name and labels"
        yield Finding("names-changed", endpoint.endpoint_id, text, (endpoint, names_of(container)))


def check_stale_endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    """Each port has an endpoint of Docker's, or a container that runs on it: see `check_alive`."""
    alive = _endpoints_alive(snapshot)
    for held in snapshot.held.endpoints:
        if snapshot.docker.endpoint(held.endpoint_id) is None and held.endpoint_id not in alive:
            network = snapshot.docker.networks.get(held.network_id)
            text = (
                f"{snapshot.store} has a port for endpoint {short(held.endpoint_id)} of network"
                f" {network.name if network else short(held.network_id)}, which Docker does not have"
            )
            yield Finding("endpoint-stale", held.endpoint_id, text, (held.network_id, held.endpoint_id))


def check_interfaces(snapshot: Snapshot) -> Iterator[Finding]:
    """Each joined endpoint's link is plugged in and in use; each interface has an endpoint."""
    attached = {interface.endpoint_id: interface for interface in snapshot.attached}
    for network in _own_networks(snapshot):
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
                text = f"{what} passes no packets: {found.error or _NOT_INSTALLED[found.vlan is not None]}"
                yield Finding("interface-dead", endpoint.endpoint_id, text)
    alive = _endpoints_alive(snapshot)
    for interface in snapshot.attached:
        endpoint_id = interface.endpoint_id
        if not endpoint_id:
            continue  # somebody removed its iface-id: whose it was is not known
        if snapshot.docker.endpoint(endpoint_id) is None and endpoint_id not in alive:
            text = (
                f"interface {interface.name} is plugged in for endpoint {short(endpoint_id)}, which Docker"
                " does not have"
            )
            yield Finding("interface-stale", endpoint_id, text, endpoint_id)


def check_links(snapshot: Snapshot) -> Iterator[Finding]:
    """Each link of ours belongs to an endpoint of Docker's, or to an interface: see `check_interfaces`."""
    known = {key for network in snapshot.docker.networks.values() for key in network.endpoints}
    known |= {interface.endpoint_id for interface in snapshot.attached}
    expected = {name for endpoint_id in known for name in addressing.link_names(endpoint_id)}
    for name in sorted(snapshot.links - expected):
        yield Finding("link-stale", name, f"link {name} belongs to no endpoint that Docker has", name)


def check_guard(snapshot: Snapshot) -> Iterator[Finding]:
    """The host's kernel drops what containers send past Open vSwitch."""
    if snapshot.unguarded:
        text = "netfilter's table ovn-docker is incomplete: containers may reach this host past OVN"
        yield Finding("guard-missing", "ovn-docker", text)


def check_alive(snapshot: Snapshot) -> Iterator[Finding]:
    """No container runs on a network that this Docker does not know: it may be another Docker's."""
    for endpoint_id, network_id in _endpoints_alive(snapshot).items():
        text = (
            f"a container runs on network {short(network_id)}, which Docker does not know, so nothing may be"
            " removed: check that --docker-socket names the Docker that the driver serves"
        )
        yield Finding("interface-alive", endpoint_id, text)


def check_egress(snapshot: Snapshot) -> Iterator[Finding]:
    """Each network that is to have a way out by this host has it."""
    state, docker = snapshot.egress, snapshot.docker

    def named(network_id: str) -> str:
        known = docker.networks.get(network_id)
        return known.name if known else short(network_id)

    if state.rules:
        text = f"netfilter lacks rules for what containers send and receive, such as {state.rules[0]}"
        yield Finding("rules-missing", "netfilter", text)
    for network_id, what in state.missing:
        yield Finding("gateway-missing", network_id, f"network {named(network_id)} lacks {what}", network_id)
    for network_id, what, reason in state.closed:
        text = f"containers of network {named(network_id)} {what}: {reason}"
        yield Finding("egress-closed", network_id, text)
    for switch, link in state.stale:
        yield Finding(
            "gateway-stale", switch, f"link {link} is of a network that Docker does not have", switch
        )


def check_lookups(snapshot: Snapshot) -> Iterator[Finding]:
    """The switch has the flows of IP lookups that it should, and no others of ours."""
    for kind, flows, problem in (
        ("lookup-missing", snapshot.lookups.missing, "missing or wrong"),
        ("lookup-surplus", snapshot.lookups.stale, "left over"),
    ):
        if flows:
            text = f"{len(flows)} flow(s) of IP lookups are {problem}, such as {flows[0]}"
            yield Finding(kind, "ip-lookup", text)
    if snapshot.lookups.outage:
        yield Finding("lookup-off", "ip-lookup", snapshot.lookups.outage)
    for subject, text in snapshot.lookups.down:
        yield Finding("vtep-down", subject, text)


def _own_networks(snapshot: Snapshot) -> list[Network]:
    networks = snapshot.docker.networks.values()
    return [network for network in networks if network.is_of(snapshot.driver_name)]


def _endpoints_alive(snapshot: Snapshot) -> Mapping[str, str]:
    """Endpoints of networks unknown to Docker whose container's end is in a container, with their network."""
    alive = {}
    for interface in snapshot.attached:
        outside, inside = addressing.link_names(interface.endpoint_id)
        if interface.network_id in snapshot.docker.networks:
            continue
        if outside in snapshot.links and inside not in snapshot.links:
            alive[interface.endpoint_id] = interface.network_id
    return alive


# --- What the driver is to Docker: a managed plugin in a swarm, of local scope outside ----------------------
# Docker says the lack of it in other words: "no suitable node (missing plugin on 1 node)" for a task,
# "attaching to network failed" for a container, "legacy plugin … is not supported in swarm mode" for a
# network, "This node is not a swarm manager" for one of global scope.


def check_plugins(snapshot: Snapshot) -> Iterator[Finding]:
    """On each node of a swarm where tasks start the driver is a managed plugin, and enabled.

    Outside a swarm it has a scope that this Docker accepts.
    """
    if snapshot.refuses_global:
        text = global_refused(snapshot.driver_name, snapshot.refuses_global)
        yield Finding("scope-global", snapshot.driver_name, text)
    swarm = snapshot.docker.swarm
    if swarm is not None:
        yield from _on_this_node(snapshot, swarm)
        yield from _on_others(snapshot, swarm)


def global_refused(driver_name: str, version: str) -> str:
    """What is wrong with a driver of global scope, and what to do; `version` is of Docker's API."""
    return (
        f"this Docker (API {version}) is not in a swarm and cannot create networks of global scope, which"
        f" driver {driver_name} has: docker network create fails with 'This node is not a swarm manager':"
        " start the driver with --docker-driver-scope local and restart dockerd"
    )


def _on_this_node(snapshot: Snapshot, swarm: Swarm) -> Iterator[Finding]:
    name = snapshot.driver_name
    managed = {plugin: enabled for plugin, enabled in swarm.plugins.items() if names(plugin, name)}
    for plugin in sorted(plugin for plugin, enabled in managed.items() if not enabled):
        text = (
            f"plugin {plugin} is disabled: swarm cannot start tasks of its networks on this node, nor stop"
            f" them properly: enable it with 'docker plugin enable {plugin}'"
        )
        yield Finding("plugin-disabled", plugin, text)
    if not managed and not _own_networks(snapshot):
        text = (
            f"this host is a node of a swarm and driver {name} is not a managed plugin: Docker refuses it for"
            " networks of the swarm: install the managed plugin, or give its name with --driver-name"
        )
        yield Finding("plugin-legacy", name, text)


def _on_others(snapshot: Snapshot, swarm: Swarm) -> Iterator[Finding]:
    networks = (*snapshot.docker.networks.values(), *snapshot.docker.elsewhere.values())
    drivers = {network.driver for network in networks if network.is_of(snapshot.driver_name)}
    for node in swarm.nodes:
        for driver in sorted(drivers - node.plugins) if node.usable else ():
            text = (
                f"node {node.name} has no plugin {driver}, so swarm cannot start tasks of its networks there:"
                " install and enable it there"
            )
            yield Finding("plugin-missing", f"{node.name} {driver}", text)


# --- Containers that Docker should have started and could not, because of their network ---------------------
# dockerd makes one attempt at each start that a restart policy asks for, when it starts itself and when a
# container ends. A start that the network prevented is repeated. One that failed otherwise is not, nor is one
# of a container that its user stopped.


def check_stopped(snapshot: Snapshot) -> Iterator[Finding]:
    """Each container whose policy asks for it runs, unless something else than its network prevents it."""
    wanted = [container for container in snapshot.docker.stopped if container.wanted]
    running = {
        endpoint.container_id
        for network in _own_networks(snapshot)
        for endpoint in network.endpoints.values()
        if endpoint.container_id
    }
    to_start = set()
    for container in wanted:
        if container.failed_by_plugin and _by_own_network(snapshot, container):
            to_start.add(container.container_id)
            text = f"{_name(container)} is down because its network failed when it started"
            text += f" (--restart {container.policy})"
            yield Finding("container-down", container.container_id, text, container, container.error)
    for container in wanted:
        if container.failed_by_sharing and container.shares in running | to_start:
            text = f"{_name(container)} is down because container {short(container.shares)}, whose network it"
            yield Finding("sharer-down", container.container_id, f"{text} shares, was down", container)


def _name(stopped: Stopped) -> str:
    return f"container {stopped.name} ({short(stopped.container_id)})"


def _by_own_network(snapshot: Snapshot, stopped: Stopped) -> bool:
    """Whether it was a network of ours that failed.

    Where Docker does not say which, the container must be on no network of another plugin.
    """
    known = {**snapshot.docker.elsewhere, **snapshot.docker.networks}
    own, foreign = set(), set()
    for name, network_id in stopped.networks.items():
        network = known.get(network_id)
        if network_id in snapshot.held.networks or (network and _is_own(snapshot, network)):
            own.add(name)
        elif network is None or network.driver not in DOCKERS_OWN:
            foreign.add(name)
    return stopped.failed_on in own if stopped.failed_on else bool(own and not foreign)


def _is_own(snapshot: Snapshot, network: Network) -> bool:
    name = snapshot.driver_name
    return network.is_of(name) or (network.driver in DOCKERS_OWN and network.is_leased_by(name))


# --- The servers that all hosts share; only their administrator can repair them -----------------------------


def check_central(snapshot: Snapshot) -> Iterator[Finding]:
    """Northbound answers soon and is not a relay, and ovn-northd keeps up with it."""
    central = snapshot.central
    if central is None:
        return
    if central.seconds > SLOW:
        cause = f"{central.seconds:.1f} s for a query of one row"
        yield Finding("central-slow", "OVN Northbound", "OVN Northbound answers slowly", cause=cause)
    if central.behind is not None and central.behind > LATE:
        text = "ovn-northd is behind OVN Northbound, so containers fail to start"
        yield Finding("northd-behind", "ovn-northd", text, cause=f"by {central.behind:.0f} s")
    if central.relay:
        text = (
            "ovn-nb in Open_vSwitch names a relay, which does not share locks, so other hosts cannot see that"
            " this one is connected: name the servers behind it"
        )
        yield Finding("central-relay", "OVN Northbound", text)


CHECKS: tuple[Callable[[Snapshot], Iterator[Finding]], ...] = (
    check_name,
    check_guard,
    lambda snapshot: host_checks.check_host(snapshot.host),
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
    check_egress,
    name_checks.check_names,
    check_lookups,
    lease_checks.check_stale_pools,
    check_plugins,
    check_central,
    check_stopped,  # when all that they need is whole
)


# --- What a port says of its container ----------------------------------------------------------------------


def names_of(container: Container) -> dict[str, str]:
    """What a port's external_ids say of its container."""
    labels = sorted(label for label in container.labels.items() if len(label[0]) <= LONGEST_LABEL)
    return {
        CONTAINER: container.container_id,
        NAME: container.name,
        **{
            LABEL + key: value[:LONGEST_LABEL]
            for key, value in labels[:MOST_LABELS]
            if "\0" not in key + value
        },
    }


def is_name(key: str) -> bool:
    """Whether a key of external_ids is one that `names_of` writes."""
    return key in {CONTAINER, NAME} or key.startswith(LABEL)
