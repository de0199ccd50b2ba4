"""Addresses and routes carried from one link to another, on a real kernel, and back."""

import contextlib
from collections.abc import AsyncIterator

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from ovn_docker.errors import ConflictError, HostError, NotFoundError
from ovn_docker.host import addresses
from ovn_docker.host.addresses import Addresses, LinkState
from tests.functional.private_network import attribute, in_private_network, ip
from tests.polling import eventually

pytestmark = pytest.mark.functional

GIVEN = (
    "addr add 10.1.0.5/24 brd + dev ens3 valid_lft 3600 preferred_lft 1800",
    "addr add 10.1.0.6/24 dev ens3 label ens3:1",
    "addr add 10.9.0.1/24 dev ens3 noprefixroute metric 50",
    "addr add 10.3.0.1 peer 10.3.0.2/32 dev ens3",
    "-6 addr add 2001:db8::5/64 dev ens3 nodad",
    "route add default via 10.1.0.1 metric 100 proto dhcp src 10.1.0.5",
    "route add 10.9.0.0/24 dev ens3 proto static scope link",
    "route add 172.16.0.0/12 via 10.1.0.2 mtu 1400",
    "route add 169.254.169.254 via 10.1.0.3 onlink dev ens3",
    "route add 10.77.0.0/16 via 10.1.0.9 table 77",
    "route add 10.5.0.0/16 via inet6 fe80::7 dev ens3",
    "-6 route add default via fe80::1 dev ens3 metric 1024",
    "-6 route add 2001:db8:7::/48 via 2001:db8::9 src 2001:db8::5 expires 300",
)


ROUTED_LATER = "local 2001:db8::5"


def two_links() -> None:
    """ens3 with everything that a link may hold, and breth0 with nothing."""
    for name in ("ens3", "breth0"):
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
        ip("link", "set", f"{name}-peer", "up")
    ip("link", "set", "ens3", "up")
    for line in GIVEN:
        ip(*line.split())
    eventually(
        lambda: ROUTED_LATER in ip("-6", "route", "show", "table", "local"), 5, f"{ROUTED_LATER} is routed"
    )


def holds(link: str, wanted: set[str]) -> None:
    """Wait for the kernel, which gives an IPv6 address its route afterwards, and compare."""
    with contextlib.suppress(AssertionError):  # below the difference is told
        eventually(lambda: shown(link, "X") == wanted, 5, f"{link} holds everything")
    assert shown(link, "X") == wanted


def shown(link: str, other: str) -> set[str]:
    """What ip(8) says of a link but its index, with the other's name where this link's stands."""
    lines = ip("addr", "show", "dev", link, "scope", "global").splitlines()[2:]
    lines += ip("route", "show", "table", "all", "dev", link, "scope", "global").splitlines()
    lines += ip("route", "show", "dev", link, "proto", "static").splitlines()
    lines += ip("-6", "route", "show", "table", "all", "dev", link).splitlines()
    kept = [each for each in lines if "fe80::/64" not in each and "ff00::" not in each]
    words = [" ".join(each.replace(link, other).split()) for each in kept]
    return {each for each in words if "expires" not in each and "valid_lft" not in each}


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Addresses]:
    # pyroute2 knows the form of an address by now, as in a driver that has read one.
    ifaddrmsg()  # type: ignore[no-untyped-call]
    made = Addresses()
    try:
        yield made
    finally:
        made.close()


@in_private_network
async def test_everything_is_carried_and_nothing_is_left() -> None:
    two_links()
    async with opened() as host:
        before = shown("ens3", "X")
        assert len(before) > 12
        await host.carry(await host.read("ens3"), "breth0", "ens3", 1400)
        holds("breth0", before)
        assert not await host.read("ens3")
        assert attribute("breth0", "mtu") == "1400"
        expiring = ip("-6", "route", "show", "2001:db8:7::/48")
        assert "dev breth0" in expiring
        assert "expires" in expiring
        lease = ip("addr", "show", "dev", "breth0", "to", "10.1.0.5")
        assert "dynamic" in lease
        await host.carry(await host.read("breth0"), "ens3", "breth0")
        holds("ens3", before)
        assert not await host.read("breth0")


@in_private_network
async def test_what_was_carried_half_way_is_completed_by_a_repeat() -> None:
    two_links()
    async with opened() as host:
        before, state = shown("ens3", "X"), await host.read("ens3")
        half = LinkState(state.addresses[:3], ())
        await host.carry(half, "breth0", "ens3")
        await host.carry(state, "breth0", "ens3")
        await host.carry(state, "breth0", "ens3")
        holds("breth0", before)
        assert not await host.read("ens3")


@in_private_network
async def test_what_cannot_be_carried_leaves_the_link_as_it_was_after_it_is_carried_back() -> None:
    """A route whose next hop is out of reach: it may stand where it is, and nowhere else."""
    two_links()
    ip("route", "add", "10.55.0.0/24", "dev", "ens3")
    ip("route", "add", "10.56.0.0/24", "via", "10.55.0.1", "dev", "ens3")
    ip("route", "del", "10.55.0.0/24", "dev", "ens3")
    async with opened() as host:
        before, state = shown("ens3", "X"), await host.read("ens3")
        with pytest.raises(HostError, match=r"route 10\.56\.0\.0/24 cannot lead through breth0: ENETUNREACH"):
            await host.carry(state, "breth0", "ens3")
        with pytest.raises(HostError, match="ENETUNREACH"):
            await host.carry_back(state, "ens3", "breth0")
        holds("ens3", before)
        assert not (await host.read("breth0")).addresses


@in_private_network
async def test_a_route_of_several_next_hops_is_refused_before_anything_is_done() -> None:
    two_links()
    ip("route", "add", "10.60.0.0/16", "nexthop", "via", "10.1.0.1", "nexthop", "via", "10.1.0.2")
    async with opened() as host:
        with pytest.raises(ConflictError, match=r"route 10\.60\.0\.0/16 through ens3 has several next hops"):
            await host.read("ens3")
        with pytest.raises(NotFoundError, match="this machine has no interface ens9"):
            await host.read("ens9")


@in_private_network
async def test_a_link_on_a_bridge_has_no_ipv6_until_it_is_off() -> None:
    two_links()
    addresses.disable_ipv6("ens3", disabled=True)
    assert "inet6" not in ip("addr", "show", "dev", "ens3")
    addresses.disable_ipv6("ens3", disabled=False)
    assert "inet6 fe80" in ip("addr", "show", "dev", "ens3")
