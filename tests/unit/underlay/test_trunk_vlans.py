"""VLANs of a trunk: Neutron is the lock, and changes go out together."""

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import NeutronPort
from ovn_docker.underlay.vlans import DUPLICATE, TrunkPorts, choose_vlans
from tests.functional.underlay.small_neutron import DirectNeutron, Row


class OneTrunk(DirectNeutron):
    """Neutron's side of a trunk.

    Attributes:
        changes: how many requests changed it.
        rivals: how many requests are refused because another driver has taken their VLANs.
        unreadable: how many answers are not what Neutron's are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changes, self.rivals, self.unreadable = 0, 0, 0

    @property
    def vlans(self) -> dict[str, int]:
        [trunk] = self.small.tables["trunks"].values()
        return dict(resources.read_trunk(trunk).vlans)

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Row:
        found = await super().get(path, query)
        if self.unreadable:
            self.unreadable -= 1
            return {}
        return found

    async def put(self, path: str, body: Row) -> Row:
        self.changes += 1
        if self.rivals:
            self.rivals -= 1
            raise NeutronError("taken", 409, DUPLICATE)
        return await super().put(path, body)

    def port(self, name: str) -> NeutronPort:
        return resources.read_port(self.small.make("ports", {"id": name, "network_id": "n"}))


@pytest.fixture
def neutron() -> OneTrunk:
    return OneTrunk()


@pytest.fixture
def trunk(neutron: OneTrunk) -> TrunkPorts:
    return TrunkPorts(cast("Neutron", neutron), "vif")


async def test_concurrent_changes_are_sent_together(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    vlans = await asyncio.gather(*(trunk.add(neutron.port(f"p{number}")) for number in range(30)))
    assert len(set(vlans)) == 30
    assert neutron.changes <= 2
    await asyncio.gather(*(trunk.remove(f"p{number}") for number in range(30)))
    assert neutron.vlans == {}


async def test_another_vlan_is_taken_when_one_is_refused(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    neutron.rivals = 3
    assert await trunk.add(neutron.port("p")) == neutron.vlans["p"]


async def test_a_repeat_has_the_same_vlan(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    port = neutron.port("p")
    assert await trunk.add(port) == await trunk.add(port)


async def test_a_refused_port_does_not_fail_the_others(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    ports = [neutron.port(name) for name in ("p", "gone", "q")]
    del neutron.small.tables["ports"]["gone"]
    results = await asyncio.gather(*map(trunk.add, ports), return_exceptions=True)
    assert isinstance(results[1], NeutronError)
    assert isinstance(results[0], int)
    assert isinstance(results[2], int)


async def test_removing_a_port_that_is_not_under_the_trunk_succeeds(trunk: TrunkPorts) -> None:
    await trunk.remove("p")


async def test_a_cancelled_caller_is_passed_over(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    one = asyncio.create_task(trunk.add(neutron.port("p")))
    await asyncio.sleep(0)
    two = asyncio.create_task(trunk.add(neutron.port("q")))
    await asyncio.sleep(0)
    two.cancel()
    await one
    await trunk.add(neutron.port("r"))
    assert set(neutron.vlans) == {"p", "r"}


async def test_an_unreadable_reply_fails_only_its_own_request(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    neutron.unreadable = 1
    one = asyncio.create_task(trunk.remove("p"))
    await asyncio.sleep(0)
    two = asyncio.create_task(trunk.add(neutron.port("q")))
    async with asyncio.timeout(5):
        results = await asyncio.gather(one, two, return_exceptions=True)
    assert isinstance(results[0], KeyError)
    assert results[1] == neutron.vlans["q"]


async def test_no_trunk_is_made_beside_child_ports_by_profile(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    for device in ("dhcp", resources.claim("vif", 7)):
        row = {"network_id": "n", "description": resources.mark("vif"), "device_id": device}
        neutron.small.make("ports", row)
    with pytest.raises(ConflictError, match="--child-ports profile"):
        await trunk.add(neutron.port("p"))
    assert neutron.small.tables["trunks"] == {}


def test_vlans_are_free_and_run_out() -> None:
    assert choose_vlans(["p"], range(1, 4094)) == {"p": 4094}
    with pytest.raises(RequestError, match="no VLAN is free"):
        choose_vlans(["p"], range(1, 4095))
