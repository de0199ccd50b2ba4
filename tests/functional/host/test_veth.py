"""Veth pairs on a real kernel, in a network namespace of the test's own."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from ovn_docker.errors import ConflictError, HostError
from ovn_docker.host import veth
from ovn_docker.host.veth import Links, VethPair
from tests.functional.private_network import attribute, in_private_network, ip, links, transmits_checksums

pytestmark = pytest.mark.functional

MAC = "02:42:0a:00:00:02"
PAIR = VethPair("outside", "inside", MAC, 1442, checksums=False)


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Links]:
    made = Links()
    try:
        yield made
    finally:
        made.close()


@in_private_network
async def test_a_pair_is_made_as_asked() -> None:
    async with opened() as host:
        await host.create(PAIR)
        assert links() == {"outside", "inside"}
        assert attribute("inside", "address") == MAC
        assert {attribute(end, "mtu") for end in links()} == {"1442"}
        assert {int(attribute(end, "netdev_group")) for end in links()} == {veth.GROUP}
        assert int(attribute("outside", "flags"), 16) & 1  # IFF_UP
        assert not int(attribute("inside", "flags"), 16) & 1  # Docker sets it up, in the container


@pytest.mark.parametrize("checksums", [True, False])
@in_private_network
async def test_checksums_are_computed_early_exactly_when_asked(*, checksums: bool) -> None:
    async with opened() as host:
        await host.create(VethPair("outside", "inside", MAC, 1500, checksums=checksums))
        assert transmits_checksums("inside") is checksums
        assert transmits_checksums("outside")


@in_private_network
async def test_a_pair_that_is_there_already_will_do() -> None:
    async with opened() as host:
        await host.create(PAIR)
        index = attribute("inside", "ifindex")
        await host.create(PAIR)
        assert attribute("inside", "ifindex") == index
        assert links() == {"outside", "inside"}


@in_private_network
async def test_a_pair_whose_inside_is_in_a_container_is_refused_and_stays() -> None:
    async with opened() as host:
        await host.create(PAIR)
        ip("link", "set", "inside", "name", "eth0")
        with pytest.raises(ConflictError, match="is joined already"):
            await host.create(PAIR)
        assert links() == {"outside", "eth0"}


@pytest.mark.parametrize("taken", ["outside", "inside"])
@in_private_network
async def test_a_foreign_link_is_refused_and_left_unchanged(taken: str) -> None:
    ip("link", "add", taken, "type", "veth", "peer", "name", "theirs")
    async with opened() as host:
        before = ip("-d", "link", "show")
        with pytest.raises(ConflictError, match="belongs to somebody else"):
            await host.create(PAIR)
        await host.delete(taken)
        assert ip("-d", "link", "show") == before


@in_private_network
async def test_a_pair_is_removed_with_both_ends_and_a_second_time_is_success() -> None:
    async with opened() as host:
        await host.create(PAIR)
        ip("link", "set", "inside", "name", "eth0")
        await host.delete("outside")
        assert links() == set()
        await host.delete("outside")


@in_private_network
async def test_many_pairs_at_once_do_not_mix() -> None:
    async with opened() as host:
        macs = {f"i{number}": f"02:00:00:00:00:{number:02x}" for number in range(30)}
        pairs = [VethPair(f"o{name[1:]}", name, mac, 1500, checksums=True) for name, mac in macs.items()]
        await asyncio.gather(*map(host.create, pairs))
        assert {name: attribute(name, "address") for name in macs} == macs
        await asyncio.gather(*(host.delete(pair.outside) for pair in pairs))
        assert links() == set()


@contextlib.contextmanager
def put_into_a_group() -> Iterator[Callable[[int], int]]:
    """What counts how often a link was put into a group (rtnetlink(7), RTM_NEWLINK and IFLA_GROUP)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as monitor:
        monitor.bind((0, 1))  # RTMGRP_LINK
        monitor.settimeout(0)

        def times(group: int) -> int:
            heard = b""
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard += monitor.recv(1 << 16)
            return heard.count(struct.pack("=HHI", 8, 27, group))

        yield times


@in_private_network
async def test_pairs_that_are_removed_at_once_are_removed_together() -> None:
    async with opened() as host:
        names = [f"o{number}" for number in range(20)]
        for name in names:
            await host.create(VethPair(name, f"i{name}", MAC, 1500, checksums=True))
        with put_into_a_group() as times:
            await asyncio.gather(*map(host.delete, names))
            assert links() == set()
            assert times(veth.LEAVING) >= len(names) - 1  # the first may go before the others are named


@in_private_network
async def test_a_pair_that_is_removed_alone_takes_one_request() -> None:
    async with opened() as host:
        await host.create(PAIR)
        with put_into_a_group() as times:
            await host.delete("outside")
            assert links() == set()
            assert times(veth.LEAVING) == 0


@in_private_network
async def test_a_foreign_link_in_the_group_of_links_being_removed_stays() -> None:
    ip("link", "add", "theirs", "group", str(veth.LEAVING), "type", "veth", "peer", "name", "peer")
    async with opened() as host:
        pairs = [VethPair(f"o{number}", f"i{number}", MAC, 1500, checksums=True) for number in range(3)]
        await asyncio.gather(*map(host.create, pairs))
        await asyncio.gather(*(host.delete(pair.outside) for pair in pairs))
        assert links() == {"theirs", "peer"}


@in_private_network
async def test_a_pair_that_was_left_while_it_was_being_removed_is_ours_still() -> None:
    async with opened() as host:
        await host.create(PAIR)
        ip("link", "set", "outside", "group", str(veth.LEAVING))
        assert await host.own_names() == {"outside", "inside"}
        await host.delete("outside")
        assert links() == set()


@in_private_network
async def test_a_pair_is_removed_with_others_though_its_caller_was_cancelled() -> None:
    async with opened() as host:
        await host.create(PAIR)
        given_up = asyncio.ensure_future(host.delete("outside"))
        other = asyncio.ensure_future(host.delete("absent"))
        await asyncio.sleep(0)
        given_up.cancel()
        made = asyncio.ensure_future(host.create(PAIR))
        gone = asyncio.ensure_future(host.delete("absent"))
        await asyncio.gather(other, made, gone)
        assert links() == {"outside", "inside"}
        assert await host.own_names() == {"outside", "inside"}


@pytest.mark.parametrize("mtu", [10, 70000])
@in_private_network
async def test_what_the_kernel_refuses_is_reported_with_the_link(mtu: int) -> None:
    async with opened() as host:
        with pytest.raises(HostError, match="veth pair outside could not be made"):
            await host.create(VethPair("outside", "inside", MAC, mtu, checksums=True))
        assert links() == set()


@pytest.mark.parametrize("address", ["10.9.8.7", "fd00::7"])
@in_private_network
async def test_the_link_that_holds_an_address_is_found(address: str) -> None:
    ip("link", "add", "underlay", "mtu", "9000", "type", "veth", "peer", "name", "far")
    ip("address", "add", f"{address}/{128 if ':' in address else 24}", "dev", "underlay")
    async with opened() as host:
        assert await host.holding(address) == "underlay"
        assert await host.holding("10.9.8.6") is None
        assert await host.holding("fd00::6") is None
        assert veth.mtu_of("underlay") == 9000


@in_private_network
async def test_a_loopback_is_distinguished_from_other_links() -> None:
    async with opened() as host:
        await host.create(PAIR)
        assert await host.holding("127.0.0.1") == "lo"
    assert veth.is_loopback("lo")
    assert not veth.is_loopback("outside")
    assert not veth.is_loopback("absent")
    assert veth.mtu_of("absent") is None
    assert veth.exists("outside")
    assert not veth.exists("absent")
