"""What a line of the log says of a request besides its verb. It waits for nothing and asks nobody."""

from collections.abc import Callable

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.verbs import Reply

LONGEST = 200
"""Characters of one value; who asks chooses them."""

MOST_NAMES = 4096
"""So many endpoints are remembered with the name of their container; the one noted longest ago goes first."""


class ContainerNames:
    """Whose endpoints are: what Docker said of its own accord or to the health check, in memory only.

    Docker names no container in Join, Leave or DeleteEndpoint, and may not be asked inside a request.
    """

    def __init__(self) -> None:
        """No name is known yet."""
        self._names: dict[str, str] = {}

    def note(self, endpoint_id: str, name: str) -> None:
        """Remember a container's name."""
        self._names.pop(endpoint_id, None)
        self._names[endpoint_id] = name
        if len(self._names) > MOST_NAMES:
            del self._names[next(iter(self._names))]

    def of(self, endpoint_id: str) -> str:
        """The name of an endpoint's container, or ""."""
        return self._names.get(endpoint_id, "")


def nobody(_endpoint_id: str) -> str:
    """Know no container."""
    return ""


def subject(
    message: messages.Message | None, reply: Reply, container_of: Callable[[str], str] = nobody
) -> dict[str, str]:
    """Network and endpoint, or pool, address and container, as far as request and reply name them.

    Args:
        message: the request, or None.
        reply: what was answered; None after an error.
        container_of: asked for the name of an endpoint's container, or "".
    """
    options = getattr(message, "options", None) or {}
    interface = getattr(message, "interface", None) or messages.EndpointInterface()
    told = {
        "network_id": getattr(message, "network_id", ""),
        "endpoint_id": getattr(message, "endpoint_id", ""),
        "pool": _first((reply, "pool_id"), (message, "pool_id"), (message, "pool")),
        "address": _first((reply, "address"), (message, "address"), (interface, "address")),
        "address_ipv6": interface.address_ipv6,
        "container": options.get(messages.ENDPOINT_NAME, "")
        or container_of(getattr(message, "endpoint_id", "")),
    }
    return {name: str(value)[:LONGEST] for name, value in told.items() if value}


def _first(*places: tuple[object, str]) -> str:
    """The first of attributes that is there and not empty."""
    return next((value for each, name in places if (value := getattr(each, name, ""))), "")
