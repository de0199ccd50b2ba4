"""The links of Docker's own bridge networks on this host, as the kernel reports them, and their set in nft.

Containers on OVN may reach there only what is published, while an administrator's bridges may be the way out,
so the rules need to know which is which (ruleset.py).
"""

import errno
import socket
import struct
from collections.abc import Callable, Collection

from ovn_docker.errors import HostError
from ovn_docker.host import nfnetlink
from ovn_docker.host.kernel_settings import DEL_LINK, IFINFOMSG, NETLINK_ROUTE, NEW_LINK
from ovn_docker.host.nfnetlink import BUFFER, CREATE, DEL_ELEMENTS, INET, NEW_ELEMENTS, KernelSocket, nested
from ovn_docker.host.ruleset import BRIDGES, DOCKER_BRIDGE, TABLE

LINK_EVENTS = 1
"""RTMGRP_LINK."""

NAME = 3
"""IFLA_IFNAME."""

LONGEST_NAME = 16
"""IFNAMSIZ: a link's name in nf_tables' registers is filled up with zeros."""


class BridgeWatch:
    """Calls `changed` when the set of Docker's bridges has changed; an event loop waits on its socket."""

    def __init__(self, changed: Callable[[], object]) -> None:
        self._changed = changed
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_ROUTE
            )
            self._socket.bind((0, LINK_EVENTS))
        except OSError as error:
            raise HostError(f"the links of this host cannot be watched: {error.strerror}") from error
        self._names = present()

    @property
    def names(self) -> frozenset[str]:
        """The names of Docker's bridges now."""
        return frozenset(self._names.values())

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> None:
        """Read the notifications that have arrived."""
        before = self.names
        while True:
            try:
                data = self._socket.recv(BUFFER)
            except BlockingIOError:
                break
            except OSError as error:  # notifications were lost: netlink(7)
                if error.errno != errno.ENOBUFS:
                    raise
                self._names = present()
                continue
            for kind, body in nfnetlink.messages(data):
                self._note(kind, body)
        if self.names != before:
            self._changed()

    def _note(self, kind: int, body: bytes) -> None:
        if kind not in {NEW_LINK, DEL_LINK}:
            return
        family, _, index, *_ = IFINFOMSG.unpack_from(body)
        if family != socket.AF_UNSPEC:  # a bridge's word on one of its ports
            return
        self._names.pop(index, None)
        names = [value for key, value in nfnetlink.attributes(body[IFINFOMSG.size :]) if key == NAME]
        name = names[0].rstrip(b"\0").decode() if names else ""
        if kind == NEW_LINK and DOCKER_BRIDGE.fullmatch(name):
            self._names[index] = name


def tell_netfilter(added: Collection[str], removed: Collection[str]) -> None:
    """Change the set of the table; a name that is in it already, or is not, is no error.

    OSError if there is no set.
    """
    netlink = KernelSocket()
    try:
        if added:
            netlink.ask(nfnetlink.transaction([_elements(NEW_ELEMENTS, CREATE, added)]))
        for name in removed:
            try:
                netlink.ask(nfnetlink.transaction([_elements(DEL_ELEMENTS, 0, [name])]))
            except FileNotFoundError:
                continue
    finally:
        netlink.close()


def present() -> dict[int, str]:
    """Index to name of Docker's bridges now."""
    return {index: name for index, name in socket.if_nameindex() if DOCKER_BRIDGE.fullmatch(name)}


def _elements(kind: int, flags: int, names: Collection[str]) -> bytes:
    """NFTA_SET_ELEM_LIST_TABLE, _SET and _ELEMENTS, of NFTA_SET_ELEM_KEY with one NFTA_DATA_VALUE each."""
    keys = [struct.pack(f"{LONGEST_NAME}s", name.encode()) for name in names]
    elements = [nested(1, nested(1, nfnetlink.attribute(1, key))) for key in keys]
    place = nfnetlink.text(1, TABLE) + nfnetlink.text(2, BRIDGES)
    return nfnetlink.message(kind, INET, flags, place + nested(3, *elements))
