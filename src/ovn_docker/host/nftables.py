"""Netfilter's rules as messages of nfnetlink (linux/netfilter/nf_tables.h). Pure.

pyroute2 does not tell whether the kernel took a transaction, and not every release of it knows link groups.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""

NEW_TABLE, DEL_TABLE, NEW_CHAIN, DEL_CHAIN, NEW_RULE, GET_RULE, DEL_RULE = 0, 2, 3, 5, 6, 7, 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
"""NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END: what is between them is one transaction."""

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
    """A base chain at the first hook of its family.

    Attributes:
        family: `INET` or `ARP`.
        table: of that family.
        name: of the chain.
        priority: among the chains of this hook.
    """

    family: int
    table: str
    name: str
    priority: int

    def rebuild(self, groups: Sequence[int], comment: str) -> list[bytes]:
        """The operations that leave the table with this chain, and that with one rule for each group.

        Args:
            groups: of links, whose packets are counted and dropped.
            comment: of each rule, as nft(8) shows it.
        """
        table = _text(1, self.table)
        hook = _nested(4, _number(1, FIRST_HOOK), _number(2, self.priority))
        chain = table + _text(3, self.name) + hook + _text(7, "filter")
        place, about = table + _text(2, self.name), _attribute(7, _comment(comment))
        rules = [place + _nested(4, *_drop(group)) + about for group in groups]
        return [
            message(NEW_TABLE, self.family, CREATE, table),
            message(DEL_TABLE, self.family, 0, table),  # so that there was one to be deleted
            message(NEW_TABLE, self.family, CREATE, table),
            message(NEW_CHAIN, self.family, CREATE, chain),
            *(message(NEW_RULE, self.family, CREATE | APPEND, rule) for rule in rules),
        ]

    def read(self) -> bytes:
        """Ask for its rules."""
        return message(GET_RULE, self.family, DUMP, _text(1, self.table) + _text(2, self.name))


def message(kind: int, family: int, flags: int, attributes: bytes) -> bytes:
    """A message of nftables'."""
    return _message(SUBSYSTEM << 8 | kind, family, REQUEST | flags, 0, attributes)


def transaction(operations: list[bytes]) -> bytes:
    """All of them or none; the answer is an acknowledgement of the end, or errors."""
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
    return _nested(1, _text(1, name), _nested(2, data))


def _comment(text: str) -> bytes:
    """User data as libnftnl writes it: type, length, text."""
    encoded = text.encode() + b"\0"
    return bytes([0, len(encoded)]) + encoded


def _message(kind: int, family: int, flags: int, resource: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", family, 0, resource) + attributes
    return HEADER.pack(HEADER.size + len(body), kind, flags, 0, 0) + body


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("!i", value))


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | NESTED, b"".join(attributes))


def _attribute(kind: int, value: bytes) -> bytes:
    length = 4 + len(value)
    return (struct.pack("=HH", length, kind) + value).ljust(_padded(length), b"\0")


def _padded(length: int) -> int:
    return (length + 3) & ~3
