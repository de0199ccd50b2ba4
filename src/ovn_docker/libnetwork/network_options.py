"""What both drivers read from Docker's requests: addresses, pools, gateways, -o options, the MTU. Pure."""

import difflib
import ipaddress
import re
from collections.abc import Collection
from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import MAXIMUM_MTU, MINIMUM_MTU, IPAddress, IPInterface, IPNetwork
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.messages import (
    CreateEndpointRequest,
    CreateEndpointResponse,
    CreateNetworkRequest,
    EndpointInterface,
    IPAMData,
)

COMPARED_LENGTH = 64
"""How many characters of an unknown option are compared with the known ones."""

SIMILAR = 0.8
"""`difflib`'s ratio from which a key counts as mistyped; `driver.name` and `driver.mtu` have 0.76."""

MINIMUM_IPV6_MTU = 1280
"""RFC 8200 section 5."""


def addresses(request: CreateEndpointRequest) -> list[IPInterface]:
    """The endpoint's addresses with their prefix lengths, IPv4 first."""
    interface = request.interface or EndpointInterface()
    found = (
        addressing.interface(interface.address, "address"),
        addressing.interface(interface.address_ipv6, "IPv6 address"),
    )
    return [address for address in found if address is not None]


def requested_mac(request: CreateEndpointRequest) -> str:
    """The MAC address that Docker names, which `created` must not repeat; "" for none."""
    text = request.interface.mac_address if request.interface else ""
    return addressing.mac(text) if text else ""


def created(request: CreateEndpointRequest, mac: str) -> CreateEndpointResponse:
    """The answer: Docker takes a MAC address only where it named none itself."""
    if requested_mac(request):
        return CreateEndpointResponse()
    return CreateEndpointResponse(interface=EndpointInterface(mac_address=mac))


def ipam_data(request: CreateNetworkRequest) -> list[IPAMData]:
    """The request's pools of both IP versions, IPv4 first."""
    return [*(request.ipv4_data or []), *(request.ipv6_data or [])]


def pools(request: CreateNetworkRequest) -> tuple[IPNetwork, ...]:
    """The pools of a network."""
    return tuple(addressing.network(data.pool, "pool") for data in ipam_data(request))


def gateways(request: CreateNetworkRequest) -> tuple[IPAddress | None, ...]:
    """The gateway of each pool, or None."""
    return tuple(_gateway(data, pool) for data, pool in zip(ipam_data(request), pools(request), strict=True))


def _gateway(data: IPAMData, pool: IPNetwork) -> IPAddress | None:
    """The gateway of a pool; Docker writes it with a prefix length."""
    if not data.gateway:
        return None
    try:
        gateway = ipaddress.ip_interface(data.gateway).ip
    except ValueError as error:
        raise RequestError(f"gateway '{data.gateway}' is not a valid IP address: {error}") from error
    if gateway not in pool:
        raise RequestError(f"gateway {gateway} lies outside its pool {pool}")
    return gateway


def generic(options: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """The options given with ``-o``, which must be among `names` or Docker's own; Docker may send null.

    Any of Docker's own passes, because new versions add some and dockerd's defaults put some here. Only what
    looks like a mistyped MTU, the one that this driver honours, is refused.
    """
    generic = options.get(messages.GENERIC) or {}
    if not isinstance(generic, dict):
        raise RequestError(f"option {messages.GENERIC} does not map names to values")
    for name in generic:
        is_dockers = name.startswith(messages.DOCKER_OPTIONS)
        if is_mistyped(name) if is_dockers else name not in names:
            known = (*names, messages.MTU)
            hint = f"; did you mean {messages.MTU}?" if is_dockers else meant(name, known)
            raise RequestError(f"unknown network option '{name}': this driver knows {', '.join(known)}{hint}")
        if name in names and not isinstance(generic[name], str):
            raise RequestError(f"network option '{name}' is not text")
    return generic


def meant(name: str, known: Collection[str]) -> str:
    """A hint for an unknown option: which known one it resembles, or ""."""
    short = {option.rpartition(".")[2]: option for option in known}
    for text in (name, name.rpartition(".")[2]):
        if close := difflib.get_close_matches(text.lower()[:COMPARED_LENGTH], [*known, *short], 1):
            return f"; did you mean {short.get(close[0], close[0])}?"
    return ""


def is_mistyped(name: str) -> bool:
    """Whether one of Docker's keys is almost that of the MTU, so that Docker's own drivers would ignore it.

    Only what follows the common prefix is compared.
    """
    if name == messages.MTU:
        return False
    rest, wanted = (key.removeprefix(messages.DOCKER_OPTIONS).lower() for key in (name, messages.MTU))
    last, wanted_last = (key[:COMPARED_LENGTH].rpartition(".")[2] for key in (rest, wanted))
    return bool(
        difflib.get_close_matches(rest[:COMPARED_LENGTH], [wanted], 1, SIMILAR)
        or difflib.get_close_matches(last, [wanted_last], 1)
    )


def without_effect(generic: dict[str, Any]) -> list[str]:
    """The options of Docker's own drivers, which this one ignores."""
    return sorted(
        name for name in generic if name.startswith(messages.DOCKER_OPTIONS) and name != messages.MTU
    )


def mtu(generic: dict[str, Any], pools: tuple[IPNetwork, ...]) -> int | None:
    """The requested MTU in bytes, or None; it must suit a network with these pools."""
    text = generic.get(messages.MTU)
    if text is None:
        return None
    least = MINIMUM_IPV6_MTU if any(pool.version == 6 for pool in pools) else MINIMUM_MTU  # noqa: PLR2004
    if not re.fullmatch("[0-9]{1,5}", str(text)) or not least <= int(text) <= MAXIMUM_MTU:
        raise RequestError(
            f"option {messages.MTU} '{text}' is not a valid MTU: give {least} to {MAXIMUM_MTU} bytes"
        )
    return int(text)
