"""Answers the queries of containers for names of others on their networks.

The rules of host/ruleset.py lead such queries here, whatever server they were sent to. The answer has to
leave from the address that a query came to, and by its link, so that the kernel can take the detour back.
"""

import asyncio
import contextlib
import functools
import ipaddress
import logging
import random
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.dns.messages import (
    NXDOMAIN,
    PAYLOAD,
    REFUSED,
    SERVFAIL,
    Query,
    addresses,
    failure,
    names,
    parse,
    reverse_address,
)
from ovn_docker.errors import OvnDockerError

LOG = logging.getLogger(__name__)

DEADLINE = 4.5
"""Seconds for a query: resolvers of containers wait 5 s (resolv.conf(5), timeout)."""

MOST = 512
"""Queries under way at once; more are dropped, and asked again."""

AT_ONCE = 64
"""Datagrams read before others have their turn."""

COMPLAIN_EVERY = 60.0
"""Seconds between two lines of the log on the same failure."""

PKTINFO = {socket.AF_INET: (socket.IPPROTO_IP, 8), socket.AF_INET6: (socket.IPPROTO_IPV6, 50)}
"""IP_PKTINFO and IPV6_PKTINFO (linux/in.h, linux/in6.h), of one message."""

RECVPKTINFO = {socket.AF_INET: (socket.IPPROTO_IP, 8), socket.AF_INET6: (socket.IPPROTO_IPV6, 49)}
"""IP_PKTINFO and IPV6_RECVPKTINFO: report them. On a socket for both families, IPv4's come as IPv6's."""

PKTINFO_4, PKTINFO_6 = struct.Struct("=i4s4s"), struct.Struct("=16si")
"""ip(7), in_pktinfo: link, local address, address of the header; ipv6(7), in6_pktinfo: address, link."""

ANCILLARY = socket.CMSG_SPACE(PKTINFO_6.size)

MAPPED = "::ffff:"
"""How a socket for both families writes IPv4 addresses (RFC 4291 section 2.5.5.2)."""


@dataclass(frozen=True)
class Network:
    """A network of a container.

    Attributes:
        pools: the addresses of its containers.
        key: the id of the row of a name, which is in lower case; an address is one too, ``10.77.0.5``.
    """

    pools: tuple[IPNetwork, ...]
    key: Callable[[str], UUID]


@dataclass(frozen=True)
class Asker:
    """The container that asks.

    Attributes:
        networks: those that it is on.
        servers: who is asked for other names, in this order.
        sealed: no other names are asked for: its networks have no way out.
    """

    networks: tuple[Network, ...]
    servers: tuple[str, ...] = ()
    sealed: bool = False


Who = Callable[[str, str], Awaitable[Asker | None]]
"""The container with this address that is reached by this link; None for a stranger.

It may raise an OvnDockerError, if that cannot be told now."""

Forward = Callable[[bytes, Sequence[str]], Awaitable[bytes | None]]
"""Asks servers, as `forwarder.Forwarder.forward` does."""


class Names(Protocol):
    """Gives the options of rows, as `name_cache.NameCache` does."""

    async def get(self, keys: Sequence[UUID]) -> list[Mapping[str, str]]: ...


class Responder:
    """Answers by UDP.

    Args:
        who: who asks.
        names: what is published.
        forward: asks other servers.
        shuffle: orders the addresses of an answer, so that containers share the work.

    Attributes:
        answered: queries answered from our names, "there is no such name" included.
        forwarded: those that another server answered.
        failed: those refused, and those that could not be answered.
        dropped: those that came while too many were under way.
    """

    def __init__(
        self,
        who: Who,
        names: Names,
        forward: Forward,
        shuffle: Callable[[list[bytes]], None] = random.shuffle,
    ) -> None:
        self._who = who
        self._names = names
        self._forward = forward
        self._shuffle = shuffle
        self._tasks: set[asyncio.Task[None]] = set()
        self._complained: dict[str, float] = {}
        self.answered = self.forwarded = self.failed = self.dropped = 0

    async def run(self, sock: socket.socket) -> None:
        """Answer what comes to a socket of `bind`, until cancelled; then close it."""
        loop = asyncio.get_running_loop()
        with sock:
            loop.add_reader(sock, self._read, sock)
            try:
                await loop.create_future()
            finally:
                loop.remove_reader(sock)
                for task in self._tasks:
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks)

    def _read(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                wire, ancillary, flags, sender = sock.recvmsg(PAYLOAD, ANCILLARY)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                LOG.debug("a DNS query could not be read: %s", error)
                continue
            query = None if flags & socket.MSG_TRUNC else parse(wire)
            if not query:
                continue
            if len(self._tasks) >= MOST:
                self.dropped += 1
                continue
            task = _start(self._serve(sock, query, sender, ancillary))
            if not task.done():
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, query: Query, sender: Any, ancillary: Any) -> None:  # noqa: ANN401
        """Answer one query; `sender` and `ancillary` as recvmsg gives them."""
        source = sender[0].removeprefix(MAPPED)
        answer = None
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self.answer(query, source, _link(ancillary))
        except TimeoutError:
            LOG.debug("no answer for %s to %s within %g s", query.name, source, DEADLINE)
        except OvnDockerError as error:
            self._complain(error)
        except Exception:  # a fault of ours: the container is told at once, and may ask another server
            LOG.exception("a DNS query failed")
        if not answer:
            self.failed += 1
            answer = failure(query, SERVFAIL)
        try:
            sock.sendmsg([answer], _reply_path(ancillary), 0, sender)
        except OSError as error:
            LOG.debug("the answer for %s could not be sent to %s: %s", query.name, source, error)

    async def answer(self, query: Query, source: str, link: str) -> bytes | None:
        """The answer to a container; None if no server has one.

        Raises:
            OvnDockerError: who asks, or what is published, cannot be told now.
        """
        asker = await self._who(source, link)
        if not asker:
            self.failed += 1
            return failure(query, REFUSED)
        own, is_ours = await self._own(query, asker)
        if not own and not is_ours and not asker.sealed:
            forwarded = await self._forward(query.wire, asker.servers)
            self.forwarded += forwarded is not None
            return forwarded
        self.answered += 1
        return own or failure(query, NXDOMAIN)

    async def _own(self, query: Query, asker: Asker) -> tuple[bytes | None, bool]:
        """What our names answer, if anything; and whether no other server is to be asked."""
        if address := reverse_address(query):
            networks = [network for network in asker.networks if _is_in(address, network)]
            options = await self._options(networks, str(address))
            found = sorted({name for row in options for text in row.values() for name in text.split()})
            return (names(query, found) if found else None), bool(networks)
        if query.labels != 1:
            return None, False
        options = await self._options(asker.networks, query.name)
        ips = {
            ip
            for network, row in zip(asker.networks, options, strict=True)
            for text in row.values()
            for ip in _addresses(text)
            if _is_in(ip, network)
        }
        return (addresses(query, sorted(ips, key=_order), self._shuffle) if ips else None), False

    async def _options(self, networks: Iterable[Network], name: str) -> list[Mapping[str, str]]:
        keys = [network.key(name) for network in networks]
        return await self._names.get(keys) if keys else []

    def _complain(self, error: OvnDockerError) -> None:
        now = asyncio.get_running_loop().time()
        text = str(error)
        if now < self._complained.get(text, 0.0):
            return
        self._complained = {one: until for one, until in self._complained.items() if now < until}
        self._complained[text] = now + COMPLAIN_EVERY
        LOG.warning("names of containers cannot be answered: %s", text)


def bind(port: int, *, ipv6: bool = True) -> socket.socket:
    """A socket for both families on all addresses; for IPv4 only if the host has no IPv6.

    Raises:
        OSError: the port is taken.
    """
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError:
        if ipv6:  # the kernel was started with ipv6.disable=1
            return bind(port, ipv6=False)
        raise
    try:
        sock.setsockopt(*RECVPKTINFO[family], 1)
        if ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::" if ipv6 else "0.0.0.0", port))  # noqa: S104  (the rules let only containers in)
    except BaseException:
        sock.close()
        raise
    return sock


def _start(serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin at once, which most queries also end with: what they ask for is known."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(serving, loop=asyncio.get_running_loop(), eager_start=True)
    return asyncio.create_task(serving)


def _link(ancillary: Iterable[tuple[int, int, bytes]]) -> str:
    """The link that a query came by; "" if it is gone."""
    for level, kind, data in ancillary:
        with contextlib.suppress(OSError):
            if (level, kind) == PKTINFO[socket.AF_INET6]:
                return socket.if_indextoname(PKTINFO_6.unpack(data)[1])
            if (level, kind) == PKTINFO[socket.AF_INET]:
                return socket.if_indextoname(PKTINFO_4.unpack(data)[0])
    return ""


def _reply_path(ancillary: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """From the address, and by the link, that the query came to."""
    path = []
    for level, kind, data in ancillary:
        if (level, kind) == PKTINFO[socket.AF_INET6]:
            path.append((level, kind, data))
        elif (level, kind) == PKTINFO[socket.AF_INET]:
            link, local, _ = PKTINFO_4.unpack(data)
            path.append((level, kind, PKTINFO_4.pack(link, local, bytes(4))))
    return path


@functools.lru_cache(maxsize=10_000)
def _addresses(text: str) -> tuple[IPAddress, ...]:
    """Those of a row's value; what is not an address is passed over."""
    found = []
    for word in text.split():
        with contextlib.suppress(ValueError):
            found.append(ipaddress.ip_address(word))
    return tuple(found)


def _is_in(address: IPAddress, network: Network) -> bool:
    return any(address in pool for pool in network.pools)


def _order(address: IPAddress) -> tuple[int, int]:
    return address.version, int(address)
