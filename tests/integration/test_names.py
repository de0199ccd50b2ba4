"""Containers of a network find each other by name over all hosts, as Docker's own resolver finds its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic

import pytest

from ovn_docker_lab import Lab
from ovn_docker_lab.plan import WORLD
from tests.integration.probing import GLIBC, MUSL, PROBE_IMAGE, Probe, forwarding_ipv6
from tests.integration.tenant import OURS, Container, Network, Tenant, in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SUBNET, SUBNET6 = "10.81.0.0/24", "fd00:81::/64"
OTHER, SEALED = "10.82.0.0/24", "10.83.0.0/24"

SOON = 1.0
"""Seconds within which a name is known everywhere after `docker run`, and gone after `docker rm`."""

TTL = 5.0
"""Seconds for which a host may keep what it has looked up."""

library = pytest.mark.parametrize("command", [MUSL, GLIBC], ids=["musl", "glibc"])
number = pytest.mark.parametrize("number", [0, 1], ids=["h1", "h2"])


def found(box: Container, name: str, command: str = MUSL) -> set[str]:
    """The addresses of a name; empty if there is no such name."""
    asked = box.run(f"{command} {name}", check=False, timeout=40)
    return {line.split()[0] for line in asked.stdout.splitlines()} if asked.returncode == 0 else set()


def addresses(box: Container, network: Network) -> set[str]:
    """Of a container on a network, of both families."""
    endpoint = box.endpoint(network)
    return {endpoint[key] for key in ("IPAddress", "GlobalIPv6Address") if endpoint[key]}


def finds(box: Container, name: str, expected: set[str], limit: float = SOON) -> None:
    """Wait until a name leads to these addresses."""
    what = f"{box.name} finds {name} at {sorted(expected)}"
    last: list[set[str]] = []

    def found_them() -> bool:
        last[:] = [found(box, name)]
        return last == [expected]

    try:
        eventually(found_them, limit, what)
    except AssertionError as error:
        raise AssertionError(f"{error}; found {last}") from None


@dataclass(frozen=True, slots=True)
class World:
    """Three networks over two hosts, each with a container on each host.

    Attributes:
        boxes: on a network of both families; each has the alias `both`, and a name, alias and hostname of
            its own.
        others: on another network, on whose containers' ports nothing is published.
        sealed: on an `--internal` network.
    """

    lab: Lab
    users: Sequence[Tenant]
    networks: Sequence[Network]
    boxes: Sequence[Container]
    others: Sequence[Container]
    other_networks: Sequence[Network]
    sealed: Sequence[Container]
    sealed_networks: Sequence[Network]


@pytest.fixture(scope="module")
def world(lab: Lab, probe: Probe) -> Iterator[World]:  # noqa: ARG001
    """Everybody, until the end of this file."""
    users = [Tenant(host) for host in lab.hosts]
    with forwarding_ipv6(lab.hosts):
        try:
            networks = [user.network(SUBNET, *OURS, "--ipv6", f"--subnet={SUBNET6}") for user in users]
            others = [user.network(OTHER, *OURS) for user in users]
            sealed = [user.network(SEALED, *OURS, "--internal") for user in users]
            yield World(
                lab,
                users,
                networks,
                [
                    user.container(
                        network,
                        f"--hostname=Host-{user.host.name}",
                        f"--network-alias=alias-{user.host.name}",
                        "--network-alias=both",
                        name=f"db-{user.host.name}",
                        image=PROBE_IMAGE,
                    )
                    for user, network in zip(users, networks, strict=True)
                ],
                [
                    user.container(network, name=f"other-{user.host.name}", image=PROBE_IMAGE)
                    for user, network in zip(users, others, strict=True)
                ],
                others,
                [
                    user.container(network, name=f"sealed_{user.host.name}", image=PROBE_IMAGE)
                    for user, network in zip(users, sealed, strict=True)
                ],
                sealed,
            )
        finally:
            for user in users:
                user.clear()


@pytest.fixture
def more(world: World) -> Iterator[Sequence[Tenant]]:
    """Users of the hosts, whose containers are removed after the test."""
    users = [Tenant(user.host) for user in world.users]
    yield users
    for user in users:
        user.clear()


# Names


@number
@library
def test_a_container_of_another_host_is_found_by_all_its_names(
    world: World, command: str, number: int
) -> None:
    box, peer = world.boxes[number], world.boxes[1 - number]
    host = peer.host.name
    for name in (f"db-{host}", f"alias-{host}", f"Host-{host}", f"DB-{host}"):
        assert found(box, name, command) == addresses(peer, world.networks[1 - number]), name


@number
def test_an_address_of_another_host_has_its_container_s_name(world: World, number: int) -> None:
    box, peer = world.boxes[number], world.boxes[1 - number]
    for address in addresses(peer, world.networks[1 - number]):
        assert box.run(f"getent hosts {address}").stdout.split()[1] == f"db-{peer.host.name}"


@library
def test_a_name_of_several_containers_leads_to_all(
    world: World, more: Sequence[Tenant], command: str
) -> None:
    network, name = world.networks[1], f"several-{command[-2:]}".lower()
    peers = [more[1].container(network, f"--network-alias={name}", name=f"{name}{each}") for each in range(3)]
    expected = set().union(*(addresses(peer, network) for peer in peers))
    finds(world.boxes[0], name, expected, TTL + SOON)
    assert found(world.boxes[0], name, command) == expected
    first = {world.boxes[0].run(f"{command} {name}").stdout.split()[0] for _ in range(12)}
    assert len(first) > 1 or command == GLIBC  # which sorts them itself (RFC 6724)


@library
def test_a_name_without_ipv6_addresses_exists(world: World, command: str) -> None:
    peer, network = world.others[1], world.other_networks[1]
    # musl asks for both at once, and finds nothing if one of them does not exist
    assert found(world.others[0], "other-h2", command) == addresses(peer, network)


@number
@library
def test_names_of_another_network_are_not_told(world: World, command: str, number: int) -> None:
    for name in ("other-h1", "other-h2", "sealed_h1", "sealed_h2"):
        assert found(world.boxes[number], name, command) == set()
    address = world.others[0].address(world.other_networks[0])
    assert world.boxes[number].run(f"getent hosts {address}", check=False).stdout == ""


@library
def test_other_names_are_asked_of_the_host_s_servers(world: World, command: str) -> None:
    for name in ("example.test", "intranet"):
        assert found(world.boxes[0], name, command) == {str(address) for address in WORLD}
    assert found(world.boxes[0], "nobody.test", command) == set()


def test_a_container_s_own_servers_are_asked(world: World, more: Sequence[Tenant]) -> None:
    box = more[0].container(world.networks[0], f"--dns={WORLD[0]}", image=PROBE_IMAGE)
    assert found(box, "server.test") == {str(WORLD[0])}
    assert found(box, "db-h2") == addresses(world.boxes[1], world.networks[1])


@number
@library
def test_a_sealed_network_has_names_but_no_others(world: World, command: str, number: int) -> None:
    box, peer, network = world.sealed[number], world.sealed[1 - number], world.sealed_networks[1 - number]
    assert found(box, peer.name, command) == addresses(peer, network)
    assert found(box, "example.test", command) == set()
    assert found(box, "db-h1", command) == set()


@pytest.mark.parametrize("kind", ["open", "sealed"])
def test_a_container_that_publishes_a_port_finds_names_too(
    world: World, more: Sequence[Tenant], kind: str
) -> None:
    sealed = kind == "sealed"
    network = (world.sealed_networks if sealed else world.networks)[0]
    box = more[0].container(network, "--publish=8099:80", image=PROBE_IMAGE)
    peer, its = (world.sealed[1], world.sealed_networks[1]) if sealed else (world.boxes[1], world.networks[1])
    assert found(box, peer.name) == addresses(peer, its)
    assert found(box, "other-h2") == set()


def test_a_container_on_two_networks_finds_the_names_of_both(world: World, more: Sequence[Tenant]) -> None:
    box = more[0].container(world.sealed_networks[0], image=PROBE_IMAGE)
    more[0].docker("network", "connect", "--alias=late", world.networks[0].name, box.name)
    assert found(box, "sealed_h2") == addresses(world.sealed[1], world.sealed_networks[1])
    assert found(box, "db-h2") == addresses(world.boxes[1], world.networks[1])
    assert str(WORLD[0]) in found(box, "example.test")
    finds(world.boxes[1], "late", addresses(box, world.networks[0]))
    finds(world.sealed[1], box.name, addresses(box, world.sealed_networks[0]))
    more[0].docker("network", "disconnect", world.networks[0].name, box.name)
    finds(world.boxes[1], "late", set(), TTL + SOON)
    assert found(world.sealed[1], box.name) == addresses(box, world.sealed_networks[0])


# Changes


def test_a_new_container_is_found_at_once_and_a_removed_one_is_gone(
    world: World, more: Sequence[Tenant]
) -> None:
    asker, network = world.boxes[0], world.networks[1]
    for round_number in range(3):
        assert found(asker, "fresh") == set()
        box = more[1].container(network, name="fresh")
        finds(asker, "fresh", addresses(box, network))
        begin = monotonic()
        more[1].remove(box)
        finds(asker, "fresh", set(), TTL + SOON)
        assert monotonic() - begin < TTL + 2 * SOON, round_number


def test_a_container_that_is_renamed_or_started_again_is_found(world: World, more: Sequence[Tenant]) -> None:
    box = more[1].container(world.networks[1], name="before", image=PROBE_IMAGE)
    finds(world.boxes[0], "before", addresses(box, world.networks[1]))
    more[1].docker("rename", "before", "after")
    renamed = Container(box.host, "after")
    finds(world.boxes[0], "after", addresses(renamed, world.networks[1]))
    finds(world.boxes[0], "before", set(), TTL + SOON)
    more[1].docker("restart", "--time=0", "after")
    finds(world.boxes[0], "after", addresses(renamed, world.networks[1]), TTL + SOON)
    more[1].docker("kill", "after")
    finds(world.boxes[0], "after", set(), TTL + SOON)
    more[1].remove(renamed)


def test_many_containers_started_at_once_are_all_found(world: World, more: Sequence[Tenant]) -> None:
    def run(user: Tenant, network: Network, name: str) -> Container:
        return user.container(network, "--network-alias=crowd", name=name)

    boxes = in_parallel(
        *(
            partial(run, user, network, f"crowd-{user.host.name}-{each}")
            for user, network in zip(more, world.networks, strict=True)
            for each in range(4)
        )
    )
    asker = world.others[0]
    more[0].docker("network", "connect", world.networks[0].name, asker.name)
    try:
        for box in boxes[4:]:
            finds(asker, box.name, addresses(box, world.networks[1]))
        local = set().union(*(addresses(box, world.networks[0]) for box in boxes[:4]))
        assert found(asker, "crowd") == local  # Docker's resolver answers from its own host alone
    finally:
        more[0].docker("network", "disconnect", world.networks[0].name, asker.name)


def test_one_name_on_two_hosts_leads_to_both(world: World) -> None:
    names = world.lab.central.run(
        [
            *("ovn-nbctl", "--bare", "--columns=options", "find", "DHCP_Options"),
            *("external_ids:ovn-docker=name", "external_ids:ovn-docker-name=both"),
        ]
    ).stdout
    assert names.count("=") == len(world.boxes), names
