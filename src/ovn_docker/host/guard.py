"""Keeps this host's kernel deaf to what containers send, by rules of netfilter of our own.

With Open vSwitch's userspace datapath the kernel goes on with every frame that Open vSwitch has taken a copy
of, and would serve what is addressed to the host's end of a veth pair, or to all, past OVN (docs/decisions/
0019). The rules are the host's: whoever flushes its ruleset takes them away, hence the watch.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence

from ovn_docker.errors import HostError
from ovn_docker.host import nftables
from ovn_docker.host.nftables import ARP, INET, Chain

TABLE = "ovn-docker"
CHAINS = (Chain(INET, TABLE, "guard", -450), Chain(ARP, TABLE, "guard", 0))
"""IPv4 and IPv6 before their fragments are put together (NF_IP_PRI_RAW_BEFORE_DEFRAG), and ARP."""

COMMENT = "what containers send is OVN's to deliver"

NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7
"""linux/netlink.h and linux/netfilter/nfnetlink.h."""

TIMEOUT = 2.0
"""Seconds for the kernel to answer; a transaction that it refuses gets as many answers as it has errors."""

REMOVALS = {nftables.SUBSYSTEM << 8 | kind for kind in (nftables.DEL_TABLE, nftables.DEL_RULE)}

BUFFER = 1 << 16


class Guard:
    """Rules that drop what the links of some groups send to the kernel of this network namespace."""

    def __init__(self, groups: Sequence[int]) -> None:
        """Open nothing yet; all of it is for one thread."""
        self._groups = groups
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """The rules stay: containers run on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ensure(self) -> None:
        """See to it that the rules are there; it costs 30 µs when they are.

        Raises:
            HostError: the kernel refused.
        """
        try:
            if not self._complete():
                self._ask(nftables.transaction([each for chain in CHAINS for each in self._rebuild(chain)]))
        except OSError as error:
            raise HostError(f"netfilter's table {TABLE} could not be made: {_text(error)}") from error

    def complete(self) -> bool:
        """Whether the rules are there; no where the kernel does not tell."""
        try:
            return self._complete()
        except OSError:
            return False

    def _complete(self) -> bool:
        found = [self._ask(chain.read()).count(COMMENT.encode()) for chain in CHAINS]
        return found == [len(self._groups)] * len(CHAINS)

    def _rebuild(self, chain: Chain) -> list[bytes]:
        return chain.rebuild(self._groups, COMMENT)

    def _ask(self, request: bytes) -> bytes:
        """Send it, and return all that comes back up to the end; the first error is raised."""
        netlink = self._open()
        netlink.send(request)
        answer = b""
        while True:
            received = netlink.recv(BUFFER)
            answer += received
            for kind, body in nftables.messages(received):
                [code] = struct.unpack_from("=i", body) if kind == nftables.ERROR else [0]
                if code:
                    self.close()  # and with it the answers to what followed
                    raise OSError(-code, os.strerror(-code))
                if kind in {nftables.ERROR, nftables.DONE}:
                    return answer

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
            self._socket.settimeout(TIMEOUT)
        return self._socket


class Watch:
    """Hears of changes of the ruleset; its socket can be waited for."""

    def __init__(self, removed: Callable[[], object]) -> None:
        """Call this when ours may have been removed.

        Raises:
            HostError: the kernel refused.
        """
        self._removed = removed
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER
            )
            self._socket.bind((0, 1 << NFNLGRP_NFTABLES - 1))
        except OSError as error:
            raise HostError(f"netfilter cannot be watched: {_text(error)}") from error

    def fileno(self) -> int:
        """For a loop to wait on."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def read(self) -> None:
        """Take in what has come."""
        removed = False
        while True:
            try:
                data = self._socket.recv(BUFFER)
            except BlockingIOError:
                break
            except OSError as error:  # more has come than the socket holds: netlink(7)
                if error.errno != errno.ENOBUFS:
                    raise
                removed = True
                continue
            removed |= any(
                kind in REMOVALS and TABLE.encode() in body for kind, body in nftables.messages(data)
            )
        if removed:
            self._removed()


def _text(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "not permitted; the driver needs CAP_NET_ADMIN, and 'nft list tables' shows whose the table is"
    if error.errno in {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ENOENT}:
        return "this kernel has no nf_tables, or not the families inet and arp of it"
    return os.strerror(error.errno or 0)
