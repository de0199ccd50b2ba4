"""Neutron's addresses: each is a port, and none is left behind that Docker does not know."""

import asyncio
from pathlib import Path

import pytest

from ovn_docker.libnetwork import messages
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer, until
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import ENDPOINT, NET, Vm, endpoint

pytestmark = pytest.mark.functional


def subnet(vm: Vm) -> str:
    """An existing network with a subnet; the pool's id."""
    shop = vm.neutron.make("networks", {"name": "shop"})
    made = vm.neutron.make(
        "subnets", {"network_id": shop["id"], "cidr": "10.9.0.0/24", "gateway_ip": "10.9.0.1"}
    )
    return f"{made['id']}|10.9.0.0/24"


@in_private_network
@pytest.mark.parametrize("slow", ["POST", "PUT"])
async def test_an_address_whose_request_timed_out_is_released(
    slow: str, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        pool = subnet(vm)
        request = messages.AddressRequest(pool_id=pool)
        first = await vm.parts.ipam.request_address(request)
        vm.openstack.slow = slow
        vm.openstack.hang = 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await vm.parts.ipam.request_address(request)
        await until(lambda: vm.neutron.made["ports"] == 3, "Neutron creates the port anyway")
        vm.openstack.hang = 0
        await until(lambda: len(vm.ports()) == 1, "it is gone")
        [left] = vm.ports()
        assert first.address == f"{left['fixed_ips'][0]['ip_address']}/24"
        assert left["name"] == ""
        await vm.parts.ipam.release_address(
            messages.AddressRequest(pool_id=pool, address=first.address.partition("/")[0])
        )
        assert vm.ports() == []


@in_private_network
async def test_a_leased_address_is_its_endpoint_s_and_under_the_trunk_afterwards(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        leased = await vm.parts.ipam.request_address(messages.AddressRequest(pool_id=subnet(vm)))
        data = messages.IPAMData(address_space="neutron", pool="10.9.0.0/24", gateway="10.9.0.1/24")
        await vm.parts.driver.create_network(
            messages.CreateNetworkRequest(network_id=NET, options={}, ipv4_data=[data])
        )
        for _ in range(2):
            await vm.parts.driver.create_endpoint(endpoint(address=leased.address))
        [port] = vm.ports()
        assert (port["name"], port["device_id"]) == (ENDPOINT, "")
        [trunk] = vm.neutron.tables["trunks"].values()
        assert [sub_port["port_id"] for sub_port in trunk["sub_ports"]] == [port["id"]]
