"""What a link of the host holds, in the form in which it can be given to another link. Pure.

Knows rtnetlink's messages (rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h) as pyroute2 reads and takes
them. The kernel makes some of it by itself: routes of a link's own addresses, and link-local IPv6 addresses.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ovn_docker.addressing import LINK_NAME
from ovn_docker.errors import ConflictError

INET, INET6 = 2, 10
LINK_SCOPE = 253
PERMANENT, NODAD, NOPREFIXROUTE = 0x80, 0x02, 0x200
KERNEL, ROUTER_ADVERTISEMENT = 2, 9
LOCAL_TABLE = 255
FOREVER = 0xFFFFFFFF
ONLINK = 4
USER_HZ = 100
"""Units of rta_expires in a second."""

_KEPT = ("RTA_DST", "RTA_GATEWAY", "RTA_VIA", "RTA_PREFSRC", "RTA_PRIORITY", "RTA_PREF")
_UNMOVED = ("RTA_MULTIPATH", "RTA_ENCAP")


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a link.

    Attributes:
        family: 2 for IPv4, 10 for IPv6.
        local: the address.
        peer: of the other end, or the address itself.
        length: of its prefix.
        broadcast: or "".
        suffix: what stands behind the link's name in its label, ``:1``, or "".
        scope: as in the message.
        flags: those that whoever adds it chooses.
        preferred: seconds that are left, or `FOREVER`.
        valid: likewise.
        metric: of the prefix route, or 0.
        proto: who made it, or 0.
    """

    family: int
    local: str
    peer: str
    length: int
    broadcast: str
    suffix: str
    scope: int
    flags: int
    preferred: int
    valid: int
    metric: int
    proto: int

    @property
    def leased(self) -> bool:
        """Whether it ends if nobody renews it: somebody got it by DHCP or from a router."""
        return self.valid != FOREVER

    def __str__(self) -> str:
        return f"{self.local}/{self.length}"

    def request(self, link: str) -> dict[str, Any]:
        """The words by which a link is given it."""
        words: dict[str, Any] = {
            "family": self.family,
            "local": self.local,
            "address": self.peer,
            "prefixlen": self.length,
            "scope": self.scope,
            "flags": self.flags | (NODAD if self.family == INET6 else 0),  # it was nobody else's until now
        }
        if self.family == INET:
            words["label"] = (link + self.suffix)[:LINK_NAME]
            words |= {"broadcast": self.broadcast} if self.broadcast else {}
        if self.leased:
            life = {"preferred": self.preferred, "valid": self.valid}
            words |= life | {"cacheinfo": life}  # pyroute2 reads one or the other, depending on its version
        if self.metric:
            words["rt_priority"] = self.metric
        if self.proto:
            words["proto"] = self.proto
        return words


@dataclass(frozen=True, slots=True)
class Route:
    """A route through a link.

    Attributes:
        family: 2 for IPv4, 10 for IPv6.
        length: of the destination's prefix.
        fields: of the message, by name.
        attributes: of the message that say where it leads, by name.
        expires: seconds that are left, or 0 for ever.
    """

    family: int
    length: int
    fields: Mapping[str, int]
    attributes: Mapping[str, Any]
    expires: int

    @property
    def needs_others(self) -> bool:
        """Whether its next hop has to be reached through another route first."""
        return bool({"RTA_GATEWAY", "RTA_VIA"} & self.attributes.keys())

    def __str__(self) -> str:
        to = self.attributes.get("RTA_DST")
        return f"{to}/{self.length}" if to else "default"

    def request(self, index: int) -> dict[str, Any]:
        """The words by which it leads through the link of an index."""
        words: dict[str, Any] = {"family": self.family, "dst_len": self.length, **self.fields, "oif": index}
        words |= {name.removeprefix("RTA_").lower(): each for name, each in self.attributes.items()}
        if self.expires:
            words["expires"] = self.expires.to_bytes(4, sys.byteorder)
        return words


@dataclass(frozen=True, slots=True)
class LinkState:
    """What a link holds that somebody gave it.

    Attributes:
        addresses: in the order in which they were given.
        routes: those without a next hop first.
    """

    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]

    def __bool__(self) -> bool:
        """Whether it holds anything."""
        return bool(self.addresses or self.routes)


def read_addresses(messages: Iterable[Any], link: str) -> tuple[Address, ...]:
    """The addresses of a link, without those that the kernel makes by itself."""
    return tuple(
        _address(each, link)
        for each in messages
        if not (each["family"] == INET6 and each["scope"] == LINK_SCOPE)
    )


def _address(message: Any, link: str) -> Address:  # noqa: ANN401  (pyroute2 has no type hints)
    life = message.get_attr("IFA_CACHEINFO") or {}
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    local = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    permanent = bool(flags & PERMANENT)
    label = message.get_attr("IFA_LABEL") or link
    return Address(
        family=message["family"],
        local=local,
        peer=message.get_attr("IFA_ADDRESS") or local,
        length=message["prefixlen"],
        broadcast=message.get_attr("IFA_BROADCAST") or "",
        suffix=label[len(link) :] if label.startswith(f"{link}:") else "",
        scope=message["scope"],
        flags=flags & (NOPREFIXROUTE | NODAD),
        preferred=FOREVER if permanent else int(life.get("ifa_preferred", FOREVER)),
        valid=FOREVER if permanent else int(life.get("ifa_valid", FOREVER)),
        metric=message.get_attr("IFA_RT_PRIORITY") or 0,
        proto=message.get_attr("IFA_PROTO") or 0,
    )


def read_routes(messages: Iterable[Any], link: str) -> tuple[Route, ...]:
    """The routes through a link, without those that the kernel makes by itself.

    Raises:
        ConflictError: one of them cannot be given to another link as it is.
    """
    routes = [
        _route(each, link) for each in messages if each["proto"] != KERNEL and _table(each) != LOCAL_TABLE
    ]
    return tuple(sorted(routes, key=lambda each: each.needs_others))


def _table(message: Any) -> int:  # noqa: ANN401
    return int(message.get_attr("RTA_TABLE") or message["table"])


def _route(message: Any, link: str) -> Route:  # noqa: ANN401
    attributes = {name: each for name in _KEPT if (each := message.get_attr(name)) is not None}
    metrics = message.get_attr("RTA_METRICS")
    if metrics is not None:
        attributes["RTA_METRICS"] = {
            name.removeprefix("RTAX_").lower(): each for name, each in metrics["attrs"]
        }
    life = message.get_attr("RTA_CACHEINFO") or {}
    route = Route(
        family=message["family"],
        length=message["dst_len"],
        fields={
            "table": _table(message),
            "proto": message["proto"],
            "scope": message["scope"],
            "tos": message["tos"],
            "type": message["type"],
            "flags": message["flags"] & ONLINK,
        },
        attributes=attributes,
        expires=max(int(life.get("rta_expires", 0)) // USER_HZ, 0),
    )
    if any(message.get_attr(name) is not None for name in _UNMOVED):
        raise ConflictError(
            f"route {route} through {link} has several next hops or an encapsulation, and"
            " is not moved: remove it, and add it by hand afterwards"
        )
    return route
