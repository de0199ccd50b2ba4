"""What a CreateNetwork asks of the overlay driver, checked and in our types. Pure."""

from typing import Any

from ovn_docker.drivers import asked, sharing
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.messages import CreateNetworkRequest
from ovn_docker.schema.northbound import Switch

OPTIONS = (*sharing.OPTIONS, sharing.PORT_SECURITY, sharing.SWARM)
"""What this driver knows beside Docker's own options."""


def switch_for(request: CreateNetworkRequest) -> Switch:
    """The switch that a CreateNetwork asks for.

    Raises:
        RequestError: a pool, a gateway or an option cannot be used; the text names it.
    """
    options = request.options or {}
    own = generic(options)
    pools = asked.pools(request)
    return Switch(
        network_id=request.network_id,
        pools=pools,
        gateways=asked.gateways(request),
        internal=options.get(messages.INTERNAL) is True,
        mtu=asked.mtu(own, pools),
        port_security=sharing.truth(sharing.PORT_SECURITY, own.get(sharing.PORT_SECURITY)) is not False,
    )


def generic(options: dict[str, Any]) -> dict[str, Any]:
    """What was given with ``-o``; Docker may send null for none.

    Raises:
        RequestError: an option is not ours.
    """
    return asked.generic(options, OPTIONS)
