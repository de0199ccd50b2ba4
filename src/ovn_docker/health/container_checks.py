"""Findings about containers that Docker should have started and could not, because of their network. Pure.

dockerd makes one attempt at each start that a restart policy asks for, when it starts itself and when a
container ends. What the network prevented is made up for. A start that failed otherwise is left, and so is a
container that its user stopped.
"""

from collections.abc import Iterator

from ovn_docker.docker.models import Network
from ovn_docker.docker.stopped import Stopped
from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import Snapshot

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
