"""Ethernet frames that a container should not be able to send, and sockets that send and hear them.

The sockets are opened by root in a container's network namespace: a container with NET_RAW can do no more.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from pyroute2 import netns

from ovn_docker_lab import Machine
from tests.integration.tenant import Container

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
UDP, ICMPV6 = 17, 58
ROUTER_ADVERTISEMENT, NEIGHBOUR_ADVERTISEMENT, TARGET_LINK_ADDRESS = 134, 136, 2
ECHO = 7
"""The port of the datagrams (RFC 862)."""
EVERYBODY = "ff:ff:ff:ff:ff:ff"
ALL_NODES = "33:33:00:00:00:01"
ALL_PACKETS = 3
"""ETH_P_ALL of linux/if_ether.h."""


@dataclass(frozen=True, slots=True)
class Party:
    """A container's interface: its addresses, and its network namespace."""

    mac: str
    ipv4: str
    ipv6: str
    namespace: Path

    def server(self, family: int) -> socket.socket:
        """A socket there that hears the datagrams of this module."""

        def work() -> socket.socket:
            one = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(("", ECHO))
            return one

        return self._inside(work)

    def _inside(self, work: Callable[[], socket.socket]) -> socket.socket:
        opened: list[socket.socket] = []

        def enter() -> None:
            netns.setns(str(self.namespace))  # of this thread alone, which ends with it
            opened.append(work())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return opened[0]

    def socket(self, link: str = "eth0") -> socket.socket:
        """A packet socket on a link in its network namespace (packet(7))."""

        def work() -> socket.socket:
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PACKETS))
            one.bind((link, 0))
            return one

        return self._inside(work)


def party(container: Container, addresses: Iterable[str]) -> Party:
    """The party that a container is."""
    form = "{{.State.Pid}}"
    pid = container.host.docker("inspect", "--format", form, container.name).stdout.strip()
    link = container.run("cat /sys/class/net/eth0/address").stdout.strip()
    known = [ip_address(address) for address in addresses]
    return Party(
        mac=link,
        ipv4=next((str(address) for address in known if address.version == 4), ""),
        ipv6=next((str(address) for address in known if address.version == 6), ""),
        namespace=Path(f"/proc/{pid}/ns/net"),
    )


def ports_known(central: Machine) -> None:
    """Wait until every host has made what Northbound says."""
    central.run(["ovn-nbctl", "--wait=hv", "--timeout=30", "sync"], timeout=40)


# --- Frames -------------------------------------------------------------------------------------------------


def ethernet(destination: str, source: str, kind: int, payload: bytes) -> bytes:
    return _mac(destination) + _mac(source) + struct.pack("!H", kind) + payload


def ipv4(source: str, destination: str, text: str) -> bytes:
    """A UDP datagram (RFC 791, RFC 768), without the optional checksum."""
    data = struct.pack("!HHHH", ECHO, ECHO, 8 + len(text), 0) + text.encode()
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 0, 0, 64, UDP, 0)
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    checksum = _checksum(head + ends)
    return head[:10] + struct.pack("!H", checksum) + ends + data


def ipv6(source: str, destination: str, text: str) -> bytes:
    """A UDP datagram (RFC 8200)."""
    data = struct.pack("!HHH", ECHO, ECHO, 8 + len(text))
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    pseudo = ends + struct.pack("!II", 8 + len(text), UDP)
    checksum = _checksum(pseudo + data + b"\0\0" + text.encode())
    return _ipv6_head(ends, UDP, data + struct.pack("!H", checksum) + text.encode(), 64)


def arp_request(sender: tuple[str, str], target: str) -> bytes:
    """Who has the target address? (RFC 826)."""
    ends = _mac(sender[0]) + IPv4Address(sender[1]).packed + bytes(6) + IPv4Address(target).packed
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + ends


def arp_reply(sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """MAC and IPv4 address of both (RFC 826)."""
    ends = b"".join(_mac(mac) + IPv4Address(address).packed for mac, address in (sender, target))
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, 2) + ends


def neighbour_advertisement(source: str, destination: str, target: str, mac: str) -> bytes:
    """An override for the target (RFC 4861 section 4.4)."""
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    option = struct.pack("!BB", TARGET_LINK_ADDRESS, 1) + _mac(mac)
    rest = struct.pack("!I", 0x20000000) + IPv6Address(target).packed + option
    pseudo = ends + struct.pack("!II", 4 + len(rest), ICMPV6)
    head = struct.pack("!BB", NEIGHBOUR_ADVERTISEMENT, 0)
    checksum = _checksum(pseudo + head + b"\0\0" + rest)
    return _ipv6_head(ends, ICMPV6, head + struct.pack("!H", checksum) + rest, 255)


def router_advertisement(mac: str, prefix: str) -> bytes:
    """To all nodes: the link-local address of a MAC address is a router, and a /64 is here (RFC 4861)."""
    own = bytearray(_mac(mac))
    own[0] ^= 2  # RFC 4291 appendix A
    source = b"\xfe\x80" + bytes(6) + own[:3] + b"\xff\xfe" + own[3:]
    ends = source + IPv6Address("ff02::1").packed
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + IPv6Address(prefix).packed
    rest = struct.pack("!BBHII", 64, 0, 1800, 0, 0) + option
    head = struct.pack("!BB", ROUTER_ADVERTISEMENT, 0)
    checksum = _checksum(ends + struct.pack("!II", 4 + len(rest), ICMPV6) + head + b"\0\0" + rest)
    return _ipv6_head(ends, ICMPV6, head + struct.pack("!H", checksum) + rest, 255)


def _ipv6_head(ends: bytes, kind: int, payload: bytes, hops: int) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), kind, hops) + ends + payload


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- Who lies and who hears ---------------------------------------------------------------------------------


def honest(sender: Party, to: Party) -> dict[str, bytes]:
    """Frames from the sender's own addresses."""
    frames = {
        "IPv4": ethernet(to.mac, sender.mac, IPV4, ipv4(sender.ipv4, to.ipv4, "honest")),
        "ARP": ethernet(to.mac, sender.mac, ARP, arp_reply((sender.mac, sender.ipv4), (to.mac, to.ipv4))),
        "broadcast": ethernet(EVERYBODY, sender.mac, IPV4, ipv4(sender.ipv4, "255.255.255.255", "honest")),
    }
    if sender.ipv6:
        advertised = neighbour_advertisement(sender.ipv6, to.ipv6, sender.ipv6, sender.mac)
        frames["IPv6"] = ethernet(to.mac, sender.mac, IPV6, ipv6(sender.ipv6, to.ipv6, "honest"))
        frames["ND"] = ethernet(to.mac, sender.mac, IPV6, advertised)
    return frames


def lies(sender: Party, other: Party, to: Party) -> dict[str, bytes]:
    """Frames in which the sender says that it has another's addresses."""
    own, alien = sender.mac, "02:66:66:66:66:66"

    def says(mac: str) -> bytes:
        return arp_reply((mac, other.ipv4), (to.mac, to.ipv4))

    frames = {
        "IPv4 from a MAC address of nobody": ethernet(to.mac, alien, IPV4, ipv4(sender.ipv4, to.ipv4, "lie")),
        "IPv4 from another's MAC address": ethernet(
            to.mac, other.mac, IPV4, ipv4(other.ipv4, to.ipv4, "lie")
        ),
        "IPv4 from another's address": ethernet(to.mac, own, IPV4, ipv4(other.ipv4, to.ipv4, "lie")),
        "ARP for another's address": ethernet(to.mac, own, ARP, says(own)),
        "ARP with another's MAC address": ethernet(to.mac, own, ARP, says(other.mac)),
        "ARP for another's address to everybody": ethernet(EVERYBODY, own, ARP, says(own)),
    }
    if not sender.ipv6:
        link_local = "fe80::42:aff:fe00:2"
        frames["IPv6 on a network without"] = ethernet(to.mac, own, IPV6, ipv6(link_local, "fe80::1", "lie"))
        return frames
    for name, source in (("own", sender.ipv6), ("another's", other.ipv6)):
        advertised = neighbour_advertisement(source, to.ipv6, other.ipv6, own)
        frames[f"ND from {name} address"] = ethernet(to.mac, own, IPV6, advertised)
    frames["IPv6 from another's address"] = ethernet(to.mac, own, IPV6, ipv6(other.ipv6, to.ipv6, "lie"))
    return frames


def heard(sender: Party, hearer: Party, frames: dict[str, bytes], last: bytes, limit: float = 20) -> set[str]:
    """Send frames until the last one is heard, an honest one behind them; the names of those that were heard.

    All is sent again and again, for a userspace datapath drops frames on a busy machine.
    """
    found: set[str] = set()
    names = {frame: name for name, frame in frames.items()}
    end = time.monotonic() + limit
    rounds = 0
    with sender.socket() as mouth, hearer.socket() as ear:
        ear.settimeout(0.5)
        while rounds < 3:
            assert time.monotonic() < end, "nothing honest was heard"
            for frame in (*frames.values(), last):
                mouth.send(frame)
            rounds += _listen(ear, last, names, found)
    return found


def _listen(ear: socket.socket, last: bytes, names: dict[bytes, str], found: set[str]) -> bool:
    """Note what is heard up to the last frame; whether that came."""
    try:
        while True:
            frame = ear.recv(4096)
            found.update(name for sent, name in names.items() if frame[: len(sent)] == sent)
            if frame[: len(last)] == last:
                return True
    except TimeoutError:
        return False


def noted(ear: socket.socket, sent: dict[str, bytes]) -> set[str]:
    """Which of the frames have come to a socket since it was opened."""
    found: set[str] = set()
    _listen(ear, b"no frame begins so", {frame: name for name, frame in sent.items()}, found)
    return found
