"""Addresses, MTU and options as they were asked for."""

import ipaddress

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.records import PORT, SWITCH, addresses, marks, values
from tests.integration.tenant import Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

MTU = "com.docker.network.driver.mtu"


def pings6(box: Container, address: str) -> bool:
    """Whether one packet over IPv6 is answered, once the box's own address is no longer tentative."""

    def answered() -> bool:
        return box.run(f"ping6 -c1 -W1 {address}", check=False).returncode == 0

    return eventually(answered, 10, f"{box.name} has an answer from {address}")


def logical_port(central: Machine, box: Container, network: Network) -> records.Row:
    return records.row(central, PORT, box.endpoint(network)["EndpointID"])


def test_containers_of_a_dual_stack_network_ping_over_both(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("10.15.0.0/24", "--ipv6", "--subnet=fd00:15::/64")
    one, two = tenant.container(foo), tenant.container(foo)
    endpoint = two.endpoint(foo)
    assert one.pings(endpoint["IPAddress"])
    assert pings6(one, endpoint["GlobalIPv6Address"])
    port = logical_port(central, two, foo)
    wanted = f"{endpoint['MacAddress']} {endpoint['IPAddress']} {endpoint['GlobalIPv6Address']}"
    assert addresses(port) == wanted
    assert values(port, "port_security") == [wanted]


def test_tcp_works_over_ipv6(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24", "--ipv6", "--subnet=fd00:15::/64")
    server, client = tenant.container(foo, command="httpd -f -p 80 -h /etc"), tenant.container(foo)
    address = server.endpoint(foo)["GlobalIPv6Address"]
    assert pings6(client, address)
    fetched = client.run(f"timeout 5 wget -qO- 'http://[{address}]/hostname'").stdout
    assert fetched == server.run("cat /etc/hostname").stdout


def test_the_guide_s_subnet_of_a_dual_stack_network_is_its_first(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("10.15.0.0/24", "--ipv6", "--subnet=fd00:15::/64")
    switch = marks(records.row(central, SWITCH, foo.id))
    assert (switch["subnet"], switch["gateway_ip"]) == ("10.15.0.0/24", "10.15.0.1")


def test_a_container_has_the_addresses_and_the_mac_that_were_asked_for(
    tenant: Tenant, central: Machine
) -> None:
    foo = tenant.network("10.15.0.0/24", "--ipv6", "--subnet=fd00:15::/64")
    asked = ("--ip=10.15.0.77", "--ip6=fd00:15::77", "--mac-address=02:AA:BB:CC:DD:EE")
    box, peer = tenant.container(foo, *asked), tenant.container(foo)
    eth0 = box.links()["eth0"]
    for wanted in ("inet 10.15.0.77/24", "inet6 fd00:15::77/64", "link/ether 02:aa:bb:cc:dd:ee"):
        assert wanted in eth0
    assert addresses(logical_port(central, box, foo)) == "02:aa:bb:cc:dd:ee 10.15.0.77 fd00:15::77"
    assert peer.pings("10.15.0.77")
    assert pings6(peer, "fd00:15::77")


def test_the_mac_address_follows_from_the_address(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24")
    box = tenant.container(foo, "--ip=10.15.0.77")
    assert box.endpoint(foo)["MacAddress"] == "02:42:0a:0f:00:4d"


def test_containers_have_addresses_of_each_subnet_of_a_network(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("10.15.0.0/24", "--subnet=10.16.0.0/24")
    first = tenant.container(foo, "--ip=10.15.0.9")
    second, third = tenant.container(foo, "--ip=10.16.0.9"), tenant.container(foo, "--ip=10.16.0.10")
    assert first.address(foo) == "10.15.0.9"
    assert second.pings(third.address(foo))
    switch = marks(records.row(central, SWITCH, foo.id))
    assert {key for key in switch if key.startswith("ovn-docker-pool:")} == {
        "ovn-docker-pool:10.15.0.0/24",
        "ovn-docker-pool:10.16.0.0/24",
    }


def test_a_range_within_the_subnet_is_kept(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24", "--ip-range=10.15.0.128/25")
    given = ipaddress.ip_address(tenant.container(foo).address(foo))
    assert given in ipaddress.ip_network("10.15.0.128/25")


def test_a_network_without_a_subnet_has_one_of_docker_s(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network(None)
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))
    subnet = ipaddress.ip_network(marks(records.row(central, SWITCH, foo.id))["subnet"])
    assert ipaddress.ip_address(one.address(foo)) in subnet


def test_the_mtu_is_what_the_tunnel_leaves(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24")
    assert "mtu 1442 " in tenant.container(foo).links()["eth0"]


def test_the_mtu_follows_the_interface_that_carries_the_tunnel(tenant: Tenant, lab: Lab) -> None:
    host = lab.hosts[0]
    carrier = host.run(["ip", "-brief", "address", "show", "to", str(host.address)]).stdout.split()[0]
    foo = tenant.network("10.15.0.0/24")
    host.run(["ip", "link", "set", carrier, "mtu", "1400"])
    try:
        assert "mtu 1342 " in tenant.container(foo).links()["eth0"]
    finally:
        host.run(["ip", "link", "set", carrier, "mtu", "1500"])


def test_the_mtu_that_was_asked_for_is_seen_inside(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24", f"--opt={MTU}=1300")
    box, peer = tenant.container(foo), tenant.container(foo)
    assert "mtu 1300 " in box.links()["eth0"]
    assert box.run(f"ping -c1 -W1 -s 4000 {peer.address(foo)}", check=False).returncode == 0


@pytest.mark.parametrize("value", ["0", "1x", "-5", "70000"])
def test_an_mtu_that_is_none_is_refused(tenant: Tenant, lab: Lab, value: str) -> None:
    refused = create(tenant, f"--opt={MTU}={value}")
    assert MTU in refused
    assert f"'{value}'" in refused
    assert records.left(lab) == []


def test_an_unknown_option_is_refused_by_its_name(tenant: Tenant, lab: Lab) -> None:
    assert "unknown network option 'foo'" in create(tenant, "--opt=foo=bar")
    assert records.left(lab) == []


def test_an_unknown_option_of_docker_s_is_ignored(tenant: Tenant) -> None:
    foo = tenant.network("10.15.0.0/24", "--opt=com.docker.network.x=y")
    one, two = tenant.container(foo), tenant.container(foo)
    assert one.pings(two.address(foo))


def test_checksums_are_offloaded_exactly_where_the_datapath_allows_it(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.15.0.0/24")
    box = tenant.container(foo)
    pid = tenant.docker("inspect", "--format", "{{.State.Pid}}", box.name).stdout.strip()
    shown = tenant.host.run(["nsenter", "-t", pid, "-n", "ethtool", "-k", "eth0"]).stdout
    expected = "off" if lab.settings.datapath == "netdev" else "on"
    assert f"tx-checksumming: {expected}" in shown


def create(tenant: Tenant, *options: str) -> str:
    """What Docker says when it cannot make a network."""
    command = ("network", "create", "--driver=openvswitch", "--subnet=10.15.0.0/24", *options, "refused")
    done = tenant.docker(*command, check=False)
    assert done.returncode != 0
    return done.stderr
