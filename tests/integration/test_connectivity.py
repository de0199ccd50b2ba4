"""Containers reach each other, on one host and across two, and the world outside."""

from dataclasses import dataclass

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.records import PORT, SWITCH
from tests.integration.tenant import Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

MEGABYTE = "dd if=/dev/urandom of=/tmp/megabyte bs=1048576 count=1 2>/dev/null; sha256sum < /tmp/megabyte"
SERVE = "httpd -f -p 80 -h /tmp"
TUNNEL_MTU = 1442
ICMP_HEADERS = 28


def fetch_checksum(client: Container, address: str) -> str:
    return client.run(f"timeout 10 wget -qO- http://{address}/megabyte | sha256sum").stdout


def test_containers_of_one_host_ping_each_other(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))
    assert two.pings(one.address(foo))


def test_containers_of_one_host_speak_tcp(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    server = tenant.container(foo, command="nc -l -p 7000 -e cat")
    client = tenant.container(foo)
    said = client.run(f"echo hello | nc -w 3 {server.address(foo)} 7000")
    assert said.stdout == "hello\n"


def test_a_megabyte_arrives_whole_on_one_host(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    server, client = tenant.container(foo, command=SERVE), tenant.container(foo)
    sent = server.run(MEGABYTE).stdout
    assert fetch_checksum(client, server.address(foo)) == sent


def test_a_container_on_two_networks_talks_on_both(tenant: Tenant) -> None:
    foo, bar = tenant.network("10.10.1.0/24"), tenant.network("10.10.2.0/24")
    both = tenant.container(foo)
    tenant.docker("network", "connect", bar.name, both.name)
    on_foo, on_bar = tenant.container(foo), tenant.container(bar)
    assert both.pings(on_foo.address(foo))
    assert both.pings(on_bar.address(bar))
    assert on_foo.pings(both.address(foo))
    assert on_bar.pings(both.address(bar))


def test_containers_on_different_networks_do_not_reach_each_other(tenant: Tenant) -> None:
    foo, bar = tenant.network("10.10.1.0/24"), tenant.network("10.10.2.0/24")
    on_foo, on_bar = tenant.container(foo), tenant.container(bar)
    assert not on_foo.pings(on_bar.address(bar))


def test_containers_find_each_other_by_name(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.name)


def test_a_published_port_answers_from_the_host(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    server = tenant.container(foo, "--publish=8080:80", command=SERVE)
    server.run("echo published > /tmp/page")
    gateway = tenant.host.run(["ip", "-4", "-brief", "address", "show", "docker_gwbridge"]).stdout
    gateway_address = gateway.split()[2].partition("/")[0]

    def answer(address: str) -> str:
        fetch = ["timeout", "3", "busybox", "wget", "-qO-", f"http://{address}:8080/page"]
        return tenant.host.run(fetch, check=False).stdout

    for address in ("127.0.0.1", gateway_address, str(tenant.host.address)):
        assert eventually(lambda: answer(address), 5, f"{address}:8080 answers") == "published\n"  # noqa: B023


def test_a_published_port_answers_from_another_host(tenant: Tenant, other: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24")
    server = tenant.container(foo, "--publish=8080:80", command=SERVE)
    server.run("echo published > /tmp/page")
    fetch = ["timeout", "3", "busybox", "wget", "-qO-", f"http://{tenant.host.address}:8080/page"]
    answered = eventually(
        lambda: other.host.run(fetch, check=False).stdout, 5, "port 8080 answers from the other host"
    )
    assert answered == "published\n"


def test_a_container_reaches_the_world_through_docker_s_gateway_bridge(tenant: Tenant) -> None:
    foo = tenant.network("10.10.1.0/24", "-o", "egress=docker")
    box = tenant.container(foo)
    links = box.links()
    assert set(links) == {"eth0", "eth1"}
    [route] = box.default_routes()
    assert "dev eth1" in route
    assert box.pings(str(tenant.host.address))


def test_an_internal_network_has_no_way_out(tenant: Tenant) -> None:
    inside = tenant.network("10.10.3.0/24", "--internal")
    one, two = tenant.container(inside), tenant.container(inside)
    assert set(one.links()) == {"eth0"}
    assert one.default_routes() == []
    assert one.pings(two.address(inside))
    assert not one.pings(str(tenant.host.address))


@dataclass(frozen=True, slots=True)
class Stretched:
    """One logical switch over two hosts, a container on each."""

    near: Container
    far: Container
    near_network: Network
    far_network: Network

    @property
    def near_address(self) -> str:
        return self.near.address(self.near_network)

    @property
    def far_address(self) -> str:
        return self.far.address(self.far_network)


def move_port(central: Machine, endpoint_id: str, source: Network, target: Network) -> None:
    """Move a port into another switch, as an administrator would: in one transaction."""
    [port] = records.rows(central, PORT, f'name="{endpoint_id}"')
    uuid = port["_uuid"][1]
    out_of = ["remove", "Logical_Switch", source.id, "ports", uuid]
    into = ["add", "Logical_Switch", target.id, "ports", uuid]
    central.run(["ovn-nbctl", "--wait=hv", *out_of, "--", *into])


@pytest.fixture
def stretched(tenant: Tenant, other: Tenant, central: Machine) -> Stretched:
    """The same subnet on both hosts, with ranges apart, and the second host's port in the first's switch."""
    near_network = tenant.network("10.11.0.0/24", "--ip-range=10.11.0.64/26")
    far_network = other.network("10.11.0.0/24", "--ip-range=10.11.0.128/26")
    near, far = tenant.container(near_network, command=SERVE), other.container(far_network, command=SERVE)
    move_port(central, far.endpoint(far_network)["EndpointID"], far_network, near_network)
    return Stretched(near, far, near_network, far_network)


def test_containers_of_two_hosts_ping_each_other_on_a_shared_switch(stretched: Stretched) -> None:
    stretched.far.reaches(stretched.near_address)
    stretched.near.reaches(stretched.far_address)


def test_a_megabyte_arrives_whole_across_hosts(stretched: Stretched) -> None:
    stretched.far.reaches(stretched.near_address)
    sent = stretched.near.run(MEGABYTE).stdout
    assert fetch_checksum(stretched.far, stretched.near_address) == sent
    back = stretched.far.run(MEGABYTE).stdout
    assert fetch_checksum(stretched.near, stretched.far_address) == back


def test_a_packet_as_big_as_the_mtu_crosses_the_tunnel_whole(stretched: Stretched) -> None:
    stretched.far.reaches(stretched.near_address)
    assert f"mtu {TUNNEL_MTU}" in stretched.far.links()["eth0"]
    size = TUNNEL_MTU - ICMP_HEADERS
    ping = stretched.far.run(f"ping -c3 -W2 -s {size} {stretched.near_address}", check=False)
    assert "3 packets received" in ping.stdout


def test_removal_on_both_hosts_leaves_nothing_of_a_shared_switch(
    stretched: Stretched, tenant: Tenant, other: Tenant, lab: Lab
) -> None:
    other.remove(stretched.far)
    assert [row["name"] for row in records.rows(lab.central, PORT)] == [
        stretched.near.endpoint(stretched.near_network)["EndpointID"]
    ]
    other.remove_network(stretched.far_network)
    tenant.remove(stretched.near)
    tenant.remove_network(stretched.near_network)
    assert records.left(lab) == []
    assert records.rows(lab.central, SWITCH) == []
