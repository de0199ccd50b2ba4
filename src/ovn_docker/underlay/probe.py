"""Looks whether packets of a VLAN pass between this machine's bridge and the cloud, in both directions.

A network is made for it, with a port under the machine's. A DHCP request is sent through the bridge
with the port's VLAN and MAC address, and Neutron's answer is waited for. All of it is removed afterwards.
"""

import asyncio
import random
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

from ovn_docker.errors import HostError
from ovn_docker.health.findings import Finding
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.underlay_driver import Cloud

# --- Sends frames from a link of this host and hears what comes to it (packet(7)); needs CAP_NET_RAW. -------


ETH_ALL, FRAME_VLAN = 0x0003, 0x8100
LONGEST = 65536
REPEAT = 0.5
"""Seconds after which a frame that was not answered is sent again."""


async def ask(link: str, frame: bytes, answers: Callable[[bytes], bool], seconds: float) -> bool:
    """Send a frame from a link, again and again, until something that comes to the link answers it.

    Args:
        link: as the host sees it.
        frame: whole, with its 802.1Q tag.
        answers: whether a frame is the answer; its tag may have been taken off.
        seconds: to wait altogether.

    Returns:
        Whether there was an answer.

    Raises:
        HostError: the kernel refused.
    """
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL)) as packets:
            packets.bind((link, ETH_ALL))
            packets.setblocking(False)  # noqa: FBT003  (its name is not for keywords)
            return await _ask(packets, frame, answers, seconds)
    except OSError as error:
        raise HostError(f"frames cannot be sent from {link}: {error.strerror}") from error


async def _ask(
    packets: socket.socket, frame: bytes, answers: Callable[[bytes], bool], seconds: float
) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (left := deadline - loop.time()) > 0:
        await loop.sock_sendall(packets, frame)
        try:
            async with asyncio.timeout(min(REPEAT, left)):
                while not answers(await loop.sock_recv(packets, LONGEST)):
                    pass
        except TimeoutError:
            continue
        return True
    return False


# --- A DHCP request as a whole frame with a VLAN tag, and its answer. Pure. ---------------------------------
# For a look whether packets of a VLAN pass: DHCP is what every cloud answers, whatever else is on a network.
# Source: RFC 2131 (messages), RFC 2132 (options), IEEE 802.1Q (the tag), RFC 791 and RFC 768.


BROADCAST, ZERO = b"\xff" * 6, b"\x00" * 4
ETH_VLAN, ETH_IPV4, UDP = 0x8100, 0x0800, 17
CLIENT, SERVER = 68, 67
REQUEST, REPLY, BROADCAST_FLAG = 1, 2, 0x8000
COOKIE = bytes((99, 130, 83, 99))
DISCOVER = bytes((53, 1, 1, 255))
"""Options: message type DHCPDISCOVER, end."""

HEADERS = 20 + 8
"""Bytes of the IPv4 and the UDP header."""

_BOOTP = struct.Struct("!4BIHH4s4s4s4s6s10x64x128x")
_XID = slice(4, 8)


def discover(mac: str, vlan: int, xid: int, size: int = 0) -> bytes:
    """The frame of a DHCPDISCOVER.

    Args:
        mac: of the client, ``fa:16:3e:00:00:01``.
        vlan: the tag.
        xid: 32 bits by which the answer is known.
        size: bytes of the IP packet, which is filled up; 0 for no more than it needs.
    """
    hardware = bytes.fromhex(mac.replace(":", ""))
    bootp = _BOOTP.pack(REQUEST, 1, 6, 0, xid, 0, BROADCAST_FLAG, ZERO, ZERO, ZERO, ZERO, hardware)
    message = bootp + COOKIE + DISCOVER
    message += bytes(max(size - HEADERS - len(message), 0))
    udp = struct.pack("!4H", CLIENT, SERVER, 8 + len(message), 0) + message
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, UDP, 0, ZERO, BROADCAST[:4])
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    return BROADCAST + hardware + struct.pack("!3H", ETH_VLAN, vlan, ETH_IPV4) + header + udp


def answers(frame: bytes, xid: int) -> bool:
    """Whether a frame, with its tag or without, is a server's answer to that request."""
    packet = _ipv4(frame)
    start = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < start + 8 + _BOOTP.size or packet[9] != UDP:
        return False
    source, destination = struct.unpack_from("!2H", packet, start)
    bootp = packet[start + 8 :]
    if (source, destination, bootp[0]) != (SERVER, CLIENT, REPLY):
        return False
    return bootp[_XID] == xid.to_bytes(4)


def _ipv4(frame: bytes) -> bytes:
    """The IPv4 packet of a frame, or nothing."""
    for offset in (12, 16):
        kind = int.from_bytes(frame[offset : offset + 2])
        if kind == ETH_IPV4:
            return frame[offset + 2 :]
        if kind != ETH_VLAN:
            break
    return b""


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


NAME = "ovn-docker-probe"
"""Of what is made."""

SUBNET = "192.0.2.0/24"
"""For documentation (RFC 5737): nothing is on it."""

PATIENCE = 15.0
"""Seconds for the first answer: Neutron lets packets pass a moment after it has answered."""

NEXT_PATIENCE = 3.0
"""Seconds for a further one."""


class Probe:
    """A look at the VLANs of this machine."""

    def __init__(self, cloud: Cloud, bridge: str) -> None:
        """Look from this bridge."""
        self._cloud = cloud
        self._bridge = bridge
        self._mark = resources.probe_mark(cloud.host)

    async def look(self) -> list[Finding]:
        """What does not pass.

        Raises:
            NeutronError, UnreachableError: Neutron refused what is needed for it.
            HostError: no frame can be sent.
        """
        await self._clear()
        try:
            port, mtu = await self._make()
            vlan = await self._cloud.children.add(port)
            return await self._ask(port.mac, vlan, mtu)
        finally:
            await self._clear()

    async def _make(self) -> tuple[resources.NeutronPort, int]:
        neutron, description = self._cloud.neutron, self._mark
        body: dict[str, Any] = {"network": {"name": NAME, "description": description}}
        network = resources.read_network((await neutron.post("networks", body))["network"])
        subnet = {"network_id": network.id, "name": NAME, "description": description, "cidr": SUBNET}
        more = {"ip_version": 4, "enable_dhcp": True}  # with a gateway: OVN answers in its name
        await neutron.post("subnets", {"subnet": {**subnet, **more}})
        port = {"network_id": network.id, "name": NAME, "description": description}
        return resources.read_port((await neutron.post("ports", {"port": port}))["port"]), network.mtu

    async def _ask(self, mac: str, vlan: int, mtu: int) -> list[Finding]:
        if not await self._answered(mac, vlan, 0, PATIENCE):
            text = (
                f"nothing passes VLAN {vlan} between bridge {self._bridge} and the cloud and back: see"
                " whether the bridge and the cloud leave the tags of 802.1Q alone"
            )
            return [Finding("vlan-blocked", self._bridge, text)]
        if mtu and not await self._answered(mac, vlan, mtu, NEXT_PATIENCE):
            text = (
                f"packets of {mtu} bytes, the MTU of networks, do not pass VLAN {vlan} of bridge"
                f" {self._bridge}: see the MTU of the interface on it"
            )
            return [Finding("mtu-blocked", self._bridge, text)]
        return []

    async def _answered(self, mac: str, vlan: int, size: int, seconds: float) -> bool:
        xid = random.getrandbits(32)  # no secret: it tells an answer from another's
        frame = discover(mac, vlan, xid, size)
        return await ask(self._bridge, frame, lambda each: answers(each, xid), seconds)

    async def _clear(self) -> None:
        """Remove what is there of this look or of one that was killed."""
        neutron = self._cloud.neutron
        for each in await self._made("ports"):
            await self._cloud.children.let_go(each["id"])
            await neutron.delete(f"ports/{each['id']}")
        for each in await self._made("networks"):
            await neutron.delete(f"networks/{each['id']}")

    async def _made(self, kind: str) -> Sequence[dict[str, Any]]:
        found = await self._cloud.neutron.get(kind, {"description": self._mark})
        return list(found[kind])
