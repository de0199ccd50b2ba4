"""Child ports by binding:profile, for an account that may: no trunk, and no VLAN that two share."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.underlay.neutron import resources
from tests.polling import eventually
from tests.underlay import docker_requests
from tests.underlay.clouds import Cloud
from tests.underlay.conftest import leftovers, wipe
from tests.underlay.docker_requests import new_id
from tests.underlay.machines import VirtualMachine

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180), pytest.mark.slow]

PROFILE = "--child-ports=profile"
HEALTH = ("--health-check-on", "--health-check-interval=3")


@pytest.fixture
def vm(cloud: Cloud) -> Iterator[VirtualMachine]:
    """A machine whose port has no trunk, and whose driver's account may write binding:profile."""
    machine = cloud.machines[0]
    remove_trunk(cloud, machine)
    machine.start_driver(PROFILE, environment=machine.environment(cloud.openstack.agent()))
    try:
        yield machine
    finally:
        machine.clear()
        left = leftovers(cloud)
        machine.stop_driver()
        wipe(cloud)
    assert left == []


def remove_trunk(cloud: Cloud, machine: VirtualMachine) -> None:
    for trunk in cloud.demo.list("trunks", port_id=machine.vif["id"]):
        cloud.demo.delete("trunks", trunk["id"])


def profile(cloud: Cloud, port: str) -> dict[str, Any]:
    found: dict[str, Any] = cloud.operator.get("ports", port)["binding:profile"]
    return found


def test_containers_are_under_the_machines_port_without_a_trunk(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.create_network("prof", "--subnet=10.60.0.0/24")
    one, two = vm.start("one", "prof"), vm.start("two", "prof")
    one.reaches("10.60.0.3", 20)
    two.reaches("10.60.0.2", 20)
    assert cloud.demo.list("trunks", port_id=vm.vif["id"]) == []
    ports = [port for port in cloud.demo.list("ports") if port["description"] == resources.mark(vm.vif["id"])]
    profiles = [profile(cloud, port["id"]) for port in ports]
    assert [profile["parent_name"] for profile in profiles] == [vm.vif["id"]] * 2
    assert sorted(profile["tag"] for profile in profiles) == sorted(vm.vlans().values())
    assert len(set(vm.vlans().values())) == 2
    bound = [cloud.operator.get("ports", port["id"]) for port in ports]
    assert {(each["binding:host_id"], each["binding:vif_type"]) for each in bound} == {
        (vm.hypervisor.name, "ovs")
    }
    shown = vm.plugin.call("Database").body
    assert shown["child_ports"] == "profile"


def test_ports_follow_a_machine_to_another_hypervisor(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.stop_driver()
    vm.start_driver(PROFILE, *HEALTH, environment=vm.environment(cloud.openstack.agent()))
    vm.create_network("moved", "--subnet=10.64.0.0/24")
    one, _ = vm.start("one", "moved"), vm.start("two", "moved")
    one.reaches("10.64.0.3", 20)
    [port] = cloud.demo.list("ports", fixed_ips="ip_address=10.64.0.3")
    elsewhere = cloud.lab.hosts[1].name
    assert cloud.operator.get("ports", port["id"])["binding:host_id"] == vm.hypervisor.name
    cloud.operator.update("ports", port["id"], **{"binding:host_id": elsewhere})
    eventually(
        lambda: cloud.operator.get("ports", port["id"])["binding:host_id"] == vm.hypervisor.name,
        60,
        "it is bound where the machine is",
    )
    one.reaches("10.64.0.3", 20)


def test_an_address_of_neutrons_is_kept_when_its_port_leaves_the_machines(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    with cloud.demo.network("10.61.0.0/24", gateway_ip="10.61.0.1") as (network, subnet):
        named = f"neutron.subnet={subnet['id']}"
        vm.create_network("leased", "--ipam-driver=openvswitch", f"--ipam-opt={named}", f"--opt={named}")
        vm.start("one", "leased")
        [port] = [port for port in cloud.demo.list("ports", network_id=network["id"]) if port["name"]]
        assert profile(cloud, port["id"])["parent_name"] == vm.vif["id"]
        request = docker_requests.of(new_id(), port["name"])
        assert vm.plugin.call("DeleteEndpoint", request).ok
        assert profile(cloud, port["id"]) == {}
        assert cloud.demo.get("ports", port["id"])["device_id"] == ""
        vm.clear()
        assert cloud.demo.list("ports", network_id=network["id"]) == []


def test_ports_of_two_drivers_that_claim_one_vlan_have_two_in_the_end(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    claim = resources.claim(vm.vif["id"], 7)
    mark = resources.mark(vm.vif["id"])
    with cloud.demo.network("10.62.0.0/24") as (network, _):
        ports = [
            cloud.demo.create("ports", network_id=network["id"], description=mark, device_id=claim)["id"]
            for _ in range(6)
        ]
        environment = vm.host.environment() | vm.environment(cloud.openstack.agent())
        script = Path(__file__).with_name("claim_vlans.py")
        words = [f"{name}={environment[name]}" for name in environment if name.startswith("OS_")]
        command = ["env", *words, sys.executable, "-P", str(script), vm.vif["id"], *ports]
        vlans = json.loads(vm.host.run(command).stdout)
        assert set(vlans) == set(ports)
        assert len(set(vlans.values())) == 6
        assert {port: profile(cloud, port)["tag"] for port in ports} == vlans


def test_a_forbidden_account_gets_neutrons_words(vm: VirtualMachine) -> None:
    vm.stop_driver()
    vm.start_driver(PROFILE)
    vm.create_network("may", "--subnet=10.63.0.0/24")
    said = vm.refused("run", "--rm", "--network=may", "busybox", "true")
    assert (
        "this account may not write binding:profile, as --child-ports profile needs: Neutron refused: "
        in said
    )
    assert "rule:update_port:binding:profile" in said
    assert len([line for line in said.splitlines() if "binding:profile" in line]) == 1


def test_a_machine_has_child_ports_of_one_kind(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id, endpoint_id = new_id(), new_id()
    assert vm.plugin.call("CreateNetwork", docker_requests.network(network_id)).ok
    assert vm.plugin.call("CreateEndpoint", docker_requests.endpoint(network_id, endpoint_id)).ok
    vm.stop_driver()
    vm.start_driver()  # --child-ports trunk
    other = docker_requests.endpoint(network_id, new_id(), "10.40.0.9/24")
    said = vm.plugin.call("CreateEndpoint", other).error
    assert f"port {vm.vif['id']} (OS_VIF_ID) has child ports by binding:profile" in said
    assert cloud.demo.list("trunks", port_id=vm.vif["id"]) == []
    assert vm.plugin.call("DeleteEndpoint", docker_requests.of(network_id, endpoint_id)).ok
    assert vm.plugin.call("CreateEndpoint", other).ok
    [trunk] = cloud.demo.list("trunks", port_id=vm.vif["id"])
    vm.stop_driver()
    vm.start_driver(PROFILE, environment=vm.environment(cloud.openstack.agent()))
    again = docker_requests.endpoint(network_id, new_id(), "10.40.0.10/24")
    said = vm.plugin.call("CreateEndpoint", again).error
    assert f"port {vm.vif['id']} (OS_VIF_ID) has trunk {trunk['id']}" in said
    vm.stop_driver()
    vm.start_driver()
    assert vm.plugin.call("DeleteEndpoint", docker_requests.of(network_id, other["EndpointID"])).ok
    assert vm.plugin.call("DeleteNetwork", {"NetworkID": network_id}).ok
