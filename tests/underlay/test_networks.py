"""Containers of two virtual machines as first-class ports of tenant networks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.polling import eventually
from tests.underlay.clouds import Cloud
from tests.underlay.identity import Project
from tests.underlay.machines import VirtualMachine, plug_server, unplug_server

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180)]


@contextmanager
def server(
    cloud: Cloud, project: Project, network: str, name: str, **attributes: object
) -> Iterator[dict[str, Any]]:
    """A virtual machine without Docker, on the second hypervisor."""
    hypervisor = cloud.lab.hosts[1]
    port = project.create("ports", network_id=network, name=name, **attributes)
    nova = {"device_owner": "compute:nova", "device_id": name, "binding:host_id": hypervisor.name}
    cloud.operator.update("ports", port["id"], **nova)
    plug_server(hypervisor, port, name)
    try:
        yield port
    finally:
        unplug_server(hypervisor, name)
        cloud.operator.delete("ports", port["id"])


def server_pings(cloud: Cloud, name: str, address: str) -> bool:
    """Whether a server has an answer to one packet."""
    command = ["nsenter", f"--net=/run/{name}", "busybox", "ping", "-c1", "-W1", address]
    return cloud.lab.hosts[1].run(command, check=False).returncode == 0


def address(port: dict[str, Any]) -> str:
    return str(port["fixed_ips"][0]["ip_address"])


def test_two_machines_reach_each_other_over_their_own_ports(cloud: Cloud) -> None:
    first, second = cloud.machines
    ping = ["busybox", "ping", "-c1", "-W1", second.address]
    eventually(lambda: first.host.run(ping, check=False).returncode == 0, 10, "an answer")


def test_containers_in_both_machines_and_a_server_are_on_one_network(
    cloud: Cloud, both: Sequence[VirtualMachine]
) -> None:
    first, second = both
    neutron = first.create_network("shop", "--subnet=10.21.0.0/24")
    one, two = first.start("one", "shop"), first.start("two", "shop")
    second.create_network(
        "shop",
        "--subnet=10.21.0.0/24",
        "--ipam-driver=openvswitch",
        f"--ipam-opt=neutron.network={neutron}",
        f"--opt=neutron.network={neutron}",
    )
    three = second.start("three", "shop")
    [network] = cloud.demo.list("networks", name=neutron)
    far = three.run("ip -o -4 addr show eth0").stdout.split()[3].partition("/")[0]
    near = two.run("ip -o -4 addr show eth0").stdout.split()[3].partition("/")[0]
    one.reaches(near, 20)
    one.reaches(far, 20)
    three.start("echo hello | nc -l -p 80")
    eventually(lambda: one.run(f"nc -w2 {far} 80", check=False).stdout == "hello\n", 10, "TCP passes")
    with server(cloud, cloud.demo, network["id"], "srv1") as port:
        one.reaches(address(port), 20)
        three.reaches(address(port), 20)
    assert "mtu 1442" in one.run("ip link show eth0").stdout


def test_another_tenants_network_of_the_same_addresses_is_out_of_reach(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    """All ports let everything in, so that it is the networks that keep them apart."""
    name = vm.create_network("mine", "--subnet=10.22.0.0/24", "-o", "neutron.port_security=false")
    one, two = vm.start("one", "mine"), vm.start("two", "mine")
    [mine] = cloud.demo.list("networks", name=name)
    other = cloud.openstack.other()
    with (
        other.network("10.22.0.0/24", allocation_pools=[{"start": "10.22.0.70", "end": "10.22.0.79"}]) as (
            theirs,
            _,
        ),
        server(cloud, other, theirs["id"], "srv2", port_security_enabled=False) as port,
        server(cloud, other, theirs["id"], "srv3", port_security_enabled=False) as neighbour,
    ):
        eventually(lambda: server_pings(cloud, "srv3", address(port)), 20, "they are in use")
        one.reaches("10.22.0.3", 20)
        assert not one.pings(address(port))
        assert not two.pings(address(neighbour))
        assert not server_pings(cloud, "srv2", "10.22.0.2")
    with server(cloud, cloud.demo, mine["id"], "srv4", port_security_enabled=False) as port:
        one.reaches(address(port), 20)  # from the same hypervisor, on the same network
        assert server_pings(cloud, "srv4", "10.22.0.2")


def test_each_container_is_a_tagged_port_under_the_machines_trunk(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id = vm.create_network("tags", "--subnet=10.23.0.0/24", "--subnet=fd23::/64", "--ipv6")
    one = vm.start("one", "tags")
    endpoint = one.host.docker(
        "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.EndpointID}}{{end}}", "one"
    ).stdout.strip()
    [port] = cloud.demo.list("ports", name=endpoint)
    marks = {
        f"ovn-docker-host={vm.vif['id']}",
        f"ovn-docker-network={network_id}",
        f"ovn-docker-endpoint={endpoint}",
    }
    assert marks <= set(port["tags"])
    assert {fixed_ip["ip_address"] for fixed_ip in port["fixed_ips"]} == {"10.23.0.2", "fd23::2"}
    [trunk] = cloud.demo.list("trunks", port_id=vm.vif["id"])
    [under] = trunk["sub_ports"]
    assert under["port_id"] == port["id"]
    assert vm.vlans() == {vm.interfaces()[0]: under["segmentation_id"]}
    eventually(lambda: cloud.demo.get("ports", port["id"])["status"] == "ACTIVE", 30, "it is ACTIVE")


def test_security_groups_apply(cloud: Cloud, vm: VirtualMachine) -> None:
    closed = cloud.demo.create("security-groups", name=f"closed-{uuid4()}")
    vm.create_network("open", "--subnet=10.24.0.0/24")
    one = vm.start("one", "open")
    [network] = [network for network in cloud.demo.list("networks") if _is(vm, network)]
    vm.create_network(
        "guarded",
        "--subnet=10.24.0.0/24",
        "--ipam-driver=openvswitch",
        f"--opt=neutron.network={network['name']}",
        f"--opt=neutron.security_groups={closed['name']}",
    )
    two = vm.start("two", "guarded")
    to = two.run("ip -o -4 addr show eth0").stdout.split()[3].partition("/")[0]
    assert not one.pings(to)
    rule = cloud.demo.create(
        "security-group-rules",
        security_group_id=closed["id"],
        direction="ingress",
        ethertype="IPv4",
        protocol="icmp",
        remote_ip_prefix="0.0.0.0/0",
    )
    one.reaches(to)
    cloud.demo.delete("security-group-rules", rule["id"])
    eventually(lambda: not one.pings(to), 10, "the group is closed again")
    vm.clear()
    cloud.demo.delete("security-groups", closed["id"])


def _is(vm: VirtualMachine, network: dict[str, Any]) -> bool:
    return str(network["description"]).endswith(vm.vif["id"])


def test_an_existing_network_is_used_with_its_routes_and_gateway_and_stays(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    routes = [{"destination": "172.30.0.0/16", "nexthop": "10.25.0.9"}]
    with cloud.demo.network("10.25.0.0/24", gateway_ip="10.25.0.1", host_routes=routes) as (network, subnet):
        vm.create_network(
            "existing",
            "--ipam-driver=openvswitch",
            f"--ipam-opt=neutron.subnet={subnet['name']}",
            f"--opt=neutron.subnet={subnet['name']}",
        )
        one = vm.start("one", "existing")
        shown = one.run("ip route").stdout
        assert "default via 10.25.0.1 dev eth0" in shown
        assert "172.30.0.0/16 via 10.25.0.9 dev eth0" in shown
        assert one.run("ip -o -4 addr show eth0").returncode == 0
        vm.clear()
        assert cloud.demo.get("networks", network["id"])["subnets"] == [subnet["id"]]
        assert cloud.demo.list("ports", network_id=network["id"]) == []


def test_a_router_that_is_attached_becomes_the_way_out(cloud: Cloud, vm: VirtualMachine) -> None:
    name = vm.create_network("routed", "--subnet=10.26.0.0/24")
    assert "default via 10.26.0.1" not in vm.start("one", "routed").run("ip route").stdout
    [subnet] = cloud.demo.list("subnets", name=f"docker-{name}")
    router = cloud.demo.create("routers", name="r")
    body = {"subnet_id": subnet["id"]}
    cloud.demo.call("network", "PUT", f"/v2.0/routers/{router['id']}/add_router_interface", body)
    two = vm.start("two", "routed")
    assert "default via 10.26.0.1 dev eth0" in two.run("ip route").stdout
    two.reaches("10.26.0.1")
    cloud.demo.call("network", "PUT", f"/v2.0/routers/{router['id']}/remove_router_interface", body)
    cloud.demo.delete("routers", router["id"])


def test_two_machines_with_neutrons_addresses_never_agree_on_one(
    cloud: Cloud, both: Sequence[VirtualMachine]
) -> None:
    with cloud.demo.network("10.27.0.0/29", gateway_ip="10.27.0.1") as (_, subnet):
        for machine in both:
            machine.create_network(
                "small",
                "--ipam-driver=openvswitch",
                f"--ipam-opt=neutron.subnet={subnet['id']}",
                f"--opt=neutron.subnet={subnet['id']}",
            )
        for number in range(5):  # 10.27.0.2 to .6
            both[number % 2].start(f"c{number}", "small")
        said = both[0].refused("run", "--rm", "--network=small", "busybox", "true")
        assert "No more IP addresses available" in said
        for machine in both:
            machine.clear()
