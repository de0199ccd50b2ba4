"""What a CreateNetwork asks of the overlay driver, checked and in our types. Pure."""

from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
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


def auxiliary(request: CreateNetworkRequest) -> dict[IPNetwork, list[IPAddress]]:
    """The pools of a network, and the auxiliary addresses of each; Docker writes them with prefix length.

    Raises:
        RequestError: one of them is none.
    """
    found: dict[IPNetwork, list[IPAddress]] = {}
    for data, pool in zip(asked.ipam_data(request), asked.pools(request), strict=True):
        texts = (data.aux_addresses or {}).values()
        interfaces = [addressing.interface(each, "auxiliary address") for each in texts]
        found.setdefault(pool, []).extend(each.ip for each in interfaces if each is not None)
    return found


def generic(options: dict[str, Any]) -> dict[str, Any]:
    """What was given with ``-o``; Docker may send null for none.

    Raises:
        RequestError: an option is not ours.
    """
    return asked.generic(options, OPTIONS)
