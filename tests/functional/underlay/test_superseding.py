"""A new endpoint replaces a port that a killed driver left, and none that serves a container."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import pytest

from ovn_docker import addressing
from ovn_docker.errors import NeutronError
from ovn_docker.underlay.neutron import resources
from tests.functional.private_network import in_private_network, ip
from tests.functional.servers import OvsdbServer
from tests.functional.underlay import underlay_host
from tests.functional.underlay.small_neutron import Row
from tests.functional.underlay.underlay_host import NET, OTHER, Vm, endpoint, network

pytestmark = pytest.mark.functional


async def left(vm: Vm, *, tags: Sequence[str] = (), under_the_trunk: bool = False) -> Row:
    """A network, and the port of another endpoint with the address 10.0.0.5."""
    await vm.parts.driver.create_network(network())
    [subnet] = vm.neutron.tables["subnets"].values()
    port = vm.neutron.make(
        "ports",
        {
            "name": OTHER,
            "description": resources.mark(vm.vif["id"]),
            "network_id": subnet["network_id"],
            "mac_address": addressing.mac_for(OTHER, [ipaddress.ip_address("10.0.0.5")]),
            "fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "10.0.0.5"}],
            "tags": list(tags),
        },
    )
    if under_the_trunk:
        subport = {"port_id": port["id"], "segmentation_type": "vlan", "segmentation_id": 7}
        vm.neutron.make("trunks", {"port_id": vm.vif["id"], "sub_ports": [subport]})
    return port


@in_private_network
@pytest.mark.parametrize("tagged", [False, True])
async def test_a_port_without_a_link_gives_way_to_a_new_endpoint_with_its_address(
    tagged: bool,  # noqa: FBT001
    open_vswitch: OvsdbServer,
    short_path: Path,
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        await left(vm, tags=[resources.NETWORK + NET] if tagged else [], under_the_trunk=tagged)
        await vm.parts.driver.create_endpoint(endpoint())
        [port] = vm.ports()
        assert port["name"] == endpoint().endpoint_id
        [trunk] = vm.neutron.tables["trunks"].values()
        assert [sub_port["port_id"] for sub_port in trunk["sub_ports"]] == [port["id"]]


@in_private_network
async def test_a_port_whose_link_is_there_stays(open_vswitch: OvsdbServer, short_path: Path) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        port = await left(vm, tags=[resources.NETWORK + NET])
        outside, _ = addressing.link_names(OTHER)
        ip("link", "add", outside, "type", "veth", "peer", "name", "inside")
        with pytest.raises(NeutronError, match="InUse"):
            await vm.parts.driver.create_endpoint(endpoint())
        assert vm.ports() == [port]


@in_private_network
async def test_an_endpoint_without_an_address_replaces_no_other(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        port = await left(vm)
        request = endpoint(address="", mac=port["mac_address"])
        with pytest.raises(NeutronError, match="InUse"):
            await vm.parts.driver.create_endpoint(request)
        assert vm.ports() == [port]


@in_private_network
async def test_a_port_of_another_network_of_docker_s_stays(
    open_vswitch: OvsdbServer, short_path: Path
) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        port = await left(vm, tags=[f"{resources.NETWORK}{'c0ffee00' * 8}"])
        with pytest.raises(NeutronError, match="InUse"):
            await vm.parts.driver.create_endpoint(endpoint())
        assert vm.ports() == [port]
