"""A machine with another machine's OS_VIF_ID touches nothing of that machine's."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError, NeutronError
from ovn_docker.libnetwork import messages
from ovn_docker.underlay.neutron import resources
from tests.functional.private_network import in_private_network, ip
from tests.functional.servers import OvsdbServer, until
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import ENDPOINT, NET, Vm, endpoint, network, of

pytestmark = pytest.mark.functional

OTHER_MAC = "fa:16:3e:ff:00:02"

VERBS: dict[str, Callable[[Vm], Awaitable[object]]] = {
    "CreateNetwork": lambda vm: vm.parts.driver.create_network(network()),
    "DeleteNetwork": lambda vm: vm.parts.driver.delete_network(messages.NetworkRequest(network_id=NET)),
    "CreateEndpoint": lambda vm: vm.parts.driver.create_endpoint(endpoint()),
    "DeleteEndpoint": lambda vm: vm.parts.driver.delete_endpoint(of()),
    "Join": lambda vm: vm.parts.driver.join(messages.JoinRequest(network_id=NET, endpoint_id=ENDPOINT)),
    "RequestAddress": lambda vm: vm.parts.ipam.request_address(
        messages.AddressRequest(pool_id=f"{subnet(vm)}|10.0.0.0/24")
    ),
    "ReleaseAddress": lambda vm: vm.parts.ipam.release_address(
        messages.AddressRequest(pool_id=f"{subnet(vm)}|10.0.0.0/24", address="10.0.0.9")
    ),
}


def subnet(vm: Vm) -> str:
    return next(iter(vm.neutron.tables["subnets"]))


def of_the_other_machine(vm: Vm) -> None:
    """A network, an endpoint and a leased address, as the machine has them whose port it is."""
    mark = {"description": resources.mark(vm.vif["id"])}
    net = vm.neutron.make("networks", {"name": NET, **mark})
    made = vm.neutron.make(
        "subnets", {"network_id": net["id"], "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", **mark}
    )
    for name, address in ((ENDPOINT, "10.0.0.5"), ("", "10.0.0.9")):
        fixed = [{"subnet_id": made["id"], "ip_address": address}]
        tags = [] if name else [f"{resources.LEASE}{address}"]
        row = {"network_id": net["id"], "name": name, "fixed_ips": fixed, "tags": tags, **mark}
        vm.neutron.make("ports", row)


@in_private_network
@pytest.mark.parametrize("verb", VERBS)
async def test_no_verb_changes_what_is_another_machine_s(
    verb: str, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, mac=OTHER_MAC) as vm:
        of_the_other_machine(vm)
        before = repr(vm.neutron.tables)
        with pytest.raises(
            ConfigError, match=rf"of port {vm.vif['id']} \(OS_VIF_ID\): it is another machine's"
        ):
            await VERBS[verb](vm)
        assert {method for method, _, _ in vm.openstack.requests} == {"GET"}
        assert repr(vm.neutron.tables) == before
        assert "another machine's" in vm.parts.driver.outage()


@in_private_network
async def test_it_is_logged_once_and_served_as_soon_as_the_interface_appears(
    open_vswitch: OvsdbServer, short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, mac=OTHER_MAC) as vm:
        work = [asyncio.create_task(start()) for start in vm.parts.daemon_work.values()]
        await until(lambda: "it is another machine's" in caplog.text, "it is in the log")
        with pytest.raises(ConfigError):
            await vm.parts.driver.create_network(network())
        assert caplog.text.count("it is another machine's") == 1
        ip("link", "set", "ens3", "address", underlay_host.MAC)
        await vm.parts.driver.create_network(network())
        assert vm.parts.driver.outage() == ""
        for task in work:
            task.cancel()


@in_private_network
async def test_a_login_that_fails_is_logged_at_the_start_and_fails_each_verb(
    open_vswitch: OvsdbServer, short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, login=401) as vm:
        await until(lambda: "refused the login" in caplog.text, "it is in the log")
        with pytest.raises(NeutronError, match=r"Keystone at .* refused the login"):
            await vm.parts.driver.create_network(network())
        assert "refused the login" in vm.parts.driver.outage()


@in_private_network
async def test_a_port_that_the_project_does_not_see_is_named(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        del vm.neutron.tables["ports"][vm.vif["id"]]
        with pytest.raises(ConfigError, match=rf"this project sees no port {vm.vif['id']} \(OS_VIF_ID\)"):
            await vm.parts.driver.create_network(network())


@in_private_network
async def test_an_interface_that_only_open_vswitch_knows_is_this_machine_s(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, mac=OTHER_MAC) as vm:
        row = {"name": "dpdk0", "mac_in_use": underlay_host.MAC}
        open_vswitch.transact(
            {"op": "insert", "table": "Interface", "uuid-name": "i", "row": row},
            {
                "op": "insert",
                "table": "Port",
                "uuid-name": "p",
                "row": {"name": "dpdk0", "interfaces": ["named-uuid", "i"]},
            },
            {
                "op": "mutate",
                "table": "Bridge",
                "where": [],
                "mutations": [["ports", "insert", ["named-uuid", "p"]]],
            },
        )
        await vm.parts.driver.create_network(network())
