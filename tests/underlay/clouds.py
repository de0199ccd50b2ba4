"""A cloud: Keystone, Neutron, two hypervisors and a virtual machine on each, in a lab of its own."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from ovn_docker_lab import Lab
from tests.polling import eventually
from tests.underlay.identity import Project
from tests.underlay.machines import LINK, VirtualMachine
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


@contextlib.contextmanager
def cloud(name: str) -> Iterator[Cloud]:
    """A cloud of this name for as long as this context lasts; its drivers do not run."""
    lab = Lab.up(name, 4, driver=False)
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
    for member in machines:
        eventually(
            lambda: demo.get("ports", member.vif["id"])["status"] == "ACTIVE",  # noqa: B023
            20,
            "the machine's port is ACTIVE",
        )
    return Cloud(lab, openstack, (first, second), demo, operator)
