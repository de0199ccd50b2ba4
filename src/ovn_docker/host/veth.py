"""Veth pairs of this host, over netlink.

The kernel does the work of a netlink request while it is being sent (a delete waits 15 ms for RCU), so every
request runs on one thread of its own and the event loop never waits for the kernel. Every link carries our
group, by which a fresh process knows it.
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

# --- Loads pyroute2, the library for netlink: the only place that does. -------------------------------------


TRAFFIC_CONTROL = "pyroute2.netlink.rtnl.tcmsg.common"
"""The logger that warns, while pyroute2 is loaded, where /proc/net/psched cannot be read.

That file is traffic control's, which is not used here, and the systemd unit hides it (ProcSubset=pid).
"""


def load_pyroute2() -> Any:  # noqa: ANN401  (it has no type hints)
    """Load pyroute2; the first time costs 0.15 s."""
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
"""The link group (ip-link(8), group) of every link of ours, and of those that are just being removed."""

SYSFS = "/sys/class/net"

NO_LINK_LOCAL = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}
"""A link that is given no IPv6 address when it comes up, and so says nothing to the container itself
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
        checksums: False where the datapath would pass on packets whose checksum was left to a device.
        heard: whether the kernel hears what comes out of the outside end, so that it must be guarded.
    """

    outside: str
    inside: str
    mac: str
    mtu: int
    checksums: bool
    heard: bool = False


class _Batch:
    """Pairs that are removed together: those that are named until the thread takes them.

    Attributes:
        removal: what to wait for.
    """

    removal: "asyncio.Future[dict[str, OSError]]"

    def __init__(self, outside: str) -> None:
        self._names = {outside}
        self._taken = False
        self._lock = threading.Lock()

    def add(self, outside: str) -> bool:
        """Name one more, unless it is too late."""
        with self._lock:
            if not self._taken:
                self._names.add(outside)
            return not self._taken

    def take(self) -> set[str]:
        """All of them; for the thread."""
        with self._lock:
            self._taken = True
            return self._names


class Links:
    """The links of the network namespace that this process runs in."""

    def __init__(self) -> None:
        """Open nothing yet: netlink is opened by the first request, or by `open`."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="netlink")
        self._netlink: Any = None
        self._guard = Guard((GROUP, LEAVING))
        self._batch: _Batch | None = None
        self._watch: RulesetWatch | None = None
        self._again: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load and open netlink ahead of the first request, which would otherwise wait 0.2 s for it.

        From now on the guard is there, and is made again at once when somebody removes it.
        """
        await self._run(self._open)
        try:
            self._watch = RulesetWatch(self._restore)
            asyncio.get_running_loop().add_reader(self._watch, self._watch.read)
            await self.guard()
        except HostError as error:
            LOG.warning("containers may reach this host past OVN: %s", error)

    def close(self) -> None:
        """Finish what is under way, close netlink and let the thread go; the guard stays."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=True)

    async def guard(self) -> None:
        """See to it that the kernel drops what it hears from our links.

        Raises:
            HostError: the kernel refused.
        """
        await self._run(self._guard.ensure)

    async def guarded(self) -> bool:
        """Whether the kernel drops what it hears from our links, as far as it tells."""
        return await self._run(self._guard.complete)

    def _restore(self) -> None:
        async def restore() -> None:
            if await self.guarded():
                return  # it was we who replaced it
            LOG.warning("somebody removed netfilter's table ovn-docker: it is made again")
            await self.guard()

        self._again = asyncio.get_running_loop().create_task(restore())

    async def create(self, pair: VethPair) -> None:
        """Make the pair; the outside end is up. A pair that is there already, both ends of it, will do.

        Raises:
            ConflictError: one of the names belongs to another link, or the inside end is in a container.
            HostError: the kernel refused, or it would hear the pair without a guard.
        """
        self._batch = None  # what is asked to be removed from now on goes after this
        await self._run(lambda: self._create(pair))

    async def delete(self, outside: str) -> None:
        """Remove a pair by its outside end; one that is gone is success, a link that is not ours is left.

        It is removed even if the caller gives up. Pairs that wait at the same time go together.

        Raises:
            HostError: the kernel refused.
        """
        if self._batch is None or not self._batch.add(outside):
            self._batch = batch = _Batch(outside)
            batch.removal = asyncio.ensure_future(self._run(lambda: self._delete(batch.take())))
        refused = await asyncio.shield(self._batch.removal)
        if outside in refused:
            raise HostError(f"veth pair {outside} could not be removed: {_text(refused[outside])}")

    async def ours(self) -> frozenset[str]:
        """The names of all links of our group."""
        return await self._run(_all_ours)

    async def holding(self, address: str) -> str | None:
        """The name of the link that holds an IP address, or None."""
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
        """One rtnetlink request, about one link or all that have an attribute; a refusal becomes OSError."""
        netlink = self._open()
        about = {} if name is None else {"ifname": name}
        try:
            return netlink.link(command, **about, **attributes)
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
        """Remove pairs; those that the kernel refused, and why.

        It waits 15 ms for RCU in each removal, be it of one link or of a group.
        """
        names = {each for each in outsides if _is_ours(each)}
        if len(names) == 1 or _in_group(LEAVING) - names:
            return self._one_by_one(names)
        try:
            for each in names:
                self._request("set", each, group=LEAVING)
            self._request("del", None, IFLA_GROUP=LEAVING)
        except OSError:
            return self._one_by_one(names)
        return {}

    def _one_by_one(self, names: Iterable[str]) -> dict[str, OSError]:
        refused = {}
        for each in names:
            try:
                self._request("del", each)
            except OSError as error:
                if error.errno != errno.ENODEV:
                    refused[each] = error
        return refused

    def _holding(self, address: str) -> str | None:
        try:
            canonical = str(ipaddress.ip_address(address))
        except ValueError:  # somebody has written a name
            return None
        netlink = self._open()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for message in netlink.get_addr(family=family):
            if canonical in {message.get_attr("IFA_LOCAL"), message.get_attr("IFA_ADDRESS")}:
                return socket.if_indextoname(message["index"])
        return None


def mtu_of(link: str) -> int | None:
    """The MTU of a link in bytes, or None when there is no such link."""
    text = _attribute(link, "mtu")
    return int(text) if text else None


def macs() -> dict[str, str]:
    """Name to MAC address of all links of this network namespace that have one."""
    found = {each.name: _attribute(each.name, "address") for each in Path(SYSFS).iterdir()}
    return {name: mac for name, mac in found.items() if mac}


def is_loopback(link: str) -> bool:
    """Whether a link is a loopback (linux/if_arp.h: ARPHRD_LOOPBACK is 772)."""
    return _attribute(link, "type") == "772"


def exists(link: str) -> bool:
    """Whether the link is in this network namespace."""
    return bool(_attribute(link, "ifindex"))


def is_free(outside: str, inside: str) -> bool:
    """Whether a pair is ours and whole in this network namespace, so that no container has it."""
    return _is_ours(outside) and _is_ours(inside)


def check_free(pair: VethPair) -> None:
    """Accept a pair that is there already, if it is ours and whole.

    Raises:
        ConflictError: one of the names belongs to another link, or the inside end is in a container.
    """
    if not is_free(pair.outside, pair.inside):
        raise ConflictError(
            f"link {pair.outside} or {pair.inside} exists and is not a free veth pair of this driver:"
            " the endpoint is joined already, or the name belongs to somebody else"
        )


def _all_ours() -> frozenset[str]:
    return frozenset(each.name for each in Path(SYSFS).iterdir() if _is_ours(each.name))


def _in_group(group: int) -> frozenset[str]:
    return frozenset(each.name for each in Path(SYSFS).iterdir() if _group(each.name) == group)


def _is_ours(link: str) -> bool:
    return _group(link) in {GROUP, LEAVING}


def _group(link: str) -> int | None:
    text = _attribute(link, "netdev_group")
    return int(text) if text else None


def _attribute(link: str, name: str) -> str:
    """A link's attribute in /sys/class/net (Documentation/ABI/testing/sysfs-class-net), "" without link."""
    try:
        return Path(SYSFS, link, name).read_text().strip()
    except OSError:
        return ""


def disable_checksums(link: str) -> None:
    """Make the kernel compute every checksum before a packet leaves the link.

    Open vSwitch's userspace datapath without TSO drops what relies on a device for it (ovs
    tests/system-userspace-macros.at turns it off for the same reason). The setting goes with the link into
    the container.
    """
    value = array.array("B", struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def _text(error: OSError) -> str:
    reason = {errno.EPERM: "not permitted; the driver needs CAP_NET_ADMIN"}
    return reason.get(error.errno or 0, error.strerror or str(error))
