"""What Docker removes is removed everywhere, and nothing else is."""

from collections.abc import Callable

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.records import PORT, SWITCH
from tests.integration.tenant import Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration


def test_after_container_and_network_are_removed_nothing_of_ours_is_anywhere(
    tenant: Tenant, lab: Lab
) -> None:
    foo = tenant.network("10.14.0.0/24")
    boxes = [tenant.container(foo) for _ in range(3)]
    assert len(records.left(lab)) == 1 + 3 + 3 + 3  # a switch, ports, interfaces and links

    tenant.remove(*boxes)
    assert records.left(lab) == [f"{SWITCH} {foo.id}"]
    tenant.remove_network(foo)
    assert records.left(lab) == []


def test_a_container_that_ends_by_itself_leaves_only_its_network(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.14.0.0/24")
    assert tenant.once(foo, "exit 3").returncode == 3
    assert records.left(lab) == [f"{SWITCH} {foo.id}"]


def test_a_stopped_container_holds_no_port(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.14.0.0/24")
    box = tenant.container(foo)
    tenant.docker("stop", "--time=0", box.name)
    assert records.left(lab) == [f"{SWITCH} {foo.id}"]
    tenant.docker("start", box.name)
    assert len(records.interfaces(tenant.host)) == 1


def test_a_killed_container_leaves_only_its_network(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.14.0.0/24")
    box = tenant.container(foo)
    tenant.docker("kill", box.name)
    eventually(lambda: records.left(lab) == [f"{SWITCH} {foo.id}"], 5, "only the switch is left")


def test_a_container_that_cannot_start_leaves_only_its_network(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.14.0.0/24")
    name = tenant.name()
    failed = tenant.docker("run", "--net", foo.name, "--name", name, "busybox", "/no/such", check=False)
    assert failed.returncode != 0
    assert records.left(lab) == [f"{SWITCH} {foo.id}"]


def remove_link(tenant: Tenant, _central: Machine, _port: str) -> None:
    [link] = records.links(tenant.host)
    tenant.host.run(["ip", "link", "delete", link])


def remove_ovs_port(tenant: Tenant, _central: Machine, _port: str) -> None:
    [interface] = records.interfaces(tenant.host)
    tenant.host.run(["ovs-vsctl", "del-port", interface["name"]])


def remove_logical_port(_tenant: Tenant, central: Machine, port: str) -> None:
    central.run(["ovn-nbctl", "lsp-del", port])


@pytest.mark.parametrize("remove", [remove_link, remove_ovs_port, remove_logical_port])
def test_what_an_administrator_removed_does_not_keep_the_rest(
    tenant: Tenant, lab: Lab, central: Machine, remove: Callable[[Tenant, Machine, str], None]
) -> None:
    foo = tenant.network("10.14.0.0/24")
    box = tenant.container(foo)
    remove(tenant, central, box.endpoint(foo)["EndpointID"])
    tenant.remove(box)
    tenant.remove_network(foo)
    assert records.left(lab) == []


def test_what_others_have_in_ovn_and_open_vswitch_stays(tenant: Tenant, central: Machine) -> None:
    host = tenant.host
    add_foreign = ["ls-add", "others", "--", "lsp-add", "others", "others-port"]
    central.run(["ovn-nbctl", *add_foreign])
    host.run(
        ["ovs-vsctl", "add-port", "br-int", "others0", "--", "set", "interface", "others0", "type=internal"]
    )
    try:
        foo = tenant.network("10.14.0.0/24")
        tenant.remove(tenant.container(foo))
        tenant.remove_network(foo)
        assert [row["name"] for row in records.rows(central, SWITCH)] == ["others"]
        assert [row["name"] for row in records.rows(central, PORT)] == ["others-port"]
        assert "others0" in host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout
    finally:
        central.run(["ovn-nbctl", "--if-exists", "ls-del", "others"])
        host.run(["ovs-vsctl", "--if-exists", "del-port", "others0"])


def test_a_network_with_somebody_else_s_port_keeps_that_port(tenant: Tenant, central: Machine) -> None:
    foo = tenant.network("10.14.0.0/24")
    central.run(["ovn-nbctl", "lsp-add", foo.id, "others-port"])
    try:
        tenant.docker("network", "rm", foo.name, check=False)
        assert [row["name"] for row in records.rows(central, PORT)] == ["others-port"]
        assert "others-port among them" in tenant.host.log("driver")
    finally:
        central.run(["ovn-nbctl", "--if-exists", "ls-del", foo.id])
