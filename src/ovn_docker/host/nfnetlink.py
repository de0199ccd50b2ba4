"""Netlink as netfilter speaks it: messages, attributes, and one socket for questions and transactions.

pyroute2 does not report whether the kernel took a transaction (linux/netfilter/nf_tables.h).
"""

import os
import socket
import struct
from collections.abc import Iterator

SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""

NEW_TABLE, DEL_TABLE, NEW_CHAIN, DEL_CHAIN, NEW_RULE, GET_RULE, DEL_RULE = 0, 2, 3, 5, 6, 7, 8
NEW_ELEMENTS, DEL_ELEMENTS = 12, 14
BATCH_BEGIN, BATCH_END = 0x10, 0x11
"""NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END: the messages between them are one transaction."""

ERROR, DONE = 2, 3
"""NLMSG_ERROR and NLMSG_DONE (linux/netlink.h)."""

REQUEST, ACKNOWLEDGE, DUMP, CREATE, APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
NESTED = 0x8000

INET, ARP = 1, 3
"""NFPROTO_INET and NFPROTO_ARP."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr."""

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
"""linux/netlink.h and linux/netfilter/nfnetlink.h."""

TIMEOUT = 2.0
"""Seconds for the kernel to answer; it answers a transaction that it refuses once per error."""

BUFFER = 1 << 16


def message(kind: int, family: int, flags: int, attributes: bytes) -> bytes:
    """A message of nftables."""
    return _message(SUBSYSTEM << 8 | kind, family, REQUEST | flags, 0, attributes)


def transaction(operations: list[bytes]) -> bytes:
    """The operations as one transaction; the answer is an acknowledgement of its end, or errors."""
    begin = _message(BATCH_BEGIN, 0, REQUEST, SUBSYSTEM, b"")
    end = _message(BATCH_END, 0, REQUEST | ACKNOWLEDGE, SUBSYSTEM, b"")
    return b"".join([begin, *operations, end])


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of what the kernel sent."""
    while len(data) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(data)
        if length < HEADER.size:
            return
        yield kind, data[HEADER.size : length]
        data = data[_padded(length) :]


def number(kind: int, value: int) -> bytes:
    """An attribute that is a number of 32 bits, big-endian as all of nftables' are."""
    return attribute(kind, struct.pack("!i", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a text."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute made of attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def attribute(kind: int, value: bytes) -> bytes:
    """Any attribute."""
    length = 4 + len(value)
    return (struct.pack("=HH", length, kind) + value).ljust(_padded(length), b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of the attributes that a message, or an attribute, is made of."""
    while len(data) >= 4:  # noqa: PLR2004  (struct nlattr)
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:  # noqa: PLR2004
            return
        yield kind & ~NESTED, data[4:length]
        data = data[_padded(length) :]


def _message(kind: int, family: int, flags: int, resource: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _padded(length: int) -> int:
    return (length + 3) & ~3


class KernelSocket:
    """A socket of one of netlink's protocols, opened by the first request; for one thread at a time.

    The kernel carries out a request while it is being sent, so an answer is there at once.
    """

    def __init__(self, protocol: int = NETLINK_NETFILTER) -> None:
        self._protocol = protocol
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, request: bytes) -> bytes:
        """Send a request and return the whole answer; raises its first error as OSError."""
        netlink = self._open()
        netlink.send(request)
        answer = b""
        while True:
            received = netlink.recv(BUFFER)
            answer += received
            for kind, body in messages(received):
                [code] = struct.unpack_from("=i", body) if kind == ERROR else [0]
                if code:
                    self.close()  # and so discard the answers to what followed
                    raise OSError(-code, os.strerror(-code))
                if kind in {ERROR, DONE}:
                    return answer

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, self._protocol)
            self._socket.settimeout(TIMEOUT)
        return self._socket
