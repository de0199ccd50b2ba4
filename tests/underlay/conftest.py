"""A cloud that the underlay tests share: Keystone, Neutron, two hypervisors, a virtual machine on each."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.integration import records
from tests.underlay import clouds
from tests.underlay.clouds import Cloud
from tests.underlay.identity import RefusedError
from tests.underlay.machines import VirtualMachine
from tests.underlay.proxy import PORT, Proxy, register


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
    address = str(cloud.lab.central.address)
    register(cloud.openstack.admin(), f"http://{address}:{PORT}")
    proxy = Proxy(cloud.openstack.namespace, address)
    with proxy.serve():
        yield proxy


@contextlib.contextmanager
def _driven(cloud: Cloud, machines: Sequence[VirtualMachine]) -> Iterator[Sequence[VirtualMachine]]:
    """Machines with running drivers, on which nothing may be left."""
    for machine in machines:
        machine.start_driver()
    try:
        yield machines
    finally:
        for machine in reversed(machines):  # the first may have made what the others use
            machine.clear()
        left = leftovers(cloud)
        for machine in machines:
            machine.stop_driver()
        wipe(cloud)
    assert left == []


def leftovers(cloud: Cloud) -> list[str]:
    """What is in Neutron, on the machines and on their bridges of the drivers'."""
    vifs = {machine.vif["id"] for machine in cloud.machines}
    left = [f"port {port['name']}" for port in cloud.demo.list("ports") if is_ours(port)]
    left += [f"network {network['name']}" for network in cloud.demo.list("networks") if is_ours(network)]
    for trunk in cloud.demo.list("trunks"):
        left += [
            f"subport {sub_port['port_id']}" for sub_port in trunk["sub_ports"] if trunk["port_id"] in vifs
        ]
    for machine in cloud.machines:
        left += [f"interface {interface}" for interface in machine.interfaces()]
        left += [f"link {link}" for link in records.links(machine.host)]
    return left


def is_ours(resource: Mapping[str, Any]) -> bool:
    """Whether a driver made it."""
    return str(resource["description"]).startswith("ovn-docker-host=")


def wipe(cloud: Cloud) -> None:
    """Remove what a failed test left."""
    demo = cloud.demo
    for trunk in demo.list("trunks"):
        if trunk["sub_ports"]:
            body = {"sub_ports": [{"port_id": sub_port["port_id"]} for sub_port in trunk["sub_ports"]]}
            demo.call("network", "PUT", f"/v2.0/trunks/{trunk['id']}/remove_subports", body)
    for kind in ("ports", "networks"):
        for row in demo.list(kind):
            if is_ours(row):
                with contextlib.suppress(RefusedError):
                    demo.delete(kind, row["id"])
    for machine in cloud.machines:
        for name in machine.interfaces():
            machine.host.run(["ovs-vsctl", "--if-exists", "del-port", name])
        for link in records.links(machine.host):
            machine.host.run(["ip", "link", "delete", link], check=False)


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The cloud; its drivers do not run."""
    with clouds.cloud(f"t{os.getpid()}-cloud") as made:
        yield made
