"""Veth pairs of this host, over netlink.

The kernel carries out a netlink request while it is being sent (a delete waits 15 ms for RCU), so all
requests run on a thread of their own. Every link is in our link group, by which a new process recognizes it.
"""

import array
import asyncio
import errno
import fcntl
import importlib
import ipaddress
import logging
import socket
import struct
import threading
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ovn_docker.errors import ConflictError, HostError
from ovn_docker.host.guard import Guard, RulesetWatch

TRAFFIC_CONTROL = "pyroute2.netlink.rtnl.tcmsg.common"
"""The logger by which pyroute2 warns at import when it cannot read /proc/net/psched.

That file is traffic control's, which is not used here, and the systemd unit hides it (ProcSubset=pid).
"""


def load_pyroute2() -> Any:  # noqa: ANN401  (it has no type hints)
    """Import pyroute2, which takes 0.15 s the first time."""
    log = logging.getLogger(TRAFFIC_CONTROL)
    log.addFilter(_no_record)
    try:
        return importlib.import_module("pyroute2")
    finally:
        log.removeFilter(_no_record)


def _no_record(record: logging.LogRecord) -> bool:  # noqa: ARG001
    return False


LOG = logging.getLogger(__name__)

T = TypeVar("T")

GROUP, LEAVING = 0x0D0C, 0x0D0D
"""The link groups (ip-link(8), group) of our links, and of those of them that are just being removed."""

SYSFS = "/sys/class/net"

NO_LINK_LOCAL = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}
"""For a link that gets no IPv6 address when it comes up, and so sends nothing to the container by itself
(linux/if_link.h, IN6_ADDR_GEN_MODE_NONE)."""

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
"""linux/sockios.h and linux/ethtool.h: set transmit checksumming of a link."""


@dataclass(frozen=True, slots=True)
class VethPair:
    """A pair of links.

    Attributes:
        outside: the end that stays and is plugged into the bridge.
        inside: the end that Docker moves into the container.
        mac: of the inside end, ``02:42:c0:a8:01:02``.
        mtu: of both, in bytes.
        checksums: False if the datapath would forward packets whose checksum was left to a device.
        heard: whether the kernel receives what comes out of the outside end, so that it must be guarded.
    """

    outside: str
    inside: str
    mac: str
    mtu: int
    checksums: bool
    heard: bool = False


class _Batch:
    """Pairs that are removed together: those that are added until the thread takes them."""

    removal: "asyncio.Future[dict[str, OSError]]"

    def __init__(self, outside: str) -> None:
        self._names = {outside}
        self._taken = False
        self._lock = threading.Lock()

    def add(self, outside: str) -> bool:
        """Add one; False if it is too late."""
        with self._lock:
            if not self._taken:
                self._names.add(outside)
            return not self._taken

    def take(self) -> set[str]:
        """All of them; called by the thread."""
        with self._lock:
            self._taken = True
            return self._names


class Links:
    """The links of this process's network namespace; netlink is opened by `open` or the first request."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._netlink: Any = None
        self._guard = Guard((GROUP, LEAVING))
        self._batch: _Batch | None = None
        self._watch: RulesetWatch | None = None
        self._restoring: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open netlink ahead of the first request, which would otherwise wait 0.2 s for it.

        From now on the guard exists, and is restored at once when somebody removes it.
        """
        await self._run(self._open)
        try:
            self._watch = RulesetWatch(self._restore)
            asyncio.get_running_loop().add_reader(self._watch, self._watch.read)
            await self.guard()
        except HostError as error:
            LOG.warning("containers may reach this host past OVN: %s", error)

    def close(self) -> None:
        """Finish what is under way, close netlink and end the thread; the guard stays."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    async def guard(self) -> None:
        """Make the kernel drop what it receives from our links; HostError if it refuses."""
        await self._run(self._guard.ensure)

    async def guarded(self) -> bool:
        """Whether the kernel drops what it receives from our links, as far as it says."""
        return await self._run(self._guard.complete)

    def _restore(self) -> None:
        async def restore() -> None:
            if await self.guarded():
                return  # this process replaced it
            LOG.warning("netfilter's table ovn-docker was removed by another program: it is restored")
            await self.guard()

        self._restoring = asyncio.get_running_loop().create_task(restore())

    async def create(self, pair: VethPair) -> None:
        """Make the pair, with the outside end up, or accept one that exists and is ours and free.

        Raises:
            ConflictError: one of the names belongs to another link, or the inside end is in a container.
            HostError: the kernel refused, or it would receive from the pair without a guard.
        """
        self._batch = None  # a removal that is requested from now on comes after this
        await self._run(lambda: self._create(pair))

    async def delete(self, outside: str) -> None:
        """Remove a pair by its outside end; one that is gone is success, a link that is not ours is left.

        It is removed even if the caller is cancelled. Pairs that wait at the same time are removed together.
        """
        if self._batch is None or not self._batch.add(outside):
            self._batch = batch = _Batch(outside)
            batch.removal = asyncio.ensure_future(self._run(lambda: self._delete(batch.take())))
        refused = await asyncio.shield(self._batch.removal)
        if outside in refused:
            raise HostError(f"veth pair {outside} could not be removed: {_text(refused[outside])}")

    async def own_names(self) -> frozenset[str]:
        """The names of all links of our groups."""
        return await self._run(lambda: _in_groups({GROUP, LEAVING}))

    async def over_netlink(self, work: Callable[[Any], T]) -> T:
        """What `work` returns, which is called with pyroute2's IPRoute on the netlink thread."""
        return await self._run(lambda: work(self._open()))

    async def holding(self, address: str) -> str | None:
        """The name of the link that has an IP address, or None."""
        return await self._run(lambda: self._holding(address))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> Any:  # noqa: ANN401  (pyroute2 has no type hints)
        if self._netlink is None:
            self._netlink = load_pyroute2().IPRoute()
        return self._netlink

    def _close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None
        self._guard.close()

    def _request(self, command: str, name: str | None, **attributes: Any) -> Any:  # noqa: ANN401
        """One rtnetlink request, for one link or all that have an attribute; a refusal becomes OSError."""
        netlink = self._open()
        selector = {} if name is None else {"ifname": name}
        try:
            return netlink.link(command, **selector, **attributes)
        except Exception as error:
            code = getattr(error, "code", None)
            if code is None:
                raise
            raise OSError(code, errno.errorcode.get(code, "?")) from error

    def _create(self, pair: VethPair) -> None:
        try:
            self._guard.ensure()
        except HostError:
            if pair.heard:
                raise
        peer = {"ifname": pair.inside, "address": pair.mac, "mtu": pair.mtu, "group": GROUP}
        try:
            self._request("add", pair.outside, kind="veth", mtu=pair.mtu, group=GROUP, peer=peer)
        except OSError as error:
            if error.errno != errno.EEXIST:
                raise HostError(f"veth pair {pair.outside} could not be made: {_text(error)}") from error
            check_free(pair)
        try:
            if not pair.checksums:
                disable_checksums(pair.inside)
            self._request("set", pair.outside, IFLA_AF_SPEC=NO_LINK_LOCAL)
            self._request("set", pair.outside, state="up")
        except OSError as error:
            raise HostError(f"veth pair {pair.outside} could not be set up: {_text(error)}") from error

    def _delete(self, outsides: Collection[str]) -> dict[str, OSError]:
        """Remove pairs, and return those that the kernel refused to remove, and why.

        The kernel waits 15 ms for RCU in each removal, whether of one link or of a group.
        """
        names = {name for name in outsides if _is_ours(name)}
        if len(names) == 1 or _in_groups({LEAVING}) - names:
            return self._one_by_one(names)
        try:
            for name in names:
                self._request("set", name, group=LEAVING)
            self._request("del", None, IFLA_GROUP=LEAVING)
        except OSError:
            return self._one_by_one(names)
        return {}

    def _one_by_one(self, names: Iterable[str]) -> dict[str, OSError]:
        refused = {}
        for name in names:
            try:
                self._request("del", name)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    refused[name] = error
        return refused

    def _holding(self, address: str) -> str | None:
        try:
            canonical = str(ipaddress.ip_address(address))
        except ValueError:  # a host name
            return None
        netlink = self._open()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for message in netlink.get_addr(family=family):
            if canonical in {message.get_attr("IFA_LOCAL"), message.get_attr("IFA_ADDRESS")}:
                return socket.if_indextoname(message["index"])
        return None


def mtu_of(link: str) -> int | None:
    """The MTU of a link in bytes, or None if it does not exist."""
    text = _attribute(link, "mtu")
    return int(text) if text else None


def macs() -> dict[str, str]:
    """Name to MAC address of all links of this network namespace that have one."""
    addresses = {link.name: _attribute(link.name, "address") for link in Path(SYSFS).iterdir()}
    return {name: mac for name, mac in addresses.items() if mac}


def is_loopback(link: str) -> bool:
    """Whether a link is a loopback (linux/if_arp.h: ARPHRD_LOOPBACK is 772)."""
    return _attribute(link, "type") == "772"


def exists(link: str) -> bool:
    """Whether the link is in this network namespace."""
    return bool(_attribute(link, "ifindex"))


def is_free(outside: str, inside: str) -> bool:
    """Whether both ends of a pair of ours are in this network namespace, so that no container has it."""
    return _is_ours(outside) and _is_ours(inside)


def check_free(pair: VethPair) -> None:
    """Raise ConflictError unless an existing pair is free to be used."""
    if not is_free(pair.outside, pair.inside):
        raise ConflictError(
            f"link {pair.outside} or {pair.inside} exists and is not a free veth pair of this driver:"
            " the endpoint is joined already, or the name belongs to somebody else"
        )


def _in_groups(groups: Collection[int]) -> frozenset[str]:
    return frozenset(link.name for link in Path(SYSFS).iterdir() if _group(link.name) in groups)


def _is_ours(link: str) -> bool:
    return _group(link) in {GROUP, LEAVING}


def _group(link: str) -> int | None:
    text = _attribute(link, "netdev_group")
    return int(text) if text else None


def _attribute(link: str, name: str) -> str:
    """A link's attribute in /sys/class/net (kernel Documentation/ABI/testing/sysfs-class-net), or ""."""
    try:
        return Path(SYSFS, link, name).read_text().strip()
    except OSError:
        return ""


def disable_checksums(link: str) -> None:
    """Make the kernel compute every checksum before a packet leaves the link.

    Open vSwitch's userspace datapath without TSO drops what relies on a device for it (ovs
    tests/system-userspace-macros.at turns it off for the same reason). The setting stays with the link in the
    container.
    """
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def _text(error: OSError) -> str:
    reason = {errno.EPERM: "not permitted; the driver needs CAP_NET_ADMIN"}
    return reason.get(error.errno or 0, error.strerror or str(error))
