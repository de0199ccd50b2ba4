"""Who may speak to the plugin, and how: what is refused before a body is read. Pure.

Plain TCP serves this host only, and nothing that a web page could make a browser send. Knows no verb.

Source: RFC 9110 sections 7.1 (target), 7.2 (Host) and 8.3 (Content-Type), RFC 6454 section 7 (Origin), W3C
Fetch Metadata, RFC 6761 section 6.3 (localhost); moby pkg/plugins/client.go for what dockerd sends: an
address as Host over TCP, a placeholder over a unix socket, and no Content-Type at all.
"""

import ipaddress
import re
from dataclasses import dataclass
from http import HTTPStatus

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

FOREIGN_PEER = "plain TCP serves this host only: call from the host itself, or have TLS served (--tls-cert)"
_LOCAL_SITES = {"none", "same-origin"}

_HOST = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)(%25[^]]+)?\]|(?P<name>[^][:]+?)\.?)(:\d*)?")
"""RFC 3986 section 3.2.2, and RFC 6874 for the zone; a name's final dot is no part of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request's head decides.

    Attributes:
        has_body: whether a body follows.
        hosts: every Host header.
        target: the request's target as it came.
        origin: the Origin header, or None.
        fetch_site: the Sec-Fetch-Site header, or None.
        content_type: the Content-Type header as it came, or None.
    """

    has_body: bool
    hosts: tuple[str, ...]
    target: str = "/"
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the one that was asked for; `text` is one line."""

    status: HTTPStatus
    text: str


def is_this_host(peer: str, local: str) -> bool:
    """Whether the other end of a TCP connection is on this host, in this network namespace.

    It is when its address is the loopback's or the very one that it called: a host that calls an address of
    its own has that address as its source too, and the kernel takes neither from a wire (it would send the
    handshake's answer to itself).

    Args:
        peer: IP address of the other end; an IPv6 address may carry a zone, or map an IPv4 one.
        local: of this end.
    """
    there = _address(peer)
    return there.is_loopback or there == _address(local)


def _address(text: str) -> IPAddress:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def judge(head: Head, names: frozenset[str] | None) -> Refusal | None:
    """Say why a request is refused, or None.

    Args:
        head: of the request.
        names: lower-case names that this host may be called by, beside addresses and localhost; None where no
            Host is wrong: no browser reaches a unix socket, and TLS has proved who is asked for.
    """
    if head.origin is not None or (head.fetch_site or "none").lower() not in _LOCAL_SITES:
        return Refusal(
            HTTPStatus.FORBIDDEN, "a web page may not use the plugin: Origin or Sec-Fetch-Site is set"
        )
    if not head.target.startswith("/"):
        return Refusal(
            HTTPStatus.BAD_REQUEST, "the request's target is not a path: the plugin is not a proxy"
        )
    if len(head.hosts) > 1:
        return Refusal(HTTPStatus.BAD_REQUEST, "the request has more than one Host header")
    if names is not None and head.hosts and not _is_own_name(head.hosts[0], names):
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"Host '{head.hosts[0][:80]}' is not a name of this host: use an IP address or localhost",
        )
    if head.has_body and head.content_type is not None and not _is_json(head.content_type):
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type '{head.content_type[:80]}' is not JSON: send application/json, or none",
        )
    return None


def _is_own_name(host: str, names: frozenset[str]) -> bool:
    """A page's own name cannot be an address, so that an address cannot have been rebound."""
    parts = _HOST.fullmatch(host.lower())
    if parts is None:
        return False
    name = parts["name"] or ""
    try:
        ipaddress.ip_address(parts["v6"] or name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or name in names
    return True


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
