"""The guide's commands, from "Create a logical switch" to "Detach and delete a logical port"."""

import re

import pytest

from ovn_docker_lab import Machine
from tests.integration import records
from tests.integration.records import PORT, SWITCH, addresses, marks, values
from tests.integration.tenant import Container, Tenant

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_creating_a_network_creates_a_logical_switch_named_by_its_id(
    tenant: Tenant, central: Machine
) -> None:
    foo = tenant.network("192.168.1.0/24")

    assert f"({foo.id})" in central.run(["ovn-nbctl", "ls-list"]).stdout
    switch = marks(records.row(central, SWITCH, foo.id))
    assert switch["subnet"] == "192.168.1.0/24"
    assert switch["gateway_ip"] == "192.168.1.1"
    assert switch["ovn-docker-network"] == foo.id
    assert switch["ovn-docker-host"] == "h1"
    assert re.fullmatch(TIME, switch["ovn-docker-created"])


def test_a_gateway_that_was_asked_for_is_written_to_the_switch(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("192.168.1.0/24", "--gateway=192.168.1.254")
    assert marks(records.row(central, SWITCH, foo.id))["gateway_ip"] == "192.168.1.254"


def test_docker_lists_the_logical_switches_as_networks_of_the_driver(tenant: Tenant) -> None:
    foo = tenant.network("192.168.1.0/24")
    listed = tenant.docker("network", "ls", "--no-trunc", "--filter", "driver=openvswitch").stdout
    [line] = listed.splitlines()[1:]
    assert line.split() == [foo.id, foo.name, "openvswitch", "local"]


def test_removing_a_network_deletes_the_logical_switch(tenant: Tenant, central: Machine) -> None:
    bar = tenant.network("192.168.2.0/24")
    tenant.remove_network(bar)
    assert records.rows(central, SWITCH) == []


def test_running_a_container_creates_a_logical_port_and_attaches_it(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("192.168.1.0/24")
    name = tenant.name()
    tenant.docker("run", "-itd", f"--net={foo.name}", f"--name={name}", "busybox")
    endpoint = Container(tenant.host, name).endpoint(foo)

    port = records.row(central, PORT, endpoint["EndpointID"])
    wanted = f"{endpoint['MacAddress']} {endpoint['IPAddress']}"
    assert records.ports_of(central, foo.id) == [endpoint["EndpointID"]]
    listed = central.run(["ovn-nbctl", "lsp-list", foo.id]).stdout
    assert f"{port['_uuid'][1]} ({endpoint['EndpointID']})\n" in listed
    assert addresses(port) == wanted
    assert values(port, "port_security") == [wanted]
    assert port["up"] is True
    assert marks(port)["ovn-docker-network"] == foo.id
    assert marks(port)["ovn-docker-host"] == "h1"
    assert re.fullmatch(TIME, marks(port)["ovn-docker-created"])


def test_the_container_s_interface_has_what_the_logical_port_has(tenant: Tenant) -> None:
    foo = tenant.network("192.168.1.0/24")
    box = tenant.container(foo)
    endpoint = box.endpoint(foo)
    eth0 = box.links()["eth0"]
    assert f"inet {endpoint['IPAddress']}/24" in eth0
    assert f"link/ether {endpoint['MacAddress']}" in eth0


def test_connecting_a_running_container_creates_and_attaches_a_port(tenant: Tenant, central: Machine) -> None:
    foo, bar = tenant.network("192.168.1.0/24"), tenant.network("192.168.2.0/24")
    box = tenant.container(foo)
    before = set(box.links())

    tenant.docker("network", "connect", bar.name, box.name)

    endpoint = box.endpoint(bar)
    assert f"({endpoint['EndpointID']})" in central.run(["ovn-nbctl", "lsp-list", bar.id]).stdout
    links = box.links()
    [new] = set(links) - before
    assert f"inet {endpoint['IPAddress']}/24" in links[new]


def test_disconnecting_a_container_detaches_and_deletes_the_port(tenant: Tenant, central: Machine) -> None:
    foo, bar = tenant.network("192.168.1.0/24"), tenant.network("192.168.2.0/24")
    box = tenant.container(foo)
    before = set(box.links())
    tenant.docker("network", "connect", bar.name, box.name)

    tenant.docker("network", "disconnect", bar.name, box.name)

    assert records.ports_of(central, bar.id) == []
    assert set(box.links()) == before
    assert len(records.interfaces(tenant.host)) == 1


def test_a_container_cannot_take_an_address_that_is_not_its_own(tenant: Tenant) -> None:
    foo = tenant.network("192.168.1.0/24")
    honest = tenant.container(foo)
    cheat = tenant.container(foo, "--cap-add=NET_ADMIN")
    cheat.run("ip address add 192.168.1.99/24 dev eth0; ip address add 192.168.1.98/32 dev lo")
    assert cheat.pings(honest.address(foo))
    assert not honest.pings("192.168.1.99")
    spoofed = cheat.run(f"ping -c1 -W1 -I 192.168.1.99 {honest.address(foo)}", check=False)
    assert spoofed.returncode != 0


def test_a_container_s_details_are_shown_by_inspect(tenant: Tenant) -> None:
    foo = tenant.network("192.168.1.0/24")
    box = tenant.container(foo)
    shown = tenant.docker("network", "inspect", "--verbose", foo.name).stdout
    assert box.name in shown
    assert box.address(foo) in shown
