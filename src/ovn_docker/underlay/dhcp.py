"""A DHCP request as a whole frame with a VLAN tag, and its answer. Pure.

For a look whether packets of a VLAN pass: DHCP is what every cloud answers, whatever else is on a network.

Source: RFC 2131 (messages), RFC 2132 (options), IEEE 802.1Q (the tag), RFC 791 and RFC 768.
"""

import struct

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
