"""Addresses: CIDRs, MACs and MTUs, and the link names and row ids derived from ids. Pure."""

import hashlib
import ipaddress
import re
from collections.abc import Sequence
from uuid import UUID, uuid5

from ovn_docker.errors import RequestError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NAMESPACE = UUID("6f766e2d-646f-5b65-8b00-6f76642e726f")
"""The name space of every row id that this package chooses (RFC 9562 section 5.5). It must never change."""

ENCAP_OVERHEAD = {"geneve": 38, "vxlan": 30, "stt": 52}
"""Bytes that an encapsulation adds beside the outer IP header: outer UDP or TCP, its own header with OVN's
metadata, and the inner Ethernet header. Geneve: 8 + 16 + 14 (RFC 8926, OVN's 8-byte option); VXLAN:
8 + 8 + 14 (RFC 7348)."""

OUTER_IP = {4: 20, 6: 40}
"""Bytes of the outer IP header."""

UDP, ESP, ESP_TRAILER, ESP_ALIGNMENT = 8, 32, 2, 4
"""Bytes around a tunnel's packet that is encrypted as ovs-monitor-ipsec(8) does it: transport mode, AES-GCM
with a check value of 16 octets. UDP where a NAT is on the way or `ipsec_encapsulation` is set (RFC 3948),
8 + 8 + 16 of ESP (RFC 4303, RFC 4106), and its trailer, with which the encrypted part is a multiple of 4."""

MINIMUM_MTU, MAXIMUM_MTU = 68, 65535
"""RFC 791: every internet module must forward 68 octets; an IP packet holds no more than 65,535."""

LINK_NAME = 15
"""Characters of a link's name (Linux IFNAMSIZ - 1)."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def row_id(*stands_for: str) -> UUID:
    """The id of a row, from its kind and what identifies it; the same on every host and in every process."""
    return uuid5(NAMESPACE, "\x00".join(stands_for))


def network(text: str, what: str) -> IPNetwork:
    """Read a pool, ``192.168.1.0/24``; host bits are cleared. A RequestError names `what`."""
    try:
        return ipaddress.ip_network(_with_prefix(text), strict=False)
    except ValueError as error:
        raise RequestError(f"{what} '{text}' is not a valid CIDR: {error}") from error


def address(text: str) -> IPAddress | None:
    """Read an address, whose prefix length is ignored; None for "".

    Raises:
        RequestError: it is not one.
    """
    if not text:
        return None
    try:
        return ipaddress.ip_address(text.partition("/")[0])
    except ValueError as error:
        raise RequestError(f"'{text}' is not a valid IP address: {error}") from error


def interface(text: str, what: str) -> IPInterface | None:
    """Read an address with prefix length, ``192.168.1.2/24``; "" is None. A RequestError names `what`."""
    if not text:
        return None
    try:
        return ipaddress.ip_interface(_with_prefix(text))
    except ValueError as error:
        raise RequestError(f"{what} '{text}' is not a valid address with a prefix length: {error}") from error


def _with_prefix(text: str) -> str:
    """The text, unless it lacks the prefix length, which `ipaddress` would assume."""
    if "/" not in text:
        raise ValueError("the prefix length is missing")
    return text


def mac(text: str) -> str:
    """Read a MAC address of six octets, ``02:42:c0:a8:01:02``, in lower case."""
    if not _MAC.fullmatch(text):
        raise RequestError(f"MAC address '{text}' is not six octets in hex with colons")
    if int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16):
        raise RequestError(f"MAC address '{text}' cannot belong to an interface: it is multicast or zero")
    return text.lower()


def link_local(mac: str) -> ipaddress.IPv6Interface:
    """The link-local address of an interface with a MAC address (RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    host = bytes([octets[0] ^ 0x02, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return ipaddress.IPv6Interface((bytes.fromhex("fe80") + bytes(6) + host, 64))


def mac_for(endpoint_id: str, addresses: Sequence[IPAddress] = ()) -> str:
    """The default MAC address of an endpoint: locally administered, always the same.

    It is derived from the endpoint's first address if there is one, so that neighbours with the address in
    their ARP or neighbour cache reach the next container with it (RFC 826; entries live a minute or more).
    For IPv4 it is that of Docker's own drivers (moby daemon/libnetwork/netutils GenerateMACFromIP):
    ``02:42:c0:a8:01:02`` for 192.168.1.2.

    Two IPv6-only endpoints share one with a chance of 2^-40 (RFC 7042 section 2.1 for the local bit).
    """
    for address in addresses[:1]:
        if address.version == 4:  # noqa: PLR2004
            return ":".join(f"{octet:02x}" for octet in (0x02, 0x42, *address.packed))
        return _hashed_mac(address.packed)
    return _hashed_mac(endpoint_id.encode())


def _hashed_mac(stands_for: bytes) -> str:
    digest = hashlib.sha256(stands_for).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def link_names(endpoint_id: str) -> tuple[str, str]:
    """The two ends of an endpoint's veth pair: the host's, and the one that Docker moves and renames.

    The names begin as the endpoint's id, 64 hex digits from Docker; an id that no link could have is hashed.
    """
    usable = re.fullmatch(r"[0-9A-Za-z]{15,}", endpoint_id)
    stem = endpoint_id if usable else hashlib.sha256(endpoint_id.encode()).hexdigest()
    return stem[:LINK_NAME], stem[: LINK_NAME - 2] + "_c"


def mtu(underlay: int, encapsulations: list[str], outer: int, *, encrypted: bool = False) -> int:
    """The largest packet that fits through the tunnel: 1442 bytes for Geneve over IPv4 and 1500, or 1400.

    Args:
        underlay: MTU of the underlay's interface.
        encapsulations: as in ``ovn-encap-type``; the one with the largest header counts.
        outer: 4 or 6, the IP version of the tunnel.
        encrypted: whether IPsec is on, which hosts may use across a NAT: the 1400 above.
    """
    overhead = max(
        (ENCAP_OVERHEAD.get(name, ENCAP_OVERHEAD["geneve"]) for name in encapsulations), default=38
    )
    inside = underlay - OUTER_IP[outer]
    if encrypted:
        inside -= UDP + ESP
        inside -= inside % ESP_ALIGNMENT + ESP_TRAILER
    return max(inside - overhead, MINIMUM_MTU)
