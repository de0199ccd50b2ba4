"""The judge sees every kind of difference: one that cannot fail is worth nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.judge import LOST, STALE, WRONG, judge, switch_of
from chaos.records import Central, Endpoint, Hold, Host, Interface, Port, Switch
from tests.unit.chaos import world

GHOST = Endpoint("9" * 64, "", world.OWN.id, "02:42:0a:65:01:09", "10.101.1.9")


def verdicts(hosts: list[Host], central: Central) -> set[tuple[str, str, str]]:
    return {(each.verdict, each.what, each.where) for each in judge(hosts, central)}


def without(central: Central, kind: str, cidr: str) -> Central:
    return replace(central, holds=tuple(h for h in central.holds if (h.kind, h.cidr) != (kind, cidr)))


def with_hold(central: Central, *holds: Hold) -> Central:
    return replace(central, holds=(*central.holds, *holds))


def with_ports(change: Callable[[Port], Port]) -> Central:
    """The central, the first port of which is different."""
    first, *rest = world.central().ports
    return replace(world.central(), ports=(change(first), *rest))


def with_interfaces(change: Callable[[Interface], Interface]) -> list[Host]:
    first, *rest = world.host("h1").interfaces
    return world.changed("h1", interfaces=(change(first), *rest))


def test_a_lab_that_is_as_docker_has_it_has_no_difference() -> None:
    assert judge(world.hosts(), world.central()) == []


def test_a_shared_network_that_nobody_is_on_needs_no_switch() -> None:
    hosts = [replace(each, endpoints=(), interfaces=(), links=()) for each in world.hosts()]
    central = Central((Switch(world.OWN.id, {}),), (), world.central().holds[:2] + world.central().holds[-2:])
    assert judge(hosts, central) == []
    assert judge(hosts, replace(central, switches=world.central().switches)) == []


CENTRALS = [
    (
        "switch lost",
        (LOST, "logical switch"),
        replace(world.central(), switches=world.central().switches[1:]),
    ),
    (
        "shared switch lost",
        (LOST, "logical switch"),
        replace(world.central(), switches=world.central().switches[:1]),
    ),
    (
        "switch stale",
        (STALE, "logical switch"),
        replace(world.central(), switches=(*world.central().switches, Switch("gone", {}))),
    ),
    (
        "switch twice",
        (WRONG, "logical switch"),
        replace(world.central(), switches=(*world.central().switches, Switch(world.OWN.id, {}))),
    ),
    ("port lost", (LOST, "logical port"), replace(world.central(), ports=world.central().ports[1:])),
    (
        "port stale",
        (STALE, "logical port"),
        replace(world.central(), ports=(*world.central().ports, world.port("h1", GHOST))),
    ),
    (
        "addresses",
        (WRONG, "logical port"),
        with_ports(lambda port: replace(port, addresses="02:00 10.1.1.1")),
    ),
    ("port security", (WRONG, "logical port"), with_ports(lambda port: replace(port, security=""))),
    ("wrong switch", (WRONG, "logical port"), with_ports(lambda port: replace(port, switch=world.SWITCH))),
    ("not bound", (WRONG, "logical port"), with_ports(lambda port: replace(port, chassis=""))),
    ("no mark", (WRONG, "logical port"), with_ports(lambda port: replace(port, ids={}))),
    (
        "address twice",
        (WRONG, "address"),
        replace(
            world.central(),
            ports=(*world.central().ports, replace(world.central().ports[0], name="9" * 64)),
        ),
    ),
    ("lease lost", (LOST, "lease"), without(world.central(), "lease", "10.90.1.2")),
    (
        "lease stale",
        (STALE, "lease"),
        with_hold(world.central(), world.hold("lease", "10.90.1.9", host="h1", endpoint="")),
    ),
    (
        "lease of another endpoint",
        (WRONG, "lease"),
        with_hold(
            without(world.central(), "lease", "10.90.1.2"),
            world.hold("lease", "10.90.1.2", host="h1", endpoint="9" * 64),
        ),
    ),
    (
        "lease of another host",
        (WRONG, "lease"),
        with_hold(
            without(world.central(), "lease", "10.90.1.2"),
            world.hold("lease", "10.90.1.2", host="h2", endpoint="2" * 64),
        ),
    ),
    (
        "lease twice",
        (WRONG, "pool or lease"),
        with_hold(world.central(), world.hold("lease", "10.90.1.2", host="h1", endpoint="2" * 64)),
    ),
    (
        "claim stale",
        (STALE, "claim"),
        with_hold(world.central(), world.hold("claim", "10.90.1.2", host="h1")),
    ),
    ("host lost", (LOST, "row of the host"), without(world.central(), "host", "")),
    (
        "host stale",
        (STALE, "row of the host"),
        with_hold(world.central(), world.hold("host", "", host="h9")),
    ),
    (
        "host twice",
        (WRONG, "row of the host"),
        with_hold(world.central(), world.hold("host", "", host="h1")),
    ),
    ("pool lost", (LOST, "pool"), without(world.central(), "pool", world.SHARED_SUBNET)),
    (
        "pool stale",
        (STALE, "pool"),
        with_hold(world.central(), world.hold("pool", "10.90.7.0/24", "h1", pool="other")),
    ),
    (
        "pool with a user that is gone",
        (WRONG, "pool"),
        with_hold(
            without(world.central(), "pool", world.SHARED_SUBNET),
            world.hold("pool", world.SHARED_SUBNET, "h1", "h1", "h2"),
        ),
    ),
    ("gateway lost", (LOST, "reserved"), without(world.central(), "reserved", "10.90.1.1")),
    (
        "gateway stale",
        (STALE, "reserved"),
        with_hold(world.central(), world.hold("reserved", "10.90.7.1", "h1", pool="other")),
    ),
    (
        "gateway without a user",
        (WRONG, "reserved"),
        with_hold(
            without(world.central(), "reserved", "10.90.1.1"), world.hold("reserved", "10.90.1.1", "h1")
        ),
    ),
]


@pytest.mark.parametrize(
    ("verdict", "central"), [case[1:] for case in CENTRALS], ids=[case[0] for case in CENTRALS]
)
def test_a_difference_in_ovn_is_seen(verdict: tuple[str, str], central: Central) -> None:
    assert (*verdict, "central") in verdicts(world.hosts(), central)


HOSTS = [
    ("interface lost", (LOST, "interface"), world.changed("h1", interfaces=())),
    (
        "interface stale",
        (STALE, "interface"),
        world.changed("h1", interfaces=(*world.host("h1").interfaces, world.interface(GHOST))),
    ),
    ("iface-id", (WRONG, "interface"), with_interfaces(lambda one: replace(one, iface_id="9" * 64))),
    ("network", (WRONG, "interface"), with_interfaces(lambda one: replace(one, network_id=""))),
    ("mac", (WRONG, "interface"), with_interfaces(lambda one: replace(one, mac="02:00"))),
    ("error", (WRONG, "interface"), with_interfaces(lambda one: replace(one, error="No such device"))),
    ("ofport", (WRONG, "interface"), with_interfaces(lambda one: replace(one, ofport=-1))),
    ("flows", (WRONG, "interface"), with_interfaces(lambda one: replace(one, installed=False))),
    ("bridge", (WRONG, "interface"), with_interfaces(lambda one: replace(one, bridged=False))),
    ("link lost", (LOST, "link"), world.changed("h1", links=())),
    (
        "link stale",
        (STALE, "link"),
        world.changed("h1", links=(*world.host("h1").links, "9" * 13 + "_c")),
    ),
    ("state lost", (LOST, "line of the state file"), world.changed("h1", remembered=())),
    (
        "state stale",
        (STALE, "line of the state file"),
        world.changed("h1", remembered=(world.SHARED["h1"].id, "9" * 64)),
    ),
]


@pytest.mark.parametrize(("verdict", "hosts"), [case[1:] for case in HOSTS], ids=[case[0] for case in HOSTS])
def test_a_difference_on_a_host_is_seen(verdict: tuple[str, str], hosts: list[Host]) -> None:
    assert (*verdict, "h1") in verdicts(hosts, world.central())


def test_a_container_that_docker_lost_leaves_something_stale_everywhere() -> None:
    hosts = world.changed("h1", endpoints=world.ENDPOINTS["h1"][:1])
    assert verdicts(hosts, world.central()) == {
        (STALE, "logical port", "central"),
        (STALE, "lease", "central"),
        (STALE, "interface", "h1"),
        (STALE, "link", "h1"),
    }


def test_a_network_that_docker_lost_leaves_something_stale_everywhere() -> None:
    hosts = [
        replace(host, networks={}, endpoints=(), interfaces=(), links=()) if host.name == "h2" else host
        for host in world.hosts()
    ]
    assert verdicts(hosts, world.central()) >= {
        (STALE, "logical port", "central"),
        (STALE, "lease", "central"),
        (WRONG, "pool", "central"),
        (WRONG, "reserved", "central"),
        (STALE, "line of the state file", "h2"),
    }


def test_the_shared_switch_has_the_name_in_the_documents() -> None:
    network = replace(world.SHARED["h1"], subnet="10.10.10.0/24")
    assert switch_of(network) == "19a05268b5eb3df10e2d50b8220505ea0026679bb62eb39d71c8707dd5165248"


def test_a_difference_says_whose_it_is() -> None:
    [lost] = judge(world.hosts(), without(world.central(), "lease", "10.90.1.2"))
    assert str(lost) == (
        f"lost: lease {world.SWITCH} 10.90.1.2 at central: c1 on h1, network shared, 10.90.1.2"
    )
