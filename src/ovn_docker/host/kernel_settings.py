"""Settings of this host's IP stack, over rtnetlink: a confined service may not see or write /proc/sys.

Each call is one request that the kernel answers while it is sent, some 20 µs.
"""

import contextlib
import ipaddress
import socket
import struct

from ovn_docker.errors import HostError
from ovn_docker.host import nfnetlink
from ovn_docker.host.nfnetlink import (
    ACKNOWLEDGE,
    HEADER,
    REQUEST,
    KernelSocket,
    attribute,
    attributes,
    nested,
)

NETLINK_ROUTE = 0

NEW_LINK, DEL_LINK, SET_LINK, GET_ROUTE, GET_NETCONF = 16, 17, 19, 26, 82
"""linux/rtnetlink.h."""

ALL_LINKS, IFINDEX, FORWARDING = -1, 1, 2
"""NETCONFA_IFINDEX_ALL, NETCONFA_IFINDEX and NETCONFA_FORWARDING (linux/netconf.h)."""

AF_SPEC, INET_CONF, ROUTE_LOCALNET = 26, 1, 26
"""IFLA_AF_SPEC, IFLA_INET_CONF and IPV4_DEVCONF_ROUTE_LOCALNET (linux/if_link.h, linux/ip.h)."""

DESTINATION, OUTPUT = 1, 4
"""RTA_DST and RTA_OIF."""

IFINFOMSG, RTMSG = struct.Struct("=BxHiII"), struct.Struct("=BBBBBBBBI")
"""struct ifinfomsg and struct rtmsg."""


def forwards(family: socket.AddressFamily) -> bool:
    """Whether this host forwards: net.ipv4.ip_forward, or net.ipv6.conf.all.forwarding.

    False for IPv6 in a kernel that has none.
    """
    with contextlib.suppress(OSError):
        body = struct.pack("=Bxxx", family) + attribute(IFINDEX, struct.pack("=i", ALL_LINKS))
        for _, answer in nfnetlink.messages(_ask(GET_NETCONF, body)):
            for kind, value in attributes(answer[4:]):
                if kind == FORWARDING:
                    return value != bytes(4)
    return False


def route_localnet(link: str) -> None:
    """Let packets to and from 127.0.0.0/8 pass a link: net.ipv4.conf.LINK.route_localnet=1.

    Whoever sets it must keep others from sending there (ruleset.py, chain ``loopback``). HostError if the
    kernel refuses.
    """
    setting = nested(AF_SPEC, nested(socket.AF_INET, nested(INET_CONF, _number(ROUTE_LOCALNET, 1))))
    try:
        body = IFINFOMSG.pack(socket.AF_UNSPEC, 0, socket.if_nametoindex(link), 0, 0) + setting
        _ask(SET_LINK, body)
    except OSError as error:
        raise HostError(
            f"ports published on 127.0.0.1 do not work on link {link}: {error.strerror or error}: type"
            f" 'sysctl -w net.ipv4.conf.{link}.route_localnet=1'"
        ) from error


def link_to(address: str) -> str:
    """The name of the link by which an IP address is reached; "" if there is no route."""
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6  # noqa: PLR2004
    body = RTMSG.pack(family, ip.max_prefixlen, 0, 0, 0, 0, 0, 0, 0) + attribute(DESTINATION, ip.packed)
    with contextlib.suppress(OSError):
        for _, answer in nfnetlink.messages(_ask(GET_ROUTE, body)):
            for kind, value in attributes(answer[RTMSG.size :]):
                if kind == OUTPUT:
                    return socket.if_indextoname(struct.unpack("=I", value)[0])
    return ""


def _number(kind: int, value: int) -> bytes:
    """Numbers of rtnetlink are in the host's byte order."""
    return attribute(kind, struct.pack("=I", value))


def _ask(kind: int, body: bytes) -> bytes:
    netlink = KernelSocket(NETLINK_ROUTE)
    try:
        return netlink.ask(HEADER.pack(HEADER.size + len(body), kind, REQUEST | ACKNOWLEDGE, 0, 0) + body)
    finally:
        netlink.close()
