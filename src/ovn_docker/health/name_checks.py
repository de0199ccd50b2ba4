"""What other hosts find by name is what Docker has. Pure."""

from collections.abc import Iterator

from ovn_docker.docker.dns_names import labels
from ovn_docker.docker.models import Container
from ovn_docker.health.findings import Finding, short
from ovn_docker.health.snapshot import Snapshot

BYPASSING = 28
"""From this version on Docker asks the name servers of the host's resolv.conf from the host's network
namespace (moby daemon/libnetwork/resolver.go), where the driver cannot see whose query it is."""

DAEMON_JSON = """put "dns": ["ADDRESS OF A NAME SERVER"] into /etc/docker/daemon.json, restart dockerd"""


def check_names(snapshot: Snapshot) -> Iterator[Finding]:
    """Running containers on shared networks are found by their names; no others are."""
    yield from _missing(snapshot)
    yield from _stale(snapshot)
    if version := snapshot.names.bypassed:
        text = (
            f"containers find no names of other hosts: Docker {version} asks the host's own name servers past"
            f" the driver: {DAEMON_JSON} and start the containers again"
        )
        yield Finding("dns-bypassed", "docker", text)
    if snapshot.names.down:
        yield Finding("dns-down", "dns", f"containers find no names of other hosts: {snapshot.names.down}")


def _missing(snapshot: Snapshot) -> Iterator[Finding]:
    records = {record.endpoint_id: record for record in snapshot.held.names}
    plugged = {each.endpoint_id for each in snapshot.attached}
    for network in snapshot.docker.networks.values():
        held = snapshot.held.networks.get(network.network_id)
        if held is None or not held.keys:
            continue  # not shared by hosts, so Docker itself knows all names on it
        for endpoint in network.endpoints.values():
            container = snapshot.docker.containers.get(endpoint.container_id)
            if container is None or endpoint.endpoint_id not in plugged:
                continue
            record = records.get(endpoint.endpoint_id)
            known = record.names if record else ()
            lost = [name for name in _certain(container) if name not in known]
            lost[:0] = filter(None, [snapshot.names.wrong.get(endpoint.endpoint_id)])
            if lost:
                text = f"other hosts do not find container {container.name} by the name {lost[0]}"
                yield Finding("dns-name-missing", endpoint.endpoint_id, text, container.container_id)


def _certain(container: Container) -> tuple[str, ...]:
    """The names that it has on each network, as far as they can be published: its own and its short id,
    which Docker's resolver knows too (moby daemon/container_operations.go).

    A list of containers does not tell the others, but where the short id is published they are too: only the
    name is published before the start, and that of a swarm's task has several labels.
    """
    return labels([container.name, short(container.container_id)])


def _stale(snapshot: Snapshot) -> Iterator[Finding]:
    """Names of endpoints that have no port go by themselves; those with one go with it."""
    known = {endpoint.endpoint_id for endpoint in snapshot.held.endpoints}
    known |= {each for network in snapshot.docker.networks.values() for each in network.endpoints}
    for record in snapshot.held.names:
        if record.endpoint_id not in known:
            named = ", ".join(record.names) or "(none)"
            text = f"OVN has names of endpoint {short(record.endpoint_id)}, which is gone: {named}"
            yield Finding("dns-name-stale", record.endpoint_id, text, record.endpoint_id)
