"""VLANs of a trunk: Neutron is the lock, and changes go out together."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import NeutronPort
from ovn_docker.underlay.vlans import DUPLICATE, TrunkPorts, choose_vlans


class OneTrunk:
    """Neutron's side of a trunk.

    Attributes:
        vlans: by port.
        changes: how many requests changed it.
        rivals: how many requests are refused because another driver has taken their VLANs.
        exists: whether there is a trunk.
        devices: the device_ids of this host's ports.
        shapeless: how many answers are not what Neutron's are.
    """

    def __init__(self) -> None:
        self.vlans: dict[str, int] = {}
        self.changes = 0
        self.rivals = 0
        self.exists = False
        self.devices: list[str] = []
        self.shapeless = 0

    def _body(self) -> dict[str, Any]:
        ports = [
            {"port_id": port, "segmentation_type": "vlan", "segmentation_id": vlan}
            for port, vlan in self.vlans.items()
        ]
        return {"id": "t", "sub_ports": ports}

    find = Neutron.find

    async def get(self, path: str, _: object = None) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self.shapeless:
            self.shapeless -= 1
            return {}
        if path == "ports":
            return {"ports": [{"device_id": each} for each in self.devices]}
        return (
            {"trunks": [self._body()] if self.exists else []} if path == "trunks" else {"trunk": self._body()}
        )

    async def post(self, _: str, __: object) -> dict[str, Any]:
        self.exists = True
        return {"trunk": self._body()}

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.changes += 1
        for each in body["sub_ports"]:
            if path.endswith("remove_subports"):
                del self.vlans[each["port_id"]]
                continue
            if self.rivals:
                self.rivals -= 1
                raise NeutronError("taken", 409, DUPLICATE)
            if each["port_id"] == "refused":
                raise NeutronError("no such port", 404, "PortNotFound")
            self.vlans[each["port_id"]] = each["segmentation_id"]
        return {}


@pytest.fixture
def neutron() -> OneTrunk:
    return OneTrunk()


@pytest.fixture
def trunk(neutron: OneTrunk) -> TrunkPorts:
    return TrunkPorts(cast("Neutron", neutron), "vif")


def port(name: str) -> NeutronPort:
    return resources.read_port({"id": name, "network_id": "n", "mac_address": "02:00:00:00:00:01"})


async def test_concurrent_changes_are_sent_together(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    vlans = await asyncio.gather(*(trunk.add(port(f"p{number}")) for number in range(30)))
    assert len(set(vlans)) == 30
    assert neutron.changes <= 2
    await asyncio.gather(*(trunk.remove(f"p{number}") for number in range(30)))
    assert neutron.vlans == {}


async def test_another_vlan_is_taken_when_one_is_refused(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    neutron.rivals = 3
    assert await trunk.add(port("p")) == neutron.vlans["p"]


async def test_a_repeat_has_the_vlan_that_it_had(trunk: TrunkPorts) -> None:
    assert await trunk.add(port("p")) == await trunk.add(port("p"))


async def test_a_refused_port_does_not_fail_the_others(trunk: TrunkPorts) -> None:
    results = await asyncio.gather(
        trunk.add(port("p")), trunk.add(port("refused")), trunk.add(port("q")), return_exceptions=True
    )
    assert isinstance(results[1], NeutronError)
    assert isinstance(results[0], int)
    assert isinstance(results[2], int)


async def test_removing_a_port_that_is_not_under_the_trunk_succeeds(trunk: TrunkPorts) -> None:
    await trunk.remove("p")


async def test_a_cancelled_caller_is_passed_over(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    one = asyncio.create_task(trunk.add(port("p")))
    await asyncio.sleep(0)
    two = asyncio.create_task(trunk.add(port("q")))
    await asyncio.sleep(0)
    two.cancel()
    await one
    await trunk.add(port("r"))
    assert set(neutron.vlans) == {"p", "r"}


async def test_an_unreadable_reply_fails_only_its_own_request(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    neutron.shapeless = 1
    one = asyncio.create_task(trunk.remove("p"))
    await asyncio.sleep(0)
    two = asyncio.create_task(trunk.add(port("q")))
    async with asyncio.timeout(5):
        results = await asyncio.gather(one, two, return_exceptions=True)
    assert isinstance(results[0], KeyError)
    assert results[1] == neutron.vlans["q"]


async def test_no_trunk_is_made_beside_child_ports_by_profile(neutron: OneTrunk, trunk: TrunkPorts) -> None:
    neutron.devices = ["dhcp", resources.claim("vif", 7)]
    with pytest.raises(ConflictError, match="--child-ports profile"):
        await trunk.add(port("p"))
    assert not neutron.exists


def test_vlans_are_free_and_run_out() -> None:
    assert choose_vlans(["p"], range(1, 4094)) == {"p": 4094}
    with pytest.raises(RequestError, match="no VLAN is free"):
        choose_vlans(["p"], range(1, 4095))
