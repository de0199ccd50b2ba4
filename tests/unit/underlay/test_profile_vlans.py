"""VLANs without a trunk: claims are written, then read, and no VLAN is used twice, whoever is faster."""

import asyncio
import random
from typing import cast

import pytest

from ovn_docker.errors import ConflictError, NeutronError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import LAST_VLAN, NeutronPort
from ovn_docker.underlay.vlans import ProfilePorts
from tests.functional.underlay.small_neutron import DirectNeutron, Query, Row

VIF = "vif"


class PortsOfOne(DirectNeutron):
    """Neutron with the ports of one machine; requests overtake each other at random.

    Attributes:
        may: whether this account may write binding:profile.
        used: VLANs that were ever used by two ports at a time.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.may = True
        self.used: list[int] = []
        self._random = random.Random(seed)  # noqa: S311
        self.machine = self.small.make("ports", {"id": VIF, "network_id": "m", resources.HYPERVISOR: "h1"})

    def make(self, name: str, device: str = "") -> None:
        self.small.tables["ports"][name] = {
            "id": name,
            "name": name,
            "description": resources.mark(VIF),
            "network_id": "n",
            "mac_address": "02:00:00:00:00:01",
            "fixed_ips": [],
            "device_id": device,
        }

    def port(self, name: str) -> NeutronPort:
        return resources.read_port(self.small.tables["ports"][name])

    def vlan(self, name: str) -> int | None:
        return self.port(name).vlan

    async def request(self, method: str, path: str, query: Query = (), body: Row | None = None) -> Row:
        change = body["port"] if body else {}
        if "binding:profile" in change and not self.may:
            raise NeutronError("Neutron refused: (rule:update_port:binding:profile) is disallowed", 403)
        await self._overtake()
        answer = await super().request(method, path, query, body)
        vlan = change.get("binding:profile", {}).get("tag")
        if vlan is not None and [self.vlan(name) for name in self.small.tables["ports"]].count(vlan) > 1:
            self.used.append(vlan)
        await self._overtake()
        return answer

    async def _overtake(self) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)


def drivers(neutron: PortsOfOne, number: int) -> list[ProfilePorts]:
    return [ProfilePorts(cast("Neutron", neutron), VIF) for _ in range(number)]


@pytest.mark.parametrize("seed", range(40))
async def test_two_drivers_that_chose_the_same_vlan_never_use_it_together(seed: int) -> None:
    neutron = PortsOfOne(seed)
    neutron.make("many", resources.claim(VIF, LAST_VLAN))
    one, two = drivers(neutron, 2)
    names = [f"p{number}" for number in range(6)]
    for name in names:
        neutron.make(name, resources.claim(VIF, 7))  # as if all had chosen the same just now
    vlans = await asyncio.gather(
        *((one if index % 2 else two).add(neutron.port(name)) for index, name in enumerate(names))
    )
    assert neutron.used == []
    assert len(set(vlans)) == 6
    assert [neutron.vlan(name) for name in names] == vlans
    assert await one.vlans() == dict(zip(names, vlans, strict=True))


async def test_without_reading_the_claims_two_would_use_one_vlan(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    neutron = PortsOfOne()
    one, two = drivers(neutron, 2)

    async def nobody(*_: object) -> set[int]:
        return set()

    monkeypatch.setattr(ProfilePorts, "_others", nobody)
    for name in ("p", "q"):
        neutron.make(name, resources.claim(VIF, 7))
    await asyncio.gather(one.add(neutron.port("p")), two.add(neutron.port("q")))
    assert neutron.used == [7]


async def test_a_port_that_is_there_keeps_its_vlan_whoever_claims_it_now() -> None:
    neutron = PortsOfOne()
    [one] = drivers(neutron, 1)
    neutron.make("p")
    vlan = await one.add(neutron.port("p"))
    neutron.make("q", resources.claim(VIF, vlan))
    assert await one.add(neutron.port("p")) == vlan
    assert await one.add(neutron.port("q")) != vlan


async def test_a_vlan_is_free_again_once_the_port_is_not_under_the_machines() -> None:
    neutron = PortsOfOne()
    [one] = drivers(neutron, 1)
    neutron.make("p")
    await one.add(neutron.port("p"))
    await one.before_delete("p")
    assert neutron.vlan("p") is not None  # until the port is gone
    await one.remove("p")
    assert neutron.port("p").device == ""
    assert await one.vlans() == {}
    await one.remove("gone")


async def test_a_port_is_bound_where_the_machine_is_and_follows_it() -> None:
    neutron = PortsOfOne()
    [one] = drivers(neutron, 1)
    neutron.make("p")
    vlan = await one.add(neutron.port("p"))
    assert neutron.port("p").hypervisor == "h1"
    neutron.machine[resources.HYPERVISOR] = "h2"
    assert await one.vlans() == {}
    assert await one.vlans("p") == {"p": vlan}
    assert await one.add(neutron.port("p")) == vlan
    assert await one.vlans() == {"p": vlan}


async def test_a_forbidden_account_gets_neutrons_words() -> None:
    neutron = PortsOfOne()
    neutron.may = False
    neutron.make("p")
    with pytest.raises(NeutronError, match=r"^this account may not .* profile needs: Neutron refused: "):
        await drivers(neutron, 1)[0].add(neutron.port("p"))


async def test_a_machine_with_a_trunk_is_refused() -> None:
    neutron = PortsOfOne()
    neutron.small.make("trunks", {"id": "t1", "port_id": VIF})
    neutron.make("p")
    with pytest.raises(ConflictError, match=r"port vif .* has trunk t1, .* --child-ports trunk"):
        await drivers(neutron, 1)[0].add(neutron.port("p"))


async def test_it_is_an_error_when_all_vlans_are_claimed() -> None:
    neutron = PortsOfOne()
    for vlan in range(1, LAST_VLAN + 1):
        neutron.make(f"other{vlan}", resources.claim(VIF, vlan))
    neutron.make("p")
    with pytest.raises(RequestError, match="no VLAN is free"):
        await drivers(neutron, 1)[0].add(neutron.port("p"))


def test_only_a_claim_of_this_machine_is_read() -> None:
    assert resources.claimed(resources.claim(VIF, 12), VIF) == 12
    for device in ("", "dhcp-1", resources.claim("other", 12), "ovn-docker-vlan=x@vif"):
        assert resources.claimed(device, VIF) is None
