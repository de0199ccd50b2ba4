"""Netfilter rules that keep this host's kernel from handling what containers send.

With Open vSwitch's userspace datapath the kernel too processes every frame that Open vSwitch has copied, and
would answer what is addressed to the host's end of a veth pair, or to all, bypassing OVN
(docs/decisions/0019). Whoever flushes the host's ruleset removes these rules too, hence the watch.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ovn_docker.errors import HostError

# --- Netfilter's rules as messages of nfnetlink (linux/netfilter/nf_tables.h). Pure. ------------------------
# pyroute2 does not report whether the kernel took a transaction, and some releases do not know link groups.


SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""

NEW_TABLE, DEL_TABLE, NEW_CHAIN, NEW_RULE, GET_RULE, DEL_RULE = 0, 2, 3, 6, 7, 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
"""NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END: the messages between them are one transaction."""

ERROR, DONE = 2, 3
"""NLMSG_ERROR and NLMSG_DONE (linux/netlink.h)."""

REQUEST, ACKNOWLEDGE, DUMP, CREATE, APPEND = 0x1, 0x4, 0x300, 0x400, 0x800
NESTED = 0x8000

INET, ARP = 1, 3
"""NFPROTO_INET and NFPROTO_ARP."""

FIRST_HOOK = 0
"""NF_INET_PRE_ROUTING, and NF_ARP_IN."""

INPUT_GROUP = 21
"""NFT_META_IIFGROUP."""

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain at the first hook of its family, `INET` or `ARP`."""

    family: int
    table: str
    name: str
    priority: int

    def rebuild(self, groups: Sequence[int], comment: str) -> list[bytes]:
        """Operations after which the table has this chain only, with one rule for each link group.

        The rules count and drop the packets of these groups. `comment` is each rule's, as nft(8) shows it.
        """
        table = _text_attribute(1, self.table)
        hook = _nested(4, _number(1, FIRST_HOOK), _number(2, self.priority))
        chain = table + _text_attribute(3, self.name) + hook + _text_attribute(7, "filter")
        position, user_data = table + _text_attribute(2, self.name), _attribute(7, _comment(comment))
        rules = [position + _nested(4, *_drop(group)) + user_data for group in groups]
        return [
            message(NEW_TABLE, self.family, CREATE, table),
            message(DEL_TABLE, self.family, 0, table),  # a delete fails without a table, hence the line above
            message(NEW_TABLE, self.family, CREATE, table),
            message(NEW_CHAIN, self.family, CREATE, chain),
            *(message(NEW_RULE, self.family, CREATE | APPEND, rule) for rule in rules),
        ]

    def read(self) -> bytes:
        """The request for its rules."""
        return message(
            GET_RULE, self.family, DUMP, _text_attribute(1, self.table) + _text_attribute(2, self.name)
        )


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


def _drop(group: int) -> tuple[bytes, ...]:
    """`iifgroup GROUP counter drop`: through register 1, and the verdict through register 0."""
    return (
        _expression("meta", _number(1, 1) + _number(2, INPUT_GROUP)),
        _expression(
            "cmp", _number(1, 1) + _number(2, 0) + _nested(3, _attribute(1, struct.pack("=I", group)))
        ),
        _expression("counter", b""),
        _expression("immediate", _number(1, 0) + _nested(2, _nested(2, _number(1, 0)))),
    )


def _expression(name: str, data: bytes) -> bytes:
    return _nested(1, _text_attribute(1, name), _nested(2, data))


def _comment(text: str) -> bytes:
    """User data as libnftnl writes it: type, length, text."""
    encoded = text.encode() + b"\0"
    return bytes([0, len(encoded)]) + encoded


def _message(kind: int, family: int, flags: int, resource: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!i", value))


def _text_attribute(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | NESTED, b"".join(attributes))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return (struct.pack("=HH", length, kind) + value).ljust(_padded(length), b"\0")


def _padded(length: int) -> int:
    return (length + 3) & ~3


TABLE = "ovn-docker"
CHAINS = (Chain(INET, TABLE, "guard", -450), Chain(ARP, TABLE, "guard", 0))
"""IPv4 and IPv6 before defragmentation (NF_IP_PRI_RAW_BEFORE_DEFRAG), and ARP."""

COMMENT = "what containers send is OVN's to deliver"

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
"""linux/netlink.h and linux/netfilter/nfnetlink.h."""

TIMEOUT = 2.0
"""Seconds for the kernel to answer; it answers a transaction that it refuses once per error."""

REMOVALS = {SUBSYSTEM << 8 | kind for kind in (DEL_TABLE, DEL_RULE)}

BUFFER = 1 << 16


class Guard:
    """Rules that drop what the links of some groups send to this network namespace's kernel; for one
    thread.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self._groups = groups
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close the socket; the rules stay, because containers run on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ensure(self) -> None:
        """Make the rules if they are missing; costs 30 µs if they are not. HostError if the kernel
        refuses.
        """
        try:
            if not self._complete():
                rebuilds = [chain.rebuild(self._groups, COMMENT) for chain in CHAINS]
                self._ask(transaction([operation for rebuild in rebuilds for operation in rebuild]))
        except OSError as error:
            raise HostError(f"netfilter's table {TABLE} could not be made: {_text(error)}") from error

    def complete(self) -> bool:
        """Whether the rules exist; False if the kernel does not say."""
        try:
            return self._complete()
        except OSError:
            return False

    def _complete(self) -> bool:
        found = [self._ask(chain.read()).count(COMMENT.encode()) for chain in CHAINS]
        return found == [len(self._groups)] * len(CHAINS)

    def _ask(self, request: bytes) -> bytes:
        """Send a request and return the whole answer; raises its first error."""
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
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            self._socket.settimeout(TIMEOUT)
        return self._socket


class RulesetWatch:
    """Calls `removed` when our rules may have been removed; an event loop waits on its socket."""

    def __init__(self, removed: Callable[[], object]) -> None:
        self._removed = removed
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
            )
            self._socket.bind((0, 1 << NFNLGRP_NFTABLES - 1))
        except OSError as error:
            raise HostError(f"netfilter cannot be watched: {_text(error)}") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> None:
        """Read the notifications that have arrived."""
        removed = False
        while True:
            try:
                data = self._socket.recv(BUFFER)
            except BlockingIOError:
                break
            except OSError as error:  # notifications were lost: netlink(7)
                if error.errno != errno.ENOBUFS:
                    raise
                removed = True
                continue
            removed |= any(kind in REMOVALS and TABLE.encode() in body for kind, body in messages(data))
        if removed:
            self._removed()


def _text(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "not permitted; the driver needs CAP_NET_ADMIN, and 'nft list tables' shows whose the table is"
    if error.errno in {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT}:
        return "this kernel has no nf_tables, or not the families inet and arp of it"
    return os.strerror(error.errno or 0)
