"""What is found where Docker and the rest differ, and that nothing is found where they agree."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovn_docker import addressing
from ovn_docker.addressing import row_id
from ovn_docker.docker.models import Container, DockerState, Network, Node, Swarm
from ovn_docker.health.checks import LONGEST_LABEL, MOST_LABELS, check, is_name, names_of
from ovn_docker.health.findings import KINDS, Finding
from ovn_docker.health.snapshot import (
    EgressState,
    LostAddress,
    NamesState,
    OwnedNetwork,
    OwnedPool,
    OwnedSwitch,
    Snapshot,
)
from tests.agreement import (
    DOCKERS,
    DRIVER,
    OWN_IPAM,
    agreeing,
    attached,
    container,
    docker,
    lease,
    long_id,
    network,
    pool_key,
)
from tests.unit.health import test_host_checks, test_openstack_checks

BOX, PEER = container("box", {"tier": "front"}), container("peer")
PLAIN = network("plain", "10.0.1.0/24", members=[BOX, PEER])
LEASED = network("leased", "10.0.2.0/24", "fd02::/64", members=[BOX], ipam=OWN_IPAM)
CLAIMED = network("claimed", "10.0.3.0/24", members=[BOX])
FOREIGN = network("foreign", "10.0.4.0/24", members=[BOX], driver="macvlan", ipam=OWN_IPAM)
NOTHING = network("nothing", "10.0.5.0/24", members=[BOX], driver="other", ipam="other")
WORLD = docker(PLAIN, LEASED, CLAIMED, FOREIGN, NOTHING, containers=[BOX, PEER])
GOOD = agreeing(WORLD, ["claimed"])
GONE, NAMED = long_id("gone"), GOOD.held.names[0]
ONE = next(iter(PLAIN.endpoints.values()))
LEASE = next(lease for lease in GOOD.held.leases if lease.address == "10.0.2.2")
CLAIM = next(lease for lease in GOOD.held.leases if lease.address == "10.0.3.2")
LOST = LostAddress(LEASE.key, LEASE.address, LEASE.endpoint_id, "container db on host h1 has it")
LINK = addressing.link_names(ONE.endpoint_id)[0]

Change = Callable[[Snapshot], Snapshot]


def held(**changes: object) -> Snapshot:
    return replace(GOOD, held=replace(GOOD.held, **changes))  # type: ignore[arg-type]


def with_networks(*networks: OwnedNetwork) -> Snapshot:
    return held(networks={**GOOD.held.networks, **{network.network_id: network for network in networks}})


def other_port(**changes: object) -> Snapshot:
    first, *others = GOOD.held.endpoints
    return held(endpoints=(replace(first, **changes), *others))  # type: ignore[arg-type]


def other_interface(**changes: object) -> Snapshot:
    first, *others = GOOD.attached
    return replace(GOOD, attached=(replace(first, **changes), *others))  # type: ignore[arg-type]


FIRST_PORT, FIRST_ATTACHED = GOOD.held.endpoints[0], GOOD.attached[0]

ONE_OF_EACH: list[tuple[str, str, Snapshot]] = [
    (
        "network-missing",
        PLAIN.network_id,
        with_networks(OwnedNetwork(PLAIN.network_id, whole=False, keys={})),
    ),
    (
        "network-missing",
        PLAIN.network_id,
        held(networks={k: v for k, v in GOOD.held.networks.items() if k != PLAIN.network_id}),
    ),
    ("network-stale", GONE, with_networks(OwnedNetwork(GONE, whole=True, keys={}))),
    (
        "switch-stale",
        str(row_id("switch")),
        held(switches=(OwnedSwitch(row_id("switch"), "a switch", GONE),)),
    ),
    ("endpoint-missing", FIRST_PORT.endpoint_id, held(endpoints=GOOD.held.endpoints[1:])),
    ("endpoint-changed", FIRST_PORT.endpoint_id, other_port(addresses=("02:42:0a:00:01:02", "10.0.1.99"))),
    ("endpoint-changed", FIRST_PORT.endpoint_id, other_port(addresses=("02:42:0a:00:01:99", "10.0.1.2"))),
    (
        "endpoint-stale",
        GONE,
        held(endpoints=(*GOOD.held.endpoints, replace(FIRST_PORT, endpoint_id=GONE))),
    ),
    ("names-changed", FIRST_PORT.endpoint_id, other_port(names={})),
    ("interface-missing", FIRST_ATTACHED.endpoint_id, replace(GOOD, attached=GOOD.attached[1:])),
    ("interface-missing", FIRST_ATTACHED.endpoint_id, other_interface(endpoint_id="")),
    (
        "interface-stale",
        GONE,
        replace(GOOD, attached=(*GOOD.attached, attached(PLAIN.network_id, GONE))),
    ),
    ("interface-dead", FIRST_ATTACHED.endpoint_id, other_interface(installed=False, error="no such device")),
    ("interface-lost", FIRST_ATTACHED.endpoint_id, replace(GOOD, links=GOOD.links - {LINK})),
    ("guard-missing", "ovn-docker", replace(GOOD, unguarded=True)),
    ("rules-missing", "netfilter", replace(GOOD, egress=EgressState(rules=("a chain",)))),
    (
        "gateway-missing",
        PLAIN.network_id,
        replace(GOOD, egress=EgressState(missing=((PLAIN.network_id, "a link"),))),
    ),
    (
        "egress-closed",
        PLAIN.network_id,
        replace(GOOD, egress=EgressState(closed=((PLAIN.network_id, "go nowhere", "no nft"),))),
    ),
    ("dns-name-missing", NAMED.endpoint_id, held(names=tuple(GOOD.held.names[1:]))),
    ("dns-name-missing", NAMED.endpoint_id, replace(GOOD, names=NamesState({NAMED.endpoint_id: "box"}))),
    (
        "dns-name-missing",
        NAMED.endpoint_id,
        held(names=(replace(NAMED, names=("former",)), *GOOD.held.names[1:])),
    ),
    ("dns-name-stale", GONE, held(names=(*GOOD.held.names, replace(NAMED, endpoint_id=GONE)))),
    ("dns-bypassed", "docker", replace(GOOD, names=NamesState(bypassed="28.5.2"))),
    ("dns-down", "dns", replace(GOOD, names=NamesState(down="UDP port 5375 cannot be used"))),
    ("gateway-stale", "switch", replace(GOOD, egress=EgressState(stale=(("switch", "og-1"),)))),
    ("link-stale", "0123456789abcde", replace(GOOD, links=GOOD.links | {"0123456789abcde"})),
    (
        "lease-missing",
        f"{LEASE.key} {LEASE.address} {LEASE.endpoint_id}",
        held(leases=tuple(lease for lease in GOOD.held.leases if lease != LEASE)),
    ),
    (
        "lease-missing",
        f"{CLAIM.key} {CLAIM.address} {CLAIM.endpoint_id}",
        held(leases=tuple(lease for lease in GOOD.held.leases if lease != CLAIM)),
    ),
    (
        "lease-missing",
        f"{LEASE.key} {LEASE.address} {LEASE.endpoint_id}",
        held(
            leases=tuple(
                lease(entry.key, entry.address, "") if entry == LEASE else entry for entry in GOOD.held.leases
            )
        ),
    ),
    (
        "address-taken",
        f"{LEASE.key} {LEASE.address} {LEASE.endpoint_id}",
        held(leases=tuple(lease for lease in GOOD.held.leases if lease != LEASE), taken=(LOST,)),
    ),
    (
        "lease-stale",
        f"{row_id('lease', LEASE.key, '10.0.2.9')} {GONE} r1",
        held(leases=(*GOOD.held.leases, lease(LEASE.key, "10.0.2.9", GONE))),
    ),
    (
        "lease-stale",
        f"{row_id('lease', LEASE.key, '10.0.2.9')}  r1",
        held(leases=(*GOOD.held.leases, lease(LEASE.key, "10.0.2.9", ""))),
    ),
    (
        "pool-stale",
        "key t9",
        held(pools=(*GOOD.held.pools, OwnedPool(row_id("p"), "key", "10.9.0.0/24", frozenset({"t9"})))),
    ),
    (
        "reserved-stale",
        f"{LEASE.key} 10.0.2.77 t9",
        held(
            reserved=(
                *GOOD.held.reserved,
                OwnedPool(row_id("r"), LEASE.key, "10.0.2.77", frozenset({"t9", LEASED.network_id[:12]})),
            )
        ),
    ),
]


@pytest.mark.parametrize(
    ("kind", "subject", "snapshot"), ONE_OF_EACH, ids=[f"{n}-{case[0]}" for n, case in enumerate(ONE_OF_EACH)]
)
def test_one_difference_is_one_finding(kind: str, subject: str, snapshot: Snapshot) -> None:
    [finding] = check(snapshot)
    assert (finding.kind, finding.subject) == (kind, subject)
    assert "\n" not in finding.text


def test_every_kind_of_finding_has_a_difference_that_gives_it() -> None:
    of_a_running_container = {"interface-alive", "pool-missing"}
    of_the_switch = {
        "lookup-missing",
        "lookup-surplus",
        "lookup-off",
        "vtep-down",
    }  # see test_lookup_findings.py
    of_a_swarm = {kind for _, found in PLUGINS for kind, _ in found} | {
        finding.kind for finding in check(REFUSED)
    }
    of_the_setup = {case[0] for case in test_openstack_checks.ONE_OF_EACH}
    of_the_stopped = {"container-down", "sharer-down"}  # see test_container_checks.py
    of_the_name = {finding.kind for finding in check(TAKEN)}
    of_all_hosts = {"central-slow", "northd-behind", "central-relay"}  # see test_central_checks.py
    others = of_a_running_container | of_the_switch | of_the_setup | of_a_swarm | of_the_stopped
    of_the_host = {case[0] for case in test_host_checks.ONE_OF_EACH}
    of_others = {"driver-down", "switch-twice"}  # see cli/cluster_checks.py
    of_others |= {"northd-down", "southbound-down"}  # see cli/cluster_checks.py
    of_others |= {"peer-down", "tunnel-blocked", "tunnel-down"}  # see cli/cluster_checks.py
    others |= of_all_hosts | of_the_name | of_the_host | of_others
    assert {kind for kind, _, _ in ONE_OF_EACH} | others == KINDS.keys()


@pytest.mark.parametrize("snapshot", [example for _, _, example in ONE_OF_EACH])
def test_a_text_has_no_long_id_and_claims_nothing_that_was_not_done(snapshot: Snapshot) -> None:
    [finding] = check(snapshot)
    assert re.findall(r"\b[0-9a-f]{64}\b", finding.text) == []
    assert re.findall(r"\b(?:is|are) (?:removed|created|released|started)\b", finding.text) == []
    assert re.match(r"[a-z]+ ", finding.repair) or not finding.repair
    assert not re.match(r"(?:the|this) ", finding.repair)


@pytest.mark.parametrize(
    ("snapshot", "text"),
    [
        (held(endpoints=GOOD.held.endpoints[1:]), "container box on network plain has no port in OVN"),
        (
            other_port(names={}),
            "the port of container box on network plain does not carry the container's name",
        ),
        (
            replace(GOOD, links=GOOD.links - {LINK}),
            f"interface {LINK} of container box on network plain is gone",
        ),
        (replace(GOOD, links=GOOD.links - {LINK}), "'docker restart box'"),
    ],
)
def test_a_text_names_things_as_docker_does(snapshot: Snapshot, text: str) -> None:
    [finding] = check(snapshot)
    assert text in finding.text


def test_under_the_name_of_another_machine_that_is_all_that_is_found() -> None:
    assert [(finding.kind, finding.subject, finding.text) for finding in check(TAKEN)] == [
        ("name-taken", "h1", "beta has the name h1")
    ]


@pytest.mark.parametrize("others", [{"router": "10.0.2.1"}, {"router": "10.0.2.9"}])
@pytest.mark.parametrize("lost", [False, True])
def test_an_auxiliary_address_may_be_the_gateway_that_nobody_named(
    others: dict[str, str],
    lost: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    of = [pool for pool in GOOD.held.pools if pool.cidr == "10.0.2.0/24"]
    pools = tuple(replace(pool, gateway="", aux_addresses=others) for pool in LEASED.pools[:1])
    one = replace(LEASED, pools=(*pools, *LEASED.pools[1:]))
    addresses = {"10.0.2.1", *others.values()} - ({"10.0.2.1"} if lost else set())
    reserved = tuple(
        OwnedPool(row_id(address), of[0].key, address, of[0].tokens) for address in sorted(addresses)
    )
    rest = tuple(reservation for reservation in GOOD.held.reserved if reservation.cidr != "10.0.2.1")
    snapshot = replace(
        held(reserved=(*rest, *reserved)),
        docker=replace(GOOD.docker, networks={**GOOD.docker.networks, one.network_id: one}),
    )
    assert [finding.kind for finding in check(snapshot)] == ["pool-missing"] * lost


def test_each_pool_that_does_not_know_this_host_is_found() -> None:
    without = held(
        pools=tuple(pool for pool in GOOD.held.pools if pool.cidr != "fd02::/64"),
        reserved=tuple(reservation for reservation in GOOD.held.reserved if ":" not in reservation.cidr),
    )
    assert [(finding.kind, finding.subject) for finding in check(without)] == [
        ("pool-missing", f"{LEASED.network_id} fd02::/64")
    ]
    unreserved = held(
        reserved=tuple(reservation for reservation in GOOD.held.reserved if reservation.cidr != "10.0.2.1")
    )
    assert [(finding.kind, finding.subject) for finding in check(unreserved)] == [
        ("pool-missing", f"{LEASED.network_id} 10.0.2.0/24")
    ]
    others = held(
        pools=tuple(replace(pool, tokens=frozenset()) for pool in GOOD.held.pools), reserved=()
    )  # other hosts have holds on them
    assert {finding.kind for finding in check(others)} == {"pool-missing"}
    assert len(check(others)) == 3


# --- Agreement ----------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_plugged_in_and_not_joined_yet_is_docker_s() -> None:
    made = network("red", "10.0.1.0/24", members=[container("one")])
    [endpoint] = made.endpoints.values()
    waiting = replace(made, endpoints={endpoint.endpoint_id: replace(endpoint, container_id="")})
    interface = replace(attached(made.network_id, endpoint.endpoint_id), installed=False)
    links = frozenset(addressing.link_names(endpoint.endpoint_id))
    early = replace(agreeing(docker(waiting)), attached=(interface,), links=links)
    assert check(early) == []
    forgotten = replace(early, docker=docker(replace(made, endpoints={})))
    assert [finding.kind for finding in check(forgotten)] == ["endpoint-stale", "interface-stale"]
    assert all(finding.removes for finding in check(forgotten)), "and so it has to be seen for 10 s"


NAMES = st.sampled_from(["red", "green", "blue"])


@st.composite
def networks(draw: st.DrawFn, boxes: Sequence[Container]) -> Network:
    name = draw(NAMES)
    number = {"red": 1, "green": 2, "blue": 3}[name]
    subnets = draw(
        st.sampled_from([(), (f"10.0.{number}.0/24",), (f"10.0.{number}.0/24", f"fd0{number}::/64")])
    )
    driver = draw(st.sampled_from([DRIVER, f"{DRIVER}:latest", "other"]))
    ipam = draw(st.sampled_from([OWN_IPAM, DOCKERS] if subnets else ["null"]))
    members = draw(st.lists(st.sampled_from(boxes), unique_by=lambda named: named.name))
    made = network(name, *subnets, members=members, driver=driver, ipam=ipam)
    if draw(st.booleans()):  # endpoints of which nobody has joined any
        made = replace(
            made, endpoints={k: replace(endpoint, container_id="") for k, endpoint in made.endpoints.items()}
        )
    return made


@st.composite
def worlds(draw: st.DrawFn) -> DockerState:
    boxes = [container("one"), container("two", {"tier": "front"})]
    running = draw(st.lists(st.sampled_from(boxes), unique_by=lambda named: named.name))
    made = draw(st.lists(networks(boxes), unique_by=lambda named: named.name))
    return docker(*made, containers=running)


@settings(max_examples=60)
@given(worlds(), st.lists(NAMES))
def test_nothing_is_found_where_all_agree(state: DockerState, claimed: list[str]) -> None:
    assert check(agreeing(state, claimed)) == []


def some(draw: st.DrawFn, *parts: Sequence[object]) -> tuple[object, ...]:
    """Any of the things that any of the readings has."""
    each = [thing for part in parts for thing in part]
    return tuple(thing for thing in each if draw(st.booleans()))


@st.composite
def torn(draw: st.DrawFn) -> Snapshot:
    """What Docker has at one time with parts of what was held at that and at another."""
    now, then = draw(worlds()), draw(worlds())
    one, other = agreeing(now, draw(st.lists(NAMES))), agreeing(then, draw(st.lists(NAMES)))
    inside = [
        addressing.link_names(attachment.endpoint_id)[1] for attachment in (*one.attached, *other.attached)
    ]
    mixed = {
        name: some(draw, getattr(one.held, name), getattr(other.held, name))
        for name in ("endpoints", "leases", "pools", "reserved")
    }
    both = {**one.held.networks, **other.held.networks}
    networks = {key: both[key] for key in both if draw(st.booleans())}
    switches = tuple(
        OwnedSwitch(row_id("switch", key), f"for {key}", key)
        for key in (*now.networks, *then.networks)
        if draw(st.booleans())
    )
    return replace(
        one,
        held=replace(one.held, networks=networks, switches=switches, **mixed),  # type: ignore[arg-type]
        attached=some(draw, one.attached, other.attached),  # type: ignore[arg-type]
        links=frozenset(some(draw, sorted(one.links | other.links), inside)),  # type: ignore[arg-type]
    )


@settings(max_examples=80)
@given(torn())
def test_nothing_is_removed_that_docker_has(snapshot: Snapshot) -> None:
    has = {
        one.endpoint_id for network in snapshot.docker.networks.values() for one in network.endpoints.values()
    }
    leased = [network for network in snapshot.docker.networks.values() if network.has_foreign_ipam]
    used = {address for network in leased for one in network.endpoints.values() for address in one.addresses}
    is_in_use: dict[str, Callable[[Finding], bool]] = {
        "network-stale": lambda finding: finding.subject in snapshot.docker.networks,
        "endpoint-stale": lambda finding: finding.subject in has,
        "interface-stale": lambda finding: finding.subject in has,
        "link-stale": lambda finding: (
            finding.subject in {end for e in has for end in addressing.link_names(e)}
        ),
        "switch-stale": lambda finding: finding.evidence.network_id in snapshot.docker.networks,
        "lease-stale": lambda finding: (
            finding.evidence.endpoint_id in has
            or (not finding.evidence.endpoint_id and finding.evidence.address in used)
        ),
        "pool-stale": lambda finding: finding.evidence.cidr in {p.subnet for n in leased for p in n.pools},
        "reserved-stale": lambda finding: any(
            pool_key(one, pool.subnet) == finding.evidence.key
            and one.network_id[:12] in finding.evidence.tokens
            for one in leased
            for pool in one.pools
            if any(
                h.key == finding.evidence.key and finding.evidence.tokens & h.tokens
                for h in snapshot.held.pools
            )
        ),
    }
    findings = check(snapshot)
    assert [finding for finding in findings if finding.removes and is_in_use[finding.kind](finding)] == []
    if any(finding.kind == "interface-alive" for finding in findings):
        assert [finding for finding in findings if finding.removes] == []
    for finding in findings:
        assert finding.text
        assert "\n" not in finding.text


def test_nothing_is_removed_while_docker_does_not_know_a_running_container() -> None:
    strangers = replace(GOOD, docker=docker())
    findings = check(strangers)
    assert {finding.kind for finding in findings} == {"interface-alive"}
    assert {finding.subject for finding in findings} == {
        attachment.endpoint_id for attachment in GOOD.attached
    }
    idle = replace(strangers, attached=(), links=frozenset())
    assert {"network-stale", "endpoint-stale", "lease-stale", "pool-stale", "reserved-stale"} == {
        finding.kind for finding in check(idle)
    }


def test_a_stale_lease_goes_before_its_address_is_leased_again() -> None:
    """Both are confirmed in one pass, and the address is free for no longer than that."""
    taken = held(
        leases=tuple(
            lease(entry.key, entry.address, GONE) if entry == LEASE else entry for entry in GOOD.held.leases
        )
    )
    assert [finding.kind for finding in check(taken)] == ["lease-stale", "lease-missing"]


def test_a_container_whose_address_another_host_has_gets_no_port() -> None:
    """It would be the second with one address."""
    lost = held(
        leases=tuple(lease for lease in GOOD.held.leases if lease != LEASE),
        endpoints=tuple(
            endpoint for endpoint in GOOD.held.endpoints if endpoint.endpoint_id != LEASE.endpoint_id
        ),
        taken=(LOST,),
    )
    off = [
        replace(attachment, installed=attachment.endpoint_id != LEASE.endpoint_id)
        for attachment in GOOD.attached
    ]
    [finding] = check(replace(lost, attached=tuple(off)))
    assert finding.text == (
        "container box on network leased has lost its address 10.0.2.2 in OVN: container db on host h1 has"
        " it; 'docker restart box' gives it another address, but if --ip named this one, create the"
        " container again with another --ip"
    )
    assert not finding.repair


def test_a_switch_of_another_driver_on_this_host_is_left_to_it() -> None:
    theirs = OwnedSwitch(row_id("switch"), "theirs", NOTHING.network_id)
    assert check(held(switches=(theirs,))) == []


# --- Swarm --------------------------------------------------------------------------------------------------

MANAGED = "openvswitch:latest"
THERE = replace(PLAIN, driver=MANAGED)


def in_a_swarm(swarm: Swarm, *elsewhere: Network, world: Snapshot = GOOD) -> Snapshot:
    known = {network.network_id: network for network in elsewhere}
    return replace(world, docker=replace(world.docker, swarm=swarm, elsewhere=known))


def test_a_network_that_a_manager_only_knows_of_is_neither_missing_nor_stale() -> None:
    swarm = Swarm({MANAGED: True})
    leased = network("far", "10.0.9.0/24", driver=MANAGED, ipam=MANAGED)
    asked = {leased.network_id: OwnedNetwork(leased.network_id, whole=True, keys={})}
    world = held(networks={**GOOD.held.networks, **asked})
    assert check(in_a_swarm(swarm, leased, world=world)) == []
    nowhere = {leased.network_id: OwnedNetwork(leased.network_id, whole=False, keys={})}
    world = held(networks={**GOOD.held.networks, **nowhere})
    assert check(in_a_swarm(swarm, leased, world=world)) == []


def test_what_this_host_remembers_of_a_network_that_left_it_is_stale() -> None:
    """Docker told a manager's driver to delete it, and the driver was away."""
    far = network("far", "10.0.9.0/24", driver=MANAGED)
    mine = OwnedNetwork(far.network_id, whole=True, keys={"10.0.9.0/24": far.network_id})
    world = held(networks={**GOOD.held.networks, far.network_id: mine})
    [finding] = check(in_a_swarm(Swarm({MANAGED: True}), far, world=world))
    assert (finding.kind, finding.subject) == ("network-stale", far.network_id)


def test_a_managers_hold_on_the_pool_of_a_network_elsewhere_stays() -> None:
    far = network("far", "10.0.9.0/24", driver="overlay", ipam=MANAGED)
    hold = OwnedPool(row_id("pool"), pool_key(far, "10.0.9.0/24"), "10.0.9.0/24", frozenset({"t"}))
    world = held(pools=(*GOOD.held.pools, hold))
    assert check(in_a_swarm(Swarm({MANAGED: True}), far, world=world)) == []
    assert [finding.kind for finding in check(world)] == ["pool-stale"]


PLUGINS: list[tuple[Snapshot, list[tuple[str, str]]]] = [
    (in_a_swarm(Swarm({MANAGED: True})), []),
    (in_a_swarm(Swarm({MANAGED: False, "other:latest": False})), [("plugin-disabled", MANAGED)]),
    (in_a_swarm(Swarm({"other:latest": True})), []),  # its networks are local ones, which Docker allows
    (
        in_a_swarm(Swarm({"other:latest": True}), world=agreeing(docker(NOTHING, containers=[BOX]))),
        [("plugin-legacy", DRIVER)],
    ),
    (
        in_a_swarm(
            Swarm(
                {MANAGED: True},
                (
                    Node("h1", frozenset({"bridge", MANAGED}), usable=True),
                    Node("h2", frozenset({"bridge"}), usable=True),
                    Node("h3", frozenset({"bridge"}), usable=False),
                ),
            ),
            THERE,
            world=agreeing(docker(containers=[BOX])),
        ),
        [("plugin-missing", f"h2 {MANAGED}")],
    ),
]
TAKEN = replace(agreeing(docker()), taken=("h1", "beta has the name h1"))
REFUSED = replace(GOOD, refuses_global="1.41")


@pytest.mark.parametrize(("snapshot", "found"), PLUGINS)
def test_a_node_without_the_plugin_is_told_with_what_to_do(
    snapshot: Snapshot, found: list[tuple[str, str]]
) -> None:
    findings = check(snapshot)
    assert [(finding.kind, finding.subject) for finding in findings] == found
    for finding in findings:
        assert not finding.repair
        assert "install" in finding.text or "docker plugin enable openvswitch:latest" in finding.text


def test_a_docker_that_makes_no_global_network_is_told_with_the_flag() -> None:
    [finding] = check(REFUSED)
    assert (finding.kind, finding.subject, finding.repair) == ("scope-global", DRIVER, "")
    assert "1.41" in finding.text
    assert "--docker-driver-scope local" in finding.text


# --- Names --------------------------------------------------------------------------------------------------


LABELS = st.one_of(st.text(max_size=5), st.integers(250, 300).map("x".__mul__))


@settings(max_examples=50)
@given(st.dictionaries(LABELS, LABELS, max_size=40))
def test_the_names_at_a_port_are_few_and_short_and_known_as_names(labels: dict[str, str]) -> None:
    names = names_of(Container(GONE, "box", labels))
    assert (names["ovn-docker-container"], names["ovn-docker-name"]) == (GONE, "box")
    assert len(names) <= MOST_LABELS + 2
    for key, value in names.items():
        assert is_name(key)
        label = key.partition(":")[2]
        assert len(label) <= LONGEST_LABEL
        assert len(value) <= LONGEST_LABEL
        assert "\0" not in key + value, "OVSDB takes none"
        assert not label or labels[label].startswith(value)


def test_what_is_no_name_stays_at_a_port() -> None:
    assert not any(map(is_name, ["ovn-docker-host", "ovn-docker-network", "ovn-docker-labels", "admin"]))
