"""Which containers are started: those that Docker would have started, but for a network of ours."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ovn_docker.docker.models import Network, Stopped
from ovn_docker.health.checks import check
from ovn_docker.health.snapshot import OwnedNetwork, Snapshot
from tests.agreement import OWN_IPAM, agreeing, container, docker, long_id, network

RUNS = container("runs")
OURS, LEASED = network("ours", "10.0.1.0/24", members=[RUNS]), network("leased", "10.0.2.0/24", ipam=OWN_IPAM)
VLAN = network("vlan", "10.0.3.0/24", driver="macvlan", ipam=OWN_IPAM)
BRIDGE = network("br", "10.0.4.0/24", driver="bridge")
THEIRS = network("theirs", "10.0.5.0/24", driver="other")
WORLD = docker(OURS, LEASED, VLAN, BRIDGE, THEIRS, containers=[RUNS])

JOIN = "NetworkDriver.Join: OVN did not install the flows"
REQUEST = "IpamDriver.RequestAddress: OVN Northbound cannot be reached"


def endpoint_on(one: Network) -> str:
    return f"failed to create endpoint web on network {one.name}: NetworkDriver.CreateEndpoint: no"


def stopped(name: str, error: str, *networks: Network, shares: str = "", wanted: bool = True) -> Stopped:
    ids = {network.name: network.network_id for network in networks}
    return Stopped(long_id("container", name), name, ids, shares, "always", wanted, error)


def with_stopped(
    *ended: Stopped, elsewhere: Mapping[str, Network] | None = None, held: tuple[str, ...] = ()
) -> Snapshot:
    world = agreeing(replace(WORLD, stopped=ended, elsewhere=elsewhere or {}))
    more = {network_id: OwnedNetwork(network_id, whole=True, keys={}) for network_id in held}
    return replace(world, held=replace(world.held, networks={**world.held.networks, **more}))


def started(*ended: Stopped, **world: object) -> list[tuple[str, str]]:
    """Of the findings about them, the kinds and whom they would start."""
    found = check(with_stopped(*ended, **world))  # type: ignore[arg-type]
    return [
        (finding.kind, finding.evidence.name)
        for finding in found
        if finding.kind in {"container-down", "sharer-down"}
    ]


@pytest.mark.parametrize(
    ("error", "networks"),
    [
        (JOIN, [OURS]),
        (JOIN, [OURS, BRIDGE, VLAN]),
        (REQUEST, [LEASED]),
        (REQUEST, [VLAN]),
        (endpoint_on(OURS), [OURS]),
        (endpoint_on(OURS), [THEIRS, OURS]),
    ],
)
def test_a_container_that_a_network_of_ours_kept_down_is_started(error: str, networks: list[Network]) -> None:
    assert started(stopped("web", error, *networks)) == [("container-down", "web")]


@pytest.mark.parametrize(
    ("error", "networks"),
    [
        ("", [OURS]),  # its user stopped it
        ("port is already allocated", [OURS]),
        (JOIN, [THEIRS]),
        (JOIN, [BRIDGE]),
        (JOIN, [THEIRS, OURS]),  # whose, Docker does not say
        (endpoint_on(THEIRS), [THEIRS, OURS]),
        (endpoint_on(BRIDGE), [BRIDGE, OURS]),
        (REQUEST, [THEIRS]),
    ],
)
def test_a_container_that_something_else_kept_down_is_left(error: str, networks: list[Network]) -> None:
    assert started(stopped("web", error, *networks)) == []


def test_a_container_whose_restart_policy_does_not_ask_for_it_is_left() -> None:
    assert started(stopped("web", JOIN, OURS, wanted=False)) == []
    side = stopped("side", SHARING, shares=long_id("container", "web"))
    assert started(stopped("web", JOIN, OURS, wanted=False), side) == []


def test_a_network_that_docker_does_not_show_is_ours_if_known_otherwise() -> None:
    far = network("far", "10.0.9.0/24", driver="openvswitch:latest")
    web = stopped("web", endpoint_on(far), far)
    assert started(web) == []
    assert started(web, elsewhere={far.network_id: far}) == [("container-down", "web")]
    assert started(web, held=(far.network_id,)) == [("container-down", "web")]


SHARING = "cannot join network of a non running container: c"


def test_who_shares_the_network_of_a_container_comes_after_it() -> None:
    web = stopped("web", JOIN, OURS)
    side = stopped("side", SHARING, shares=web.container_id)
    assert started(side, web) == [("container-down", "web"), ("sharer-down", "side")]
    late = stopped("late", SHARING, shares=RUNS.container_id)
    assert started(late) == [("sharer-down", "late")], "the other runs by now"
    assert started(side) == [], "the other is down for a reason of its own"
    assert started(replace(late, error="no such image")) == []


def test_a_finding_is_the_same_though_the_reason_names_another_endpoint() -> None:
    one, two = (
        check(with_stopped(stopped("web", f"{JOIN} of {endpoint_id}", OURS))) for endpoint_id in ("e1", "e2")
    )
    assert one == two
    [finding] = one
    assert finding.line.endswith(": NetworkDriver.Join: OVN did not install the flows of e1")
    assert "web" in finding.text
    assert "--restart always" in finding.text
    assert not finding.removes
