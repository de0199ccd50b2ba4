"""What Docker deletes goes from Neutron, at once or when that is possible again."""

import asyncio
from pathlib import Path

import pytest

from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer, until
from tests.functional.underlay import underlay_host
from tests.functional.underlay.underlay_host import ENDPOINT, endpoint, network, of

pytestmark = pytest.mark.functional


@in_private_network
async def test_the_port_goes_when_open_vswitch_is_back(open_vswitch: OvsdbServer, short_path: Path) -> None:
    async with underlay_host.machine(open_vswitch, short_path) as vm:
        await vm.parts.driver.create_network(network())
        await vm.parts.driver.create_endpoint(endpoint())
        vm.plug(ENDPOINT, "10.0.0.5")
        await until(vm.attached, "the interface is seen")
        open_vswitch.kill()
        await until(vm.parts.ovs.outage, "Open vSwitch is away")
        with pytest.raises(TimeoutError):  # as the front gives a verb up (libnetwork/server.py)
            async with asyncio.timeout(1):
                await vm.parts.driver.delete_endpoint(of())
        assert len(vm.ports()) == 1
        open_vswitch.start()
        await until(lambda: not vm.ports(), "the port is gone")
        await until(lambda: not vm.attached(), "the interface is gone")
