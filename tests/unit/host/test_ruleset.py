"""The text for nft(8), and what is read from its JSON. What the kernel makes of it: tests/functional/host."""

import json
from collections.abc import Mapping

import pytest

from ovn_docker.host import ruleset
from ovn_docker.host.ruleset import CHAINS, DOCKER_BRIDGE, MAPS, Published

ANY4 = Published(6, "", 8080, "10.77.0.8", 80)


def listing(*objects: Mapping[str, object]) -> str:
    """As `nft -j` writes it."""
    return json.dumps({"nftables": [{"metainfo": {"version": "1.1.3"}}, *objects]})


@pytest.mark.parametrize(
    ("port", "name", "element"),
    [
        (ANY4, "any4", "tcp . 8080 : 10.77.0.8 . 80"),
        (Published(17, "0.0.0.0", 53, "10.77.0.8", 53), "any4", "udp . 53 : 10.77.0.8 . 53"),
        (Published(6, "::", 80, "fd00::8", 80), "any6", "tcp . 80 : fd00::8 . 80"),
        (Published(6, "", 80, "fd00::8", 80), "any6", "tcp . 80 : fd00::8 . 80"),
        (Published(132, "127.0.0.1", 9, "10.77.0.8", 8), "one4", "127.0.0.1 . sctp . 9 : 10.77.0.8 . 8"),
        (Published(6, "2001:DB8::1", 9, "fd00::8", 8), "one6", "2001:db8::1 . tcp . 9 : fd00::8 . 8"),
    ],
)
def test_a_published_port_is_an_element_of_one_map(port: Published, name: str, element: str) -> None:
    assert port.map == name
    assert port.element == element
    assert element.startswith(f"{port.key} : ")


@pytest.mark.parametrize(
    ("host_ip", "ip", "loopback"),
    [
        ("", "10.77.0.8", True),
        ("0.0.0.0", "10.77.0.8", True),
        ("127.0.0.7", "10.77.0.8", True),
        ("192.0.2.1", "10.77.0.8", False),
        ("", "fd00::8", False),
        ("::1", "fd00::8", False),
    ],
)
def test_the_loopback_is_served_over_ipv4_only(host_ip: str, ip: str, *, loopback: bool) -> None:
    assert Published(6, host_ip, 80, ip, 80).loopback == loopback


def test_a_port_is_withdrawn_before_its_place_is_given_away() -> None:
    other = Published(6, "", 8080, "10.77.0.9", 80)
    assert ruleset.change([other], [ANY4]).splitlines() == [
        "delete element inet ovn-docker any4 { tcp . 8080 }",
        "add element inet ovn-docker any4 { tcp . 8080 : 10.77.0.9 . 80 }",
    ]


def test_loading_touches_no_chain_but_those_it_makes() -> None:
    words = [line.split() for line in ruleset.load([ANY4], ["docker0"], responder=True).splitlines()]
    assert {word[4] for word in words if word[1] == "chain"} == set(CHAINS)
    assert {word[0] for word in words if word[1] == "table"} == {"add"}
    assert "guard" not in CHAINS


def test_every_length_of_a_label_has_a_rule_and_every_reverse_name() -> None:
    assert len(CHAINS["queries"].rules) == 63 + 9 + 1


@pytest.mark.parametrize(
    ("link", "dockers"),
    [
        ("docker0", True),
        ("docker_gwbridge", True),
        ("br-0123456789ab", True),
        ("br-lan", False),
        ("br-ex", False),
        ("br0", False),
        ("br-0123456789abc", False),
        ("br-0123456789aX", False),
    ],
)
def test_docker_s_bridges_are_told_by_their_names(link: str, *, dockers: bool) -> None:
    assert bool(DOCKER_BRIDGE.fullmatch(link)) == dockers


def test_a_table_that_lacks_a_chain_a_rule_or_a_map_is_told() -> None:
    chains = [{"chain": {"name": name}} for name in CHAINS if name != "refused"]
    rules = [{"rule": {"chain": name}} for name, chain in CHAINS.items() for _ in chain.rules]
    rules.remove({"rule": {"chain": "leaving"}})
    maps = [{"map": {"name": name}} for name in MAPS if name != "one6"]
    lost = ruleset.missing_in(listing(*chains, *rules, *maps, {"set": {"name": "docker_bridges"}}))
    assert [text.split(" of nft's table inet ovn-docker")[0] for text in lost] == [
        "chain refused",
        "a rule of chain leaving",
        "map one6",
    ]


def forward(family: str, table: str, name: str, policy: str) -> dict[str, object]:
    return {"chain": {"family": family, "table": table, "name": name, "hook": "forward", "policy": policy}}


@pytest.mark.parametrize(
    ("chain", "iptables", "counts"),
    [
        (forward("inet", "filter", "forward", "drop"), True, True),
        (forward("inet", "filter", "forward", "accept"), True, False),
        (forward("ip", "filter", "FORWARD", "drop"), True, False),
        (forward("ip", "filter", "FORWARD", "drop"), False, True),
        (forward("inet", "firewalld", "filter_FORWARD", "accept"), True, True),
        (forward("inet", "ovn-docker", "forwarding", "accept"), True, False),
        (forward("bridge", "filter", "FORWARD", "drop"), True, False),
        (forward("ip", "docker-bridges", "filter-FORWARD", "accept"), True, False),
    ],
)
def test_a_chain_that_may_drop_what_containers_send_is_found(
    chain: dict[str, object], *, iptables: bool, counts: bool
) -> None:
    assert bool(ruleset.dropping_in(listing(chain), iptables=iptables)) == counts
