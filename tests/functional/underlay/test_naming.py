"""A port named for its container is still found by its endpoint."""

from pathlib import Path

import pytest

from ovn_docker.health.checks import NAME
from ovn_docker.libnetwork import messages
from ovn_docker.underlay.neutron import resources
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import ENDPOINT, NET, endpoint, network, of

pytestmark = pytest.mark.functional

BOX = {NAME: "box"}


@in_private_network
@pytest.mark.parametrize("child_ports", ["trunk", "profile"])
async def test_every_verb_finds_a_port_that_is_named_for_its_container(
    child_ports: str, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path, f"--child-ports={child_ports}") as vm:
        driver, inventory = vm.parts.driver, vm.parts.inventory
        await driver.create_network(network())
        await driver.create_endpoint(endpoint())
        assert await inventory.rename({(NET, ENDPOINT): BOX, (NET, "gone"): BOX}) == {}
        [port] = vm.ports()
        assert port["name"] == "box"
        assert f"{resources.NAME}box" in port["tags"]
        await driver.create_endpoint(endpoint())
        assert vm.ports() == [port]
        assert port["name"] == "box"
        assert (await driver.endpoint_info(of())).value["neutron_port"] == port["id"]
        held = await inventory.held([NET])
        assert [(endpoint.endpoint_id, endpoint.vlan is None) for endpoint in held.endpoints] == [
            (ENDPOINT, False)
        ]
        assert held.leases == ()
        await driver.delete_endpoint(of())
        assert vm.ports() == []


@in_private_network
async def test_a_leased_address_loses_the_name_with_its_endpoint(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        shop = vm.neutron.make("networks", {"name": "shop"})
        row = {"network_id": shop["id"], "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1"}
        subnet = vm.neutron.make("subnets", row)
        lease = messages.AddressRequest(pool_id=f"{subnet['id']}|10.0.0.0/24")
        leased = await vm.parts.ipam.request_address(lease)
        data = messages.IPAMData(address_space="neutron", pool="10.0.0.0/24", gateway="10.0.0.1/24")
        request = messages.CreateNetworkRequest(network_id=NET, options={}, ipv4_data=[data])
        await vm.parts.driver.create_network(request)
        await vm.parts.driver.create_endpoint(endpoint(address=leased.address))
        assert await vm.parts.inventory.rename({(NET, ENDPOINT): BOX}) == {}
        [port] = vm.ports()
        assert port["name"] == "box"
        await vm.parts.driver.create_endpoint(endpoint(address=leased.address))
        assert port["name"] == "box"
        await vm.parts.driver.delete_endpoint(of())
        assert vm.ports() == [port]
        assert port["name"] == ""
        held = await vm.parts.inventory.held([NET])
        assert [lease.address for lease in held.leases] == [leased.address.partition("/")[0]]
