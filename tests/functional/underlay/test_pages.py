"""A Neutron that limits its answers (pagination_max_limit): a list is read to its end."""

from pathlib import Path

import pytest

from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import FIRST_VLAN, LAST_VLAN
from ovn_docker.underlay.underlay_inventory import IDS
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import NET, Vm, endpoint, network

pytestmark = pytest.mark.functional


@in_private_network
async def test_the_health_check_sees_every_port_and_network(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        await vm.parts.driver.create_network(network())
        for number in range(5):
            await vm.parts.driver.create_endpoint(endpoint(f"{number}" * 64, f"10.0.0.{number + 5}/24"))
        for page in (1, 2, 5, 6):
            vm.neutron.page = page
            held = await vm.parts.inventory.held([NET])
            assert [endpoint.endpoint_id for endpoint in held.endpoints if endpoint.vlan is None] == []
            assert len(held.endpoints) == 5
            assert held.networks[NET].whole


@in_private_network
async def test_no_vlan_is_given_twice_though_the_claims_are_on_many_pages(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, "--child-ports=profile") as vm:
        vm.neutron.page = 1000
        await vm.parts.driver.create_network(network())
        for vlan in range(FIRST_VLAN, LAST_VLAN):
            claim(vm, vlan)
        await vm.parts.driver.create_endpoint(endpoint())
        [port] = [port for port in vm.ports() if port["name"] == endpoint().endpoint_id]
        assert port["binding:profile"]["tag"] == LAST_VLAN


def claim(vm: Vm, vlan: int) -> None:
    """Another port of this machine, with its VLAN."""
    row = {
        "id": f"{vlan:036}",
        "name": f"{vlan}",
        "description": resources.mark(vm.vif["id"]),
        "network_id": vm.vif["network_id"],
        "mac_address": "",
        "fixed_ips": [],
        "device_id": resources.claim(vm.vif["id"], vlan),
    }
    vm.neutron.tables["ports"][row["id"]] = row


@in_private_network
async def test_ids_are_asked_for_in_batches(open_vswitch: OvsdbServer, short_path: Path) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        for number in range(IDS + 1):
            pool = f"10.{number}.0.0/24"
            await vm.parts.driver.create_network(network(f"{number:064x}", pool))
        vm.neutron.asked.clear()
        setup = await vm.parts.inventory.setup()
        assert setup is not None
        assert len(setup.networks) == IDS + 1
        batches = [[name for name, _ in query].count("id") for table, query in vm.neutron.asked]
        assert sorted(batch for batch in batches if batch) == [1, IDS]


@in_private_network
async def test_a_list_is_read_anew_when_the_last_of_a_page_is_removed_meanwhile(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        made = [vm.neutron.make("networks", {"name": "many"})["id"] for _ in range(5)]
        vm.neutron.page = 2
        neutron = vm.parts.backend
        assert isinstance(neutron, Neutron)
        first, *rest = sorted(made)
        vm.neutron.before_page = lambda: vm.neutron.tables["networks"].pop(rest[0], None)
        found = await neutron.get("networks", {"name": "many"})
        assert [network["id"] for network in found["networks"]] == [first, *rest[1:]]
        assert (await neutron.get("networks", {"limit": "1"}))["networks"]
