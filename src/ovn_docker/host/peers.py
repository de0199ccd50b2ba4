"""Whether other hosts are up: each is sent one byte, and the kernel reports what became of it.

A host that is up answers that the port is closed, or says nothing if a firewall drops the byte. For one that
is down, the kernel itself or the last router reports after 3 s that its link address could not be resolved
(RFC 1122 section 2.3.2.1, RFC 1812 section 4.3.3.1). Silence alone proves nothing. A neighbour whose link
address was learnt a while ago is probed again, which the kernel would do only 5 s later.
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
"""UDP port of the discard service (RFC 863)."""

PROBE_AFTER, ANSWER_TIMEOUT = 0.4, 4.0
"""Seconds after which a neighbour that has not answered is probed, and after which no answer counts."""

RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
"""IP_RECVERR and IPV6_RECVERR (linux/in.h, linux/in6.h): report transient errors too."""

EXTENDED_ERROR = struct.Struct("=IBBBBII")
"""linux/errqueue.h, sock_extended_err: errno, origin, ICMP type and code, padding, and two more."""

REFUSED = {(2, 3, 3), (3, 1, 4)}
"""Origin, type and code of "port unreachable", from the host itself (RFC 792, RFC 4443 section 3.1)."""

LOST = {(2, 3, 0), (2, 3, 1), (3, 1, 0), (3, 1, 3)}
"""No route, or no such host, from the kernel or a router; a firewall that rejects has other codes."""

INCOMPLETE, REACHABLE, STALE, DELAY, FAILED = 0x01, 0x02, 0x04, 0x08, 0x20
"""States of a neighbour (linux/neighbour.h)."""


class PeerAnswer(Enum):
    """Whether a host is up, down, or not known."""

    HERE = "here"
    AWAY = "away"
    SILENT = "silent"


async def ask(addresses: Collection[str]) -> Mapping[str, PeerAnswer]:
    """Ask all of them at the same time; takes `ANSWER_TIMEOUT` seconds if one does not answer.

    Each address costs a file descriptor.
    """
    tasks = {address: asyncio.create_task(_ask(address)) for address in addresses}
    if not tasks:
        return {}
    _, silent = await asyncio.wait(tasks.values(), timeout=PROBE_AFTER)
    if silent:
        await _probe_again([address for address, task in tasks.items() if task in silent])
        await asyncio.wait(silent, timeout=ANSWER_TIMEOUT - PROBE_AFTER)
    answers = {}
    for address, task in tasks.items():
        answers[address] = task.result() if task.done() else PeerAnswer.SILENT
        task.cancel()
    await asyncio.wait(tasks.values())
    lost = await failed([address for address, answer in answers.items() if answer is PeerAnswer.SILENT])
    return answers | dict.fromkeys(lost, PeerAnswer.AWAY)


async def failed(addresses: Collection[str]) -> set[str]:
    """Those among them whose link address the kernel could not resolve."""
    if not addresses:
        return set()
    states = {entry["dst"]: entry["state"] for entry in await _neighbours() if entry["dst"] in addresses}
    return {address for address, state in states.items() if state & (INCOMPLETE | FAILED)}


async def _ask(address: str) -> PeerAnswer:
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)  # noqa: FBT003
            sock.setsockopt(*RECVERR[family], 1)
            sock.connect((address, PORT))
            sock.send(b"\0")
            try:
                await asyncio.get_running_loop().sock_recv(sock, 1)
            except OSError:
                return _explained(sock)
            return PeerAnswer.HERE
    except OSError:  # no route, which Open vSwitch reports of its tunnel, or a firewall here
        return PeerAnswer.SILENT


def _explained(sock: socket.socket) -> PeerAnswer:
    """What the socket's error queue says."""
    _, ancillary, _, _ = sock.recvmsg(1, 512, socket.MSG_ERRQUEUE)
    for _, _, data in ancillary:
        _, *cause, _, _, _ = EXTENDED_ERROR.unpack(data[: EXTENDED_ERROR.size])
        if tuple(cause) in REFUSED:
            return PeerAnswer.HERE
        if tuple(cause) in LOST:
            return PeerAnswer.AWAY
    return PeerAnswer.SILENT


async def _probe_again(addresses: Collection[str]) -> None:
    """Make the kernel probe those of these neighbours that it has resolved, if that is permitted."""
    known = [
        entry
        for entry in await _neighbours()
        if entry["dst"] in addresses and entry["state"] & (REACHABLE | STALE | DELAY)
    ]

    def probe(netlink: Any) -> None:  # noqa: ANN401  (pyroute2 has no types)
        for entry in known:
            netlink.neigh("change", **entry | {"state": "probe"})

    if known:
        await asyncio.to_thread(_with_netlink, probe)


async def _neighbours() -> list[dict[str, Any]]:
    """The kernel's neighbour entries."""
    found: list[dict[str, Any]] = []

    def read(netlink: Any) -> None:  # noqa: ANN401
        for family in (socket.AF_INET, socket.AF_INET6):
            found.extend(
                {"family": family, "dst": message.get_attr("NDA_DST")}
                | {key: message[key] for key in ("ifindex", "state")}
                for message in netlink.get_neighbours(family=family)
            )

    await asyncio.to_thread(_with_netlink, read)
    return found


def _with_netlink(work: Any) -> None:  # noqa: ANN401
    """Do something over netlink; a refusal is ignored."""
    pyroute2 = load_pyroute2()
    with contextlib.suppress(pyroute2.NetlinkError, OSError), pyroute2.IPRoute() as netlink:
        work(netlink)
