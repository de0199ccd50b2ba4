"""What a line of the log says of a request besides its verb. Pure."""

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.verbs import Reply

LONGEST = 200
"""Characters of one value; who asks chooses them."""


def subject(message: messages.Message | None, reply: Reply) -> dict[str, str]:
    """Network and endpoint, or pool, address and container, as far as request and reply name them.

    Args:
        message: the request, or None.
        reply: what was answered; None after an error.
    """
    options = getattr(message, "options", None) or {}
    interface = getattr(message, "interface", None) or messages.EndpointInterface()
    told = {
        "network_id": getattr(message, "network_id", ""),
        "endpoint_id": getattr(message, "endpoint_id", ""),
        "pool": _first((reply, "pool_id"), (message, "pool_id"), (message, "pool")),
        "address": _first((reply, "address"), (message, "address"), (interface, "address")),
        "address_ipv6": interface.address_ipv6,
        "container": options.get(messages.ENDPOINT_NAME, ""),
    }
    return {name: str(value)[:LONGEST] for name, value in told.items() if value}


def _first(*places: tuple[object, str]) -> str:
    """The first of attributes that is there and not empty."""
    return next((value for each, name in places if (value := getattr(each, name, ""))), "")
