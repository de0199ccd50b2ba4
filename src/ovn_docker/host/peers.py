"""Whether other hosts are there: each is sent one byte, and the kernel tells what became of it.

A host that is on answers that nobody listens there, or says nothing where a firewall drops it. For one that
is off, the kernel itself or the last router reports after 3 s that its link address was asked for in vain
(RFC 1122 section 2.3.2.1, RFC 1812 section 4.3.3.1). Silence alone proves nothing. A neighbour whose link
address is known from a while ago is asked for it anew, which the kernel would do only 5 s later.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any

from ovn_docker.host.veth import load_pyroute2

PORT = 9
"""Of UDP: what is sent there is thrown away (RFC 863)."""

SOON, LIMIT = 0.4, 4.0
"""Seconds after which a neighbour that has not answered is asked anew, and after which no answer counts."""

RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR (linux/in.h, linux/in6.h): report what may pass, too."""

EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""linux/errqueue.h, sock_extended_err: errno, origin, ICMP type and code, padding, and two more."""

REFUSED = {(2, 3, 3), (3, 1, 4)}
"""Origin, type and code: the port is unreachable, as the host itself says (RFC 792, RFC 4443 section 3.1)."""

LOST = {(2, 3, 0), (2, 3, 1), (3, 1, 0), (3, 1, 3)}
"""No route, and no such host, as the kernel or a router says; a firewall that forbids has other codes."""

INCOMPLETE, REACHABLE, STALE, DELAY, FAILED = 0x01, 0x02, 0x04, 0x08, 0x20
"""States of a neighbour (linux/neighbour.h)."""


class PeerAnswer(Enum):
    """What is known of a host."""

    HERE = "here"
    AWAY = "away"
    SILENT = "silent"


async def ask(addresses: Collection[str]) -> Mapping[str, PeerAnswer]:
    """Ask all of them at the same time; takes `LIMIT` seconds where one does not answer.

    Args:
        addresses: IP addresses; each costs a file descriptor.
    """
    asked = {each: asyncio.create_task(_ask(each)) for each in addresses}
    if not asked:
        return {}
    _, silent = await asyncio.wait(asked.values(), timeout=SOON)
    if silent:
        await _probe_again([each for each, task in asked.items() if task in silent])
        await asyncio.wait(silent, timeout=LIMIT - SOON)
    found = {}
    for address, task in asked.items():
        found[address] = task.result() if task.done() else PeerAnswer.SILENT
        task.cancel()
    await asyncio.wait(asked.values())
    lost = await failed([each for each, answer in found.items() if answer is PeerAnswer.SILENT])
    return found | dict.fromkeys(lost, PeerAnswer.AWAY)


async def failed(addresses: Collection[str]) -> set[str]:
    """Those among them of which the kernel knows no link address and has asked for it in vain."""
    if not addresses:
        return set()
    states = {each["dst"]: each["state"] for each in await _neighbours() if each["dst"] in addresses}
    return {each for each, state in states.items() if state & (INCOMPLETE | FAILED)}


async def _ask(address: str) -> PeerAnswer:
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)  # noqa: FBT003
            asking.setsockopt(*RECVERR[family], 1)
            asking.connect((address, PORT))
            asking.send(b"\0")
            try:
                await asyncio.get_running_loop().sock_recv(asking, 1)
            except OSError:
                return _explained(asking)
            return PeerAnswer.HERE
    except OSError:  # no route, which Open vSwitch tells of its tunnel, or a firewall here
        return PeerAnswer.SILENT


def _explained(asking: socket.socket) -> PeerAnswer:
    """What a socket's queue of errors says."""
    _, ancillary, _, _ = asking.recvmsg(1, 512, socket.MSG_ERRQUEUE)
    for _, _, data in ancillary:
        _, *cause, _, _, _ = EXTENDED_ERROR.unpack(data[: EXTENDED_ERROR.size])
        if tuple(cause) in REFUSED:
            return PeerAnswer.HERE
        if tuple(cause) in LOST:
            return PeerAnswer.AWAY
    return PeerAnswer.SILENT


async def _probe_again(addresses: Collection[str]) -> None:
    """Have the kernel see whether what it knows of these neighbours still holds, where that is permitted."""
    known = [
        each
        for each in await _neighbours()
        if each["dst"] in addresses and each["state"] & (REACHABLE | STALE | DELAY)
    ]

    def probe(netlink: Any) -> None:  # noqa: ANN401  (pyroute2 has no types)
        for each in known:
            netlink.neigh("change", **each | {"state": "probe"})

    if known:
        await asyncio.to_thread(_with_netlink, probe)


async def _neighbours() -> list[dict[str, Any]]:
    """The kernel's neighbours by IP address."""
    found: list[dict[str, Any]] = []

    def read(netlink: Any) -> None:  # noqa: ANN401
        for family in (socket.AF_INET, socket.AF_INET6):
            found.extend(
                {"family": family, "dst": each.get_attr("NDA_DST")}
                | {key: each[key] for key in ("ifindex", "state")}
                for each in netlink.get_neighbours(family=family)
            )

    await asyncio.to_thread(_with_netlink, read)
    return found


def _with_netlink(work: Any) -> None:  # noqa: ANN401
    """Do something over netlink; a refusal leaves it undone."""
    pyroute2 = load_pyroute2()
    with contextlib.suppress(pyroute2.NetlinkError, OSError), pyroute2.IPRoute() as netlink:
        work(netlink)
