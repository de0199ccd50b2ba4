"""A cloud that the underlay tests share: Keystone, Neutron, two hypervisors, a virtual machine on each."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from ovn_docker.lab import Lab
from tests.integration import records
from tests.polling import eventually
from tests.underlay.identity import Project, RefusedError
from tests.underlay.machines import LINK, VirtualMachine
from tests.underlay.proxy import Proxy
from tests.underlay.real_openstack import OpenStack

MTU = 1442
"""What Geneve leaves of 1500 bytes."""


@dataclass(frozen=True)
class Cloud:
    """All of it."""

    lab: Lab
    openstack: OpenStack
    machines: tuple[VirtualMachine, VirtualMachine]
    demo: Project
    operator: Project


@pytest.fixture
def vm(cloud: Cloud) -> Iterator[VirtualMachine]:
    """The first machine, with its driver."""
    with _driven(cloud, cloud.machines[:1]) as [machine]:
        yield machine


@pytest.fixture
def both(cloud: Cloud) -> Iterator[Sequence[VirtualMachine]]:
    """Both machines, with their drivers."""
    with _driven(cloud, cloud.machines) as machines:
        yield machines


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    """A proxy to Neutron, for a driver that is started with `proxied`."""
    proxy = Proxy(cloud.openstack.namespace, str(cloud.lab.central.address))
    proxy.register(cloud.openstack.admin())
    with proxy.serve():
        yield proxy


@contextlib.contextmanager
def _driven(cloud: Cloud, machines: Sequence[VirtualMachine]) -> Iterator[Sequence[VirtualMachine]]:
    """Machines with running drivers, on which nothing may be left."""
    for each in machines:
        each.start_driver()
    try:
        yield machines
    finally:
        for each in reversed(machines):  # the first may have made what the others use
            each.clear()
        left = leftovers(cloud)
        for each in machines:
            each.stop_driver()
        wipe(cloud)
    assert left == []


def leftovers(cloud: Cloud) -> list[str]:
    """What is in Neutron, on the machines and on their bridges of the drivers'."""
    vifs = {each.vif["id"] for each in cloud.machines}
    left = [f"port {each['name']}" for each in cloud.demo.list("ports") if is_ours(each)]
    left += [f"network {each['name']}" for each in cloud.demo.list("networks") if is_ours(each)]
    for trunk in cloud.demo.list("trunks"):
        left += [f"subport {each['port_id']}" for each in trunk["sub_ports"] if trunk["port_id"] in vifs]
    for machine in cloud.machines:
        left += [f"interface {each}" for each in machine.interfaces()]
        left += [f"link {each}" for each in records.links(machine.host)]
    return left


def is_ours(resource: Mapping[str, Any]) -> bool:
    """Whether a driver made it."""
    return str(resource["description"]).startswith("ovn-docker-host=")


def wipe(cloud: Cloud) -> None:
    """Remove what a failed test left."""
    demo = cloud.demo
    for trunk in demo.list("trunks"):
        if trunk["sub_ports"]:
            body = {"sub_ports": [{"port_id": each["port_id"]} for each in trunk["sub_ports"]]}
            demo.call("network", "PUT", f"/v2.0/trunks/{trunk['id']}/remove_subports", body)
    for kind in ("ports", "networks"):
        for each in demo.list(kind):
            if is_ours(each):
                with contextlib.suppress(RefusedError):
                    demo.delete(kind, each["id"])
    for machine in cloud.machines:
        for name in machine.interfaces():
            machine.host.run(["ovs-vsctl", "--if-exists", "del-port", name])
        for link in records.links(machine.host):
            machine.host.run(["ip", "link", "delete", link], check=False)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The cloud; its drivers do not run."""
    lab = Lab.up(f"t{os.getpid()}-cloud", 4, driver=False)
    openstack = OpenStack(lab.central)
    try:
        for machine in lab.hosts[2:]:  # a virtual machine is no chassis
            machine.stop("ovn-controller")
            lab.central.run(["ovn-sbctl", "--if-exists", "chassis-del", machine.name])
        openstack.start()
        yield _furnished(lab, openstack)
    finally:
        openstack.stop()
        lab.down()


def _furnished(lab: Lab, openstack: OpenStack) -> Cloud:
    """Do what nova and the tenant do: a management network, and a port of it for each machine."""
    demo, operator = openstack.demo(), openstack.operator()
    network = demo.create("networks", name="management")
    demo.create("subnets", network_id=network["id"], cidr="10.7.0.0/24", ip_version=4)
    machines = []
    for host, hypervisor in zip(lab.hosts[2:], lab.hosts[:2], strict=True):
        vif = demo.create("ports", network_id=network["id"], name=f"{host.name}-{LINK}")
        nova = {"device_owner": "compute:nova", "device_id": host.name}
        operator.update("ports", vif["id"], **{"binding:host_id": hypervisor.name, **nova})
        machine = VirtualMachine(host, hypervisor, vif, openstack)
        machine.boot(MTU)
        machines.append(machine)
    first, second = machines
    for each in machines:
        eventually(
            lambda: demo.get("ports", each.vif["id"])["status"] == "ACTIVE",  # noqa: B023
            20,
            "the machine's port is ACTIVE",
        )
    return Cloud(lab, openstack, (first, second), demo, operator)
