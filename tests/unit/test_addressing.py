"""Addresses read and made: a table of cases per rule, and what holds for any endpoint id."""

import ipaddress
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker import addressing
from ovn_docker.errors import RequestError

HEX_ID = "b5082ded" * 8
SWARM_ID = "k9qz3h1x0v7p2m5n8r4t6w1y3"
any_id = st.text(min_size=1, max_size=128)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.1.0/24", "192.168.1.0/24"),
        ("192.168.1.77/24", "192.168.1.0/24"),
        ("10.0.0.1/32", "10.0.0.1/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.0/255.255.255.0", "10.0.0.0/24"),
        ("fd00::7/64", "fd00::/64"),
        ("FD00:0:0::/48", "fd00::/48"),
    ],
)
def test_a_pool_is_read_without_its_host_bits(text: str, expected: str) -> None:
    assert str(addressing.network(text, "pool")) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.0",
        "fd00::",
        "10.0.0.0/33",
        "fd00::/129",
        "10.0.0/24",
        "10.0.0.0/x",
        "/24",
        "a/24",
        "10.0.0.0/24 ",
    ],
)
def test_what_is_no_cidr_is_refused_by_its_name_and_text(text: str) -> None:
    with pytest.raises(RequestError, match=re.escape(f"subnet '{text}' is not a valid CIDR")):
        addressing.network(text, "subnet")


def test_an_address_keeps_its_host_bits_and_gives_its_pool() -> None:
    address = addressing.interface("192.168.1.7/24", "address")
    assert address is not None
    assert (str(address.ip), str(address.network)) == ("192.168.1.7", "192.168.1.0/24")


def test_an_address_that_is_absent_is_none() -> None:
    assert addressing.interface("", "address") is None


@pytest.mark.parametrize("text", ["192.168.1.7", "192.168.1.7/40", "x/24", "/", "fd00::1"])
def test_what_is_no_address_with_prefix_is_refused_by_its_name_and_text(text: str) -> None:
    with pytest.raises(RequestError, match=re.escape(f"IPv6 address '{text}' is not a valid address")):
        addressing.interface(text, "IPv6 address")


def test_a_mac_is_written_in_lower_case() -> None:
    assert addressing.mac("02:42:C0:A8:01:0F") == "02:42:c0:a8:01:0f"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02:42:c0:a8:01",
        "02:42:c0:a8:01:02:03",
        "02-42-c0-a8-01-02",
        "0242.c0a8.0102",
        "g2:42:c0:a8:01:02",
        "02:42:c0:a8:01:02\n",
        " 02:42:c0:a8:01:02",
        "02:42:c0:a8:01:02 10.0.0.9",
        "٠٢:42:c0:a8:01:02",
    ],
)
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="is not six octets"):
        addressing.mac(text)


@pytest.mark.parametrize(
    "text", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "00:00:00:00:00:00"]
)
def test_a_mac_that_no_interface_may_have_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="multicast or zero"):
        addressing.mac(text)


@given(any_id)
def test_a_made_mac_is_valid_unicast_local_and_always_the_same(endpoint_id: str) -> None:
    made = addressing.mac_for(endpoint_id)
    assert addressing.mac(made) == made == addressing.mac_for(endpoint_id)
    first = int(made[:2], 16)
    assert first & 0b11 == 0b10  # RFC 7042 section 2.1: local, not a group


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["192.168.1.2"], "02:42:c0:a8:01:02"),
        (["10.0.0.9", "fd00::9"], "02:42:0a:00:00:09"),
        (["255.255.255.255"], "02:42:ff:ff:ff:ff"),
    ],
)
def test_an_endpoint_with_an_ipv4_address_has_dockers_mac_for_it(addresses: list[str], expected: str) -> None:
    ips = [ipaddress.ip_address(address) for address in addresses]
    assert addressing.mac_for("one", ips) == addressing.mac_for("other", ips) == expected


@given(st.ip_addresses(v=6), any_id, any_id)
def test_a_made_mac_stays_with_the_ipv6_address(address: addressing.IPAddress, one: str, other: str) -> None:
    made = addressing.mac_for(one, [address])
    assert addressing.mac(made) == made == addressing.mac_for(other, [address])


@pytest.mark.parametrize(
    ("mac", "expected"),
    [
        ("02:42:0a:4d:00:01", "fe80::42:aff:fe4d:1/64"),
        ("34:56:78:9a:bc:de", "fe80::3656:78ff:fe9a:bcde/64"),
    ],
)
def test_a_link_local_address_is_that_of_the_mac(mac: str, expected: str) -> None:
    assert str(addressing.link_local(mac)) == expected


def test_made_macs_differ_between_endpoints() -> None:
    assert len({addressing.mac_for(f"endpoint{number}") for number in range(1000)}) == 1000


def is_link_name(name: str) -> bool:
    """Linux net/core/dev.c, dev_valid_name: 1 to 15 bytes, not "." or "..", no slash, colon or space."""
    return 0 < len(name.encode()) <= 15 and name not in {".", ".."} and not re.search(r"[/:\s]", name)


@given(any_id | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True))
def test_link_names_are_two_valid_link_names_whatever_the_id(endpoint_id: str) -> None:
    outside, inside = addressing.link_names(endpoint_id)
    assert is_link_name(outside)
    assert is_link_name(inside)
    assert outside != inside
    assert outside.isascii()
    assert inside.isascii()


def test_link_names_show_the_beginning_of_dockers_id() -> None:
    assert addressing.link_names(HEX_ID) == ("b5082dedb5082de", "b5082dedb5082_c")
    assert addressing.link_names(SWARM_ID) == ("k9qz3h1x0v7p2m5", "k9qz3h1x0v7p2_c")


@pytest.mark.parametrize("pair", [("short", "shorter"), ("a" * 14, "a" * 13), ("x.y" * 10, "x-y" * 10)])
def test_ids_that_cannot_be_shown_have_different_link_names(pair: tuple[str, str]) -> None:
    names = [name for endpoint_id in pair for name in addressing.link_names(endpoint_id)]
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("underlay", "encapsulations", "outer", "expected"),
    [
        (1500, ["geneve"], 4, 1442),
        (1500, ["geneve"], 6, 1422),
        (1500, ["vxlan"], 4, 1450),
        (1500, ["vxlan"], 6, 1430),
        (1500, ["stt"], 4, 1428),
        (1500, ["geneve", "vxlan"], 4, 1442),
        (1500, ["vxlan", "geneve"], 4, 1442),
        (1500, ["of-tomorrow"], 4, 1442),
        (1500, [], 4, 1442),
        (9000, ["geneve"], 4, 8942),
        (100, ["geneve"], 4, 68),
    ],
)
def test_the_mtu_is_what_the_tunnel_leaves(
    underlay: int, encapsulations: list[str], outer: int, expected: int
) -> None:
    assert addressing.mtu(underlay, encapsulations, outer) == expected


@pytest.mark.parametrize(
    ("underlay", "encapsulations", "outer"),
    [
        *((size, ["geneve"], 4) for size in range(1400, 1408)),
        (1500, ["vxlan"], 4),
        (1500, ["stt"], 6),
        (9000, ["geneve"], 6),
    ],
)
def test_the_mtu_is_the_largest_that_fits_a_tunnel_that_is_encrypted(
    underlay: int, encapsulations: list[str], outer: int
) -> None:
    def on_the_wire(size: int) -> int:
        plain = size + addressing.ENCAP_OVERHEAD[encapsulations[0]]
        encrypted = -(-(plain + 2) // 4) * 4  # padding, its length, next header
        return (
            addressing.OUTER_IP[outer] + 8 + 8 + 8 + encrypted + 16
        )  # UDP, ESP, initialization vector, check

    most = addressing.mtu(underlay, encapsulations, outer, encrypted=True)
    assert on_the_wire(most) <= underlay < on_the_wire(most + 1)


def test_a_row_id_never_changes() -> None:
    """Rows made by one release must be found by the next."""
    assert addressing.row_id("Logical_Switch", HEX_ID) == UUID("121f5ec0-df1a-5f56-9389-d9f4985a8596")


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
)
def test_row_ids_of_different_things_differ(one: list[str], other: list[str]) -> None:
    names = [[part.replace("\x00", "") for part in parts] for parts in (one, other)]
    same = names[0] == names[1]
    assert (addressing.row_id(*names[0]) == addressing.row_id(*names[1])) is same


def test_pools_of_both_versions_are_ipaddress_values() -> None:
    assert addressing.network("fd00::/64", "pool") == ipaddress.IPv6Network("fd00::/64")
    assert addressing.network("10.0.0.0/8", "pool") == ipaddress.IPv4Network("10.0.0.0/8")
