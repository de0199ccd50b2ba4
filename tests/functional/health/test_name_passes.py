"""A pass finds containers that other hosts do not find by their names, and publishes them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.health.checks import check
from ovn_docker.health.findings import Finding
from ovn_docker.health.reconciler import repair_all
from ovn_docker.ovn import names, switches
from ovn_docker.ovsdb.operations import delete, row_is
from tests.functional.conftest import MakeServer
from tests.functional.docker.test_engine import PING, reply, serving
from tests.functional.overlay.named_host import Box, a_network, agrees, filed, found, left, records, run
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts, Network
from tests.functional.servers import OvsdbServer

pytestmark = pytest.mark.functional

BOX = "0123456789ab" + "0" * 52


@dataclass
class Docker:
    """What it answers: one container on one network, with these names.

    Attributes:
        version: ``28.5.2``.
    """

    version: str = "26.1.5"
    network: Network | None = None
    box: Box | None = None
    names: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | None:
        page = path.removeprefix("/v1.45")
        if page == "/_ping":
            return PING.replace(b"Content", f"Server: Docker/{self.version} (linux)\r\nContent".encode())
        pages: dict[str, Any] = {"/networks": [], "/containers/json": []}
        if self.network is not None:
            pages |= {
                "/networks": [self._network()],
                f"/networks/{self.network.network_id}": self._network(),
            }
        if self.box is not None:
            pages |= {
                "/containers/json": [{"Id": BOX, "Names": [f"/{self.box.name}"]}],
                f"/containers/{BOX}/json": self._container(self.box),
            }
        return reply(pages[page]) if page in pages else reply({"message": "no such thing"}, "404 Not Found")

    def _network(self) -> dict[str, Any]:
        assert self.network is not None
        members = {}
        if self.box is not None:
            [endpoint] = self.box.endpoints
            members = {BOX: {"EndpointID": endpoint.endpoint_id, "IPv4Address": endpoint.addresses[0]}}
        return {
            "Id": self.network.network_id,
            "Name": "net",
            "Driver": "openvswitch",
            "IPAM": {"Driver": "openvswitch", "Config": [{"Subnet": SUBNET}]},
            "Options": {"egress": "docker"},
            "Containers": members,
        }

    def _container(self, box: Box) -> dict[str, Any]:
        assert self.network is not None
        on = {
            "NetworkID": self.network.network_id,
            "EndpointID": box.endpoint_id,
            "DNSNames": [box.name, *self.names, BOX[:12]],
        }
        return {
            "Id": BOX,
            "Name": f"/{box.name}",
            "Config": {"Hostname": BOX[:12]},
            "NetworkSettings": {"Networks": {"net": on}},
        }


@dataclass
class World:
    """A host with its Docker."""

    hosts: Hosts
    host: Host
    docker: Docker

    async def findings(self) -> list[Finding]:
        """What one reading shows of names."""
        return [each for each in check(await self.host.reader.read()) if each.kind.startswith("dns-")]

    async def repaired(self) -> list[str]:
        """The kinds of what is found, repaired, and not found again."""
        findings = await self.findings()
        assert {why for _, why in await repair_all(self.host.repairs, findings)} <= {""}
        assert await self.findings() == []
        return [each.kind for each in findings]

    async def start(self, name: str, *aliases: str, sandbox: str = "", **ids: str) -> Box:
        """``docker run``; its event is lost."""
        network = self.docker.network = self.docker.network or await a_network(self.host, SUBNET)
        self.docker.box, self.docker.names = (
            await run(self.host, name, network, sandbox=sandbox, **ids),
            list(aliases),
        )
        return self.docker.box


@pytest.fixture(params=["with an index", "without an index"])
async def world(
    northbound: OvsdbServer, make_server: MakeServer, short_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    path, docker = short_path / "docker.sock", Docker()
    hosts = Hosts(northbound, make_server, short_path, indexed=request.param == "with an index")
    hosts.docker = f"unix://{path}"
    async with serving(path, docker.answer, 5.0), hosts.host("h0") as host:
        yield World(hosts, host, docker)


async def test_a_container_whose_start_was_missed_is_published(world: World) -> None:
    box = await world.start("web", "www")
    [finding] = await world.findings()
    assert finding.evidence == BOX
    assert "do not find container web by the name web" in finding.line
    assert await world.repaired() == ["dns-name-missing"]
    assert set(filed(world.hosts)) == {"web", "www", BOX[:12], box.ip}
    assert found(world.hosts, box.ip) == {"web"}


@pytest.mark.parametrize("name", ["web", "www", "10.0.0.2"])
async def test_a_name_that_somebody_removed_is_published_again(world: World, name: str) -> None:
    box = await world.start("web", "www")
    await world.repaired()
    row = names.name_id(switches.switch_id(box.endpoints[0].network.pool.key), name)
    world.hosts.northbound.transact(delete("DHCP_Options", [row_is(row)]))
    [finding] = await world.findings()
    assert f"by the name {name}" in finding.line
    assert await world.repaired() == ["dns-name-missing"]
    assert box.endpoint_id in filed(world.hosts)[name]
    assert agrees(world.hosts)


async def test_a_container_that_was_renamed_unseen_has_its_new_name_alone(world: World) -> None:
    box = await world.start("web")
    await world.repaired()
    box.name = "front"
    assert await world.repaired() == ["dns-name-missing"]
    assert set(filed(world.hosts)) == {"front", BOX[:12], box.ip}


async def test_the_task_of_a_service_is_found_by_its_other_names(world: World) -> None:
    """Its own name has several labels: ``web.1.tpwrnlplq1fs``."""
    box = await world.start("web.1.tpwrnlplq1fs", "web")
    assert await world.repaired() == ["dns-name-missing"]
    assert set(filed(world.hosts)) == {"web", BOX[:12], box.ip}
    row = names.name_id(switches.switch_id(box.endpoints[0].network.pool.key), "web")
    world.hosts.northbound.transact(delete("DHCP_Options", [row_is(row)]))
    assert await world.repaired() == ["dns-name-missing"]
    assert found(world.hosts, "web") == {box.ip}


async def test_other_names_follow_where_only_the_first_was_told_with_the_lease(
    world: World,
) -> None:
    """Docker 29 tells the container's name with the lease, and the others with an event, which is lost."""
    box = await world.start("web", "www")
    network = world.host.shared.get(box.endpoints[0].network.network_id)
    assert network is not None
    await world.host.naming.publish_early(network, box.endpoint_id, [box.ip], "web")
    assert await world.repaired() == ["dns-name-missing"]
    assert found(world.hosts, "www") == {box.ip}


async def test_names_that_docker_has_no_endpoint_for_are_removed(world: World) -> None:
    box = await world.start("web")
    await world.repaired()
    world.docker.box = None
    ids = box.endpoints[0].network.network_id, box.endpoint_id
    world.hosts.northbound.transact(switches.lsp_del_anywhere(*ids))
    [finding] = await world.findings()
    assert "web" in finding.line
    assert await world.repaired() == ["dns-name-stale"]
    assert left(world.hosts) == set()


async def test_names_go_with_a_port_that_is_stale(world: World) -> None:
    box = await world.start("web")
    await world.repaired()
    world.docker.box = None
    stale = [each for each in check(await world.host.reader.read()) if each.kind == "endpoint-stale"]
    assert await repair_all(world.host.repairs, stale) == [(each, "") for each in stale]
    assert box.endpoint_id not in records(world.hosts)
    assert left(world.hosts) == set()
    assert await world.findings() == []


@pytest.mark.parametrize(
    ("version", "ids", "bypassed"),
    [
        ("28.5.2", {}, True),
        ("29.0.0-rc.1", {}, True),
        ("28.5.2", {"dns": "192.0.2.53"}, False),
        ("27.5.1", {}, False),
        ("dev", {}, False),
    ],
)
async def test_a_docker_that_asks_past_the_driver_is_told_of(
    world: World,
    version: str,
    ids: dict[str, str],
    bypassed: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    await world.start("web", sandbox="fc2ac21230fc", **ids)
    world.docker.version = version
    told = [each for each in await world.findings() if each.kind == "dns-bypassed"]
    assert len(told) == bypassed
    for each in told:
        assert f"Docker {version}" in each.line
        assert "daemon.json" in each.line
