"""Veth pairs on a real kernel, in a network namespace of the test's own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
async def test_a_link_of_somebody_else_is_refused_and_stays_as_it_is(taken: str) -> None:
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


@pytest.mark.parametrize("mtu", [10, 70000])
@in_private_network
async def test_what_the_kernel_refuses_is_told_with_the_link(mtu: int) -> None:
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
async def test_a_loopback_is_told_from_other_links() -> None:
    async with opened() as host:
        await host.create(PAIR)
        assert await host.holding("127.0.0.1") == "lo"
    assert veth.is_loopback("lo")
    assert not veth.is_loopback("outside")
    assert not veth.is_loopback("absent")
    assert veth.mtu_of("absent") is None
    assert veth.exists("outside")
    assert not veth.exists("absent")
