"""A container has one interface, and by it its way out over its own host."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from ovn_docker_lab import Lab
from ovn_docker_lab.plan import WORLD
from tests.integration import records
from tests.integration.probing import PROBE_IMAGE, SERVE, TCP, UDP, UNREACHED, Probe, forwarding_ipv6
from tests.integration.tenant import OURS, Container, Network, Tenant
from tests.polling import eventually

pytestmark = pytest.mark.integration

SUBNET, GATEWAY = "10.71.0.0/24", "10.71.0.1"
SUBNET6, GATEWAY6 = "fd00:71::/64", "fd00:71::1"
ECHO = 7
"""The port of the machine outside that says who asks over UDP."""

host_number = pytest.mark.parametrize("number", [0, 1], ids=["h1", "h2"])
family = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])


@dataclass(frozen=True, slots=True)
class World:
    """A network with both families over two hosts, and what else is on the first.

    Attributes:
        boxes: a container of the network on each host, which serves.
        stranger: one of another network of the driver's on the first host.
        bridged: containers of Docker's own networks there, the default one first.
    """

    lab: Lab
    network: Network
    boxes: Sequence[Container]
    stranger: Container
    stranger_network: Network
    bridged: Sequence[Container]

    def addresses(self, number: int, version: int) -> tuple[str, str]:
        """Of the container on a host, and of that host."""
        host = self.lab.hosts[number]
        endpoint = self.boxes[number].endpoint(self.network)
        if version == 4:
            return endpoint["IPAddress"], str(host.address)
        return endpoint["GlobalIPv6Address"], str(host.address6)


@pytest.fixture(scope="module")
def _ipv6(lab: Lab) -> Iterator[None]:
    with forwarding_ipv6(lab.hosts):
        yield


@pytest.fixture(scope="module")
def world(lab: Lab, probe: Probe, _ipv6: None) -> Iterator[World]:  # noqa: ARG001
    """Everybody, until the end of this file."""
    first, second = users = [Tenant(host) for host in lab.hosts]
    try:
        networks = [user.network(SUBNET, *OURS, "--ipv6", f"--subnet={SUBNET6}") for user in users]
        boxes = [
            user.container(network, command=f"{SERVE} {user.host.name} 80", image=PROBE_IMAGE)
            for user, network in zip(users, networks, strict=True)
        ]
        other = first.network("10.72.0.0/24", *OURS)
        own = first.network("172.31.0.0/24", driver="bridge")
        stranger, plain, bridged = (
            first.container(network, command=f"{SERVE} {name} 80", image=PROBE_IMAGE)
            for name, network in (("stranger", other), ("plain", Network("bridge", "")), ("bridged", own))
        )
        yield World(lab, networks[0], boxes, stranger, other, (plain, bridged))
    finally:
        second.clear()
        first.clear()


# Out


@host_number
def test_a_container_has_one_interface_and_the_gateway_as_default_route(world: World, number: int) -> None:
    box = world.boxes[number]
    assert set(box.links()) == {"eth0"}
    assert box.default_routes() == [f"default via {GATEWAY} dev eth0"]


@host_number
def test_the_gateway_is_the_default_route_over_ipv6_too(world: World, number: int) -> None:
    assert f"default via {GATEWAY6} dev eth0" in world.boxes[number].run("ip -6 route").stdout


@family
@host_number
@pytest.mark.parametrize(("kind", "port"), [(TCP, 80), (UDP, ECHO)])
def test_the_outside_sees_the_container_s_own_host(
    world: World, probe: Probe, number: int, version: int, kind: str, port: int
) -> None:
    _, host = world.addresses(number, version)
    outside = WORLD[0] if version == 4 else WORLD[1]
    assert probe.asks(world.boxes[number], kind, outside, port).split()[0] == host


@host_number
def test_docker_would_drop_what_it_does_not_know(world: World, number: int) -> None:
    policies = world.lab.hosts[number].run(["iptables", "-S", "FORWARD"]).stdout
    assert policies.startswith("-P FORWARD DROP\n"), "the tests here are made with that"


@family
def test_a_neighbour_on_the_other_host_sees_the_container_itself(
    world: World, probe: Probe, version: int
) -> None:
    (near, _), (far, _) = (world.addresses(number, version) for number in (0, 1))
    assert eventually(lambda: probe.asks(world.boxes[0], TCP, far, 80), 5, "it answers") == f"h2 saw {near}"


def test_the_outside_is_reached_by_name(world: World) -> None:
    host = str(world.lab.hosts[0].address)
    for name in ("example.test", "intranet"):
        assert world.boxes[0].run(f"timeout 5 wget -q -O - http://{name}/").stdout == f"{host}\n"


def test_a_packet_as_big_as_the_mtu_leaves_whole(world: World) -> None:
    box = world.boxes[0]
    mtu = int(box.run("cat /sys/class/net/eth0/mtu").stdout)
    ping = box.run(f"ping -c 2 -W 2 -s {mtu - 28} {WORLD[0]}", check=False)
    assert "2 packets received" in ping.stdout


# In


@family
@host_number
def test_a_host_reaches_its_own_containers(world: World, probe: Probe, number: int, version: int) -> None:
    address, _ = world.addresses(number, version)
    host = world.lab.hosts[number]
    gateway = GATEWAY if version == 4 else GATEWAY6
    assert probe.asks(host, TCP, address, 80) == f"{host.name} saw {gateway}"


def test_a_container_reaches_its_host(world: World) -> None:
    for address in (world.lab.hosts[0].address, GATEWAY, GATEWAY6):
        assert world.boxes[0].pings(str(address)), address


@pytest.mark.parametrize("which", [0, 1], ids=["docker0", "another bridge"])
def test_a_container_does_not_reach_docker_s_networks_nor_they_it(
    world: World, probe: Probe, which: int
) -> None:
    bridged = world.bridged[which]
    networks = json.loads(
        world.lab.hosts[0].docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", bridged.name).stdout
    )
    [address] = [endpoint["IPAddress"] for endpoint in networks.values()]
    assert probe.asks(world.lab.hosts[0], TCP, address, 80), "it serves"
    assert probe.asks(world.boxes[0], TCP, address, 80) in UNREACHED
    assert probe.asks(bridged, TCP, world.addresses(0, 4)[0], 80) in UNREACHED


def test_networks_of_one_host_do_not_reach_each_other(world: World, probe: Probe) -> None:
    stranger, box = world.stranger, world.boxes[0]
    theirs = stranger.address(world.stranger_network)
    assert probe.asks(world.lab.hosts[0], TCP, theirs, 80).startswith("stranger saw"), "it serves"
    for kind in (TCP, UDP):
        assert probe.asks(box, kind, theirs, 80) in UNREACHED
    assert not box.pings(theirs)
    assert probe.asks(stranger, TCP, world.addresses(0, 4)[0], 80) in UNREACHED


@family
def test_another_machine_does_not_get_in_by_a_route(world: World, probe: Probe, version: int) -> None:
    address, host = world.addresses(0, version)
    subnet = SUBNET if version == 4 else SUBNET6
    outside = world.lab.outside
    outside.run(["ip", "route", "add", subnet, "via", host])
    try:
        assert probe.asks(outside, TCP, address, 80) in UNREACHED
        assert probe.asks(outside, UDP, address, 80) in UNREACHED
    finally:
        outside.run(["ip", "route", "del", subnet])


# What stands of it


def test_one_row_stands_for_the_gateway_whatever_the_number_of_hosts(world: World) -> None:
    ports = records.gateway_rows(world.lab.central)
    on_network = [port for port in ports if GATEWAY in records.addresses(port)]
    assert len(on_network) == 1
    assert GATEWAY6 in records.addresses(on_network[0])
