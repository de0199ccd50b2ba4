"""Pools: which addresses they give, how they are named, and the default pools."""

import hashlib
import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker import address_pools
from ovn_docker.address_pools import DefaultPool, Pool
from ovn_docker.errors import ConfigError, RequestError

contexts = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
tokens = st.text("0123456789abcdef", min_size=1, max_size=12)
networks = st.one_of(
    st.builds(
        lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(8, 32),
    ),
    st.builds(
        lambda address, prefix: ipaddress.ip_network((address, prefix), strict=False),
        st.integers(2**32, 2**128 - 1),
        st.integers(16, 128),
    ),
)


def pool(subnet: str, span: str = "") -> Pool:
    return address_pools.new_pool("default", subnet, span, "t")


def given_by(of: Pool) -> list[str]:
    return [str(of.address(number)) for number in of.window(None, of.size())]


# --- Names --------------------------------------------------------------------------------------------------


def test_a_switch_is_named_as_the_guide_computes_it() -> None:
    """``printf "default-10.10.10.0/24" | sha256sum``."""
    name = address_pools.switch_name("default", ipaddress.ip_network("10.10.10.0/24"))
    assert name == "19a05268b5eb3df10e2d50b8220505ea0026679bb62eb39d71c8707dd5165248"
    assert pool("10.10.10.7/24").key == name


@given(contexts, networks)
def test_a_switch_is_named_for_its_context_and_subnet(
    context: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> None:
    expected = hashlib.sha256(f"{context}-{subnet}".encode()).hexdigest()
    assert address_pools.switch_name(context, subnet) == expected


@given(contexts, networks, tokens)
def test_a_pool_is_read_back_from_its_id(
    context: str, subnet: ipaddress.IPv4Network | ipaddress.IPv6Network, token: str
) -> None:
    one = Pool(context, subnet, subnet, token)
    assert address_pools.parse_pool(str(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/24",
        "default|10.0.0.0/24|10.0.0.0/24",
        "default|10.0.0.0/24|10.0.0.0/24|t|u",
        "default|10.0.0.1/24|10.0.0.0/24|t",
        "default|x|10.0.0.0/24|t",
        "default|10.0.0.0/24||t",
        "a b|10.0.0.0/24|10.0.0.0/24|t",
        "default|10.0.0.0/24|fd00::/64|t",
        "default|10.0.0.0/24|10.1.0.0/24|t",
        "LocalDefault/172.18.0.0/16",
    ],
)
def test_a_foreign_pool_id_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        address_pools.parse_pool(text)


@given(st.text(max_size=60))
def test_the_refusal_of_an_id_is_one_line(text: str) -> None:
    with pytest.raises(RequestError) as caught:
        address_pools.parse_pool("|" + text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["default", "a", "A.b_c-9", "x" * 63])
def test_a_context_is_a_short_word(name: str) -> None:
    assert address_pools.check_context(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a|b", "a\n", "é", "x" * 64])
def test_an_invalid_context_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match="is not a valid name: use 1 to 63 letters"):
        address_pools.check_context(name)


# --- What a pool gives --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subnet", "span", "addresses"),
    [
        ("10.0.0.0/30", "", ["10.0.0.1", "10.0.0.2"]),
        ("10.0.0.0/31", "", ["10.0.0.0", "10.0.0.1"]),
        ("10.0.0.4/32", "", ["10.0.0.4"]),
        ("10.0.0.0/24", "10.0.0.8/31", ["10.0.0.8", "10.0.0.9"]),
        ("10.0.0.0/24", "10.0.0.0/30", ["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
        ("10.0.0.0/24", "10.0.0.252/30", ["10.0.0.252", "10.0.0.253", "10.0.0.254"]),
        ("10.0.0.0/24", "10.0.0.0/32", []),
        ("10.0.0.0/24", "10.0.0.255/32", []),
        ("fd00::/126", "", ["fd00::1", "fd00::2", "fd00::3"]),
        ("fd00::/127", "", ["fd00::", "fd00::1"]),
        ("fd00::/128", "", ["fd00::"]),
    ],
)
def test_a_pool_gives_all_but_its_reserved_addresses(subnet: str, span: str, addresses: list[str]) -> None:
    of = pool(subnet, span)
    assert given_by(of) == addresses
    assert of.size() == len(addresses)
    assert all(of.has(ipaddress.ip_address(address)) for address in addresses)


@pytest.mark.parametrize(
    ("subnet", "size"),
    [
        ("10.0.0.0/8", 2**24 - 2),
        ("10.0.0.0/16", 2**16 - 2),
        ("fd00::/64", 2**64 - 1),
        ("fd00::/112", 2**16 - 1),
    ],
)
def test_a_large_pool_knows_its_size_without_counting(subnet: str, size: int) -> None:
    assert pool(subnet).size() == size
    first = ipaddress.ip_network(subnet).network_address
    assert [str(pool(subnet).address(number)) for number in pool(subnet).window(None, 2)] == [
        str(first + 1),
        str(first + 2),
    ]


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.1.1", "9.255.255.255", "fd00::1"])
def test_containers_cannot_have_reserved_or_foreign_addresses(address: str) -> None:
    assert not pool("10.0.0.0/24").has(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("after", "expected"),
    [(None, [1, 2, 3]), (1, [2, 3, 4]), (5, [6, 1, 2]), (6, [1, 2, 3]), (0, [1, 2, 3]), (99, [1, 2, 3])],
)
def test_a_window_goes_on_after_an_address_and_wraps_around(after: int | None, expected: list[int]) -> None:
    of = pool("10.0.0.0/29")
    base = int(of.subnet.network_address)
    window = of.window(None if after is None else base + after, 3)
    assert [number - base for number in window] == expected


@given(networks, st.integers(0, 300), st.integers(0, 300))
def test_a_window_holds_no_address_twice_and_none_from_outside(
    subnet: ipaddress.IPv4Network | ipaddress.IPv6Network, after: int, size: int
) -> None:
    of = Pool("c", subnet, subnet, "t")
    window = of.window(int(subnet.network_address) + after, size)
    assert len(window) == len(set(window)) == min(size, of.size())
    assert all(of.has(of.address(number)) for number in window)


@pytest.mark.parametrize(
    ("after", "steps", "expected"), [(1, 0, 1), (1, 3, 4), (5, 3, 2), (6, 6, 6), (6, 1, 1), (200, 0, 2)]
)
def test_a_step_aside_wraps_around_within_the_pool(after: int, steps: int, expected: int) -> None:
    of = pool("10.0.0.0/29")
    base = int(of.subnet.network_address)
    assert of.beyond(base + after, steps) == base + expected


def test_a_step_aside_from_nowhere_is_none() -> None:
    assert pool("10.0.0.0/29").beyond(None, 5) is None


@given(networks, st.integers(1, 50))
def test_windows_one_after_the_other_are_one_walk(
    subnet: ipaddress.IPv4Network | ipaddress.IPv6Network, size: int
) -> None:
    of = Pool("c", subnet, subnet, "t")
    size = min(size, of.size() // 2)
    if size:
        first = of.window(None, size)
        assert first + of.window(first[-1], size) == of.window(None, 2 * size)


@pytest.mark.parametrize(
    ("subnet", "gateway"),
    [
        ("10.0.0.0/24", "10.0.0.1"),
        ("10.0.0.0/31", "10.0.0.0"),
        ("10.0.0.4/32", "10.0.0.4"),
        ("fd00::/64", "fd00::1"),
        ("fd00::/127", "fd00::"),
    ],
)
def test_the_default_gateway_is_the_first_address(subnet: str, gateway: str) -> None:
    assert str(address_pools.first_gateway(ipaddress.ip_network(subnet))) == gateway


@pytest.mark.parametrize(
    ("subnet", "span", "text"),
    [
        ("10.0.0.0", "", "pool '10.0.0.0' is not a valid CIDR"),
        ("x/24", "", "pool 'x/24' is not a valid CIDR"),
        ("10.0.0.0/24", "10.0.1.0/25", "range 10.0.1.0/25 lies outside its pool 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0/16", "lies outside its pool"),
        ("10.0.0.0/24", "fd00::/96", "lies outside its pool"),
    ],
)
def test_an_invalid_pool_is_refused(subnet: str, span: str, text: str) -> None:
    with pytest.raises(RequestError, match=re.escape(text)):
        pool(subnet, span)


# --- Default pools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [*address_pools.DEFAULT_POOLS, "base=10.0.0.0/24,size=24", "base=10.0.0.0/8,size=30"]
)
def test_a_default_pool_is_written_as_it_is_read(text: str) -> None:
    assert str(address_pools.parse_default_pool(text)) == text


def test_a_default_pool_may_name_its_size_first() -> None:
    assert address_pools.parse_default_pool("size=24,base=10.8.0.0/16") == DefaultPool(
        ipaddress.ip_network("10.8.0.0/16"), 24
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0/16",
        "base=10.0.0.0/16",
        "size=24",
        "base=10.0.0.1/16,size=24",
        "base=10.0.0.0/16,size=x",
        "base=10.0.0.0/16,size=8",
        "base=10.0.0.0/16,size=31",
        "base=fd00::/64,size=127",
        "base=10.0.0.0/16,size=24,more=1",
        "base=10.0.0.0/16,size=33",
    ],
)
def test_an_invalid_default_pool_is_refused_by_its_flag(text: str) -> None:
    with pytest.raises(ConfigError, match="--default-address-pool '"):
        address_pools.parse_default_pool(text)


@pytest.mark.parametrize(
    ("taken", "version", "expected"),
    [
        ([], 4, "10.8.0.0/24"),
        ([], 6, "fd00:8::/64"),
        (["10.8.0.0/24", "10.8.2.0/24"], 4, "10.8.1.0/24"),
        (["10.8.0.128/25"], 4, "10.8.1.0/24"),
        (["10.8.0.0/23"], 4, "10.8.2.0/24"),
        (["10.8.0.0/22"], 4, "10.9.0.0/28"),
        (["10.0.0.0/8"], 4, None),
        (["fd00:8::/32"], 4, "10.8.0.0/24"),
        (["fd00:8::/32"], 6, None),
    ],
)
def test_a_free_subnet_is_the_first_that_overlaps_none(
    taken: list[str], version: int, expected: str | None
) -> None:
    defaults = [
        address_pools.parse_default_pool(pool_)
        for pool_ in ("base=10.8.0.0/22,size=24", "base=fd00:8::/48,size=64", "base=10.9.0.0/24,size=28")
    ]
    found = address_pools.free_subnet(defaults, [ipaddress.ip_network(subnet) for subnet in taken], version)
    assert (str(found) if found else None) == expected


# --- exclude_ips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("", []),
        ("10.0.0.5", [("10.0.0.5", "10.0.0.5")]),
        ("10.0.0.5 10.0.0.8..10.0.0.20", [("10.0.0.5", "10.0.0.5"), ("10.0.0.8", "10.0.0.20")]),
        ("fd00::1..fd00::ff", [("fd00::1", "fd00::ff")]),
        ("nonsense 10.0.0.5..x 10.0.0.7", [("10.0.0.7", "10.0.0.7")]),
    ],
)
def test_exclude_ips_is_read_as_ovn_writes_it(text: str, spans: list[tuple[str, str]]) -> None:
    expected = [tuple(int(ipaddress.ip_address(address)) for address in span) for span in spans]
    assert address_pools.excluded(text) == expected


def test_a_default_pool_of_countless_subnets_is_searched_at_once() -> None:
    default = address_pools.parse_default_pool("base=fd00::/8,size=64")
    taken = [ipaddress.ip_network("fd00::/16"), ipaddress.ip_network("fd01::/64")]
    assert str(address_pools.free_subnet([default], taken, 6)) == "fd01:0:0:1::/64"


@pytest.mark.parametrize("subnet", ["0.0.0.0/0", "224.0.0.0/24", "127.0.0.0/24", "ff02::/64", "10.0.0.0/7"])
def test_a_pool_that_cannot_hold_containers_is_refused(subnet: str) -> None:
    with pytest.raises(RequestError, match="cannot hold containers"):
        address_pools.new_pool("default", subnet, "", "t")
