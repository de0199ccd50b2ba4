"""The oracle sees every kind of difference: one that cannot fail is worth nothing."""

from dataclasses import replace

import pytest

from chaos.oracle import LOST, STALE, WRONG, compare, switch_of
from chaos.records import Central, Endpoint, Hold, Host
from tests.unit.chaos import world

GHOST = Endpoint("9" * 64, "", world.OWN.id, "02:42:0a:65:01:09", "10.101.1.9")
CENTRAL, H1 = world.central(), world.host("h1")


def verdicts(hosts: list[Host], central: Central) -> set[tuple[str, str, str]]:
    return {(found.verdict, found.what, found.where) for found in compare(hosts, central)}


def holds(*added: Hold, without: tuple[str, str] | None = None) -> Central:
    kept = (hold for hold in CENTRAL.holds if (hold.kind, hold.cidr) != without)
    return replace(CENTRAL, holds=(*kept, *added))


def port(**values: object) -> Central:
    """The central, the first port of which is different."""
    first, *rest = CENTRAL.ports
    return replace(CENTRAL, ports=(replace(first, **values), *rest))  # type: ignore[arg-type]


def interface(**values: object) -> list[Host]:
    """The hosts, the first interface of which is different."""
    first, *rest = H1.interfaces
    return world.changed("h1", interfaces=(replace(first, **values), *rest))  # type: ignore[arg-type]


def test_a_lab_that_is_as_docker_has_it_has_no_difference() -> None:
    assert compare(world.hosts(), CENTRAL) == []


def test_a_shared_network_that_nobody_is_on_needs_no_switch() -> None:
    hosts = [replace(host, endpoints=(), interfaces=(), links=()) for host in world.hosts()]
    central = Central((world.switch(world.OWN.id),), (), CENTRAL.holds[:2] + CENTRAL.holds[-2:])
    assert compare(hosts, central) == []
    assert compare(hosts, replace(central, switches=CENTRAL.switches)) == []


LEASE, POOL, GATEWAY = ("lease", "10.90.1.2"), ("pool", world.SHARED_SUBNET), ("reserved", "10.90.1.1")
CENTRALS = {
    "switch lost": (LOST, "logical switch", replace(CENTRAL, switches=CENTRAL.switches[1:])),
    "shared switch lost": (LOST, "logical switch", replace(CENTRAL, switches=CENTRAL.switches[:1])),
    "switch stale": (
        *(STALE, "logical switch"),
        replace(CENTRAL, switches=(*CENTRAL.switches, world.switch("gone"))),
    ),
    "switch twice": (
        *(WRONG, "logical switch"),
        replace(CENTRAL, switches=(*CENTRAL.switches, world.switch(world.OWN.id))),
    ),
    "switch without a gateway port": (
        *(WRONG, "logical switch"),
        replace(CENTRAL, switches=(CENTRAL.switches[0], replace(CENTRAL.switches[1], gateways=0))),
    ),
    "port lost": (LOST, "logical port", replace(CENTRAL, ports=CENTRAL.ports[1:])),
    "port stale": (
        *(STALE, "logical port"),
        replace(CENTRAL, ports=(*CENTRAL.ports, world.port("h1", GHOST))),
    ),
    "address twice": (
        *(WRONG, "address"),
        replace(CENTRAL, ports=(*CENTRAL.ports, replace(CENTRAL.ports[0], name="9" * 64))),
    ),
    "addresses": (WRONG, "logical port", port(addresses="02:00 10.1.1.1")),
    "port security": (WRONG, "logical port", port(security="")),
    "wrong switch": (WRONG, "logical port", port(switch=world.SWITCH)),
    "not bound": (WRONG, "logical port", port(chassis="")),
    "no mark": (WRONG, "logical port", port(ids={})),
    "lease lost": (LOST, "lease", holds(without=LEASE)),
    "lease stale": (STALE, "lease", holds(world.hold("lease", "10.90.1.9", host="h1", endpoint=""))),
    "lease of another endpoint": (
        *(WRONG, "lease"),
        holds(world.hold(*LEASE, host="h1", endpoint="9" * 64), without=LEASE),
    ),
    "lease of another host": (
        *(WRONG, "lease"),
        holds(world.hold(*LEASE, host="h2", endpoint="2" * 64), without=LEASE),
    ),
    "lease twice": (WRONG, "pool or lease", holds(world.hold(*LEASE, host="h1", endpoint="2" * 64))),
    "claim stale": (STALE, "claim", holds(world.hold("claim", "10.90.1.2", host="h1"))),
    "host lost": (LOST, "row of the host", holds(without=("host", ""))),
    "host stale": (STALE, "row of the host", holds(world.hold("host", "", host="h9"))),
    "host twice": (WRONG, "row of the host", holds(world.hold("host", "", host="h1"))),
    "pool lost": (LOST, "pool", holds(without=POOL)),
    "pool stale": (STALE, "pool", holds(world.hold("pool", "10.90.7.0/24", "h1", pool="other"))),
    "pool with a user that is gone": (
        *(WRONG, "pool"),
        holds(world.hold(*POOL, "h1", "h1", "h2"), without=POOL),
    ),
    "gateway lost": (LOST, "reserved", holds(without=GATEWAY)),
    "gateway stale": (STALE, "reserved", holds(world.hold("reserved", "10.90.7.1", "h1", pool="other"))),
    "gateway without a user": (WRONG, "reserved", holds(world.hold(*GATEWAY, "h1"), without=GATEWAY)),
}


@pytest.mark.parametrize(("verdict", "what", "central"), CENTRALS.values(), ids=CENTRALS)
def test_a_difference_in_ovn_is_seen(verdict: str, what: str, central: Central) -> None:
    assert (verdict, what, "central") in verdicts(world.hosts(), central)


HOSTS = {
    "interface lost": (LOST, "interface", world.changed("h1", interfaces=())),
    "interface stale": (
        *(STALE, "interface"),
        world.changed("h1", interfaces=(*H1.interfaces, world.interface(GHOST))),
    ),
    "iface-id": (WRONG, "interface", interface(iface_id="9" * 64)),
    "network": (WRONG, "interface", interface(network_id="")),
    "mac": (WRONG, "interface", interface(mac="02:00")),
    "error": (WRONG, "interface", interface(error="No such device")),
    "ofport": (WRONG, "interface", interface(ofport=-1)),
    "flows": (WRONG, "interface", interface(installed=False)),
    "bridge": (WRONG, "interface", interface(bridged=False)),
    "link lost": (LOST, "link", world.changed("h1", links=())),
    "link stale": (STALE, "link", world.changed("h1", links=(*H1.links, "9" * 13 + "_c"))),
    "gateway link lost": (LOST, "gateway link", world.changed("h1", gateways=H1.gateways[1:])),
    "gateway link stale": (
        *(STALE, "gateway link"),
        world.changed("h1", gateways=(*H1.gateways, "row of another")),
    ),
    "state lost": (LOST, "line of the state file", world.changed("h1", remembered=())),
    "state stale": (
        *(STALE, "line of the state file"),
        world.changed("h1", remembered=(world.SHARED["h1"].id, "9" * 64)),
    ),
}


@pytest.mark.parametrize(("verdict", "what", "hosts"), HOSTS.values(), ids=HOSTS)
def test_a_difference_on_a_host_is_seen(verdict: str, what: str, hosts: list[Host]) -> None:
    assert (verdict, what, "h1") in verdicts(hosts, CENTRAL)


def test_what_docker_lost_leaves_something_stale_everywhere() -> None:
    hosts = world.changed("h1", endpoints=world.ENDPOINTS["h1"][:1])
    assert verdicts(hosts, CENTRAL) == {
        (STALE, "logical port", "central"),
        (STALE, "lease", "central"),
        (STALE, "interface", "h1"),
        (STALE, "link", "h1"),
    }
    hosts = world.changed("h2", networks={}, endpoints=(), interfaces=(), links=())
    assert verdicts(hosts, CENTRAL) >= {
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
    [lost] = compare(world.hosts(), holds(without=LEASE))
    assert f"{world.SWITCH} 10.90.1.2 at central: c1 on h1, network shared" in str(lost)
