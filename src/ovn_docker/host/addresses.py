"""Carries addresses and routes from one link of this host to another, over netlink.

Each step is safe to repeat, and what was carried half-way is completed by the next attempt or carried back.
Everything runs on a thread of its own, as for host/veth.py.
"""

import asyncio
import contextlib
import errno
import importlib
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ovn_docker.addressing import LINK_NAME
from ovn_docker.errors import ConflictError, HostError, NotFoundError
from ovn_docker.host.veth import load_pyroute2

# --- What a link of the host holds, in the form in which it can be given to another link. Pure. -------------
# Knows rtnetlink's messages (rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h) as pyroute2 reads and takes
# them. The kernel makes some of it by itself: routes of a link's own addresses, and link-local IPv6
# addresses.


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


T = TypeVar("T")

SYSCTL = Path("/proc/sys/net/ipv6/conf")
ADVERTISED = ("accept_ra", "autoconf", "use_tempaddr")
"""Settings by which a link takes addresses and routes from routers (Documentation/networking/ip-sysctl)."""

ATTRIBUTES = (("IFA_RT_PRIORITY", "uint32"), ("IFA_TARGET_NETNSID", "hex"), ("IFA_PROTO", "uint8"))
"""Of an address, as pyroute2 names them (linux/if_addr.h)."""

GONE = {errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENODEV}


class Addresses:
    """Addresses and routes of the network namespace that this process runs in."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="addresses")
        self._netlink: Any = None

    def close(self) -> None:
        """Close netlink and let the thread go."""
        if self._netlink is not None:
            self._thread.submit(self._netlink.close)
        self._thread.shutdown(wait=True)

    async def read(self, link: str) -> LinkState:
        """What a link holds.

        Raises:
            NotFoundError: there is no such link.
            ConflictError: a route of it cannot be carried.
            HostError: the kernel refused.
        """
        return await self._run(lambda: self._read(link))

    async def carry(self, state: LinkState, to: str, off: str, mtu: int | None = None) -> None:
        """Give a link what another holds, and then take it from that one.

        Args:
            state: of the other.
            to: the link that gets it, which is brought up.
            off: the other, which stays up; a link that is gone holds nothing.
            mtu: of the former in bytes, or None to leave it.

        Raises:
            NotFoundError: the link is gone.
            HostError: the kernel refused.
        """
        await self._run(lambda: self._carry(state, to, off, mtu))

    async def carry_back(self, state: LinkState, to: str, off: str) -> None:
        """Undo a `carry` that failed: what can be given back is, whatever else cannot.

        Raises:
            NotFoundError, HostError: not everything could be; it is the first reason.
        """
        await self._run(lambda: self._carry_back(state, to, off))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> Any:  # noqa: ANN401  (pyroute2 has no type hints)
        if self._netlink is None:
            pyroute2 = load_pyroute2()
            _teach(importlib.import_module("pyroute2.netlink.rtnl.ifaddrmsg"))
            self._netlink = pyroute2.IPRoute()
        return self._netlink

    def _read(self, link: str) -> LinkState:
        index, netlink = _index(link), self._open()
        with _refused(f"what {link} holds cannot be read"):
            addresses = list(netlink.get_addr(index=index))
            routes = [
                each
                for family in (socket.AF_INET, socket.AF_INET6)
                for each in netlink.get_routes(family=family)
                if _leads_through(each, index)
            ]
        return LinkState(read_addresses(addresses, link), read_routes(routes, link))

    def _carry(self, state: LinkState, to: str, off: str, mtu: int | None) -> None:
        index = _index(to)
        with _refused(f"{to} cannot be brought up"):
            self._open().link("set", index=index, state="up", **({} if mtu is None else {"mtu": mtu}))
        for step in self._steps(state, to, index):
            step()
        self._take(state, off)

    def _carry_back(self, state: LinkState, to: str, off: str) -> None:
        failed: list[HostError] = []
        for step in self._steps(state, to, _index(to)):
            try:
                step()
            except HostError as error:
                failed.append(error)
        self._take(state, off)
        if failed:
            raise failed[0]

    def _steps(self, state: LinkState, to: str, index: int) -> Iterator[Callable[[], None]]:
        for address in state.addresses:
            yield partial(self._give, address, to, index)
        for route in state.routes:
            yield partial(self._lead, route, to, index)

    def _give(self, address: Address, link: str, index: int) -> None:
        with _refused(f"address {address} cannot be given to {link}"):
            self._open().addr("replace", index=index, **address.request(link))

    def _lead(self, route: Route, link: str, index: int) -> None:
        with _refused(f"route {route} cannot lead through {link}"):
            self._open().route("replace", **route.request(index))

    def _take(self, state: LinkState, link: str) -> None:
        try:
            index = _index(link)
        except NotFoundError:
            return
        for address in state.addresses:
            with _refused(f"address {address} cannot be taken from {link}", GONE):
                request = {"local": address.local, "address": address.peer}
                self._open().addr(
                    "delete", index=index, family=address.family, prefixlen=address.length, **request
                )


def _teach(ifaddrmsg: Any) -> None:  # noqa: ANN401
    """Have pyroute2's form of an address all attributes: up to 0.7 it ends where ATTRIBUTES begin."""
    known = ifaddrmsg.ifaddrmsg.nla_map
    if ATTRIBUTES[0] not in known:
        ifaddrmsg.ifaddrmsg.nla_map = (*known, *ATTRIBUTES)
        ifaddrmsg.ifaddrmsg().compile_nla()  # it may have read an address already


def disable_ipv6(link: str, *, disabled: bool) -> None:
    """Let a link that is on a bridge have no IPv6 of its own, or again what new links have.

    Raises:
        HostError: the kernel refused.
    """
    own = SYSCTL / link / "disable_ipv6"
    if own.exists():
        default = (SYSCTL / "default" / "disable_ipv6").read_text()
        _write(own, "1" if disabled else default)


def copy_advertised(of: str, to: str) -> None:
    """Let a link take from routers what another takes.

    Raises:
        HostError: the kernel refused.
    """
    for name in ADVERTISED:
        source, target = SYSCTL / of / name, SYSCTL / to / name
        if source.exists() and target.exists():
            _write(target, source.read_text())


def _write(file: Path, text: str) -> None:
    try:
        if file.read_text().strip() != text.strip():
            file.write_text(text)
    except OSError as error:
        raise HostError(f"{file} cannot be written: {error.strerror}") from error


def _index(link: str) -> int:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        raise NotFoundError(f"this machine has no interface {link}") from None


def _leads_through(message: Any, index: int) -> bool:  # noqa: ANN401
    hops = message.get_attr("RTA_MULTIPATH") or ()
    return index == message.get_attr("RTA_OIF") or any(each["oif"] == index for each in hops)


@contextlib.contextmanager
def _refused(what: str, fine: set[int] | None = None) -> Iterator[None]:
    """Translate the kernel's refusal.

    Args:
        what: could not be done.
        fine: error numbers that mean that it was done already.
    """
    try:
        yield
    except Exception as error:
        code = getattr(error, "code", None)
        if code is None:
            raise
        if code in (fine or ()):
            return
        reason = "not permitted: run it as root" if code == errno.EPERM else errno.errorcode.get(code, "?")
        raise HostError(f"{what}: {reason}") from error
