"""Queries that are not ours to answer are asked of other name servers, by UDP.

Each attempt has a socket of its own, so a source port that the kernel chooses at random, and an id at random:
an answer forged from elsewhere has to guess both (RFC 5452 section 9.2).
"""

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Sequence

from ovn_docker.dns.messages import HEADER, REFUSED, SERVFAIL, parse

PORT = 53
"""The UDP port of name servers (RFC 1035 section 4.2.1)."""

SERVER_TIMEOUT, TIMEOUT = 1.0, 4.0
"""Seconds for each server, and for all: resolvers of containers wait 5 s (resolv.conf(5), timeout)."""

MOST = 256
"""Queries under way at once, each with a file descriptor."""

LARGEST = 65535
"""Bytes of a datagram."""


class Forwarder:
    """Asks name servers.

    Attributes:
        under_way: queries that wait for an answer.
    """

    def __init__(self, port: int = PORT, most: int = MOST) -> None:
        self._port = port
        self._most = most
        self.under_way = 0

    async def forward(self, wire: bytes, servers: Sequence[str]) -> bytes | None:
        """The answer of the first server that does not fail, with the id of the query.

        Args:
            wire: a query that `messages.parse` can read.
            servers: addresses in the order in which they are asked; a link-local one as ``fe80::1%eth0``.

        Returns:
            If all fail, the last that one of them answered, SERVFAIL or REFUSED; None if none answered, or
            too many queries are under way.
        """
        query = parse(wire)
        if not query or self.under_way >= self._most:
            return None
        answer = None
        self.under_way += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT):
                    for server in servers:
                        latest = await self._ask(server, wire, query.question)
                        answer = latest or answer
                        if latest and latest[3] & 0xF not in {SERVFAIL, REFUSED}:
                            break
        finally:
            self.under_way -= 1
        return answer and wire[:2] + answer[2:]

    async def _ask(self, server: str, wire: bytes, question: bytes) -> bytes | None:
        number = secrets.token_bytes(2)
        try:
            async with asyncio.timeout(SERVER_TIMEOUT):
                with socket.socket(_family(server), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                    sock.connect(_destination(server, self._port))  # the kernel drops what others send
                    sock.send(number + wire[2:])
                    while True:
                        answer = await asyncio.get_running_loop().sock_recv(sock, LARGEST)
                        if _answers(answer, number, question):
                            return answer
        except (OSError, TimeoutError):  # nothing listens there, no way to it, or no such zone
            return None


def _family(server: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server else socket.AF_INET


def _destination(server: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """A socket's address; an OSError if it is not one, or its zone is no link of this host."""
    try:
        address = ipaddress.ip_address(server)
    except ValueError as error:
        raise OSError(str(error)) from error
    if address.version == 4:  # noqa: PLR2004
        return str(address), port
    zone = address.scope_id or "0"
    scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    return server.partition("%")[0], port, 0, scope


def _answers(answer: bytes, number: bytes, question: bytes) -> bool:
    """Whether it is the answer to this question; the case of its name is not the server's to change, yet
    some do (RFC 4343 section 4.1).
    """
    if len(answer) < HEADER.size or answer[:2] != number or not answer[2] & 0x80 or answer[4:6] != b"\0\1":
        return False
    echoed = answer[HEADER.size : HEADER.size + len(question)]
    return echoed[:-4].lower() == question[:-4].lower() and echoed[-4:] == question[-4:]
