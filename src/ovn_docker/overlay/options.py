"""What a CreateNetwork asks of the overlay driver, checked and in our types. Pure."""

from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.messages import CreateNetworkRequest
from ovn_docker.overlay import network_spec
from ovn_docker.ovn.switches import Switch

OPTIONS = (*network_spec.OPTIONS, network_spec.PORT_SECURITY, network_spec.SWARM)
"""What this driver knows beside Docker's own options."""


def switch_for(request: CreateNetworkRequest) -> Switch:
    """The switch that a CreateNetwork asks for.

    Raises:
        RequestError: a pool, a gateway or an option cannot be used; the text names it.
    """
    options = request.options or {}
    own = generic(options)
    pools = network_options.pools(request)
    return Switch(
        network_id=request.network_id,
        pools=pools,
        gateways=network_options.gateways(request),
        internal=options.get(messages.INTERNAL) is True,
        mtu=network_options.mtu(own, pools),
        port_security=network_spec.truth(network_spec.PORT_SECURITY, own.get(network_spec.PORT_SECURITY))
        is not False,
    )


def auxiliary(request: CreateNetworkRequest) -> dict[IPNetwork, list[IPAddress]]:
    """The pools of a network, and the auxiliary addresses of each; Docker writes them with prefix length.

    Raises:
        RequestError: one of them is none.
    """
    found: dict[IPNetwork, list[IPAddress]] = {}
    for data, pool in zip(network_options.ipam_data(request), network_options.pools(request), strict=True):
        texts = (data.aux_addresses or {}).values()
        interfaces = [addressing.interface(each, "auxiliary address") for each in texts]
        found.setdefault(pool, []).extend(each.ip for each in interfaces if each is not None)
    return found


def generic(options: dict[str, Any]) -> dict[str, Any]:
    """What was given with ``-o``; Docker may send null for none.

    Raises:
        RequestError: an option is not ours.
    """
    return network_options.generic(options, OPTIONS)
