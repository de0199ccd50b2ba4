"""Carries addresses and routes from one link of this host to another, over netlink.

Each step is safe to repeat, and what was carried half-way is completed by the next attempt or carried back.
Everything runs on a thread of its own, as for host/veth.py.
"""

import asyncio
import contextlib
import errno
import importlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ovn_docker.errors import HostError, NotFoundError
from ovn_docker.host import link_state
from ovn_docker.host.link_state import Address, LinkState, Route
from ovn_docker.host.netlink import load_pyroute2

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
        return LinkState(link_state.read_addresses(addresses, link), link_state.read_routes(routes, link))

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
