"""What a CreateNetwork asks for, checked and in our types. Pure."""

import ipaddress
import re
from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import MAXIMUM_MTU, MINIMUM_MTU, IPAddress, IPNetwork
from ovn_docker.drivers import sharing
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.messages import CreateNetworkRequest, IPAMData
from ovn_docker.schema.northbound import Switch

OPTIONS = (*sharing.OPTIONS, sharing.PORT_SECURITY)
"""What this driver knows beside Docker's own options."""

MINIMUM_IPV6_MTU = 1280
"""RFC 8200 section 5."""


def switch_for(request: CreateNetworkRequest) -> Switch:
    """The switch that a CreateNetwork asks for.

    Raises:
        RequestError: a pool, a gateway or an option cannot be used; the text names it.
    """
    options = request.options or {}
    own = generic(options)
    data = [*(request.ipv4_data or []), *(request.ipv6_data or [])]
    pools = tuple(addressing.network(each.pool, "pool") for each in data)
    return Switch(
        network_id=request.network_id,
        pools=pools,
        gateways=tuple(_gateway(each, pool) for each, pool in zip(data, pools, strict=True)),
        internal=options.get(messages.INTERNAL) is True,
        mtu=_mtu(own, pools),
        port_security=sharing.truth(sharing.PORT_SECURITY, own.get(sharing.PORT_SECURITY)) is not False,
    )


def _gateway(data: IPAMData, pool: IPNetwork) -> IPAddress | None:
    """The gateway of a pool; Docker writes it with the pool's prefix length."""
    if not data.gateway:
        return None
    try:
        gateway = ipaddress.ip_interface(data.gateway).ip
    except ValueError as error:
        raise RequestError(f"gateway '{data.gateway}' is no IP address: {error}") from error
    if gateway not in pool:
        raise RequestError(f"gateway {gateway} lies outside its pool {pool}")
    return gateway


def generic(options: dict[str, Any]) -> dict[str, Any]:
    """What was given with ``-o``; Docker may send null for none.

    Raises:
        RequestError: an option is not ours. Docker's own keys are left alone, for they grow in number with
            its versions and are put here by dockerd's defaults too.
    """
    generic = options.get(messages.GENERIC) or {}
    if not isinstance(generic, dict):
        raise RequestError(f"option {messages.GENERIC} is no mapping of names to values")
    for name in generic:
        if not name.startswith(messages.DOCKER_OPTIONS) and name not in OPTIONS:
            known = ", ".join((*OPTIONS, messages.MTU))
            raise RequestError(f"unknown network option '{name}': this driver knows {known}")
        if name in OPTIONS and not isinstance(generic[name], str):
            raise RequestError(f"network option '{name}' is no text")
    return generic


def _mtu(generic: dict[str, Any], pools: tuple[IPNetwork, ...]) -> int | None:
    text = generic.get(messages.MTU)
    if text is None:
        return None
    least = MINIMUM_IPV6_MTU if any(pool.version == 6 for pool in pools) else MINIMUM_MTU  # noqa: PLR2004
    if not re.fullmatch("[0-9]{1,5}", str(text)) or not least <= int(text) <= MAXIMUM_MTU:
        raise RequestError(f"option {messages.MTU} '{text}' is no MTU: give {least} to {MAXIMUM_MTU} bytes")
    return int(text)
