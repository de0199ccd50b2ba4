"""Netfilter rules that keep this host's kernel from handling what containers send.

With Open vSwitch's userspace datapath the kernel too processes every frame that Open vSwitch has copied, and
would answer what is addressed to the host's end of a veth pair, or to all, bypassing OVN
(docs/decisions/0019). Whoever flushes the host's ruleset removes these rules too, hence the watch.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ovn_docker.errors import HostError
from ovn_docker.host.nfnetlink import (
    APPEND,
    ARP,
    BUFFER,
    CREATE,
    DEL_CHAIN,
    DEL_RULE,
    DEL_TABLE,
    DUMP,
    GET_RULE,
    INET,
    NETLINK_NETFILTER,
    NEW_CHAIN,
    NEW_RULE,
    NEW_TABLE,
    NFNLGRP_NFTABLES,
    SUBSYSTEM,
    KernelSocket,
    attribute,
    message,
    messages,
    nested,
    number,
    text,
    transaction,
)

TABLE = "ovn-docker"
COMMENT = "what containers send is OVN's to deliver"

FIRST_HOOK = 0
"""NF_INET_PRE_ROUTING, and NF_ARP_IN."""

INPUT_GROUP = 21
"""NFT_META_IIFGROUP."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain at the first hook of its family, `INET` or `ARP`."""

    family: int
    table: str
    name: str
    priority: int

    def rebuild(self, groups: Sequence[int], comment: str) -> list[bytes]:
        """Operations after which the chain has one rule for each link group, and no other.

        The rules count and drop the packets of these groups. `comment` is each rule's, as nft(8) shows it.
        What else the table has is left alone: ruleset.py's chains are in it too.
        """
        table = text(1, self.table)
        hook = nested(4, number(1, FIRST_HOOK), number(2, self.priority))
        bare = table + text(3, self.name)
        chain = bare + hook + text(7, "filter")
        position, user_data = table + text(2, self.name), attribute(7, _comment(comment))
        rules = [position + nested(4, *_drop(group)) + user_data for group in groups]
        return [
            message(NEW_TABLE, self.family, CREATE, table),
            message(NEW_CHAIN, self.family, CREATE, bare),  # a delete fails without a chain
            message(DEL_RULE, self.family, 0, table + text(2, self.name)),
            message(DEL_CHAIN, self.family, 0, bare),
            message(NEW_CHAIN, self.family, CREATE, chain),
            *(message(NEW_RULE, self.family, CREATE | APPEND, rule) for rule in rules),
        ]

    def read(self) -> bytes:
        """The request for its rules."""
        return message(GET_RULE, self.family, DUMP, text(1, self.table) + text(2, self.name))


def _drop(group: int) -> tuple[bytes, ...]:
    """`iifgroup GROUP counter drop`: through register 1, and the verdict through register 0."""
    return (
        _expression("meta", number(1, 1) + number(2, INPUT_GROUP)),
        _expression("cmp", number(1, 1) + number(2, 0) + nested(3, attribute(1, struct.pack("=I", group)))),
        _expression("counter", b""),
        _expression("immediate", number(1, 0) + nested(2, nested(2, number(1, 0)))),
    )


def _expression(name: str, data: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, data))


def _comment(words: str) -> bytes:
    """User data as libnftnl writes it: type, length, text."""
    encoded = words.encode() + b"\0"
    return bytes([0, len(encoded)]) + encoded


CHAINS = (Chain(INET, TABLE, "guard", -450), Chain(ARP, TABLE, "guard", 0))
"""IPv4 and IPv6 before defragmentation (NF_IP_PRI_RAW_BEFORE_DEFRAG), and ARP."""

REMOVALS = {SUBSYSTEM << 8 | kind for kind in (DEL_TABLE, DEL_CHAIN, DEL_RULE)}


class Guard:
    """Rules that drop what the links of some groups send to this network namespace's kernel; for one
    thread.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self._groups = groups
        self._netlink = KernelSocket()

    def close(self) -> None:
        """Close the socket; the rules stay, because containers run on."""
        self._netlink.close()

    def ensure(self) -> None:
        """Make the rules if they are missing; costs 30 µs if they are not. HostError if the kernel
        refuses.
        """
        try:
            if not self._complete():
                rebuilds = [chain.rebuild(self._groups, COMMENT) for chain in CHAINS]
                self._netlink.ask(transaction([operation for rebuild in rebuilds for operation in rebuild]))
        except OSError as error:
            raise HostError(f"netfilter's table {TABLE} could not be made: {_text(error)}") from error

    def complete(self) -> bool:
        """Whether the rules exist; False if the kernel does not say."""
        try:
            return self._complete()
        except OSError:
            return False

    def _complete(self) -> bool:
        found = [self._netlink.ask(chain.read()).count(COMMENT.encode()) for chain in CHAINS]
        return found == [len(self._groups)] * len(CHAINS)


class RulesetWatch:
    """Calls `removed` when our rules may have been removed; an event loop waits on its socket.

    `names` are of tables or chains: whatever is removed that has one of them in it, or refers to it.
    """

    def __init__(self, removed: Callable[[], object], names: Collection[str] = (TABLE,)) -> None:
        self._removed = removed
        self._names = [name.encode() for name in names]
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
            removed |= any(kind in REMOVALS and self._concerns(body) for kind, body in messages(data))
        if removed:
            self._removed()

    def _concerns(self, body: bytes) -> bool:
        return any(name in body for name in self._names)


def _text(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "not permitted; the driver needs CAP_NET_ADMIN, and 'nft list tables' shows whose the table is"
    if error.errno in {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT}:
        return "this kernel has no nf_tables, or not the families inet and arp of it"
    return os.strerror(error.errno or 0)
