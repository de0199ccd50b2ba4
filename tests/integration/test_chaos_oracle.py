"""The oracle of scripts/chaos reads a real lab and sees what was put there and what was taken away."""

import json

import pytest

from chaos.connectivity import unreached
from chaos.oracle import LOST, STALE, compare
from chaos.reading import read
from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.tenant import Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SERVER = "httpd -f -h /etc"


def seen(lab: Lab) -> set[tuple[str, str, str]]:
    return {(difference.verdict, difference.what, difference.where) for difference in compare(*read(lab))}


@pytest.fixture
def foo(tenant: Tenant) -> Network:
    return tenant.network("10.14.0.0/24")


@pytest.fixture
def boxes(tenant: Tenant, foo: Network) -> tuple[Container, Container]:
    first, second = (tenant.container(foo, "--stop-signal=KILL", command=SERVER) for _ in range(2))
    return first, second


def test_a_lab_in_use_has_no_difference(lab: Lab, boxes: tuple[Container, Container]) -> None:
    hosts, central = read(lab)
    assert compare(hosts, central) == []
    assert len(central.ports) == len(boxes)
    assert unreached({host.name: host for host in lab.hosts}, hosts) == (2, [])


def test_a_container_that_does_not_serve_is_not_reached(
    lab: Lab, tenant: Tenant, foo: Network, boxes: tuple[Container, Container]
) -> None:
    mute = tenant.container(foo, "--stop-signal=KILL")
    hosts, _ = read(lab)
    pairs, found = unreached({host.name: host for host in lab.hosts}, hosts)
    assert pairs == 6
    assert [(row.what, row.name) for row in found] == [("tcp", mute.address(foo))] * len(boxes)


@pytest.mark.usefixtures("boxes")
def test_what_nobody_uses_is_seen_everywhere(lab: Lab, foo: Network, central: Machine) -> None:
    host = lab.hosts[0]
    ids = {"ovn-docker": "lease", "ovn-docker-pool": "none", "ovn-docker-host": host.name}
    lease = [f"external_ids:{key}={json.dumps(value)}" for key, value in ids.items()]
    mark = "external_ids:ovn-docker-network=none"
    central.run(["ovn-nbctl", "ls-add", "ghost", "--", "lsp-add", foo.id, "ghost-port"])
    made = central.run(["ovn-nbctl", "create", "DHCP_Options", "cidr=10.9.9.9", *lease]).stdout.strip()
    port = ["ovs-vsctl", "add-port", "br-int", "ghost0", "--", "set", "interface", "ghost0", "type=internal"]
    host.run([*port, mark])
    host.run(["ip", "link", "add", "ghost1", "group", "3340", "type", "veth"])
    try:
        assert seen(lab) == {
            (STALE, "logical switch", "central"),
            (STALE, "logical port", "central"),
            (STALE, "lease", "central"),
            (STALE, "interface", host.name),
            (STALE, "link", host.name),
        }
    finally:
        central.run(["ovn-nbctl", "ls-del", "ghost", "--", "lsp-del", "ghost-port"])
        central.run(["ovn-nbctl", "destroy", "DHCP_Options", made])
        host.run(["ovs-vsctl", "del-port", "ghost0"])
        host.run(["ip", "link", "delete", "ghost1"])
    assert seen(lab) == set()


def test_what_was_taken_from_a_container_is_seen(
    lab: Lab, foo: Network, boxes: tuple[Container, Container], central: Machine
) -> None:
    host, name = lab.hosts[0], boxes[0].endpoint(foo)["EndpointID"]
    central.run(["ovn-nbctl", "lsp-del", name])
    assert (LOST, "logical port", "central") in seen(lab)
    host.run(["ovs-vsctl", "del-port", name[:15]])
    assert (LOST, "interface", host.name) in seen(lab)
    host.run(["ip", "link", "delete", name[:15]])
    eventually(lambda: (LOST, "link", host.name) in seen(lab), 5, "the link is gone")
    [gateway] = records.gateway_links(host)
    host.run(["ovs-vsctl", "del-port", gateway])
    assert (LOST, "gateway link", host.name) in seen(lab)
