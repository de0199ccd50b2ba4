"""What Neutron says of networks, subnets and ports reaches the container, and what it refuses the user."""

from collections.abc import Sequence

import pytest

from tests.integration.tenant import Container
from tests.polling import eventually
from tests.underlay import docker_requests
from tests.underlay.clouds import Cloud
from tests.underlay.docker_requests import new_id
from tests.underlay.identity import RefusedError
from tests.underlay.machines import VirtualMachine

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180)]


def own_address(container: Container, family: str = "-4") -> str:
    shown = container.run(f"ip -o {family} addr show dev eth0 scope global").stdout
    return shown.split()[3].partition("/")[0]


def using(subnet: str) -> tuple[str, str, str]:
    named = f"neutron.subnet={subnet}"
    return "--ipam-driver=openvswitch", f"--ipam-opt={named}", f"--opt={named}"


def test_ipv6_addresses_and_the_way_out_are_neutrons(cloud: Cloud, both: Sequence[VirtualMachine]) -> None:
    first, second = both
    with cloud.demo.network("10.28.0.0/24", gateway_ip="10.28.0.1") as (network, _):
        six = {"network_id": network["id"], "cidr": "fd28::/64", "ip_version": 6, "gateway_ip": "fd28::1"}
        cloud.demo.create("subnets", **six)
        options = [
            *("--ipv6", "--subnet=10.28.0.0/24", "--subnet=fd28::/64", "--ipam-driver=openvswitch"),
            *(f"--ipam-opt=neutron.network={network['id']}", f"--opt=neutron.network={network['name']}"),
        ]
        for machine in both:
            machine.create_network("six", *options)
        one, two = first.start("one", "six"), second.start("two", "six")
        assert own_address(one, "-6") != own_address(two, "-6")
        assert own_address(one) != own_address(two)
        eventually(
            lambda: one.run(f"ping -6 -c1 -W1 {own_address(two, '-6')}", check=False).returncode == 0,
            20,
            "an answer over IPv6",
        )
        assert "default via fd28::1 dev eth0" in one.run("ip -6 route").stdout
        assert "default via 10.28.0.1 dev eth0" in one.run("ip route").stdout
        ports = [port for port in cloud.demo.list("ports", network_id=network["id"]) if port["name"]]
        assert [len(port["fixed_ips"]) for port in ports] == [2, 2]
        for machine in both:
            machine.clear()


def test_a_leased_address_is_a_port_that_the_endpoint_takes_over(cloud: Cloud, vm: VirtualMachine) -> None:
    with cloud.demo.network("10.29.0.0/24", gateway_ip="10.29.0.1") as (network, subnet):
        pool = {"Options": {"neutron.subnet": subnet["id"]}, "AddressSpace": "neutron", "V6": False}
        pool_id = vm.plugin.call("IpamDriver.RequestPool", pool).body["PoolID"]
        leased = vm.plugin.call("IpamDriver.RequestAddress", {"PoolID": pool_id}).body["Address"]
        [port] = cloud.demo.list("ports", network_id=network["id"])
        assert leased == f"{port['fixed_ips'][0]['ip_address']}/24"
        assert port["name"] == ""
        network_id, endpoint_id = new_id(), new_id()
        create = docker_requests.network(network_id, "10.29.0.0/24")
        create["IPv4Data"][0]["AddressSpace"] = "neutron"
        assert vm.plugin.call("CreateNetwork", create).ok
        body = docker_requests.endpoint(network_id, endpoint_id, leased)
        assert vm.plugin.call("CreateEndpoint", body).ok
        [adopted] = cloud.demo.list("ports", network_id=network["id"])
        assert (adopted["id"], adopted["name"]) == (port["id"], endpoint_id)
        assert vm.plugin.call("DeleteEndpoint", docker_requests.of(network_id, endpoint_id)).ok
        [kept] = cloud.demo.list("ports", network_id=network["id"])
        assert (kept["id"], kept["name"]) == (port["id"], "")
        release = {"PoolID": pool_id, "Address": leased.partition("/")[0]}
        assert vm.plugin.call("IpamDriver.ReleaseAddress", release).ok
        assert cloud.demo.list("ports", network_id=network["id"]) == []
        assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok


def test_the_mtu_is_the_networks_and_may_be_asked_to_be_less(cloud: Cloud, vm: VirtualMachine) -> None:
    with cloud.demo.network("10.30.0.0/24", gateway_ip="10.30.0.1") as (network, subnet):
        cloud.demo.update("networks", network["id"], mtu=1300)
        vm.create_network("narrow", *using(subnet["id"]))
        assert "mtu 1300" in vm.start("one", "narrow").run("ip link show eth0").stdout
        cloud.demo.update("networks", network["id"], mtu=1320)
        assert "mtu 1320" in vm.start("two", "narrow").run("ip link show eth0").stdout
        vm.create_network("less", *using(subnet["id"]), "-o", "com.docker.network.driver.mtu=1280")
        assert "mtu 1280" in vm.start("three", "less").run("ip link show eth0").stdout
        vm.clear()


def test_dns_servers_come_with_dhcp_where_the_subnet_has_it(cloud: Cloud, vm: VirtualMachine) -> None:
    """Docker's API has no place for them, so a container has to ask Neutron itself."""
    servers = {"dns_nameservers": ["10.31.0.53"], "gateway_ip": "10.31.0.1"}
    with cloud.demo.network("10.31.0.0/24", **servers) as (_, subnet):
        vm.create_network("named", *using(subnet["id"]))
        one = vm.start("one", "named")
        script = '#!/bin/sh\\n[ -z "$dns" ] || echo "$dns" >/tmp/dns\\n'
        one.run(f"printf '{script}' >/tmp/note; chmod +x /tmp/note")
        eventually(
            lambda: one.run("udhcpc -i eth0 -n -q -t 2 -T 1 -s /tmp/note", check=False).returncode == 0,
            20,
            "an answer from Neutron's DHCP",
        )
        assert one.run("cat /tmp/dns").stdout == "10.31.0.53\n"
        vm.clear()


def test_port_security_is_off_where_the_owner_says_so(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id = vm.create_network("loose", "--subnet=10.32.0.0/24", "-o", "neutron.port_security=false")
    one = vm.start("one", "loose", "--cap-add=NET_ADMIN")
    two = vm.start("two", "loose")
    [network] = cloud.demo.list("networks", name=network_id)
    ports = cloud.demo.list("ports", network_id=network["id"])
    assert [port["port_security_enabled"] for port in ports] == [False, False]
    assert [port["security_groups"] for port in ports] == [[], []]
    assert f"ovn-docker-network={network_id}" in network["tags"]
    one.run("ip addr add 10.32.0.77/24 dev eth0")
    eventually(lambda: one.run("ping -c1 -W1 -I 10.32.0.77 10.32.0.3", check=False).returncode == 0, 20, "ok")
    vm.create_network("tight", "--subnet=10.33.0.0/24")
    three = vm.start("three", "tight", "--cap-add=NET_ADMIN")
    four = vm.start("four", "tight")
    three.reaches("10.33.0.3", 20)
    three.run("ip addr add 10.33.0.77/24 dev eth0")
    assert three.run("ping -c1 -W1 -I 10.33.0.77 10.33.0.3", check=False).returncode != 0
    assert (two.name, four.name) == ("two", "four")


def test_a_shared_network_of_another_tenant_is_used_with_neutrons_addresses(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    with cloud.operator.network("10.34.0.0/24", gateway_ip="10.34.0.1") as (network, subnet):
        cloud.operator.update("networks", network["id"], shared=True)
        vm.create_network("shared", *using(subnet["id"]))
        one, two = vm.start("one", "shared"), vm.start("two", "shared")
        one.reaches(own_address(two), 20)
        vm.create_network("mine", "--subnet=10.34.0.0/24", "-o", f"neutron.network={network['id']}")
        said = vm.refused("run", "--rm", "--network=mine", "--ip=10.34.0.99", "busybox", "true")
        assert one_line(said).startswith("Neutron refused: ")
        assert "is disallowed by policy" in said
        options = (*using(subnet["id"]), "-o", "neutron.port_security=false")
        vm.create_network("forbidden", *options)
        said = vm.refused("run", "--rm", "--network=forbidden", "busybox", "true")
        assert "is disallowed by policy" in one_line(said)
        vm.clear()


def one_line(said: str) -> str:
    """The reason in what Docker says, which must be on one line."""
    [line] = [line for line in said.splitlines() if "Neutron refused" in line]
    return line[line.index("Neutron refused") :]


def test_overlapping_subnets_are_refused_in_neutrons_words(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id = new_id()
    body = docker_requests.network(network_id, "10.35.0.0/24")
    body["IPv4Data"].append({**body["IPv4Data"][0], "Pool": "10.35.0.0/25", "Gateway": "10.35.0.1/25"})
    said = vm.plugin.call("CreateNetwork", body).error
    assert "overlaps with another subnet" in said
    assert "\n" not in said
    eventually(lambda: cloud.demo.list("networks", name=network_id) == [], 20, "what was begun is gone")


def test_a_network_that_others_use_is_kept_in_neutrons_words(cloud: Cloud, vm: VirtualMachine) -> None:
    """Docker itself forgets a network whatever the driver says, so that it is the driver who is asked."""
    network_id = new_id()
    assert vm.plugin.call("CreateNetwork", docker_requests.network(network_id, "10.36.0.0/24")).ok
    [network] = cloud.demo.list("networks", name=network_id)
    port = cloud.demo.create("ports", network_id=network["id"])
    said = vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).error
    assert said.startswith(f"network {network_id} stays in Neutron because others use it: Neutron refused: ")
    assert "There are one or more ports still in use on the network" in one_line(said)
    cloud.demo.delete("ports", port["id"])
    assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok
    with pytest.raises(RefusedError, match="404"):
        cloud.demo.get("networks", network["id"])
