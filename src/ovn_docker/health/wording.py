"""What things are called in a finding: by Docker's names, and by a short id where there is none. Pure."""

from ovn_docker.docker.models import DockerState, Endpoint

SHORT = 12
"""Characters of an id, as Docker shows it."""


def short(identifier: str) -> str:
    """An id as ``docker ps`` shows it, which Docker's commands take."""
    return identifier[:SHORT]


def endpoint_name(docker: DockerState, endpoint: Endpoint) -> str:
    """An endpoint that Docker has: its container, or itself without one, and its network."""
    network = docker.networks.get(endpoint.network_id)
    on = network.name if network else short(endpoint.network_id)
    return f"{container_name(docker, endpoint)} on network {on}"


def container_name(docker: DockerState, endpoint: Endpoint) -> str:
    """The container of an endpoint."""
    container = docker.containers.get(endpoint.container_id)
    if container is not None:
        return f"container {container.name}"
    if endpoint.container_id:
        return f"container {short(endpoint.container_id)}"
    return f"endpoint {short(endpoint.endpoint_id)}"
