"""What a container sends to the host's end of its veth pair, on a real kernel in a namespace of its own."""

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker.host import nfnetlink, veth
from ovn_docker.host.nfnetlink import NETLINK_NETFILTER
from ovn_docker.host.veth import Links, VethPair
from tests.functional.private_network import attribute, in_private_network, ip
from tests.integration.frames import (
    ALL_NODES,
    ALL_PACKETS,
    ARP,
    ECHO,
    EVERYBODY,
    IPV4,
    IPV6,
    arp_request,
    ethernet,
    ipv4,
    ipv6,
)

pytestmark = pytest.mark.functional

MAC = "02:42:0a:00:00:02"
PAIR = VethPair("outside", "inside", MAC, 1442, checksums=True, heard=True)
HOST, SENDER = ("192.0.2.1", "2001:db8::1"), ("192.0.2.7", "2001:db8::7")
QUIET = 0.3
"""Seconds after which nothing comes any more: a veth pair hands a frame over while it is being sent."""


@contextlib.asynccontextmanager
async def a_pair() -> AsyncIterator[Links]:
    """One whose inside is up, on a host that has an address of each family on another link."""
    for name in ("all", "default"):
        Path("/proc/sys/net/ipv4/conf", name, "rp_filter").write_text("0")
    ip("link", "add", "uplink", "type", "veth", "peer", "name", "far")
    for each in ("uplink", "far"):
        ip("link", "set", each, "up")
    ip("address", "add", f"{HOST[0]}/24", "dev", "uplink")
    ip("address", "add", f"{HOST[1]}/64", "dev", "uplink", "nodad")
    made = Links()
    try:
        await made.create(PAIR)
        ip("link", "set", "inside", "addrgenmode", "none", "up")
        yield made
    finally:
        made.close()


def frames(mac: str) -> dict[str, bytes]:
    """Frames for a MAC address, by what is in them."""
    return {
        "IPv4": ethernet(mac, MAC, IPV4, ipv4(SENDER[0], HOST[0], "IPv4")),
        "IPv4 to everybody": ethernet(EVERYBODY, MAC, IPV4, ipv4(SENDER[0], HOST[0], "IPv4 to everybody")),
        "IPv6": ethernet(mac, MAC, IPV6, ipv6(SENDER[1], HOST[1], "IPv6")),
        "IPv6 to everybody": ethernet(ALL_NODES, MAC, IPV6, ipv6(SENDER[1], HOST[1], "IPv6 to everybody")),
    }


@contextlib.contextmanager
def packets(link: str) -> Iterator[socket.socket]:
    """A packet socket on a link, as Open vSwitch's userspace datapath has one."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PACKETS)) as opened:
        opened.bind((link, 0))
        opened.settimeout(5)
        yield opened


def heard(sent: Mapping[str, bytes]) -> set[str]:
    """Send frames out of the inside, all of which come to the tap; return which the host's sockets hear."""
    with contextlib.ExitStack() as stack:
        mouth, tap = (stack.enter_context(packets(link)) for link in ("inside", "outside"))
        ears = [stack.enter_context(listening(family)) for family in (socket.AF_INET, socket.AF_INET6)]
        for frame in sent.values():
            mouth.send(frame)
        missing = set(sent.values())
        while missing:
            missing.discard(tap.recv(2048))
        texts = set()
        while ready := select.select(ears, [], [], QUIET)[0]:
            texts |= {ear.recv(2048).decode() for ear in ready}
        return texts


@contextlib.contextmanager
def listening(family: int) -> Iterator[socket.socket]:
    """A server on the port that the frames are for."""
    with socket.socket(family, socket.SOCK_DGRAM) as ear:
        if family == socket.AF_INET6:
            ear.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        ear.bind(("", ECHO))
        yield ear


def arp_answered(mac: str) -> bool:
    """Whether the host's kernel tells the inside where its address is."""
    with packets("inside") as inside:
        inside.send(ethernet(mac, MAC, ARP, arp_request((MAC, SENDER[0]), HOST[0])))
        with contextlib.suppress(TimeoutError):
            inside.settimeout(QUIET)
            while True:
                frame = inside.recv(2048)
                if frame[12:14] == b"\x08\x06" and frame[21] == 2:  # a reply
                    return True
    return False


def flush_ruleset() -> None:
    """As `nft flush ruleset` does."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
        netlink.settimeout(5)
        netlink.send(nfnetlink.transaction([nfnetlink.message(nfnetlink.DEL_TABLE, 0, 0, b"")]))
        [(kind, body)] = nfnetlink.messages(netlink.recv(4096))
        assert (kind, body[:4]) == (nfnetlink.ERROR, bytes(4))


@in_private_network
async def test_what_a_container_sends_reaches_the_switch_and_not_the_kernel() -> None:
    async with a_pair():
        mac = attribute("outside", "address")
        assert heard(frames(mac)) == set()  # each of them has come to the tap
        assert not arp_answered(mac)
        assert not arp_answered(EVERYBODY)


@in_private_network
async def test_without_the_guard_the_kernel_would_serve_all_of_it() -> None:
    async with a_pair() as links:
        flush_ruleset()
        assert not await links.guarded()
        mac = attribute("outside", "address")
        assert heard(frames(mac)) == frames(mac).keys()
        assert arp_answered(EVERYBODY)


@in_private_network
async def test_a_link_that_is_being_removed_is_not_heard_either() -> None:
    async with a_pair():
        ip("link", "set", "outside", "group", str(veth.LEAVING))
        assert heard(frames(attribute("outside", "address"))) == set()
        assert not arp_answered(EVERYBODY)


@in_private_network
async def test_links_of_others_are_heard_as_ever() -> None:
    async with a_pair():
        ip("link", "set", "outside", "group", "default")
        mac = attribute("outside", "address")
        assert heard(frames(mac)) == frames(mac).keys()
        assert arp_answered(EVERYBODY)


@in_private_network
async def test_the_host_s_end_says_nothing_itself() -> None:
    async with a_pair():
        with packets("inside") as inside:
            ip("link", "set", "outside", "down")
            ip("link", "set", "outside", "up")
            assert "inet6" not in ip("address", "show", "outside")
            inside.settimeout(QUIET)
            with pytest.raises(TimeoutError):
                inside.recv(2048)


@in_private_network
async def test_a_flushed_guard_is_restored_at_once() -> None:
    links = Links()
    await links.open()
    try:
        assert await links.guarded()
        for _ in range(3):
            flush_ruleset()
            async with asyncio.timeout(5):
                while not await links.guarded():
                    pass
    finally:
        links.close()


@in_private_network
async def test_a_guard_that_is_whole_is_left_as_it_is() -> None:
    links = Links()
    await links.open()
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as ear:
            ear.bind((0, 1 << 6))
            ear.settimeout(0)
            await links.create(PAIR)
            await links.guard()
            with pytest.raises(BlockingIOError):
                ear.recv(4096)
    finally:
        links.close()


@contextlib.contextmanager
def table_of_somebody_else() -> Iterator[None]:
    """A table of our name that another socket owns (NFT_TABLE_F_OWNER): nobody else may change it."""
    name, owned = b"\x0f\0\x01\0ovn-docker\0\0", b"\x08\0\x02\0\0\0\0\x02"
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as owner:
        make = nfnetlink.message(nfnetlink.NEW_TABLE, nfnetlink.INET, nfnetlink.CREATE, name + owned)
        owner.send(nfnetlink.transaction([make]))
        [(_, body)] = nfnetlink.messages(owner.recv(4096))
        assert body[:4] == bytes(4)
        yield


@in_private_network
async def test_a_pair_that_the_kernel_hears_is_made_only_with_a_guard() -> None:
    links = Links()
    try:
        with table_of_somebody_else():
            for _ in range(2):
                with pytest.raises(HostError, match="netfilter's table ovn-docker could not be made"):
                    await links.create(PAIR)
            assert not veth.exists("outside")
            await links.create(replace(PAIR, heard=False))
            assert veth.exists("outside")
        await links.create(PAIR)
        assert await links.guarded()
    finally:
        links.close()
