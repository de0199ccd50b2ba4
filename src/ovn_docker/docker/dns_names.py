"""By which names Docker's own resolver knows containers, and which container asks from docker_gwbridge."""

import re
from collections.abc import Mapping

import msgspec

from ovn_docker.docker.models import decode

GATEWAY = "gateway_"
"""How Docker names a container's endpoint on docker_gwbridge, before 12 digits of its sandbox's id
(moby daemon/libnetwork/default_gateway.go, setupDefaultGW)."""

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
"""A single label in lower case. Docker allows underscores, which RFC 1123 does not."""


class _Endpoint(msgspec.Struct, rename="pascal"):
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    aliases: list[str] | None = None
    dns_names: list[str] | None = msgspec.field(name="DNSNames", default=None)


class _Settings(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Endpoint | None] | None = None


class _Config(msgspec.Struct, rename="pascal"):
    hostname: str = ""


class _Container(msgspec.Struct, rename="pascal"):
    name: str
    config: _Config = msgspec.field(default_factory=_Config)
    network_settings: _Settings = msgspec.field(default_factory=_Settings)


class _Member(msgspec.Struct, rename="pascal"):
    name: str = ""
    ipv4: str = msgspec.field(name="IPv4Address", default="")
    ipv6: str = msgspec.field(name="IPv6Address", default="")


class _Network(msgspec.Struct, rename="pascal"):
    containers: dict[str, _Member] | None = None


def read_names(body: bytes) -> dict[str, tuple[str, ...]]:
    """ContainerInspect: by EndpointID, the container's name first, then its others.

    Docker tells all of them from 25 on (DNSNames). Before that they are its aliases, which include the short
    form of its id, and its hostname.
    """
    read = decode(body, _Container)
    name = read.name.lstrip("/")
    return {
        endpoint.endpoint_id: labels([name, *(endpoint.dns_names or _older(endpoint, read.config.hostname))])
        for endpoint in (read.network_settings.networks or {}).values()
        if endpoint is not None and endpoint.endpoint_id
    }


def _older(endpoint: _Endpoint, hostname: str) -> list[str]:
    return [*(endpoint.aliases or ()), *([hostname] if hostname else ())]


def labels(names: list[str]) -> tuple[str, ...]:
    """Names in lower case, each once, without those of more than one label, which go to other servers."""
    lowered = dict.fromkeys(name.lower() for name in names)
    return tuple(name for name in lowered if LABEL.fullmatch(name))


def read_askers(body: bytes) -> Mapping[str, str]:
    """NetworkInspect of docker_gwbridge: the beginning of a sandbox's id by its addresses there."""
    return {
        address.partition("/")[0]: member.name.removeprefix(GATEWAY)
        for member in (decode(body, _Network).containers or {}).values()
        for address in (member.ipv4, member.ipv6)
        if address and member.name.startswith(GATEWAY)
    }
