"""Findings about what the driver is to Docker: a managed plugin in a swarm, of local scope outside. Pure.

Docker tells the lack of it in other words: "no suitable node (missing plugin on 1 node)" for a task,
"attaching to network failed" for a container, "legacy plugin … is not supported in swarm mode" for a network,
"This node is not a swarm manager" for one of global scope.
"""

from collections.abc import Iterator

from ovn_docker.docker.models import names
from ovn_docker.docker.swarm import Swarm
from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import Snapshot


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
