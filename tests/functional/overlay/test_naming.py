"""Names of containers that come together are one change of Northbound, and are there within seconds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import Container, Endpoint, Event, _Actor
from ovn_docker.errors import UnreachableError
from ovn_docker.health.checks import names_of
from ovn_docker.health.container_names import DEBOUNCE, LONGEST_WAIT, READ_TIMEOUT, ContainerNaming
from ovn_docker.health.findings import Finding
from ovn_docker.health.reconciler import repair_all
from ovn_docker.health.snapshot import EndpointIds, Inventory, Names
from ovn_docker.overlay.overlay_inventory import OverlayInventory
from ovn_docker.ovn import switches
from tests.functional.overlay.docker_side import Docker
from tests.functional.overlay.named_host import filed, found
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts, Network
from tests.functional.overlay.shared_host import Container as Running
from tests.functional.servers import Proxy, until

pytestmark = pytest.mark.functional

COUNT = 20


class Events(Engine):
    """A Docker that lists containers, and never answers about the one that is stuck."""

    def __init__(self, containers: Sequence[Container], pause: float = 0.0) -> None:
        super().__init__("unix:///none", None)
        self._containers = {each.container_id: each for each in containers}
        self._pause = pause

    async def events(self, types: Mapping[str, list[str]]) -> AsyncIterator[Event | None]:  # noqa: ARG002
        yield None
        for each in self._containers:
            await asyncio.sleep(self._pause)
            for action in ("connect", "start"):
                yield Event(type="container", action=action, actor=_Actor(object_id=each))
        await asyncio.Event().wait()

    async def running(self) -> list[str]:
        return []

    async def container(self, container_id: str) -> Container:
        if container_id == "stuck":
            await asyncio.Event().wait()
        return self._containers[container_id]


@contextlib.asynccontextmanager
async def named(engine: Engine, inventory: Inventory) -> AsyncIterator[None]:
    """Names are written while this lasts."""
    naming = asyncio.create_task(ContainerNaming(engine, inventory, lambda: None).run())
    try:
        yield
    finally:
        naming.cancel()
        await asyncio.wait([naming])


@contextlib.asynccontextmanager
async def ports(
    hosts: Hosts, directory: Path, count: int
) -> AsyncIterator[tuple[Host, list[Container], Proxy]]:
    """A host with the ports of containers, and its way to Northbound."""
    proxy = Proxy(directory / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        endpoints = [(await docker.run(network)).endpoint_id for _ in range(count)]
        boxes = [
            Container(f"id-{number}", f"box-{number}", {"tier": "front"}, ((network.network_id, each),))
            for number, each in enumerate(endpoints)
        ]
        proxy.transactions.clear()
        yield host, boxes, proxy


def names(hosts: Hosts) -> set[str]:
    """What the ports say of their containers."""
    rows = hosts.northbound.ports("external_ids")
    return {switches.read_marks(row).get("ovn-docker-name", "") for row in rows}


def changes(proxy: Proxy) -> int:
    """How many transactions changed a port since the last question."""
    ops = [[op for op in each if op["op"] not in {"select", "wait"}] for each in proxy.transactions]
    proxy.transactions.clear()
    return sum(any(op.get("table") == "Logical_Switch_Port" for op in each) for each in ops)


async def test_containers_that_start_together_are_named_together_whoever_is_stuck(
    hosts: Hosts, short_path: Path
) -> None:
    async with ports(hosts, short_path, COUNT) as (host, boxes, proxy):
        nowhere = Container("elsewhere", "elsewhere", {}, (("n", "gone"), boxes[0].endpoints[0]))
        stuck = Container("stuck", "stuck", {}, ())
        began = time.monotonic()
        async with named(Events([stuck, nowhere, *boxes], pause=0.05), host.inventory):
            await until(lambda: names(hosts) == {each.name for each in boxes}, "all are named")
        assert time.monotonic() - began < READ_TIMEOUT
        assert changes(proxy) <= 2


async def test_a_container_is_found_by_its_names_before_its_port_is_named(
    hosts: Hosts, short_path: Path
) -> None:
    async with ports(hosts, short_path, 1) as (host, [box], proxy):
        events = Events([await plugged(host, box)])
        async with named(events, host.inventory):
            await until(lambda: filed(hosts), "it is published", DEBOUNCE)
            assert names(hosts) == {""}
            assert set(filed(hosts)) == {"box-0", "front", *found(hosts, "box-0")}
            await until(lambda: names(hosts) == {"box-0"}, "its port is named")
        published = [each for each in proxy.transactions if any(op["op"] == "insert" for op in each)]
        assert len(published) == 1, "its second event repeats nothing"


class Refusing(OverlayInventory):
    """Names ports, and publishes nothing."""

    def __init__(self, host: Host, error: Exception) -> None:
        self._host = host
        self._error = error

    async def publish(self, container: Container) -> None:  # noqa: ARG002
        raise self._error

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        return await self._host.inventory.rename(names)


@pytest.mark.parametrize(
    ("error", "level"), [(UnreachableError("no server"), logging.INFO), (KeyError("x"), logging.WARNING)]
)
async def test_a_port_is_named_though_its_names_cannot_be_published(
    hosts: Hosts, short_path: Path, caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    caplog.set_level(logging.INFO)
    async with ports(hosts, short_path, 1) as (host, [box], _), named(Events([box]), Refusing(host, error)):
        await until(lambda: names(hosts) == {"box-0"}, "its port is named")
    lines = [each for each in caplog.records if "box-0: its names are not published" in each.getMessage()]
    assert {each.levelno for each in lines} == {level}


async def plugged(host: Host, box: Container) -> Container:
    """The container, whose endpoint is plugged in; Docker tells a further name."""
    [(network_id, endpoint_id)] = box.endpoints
    [port] = await host.shared.database.transact([switches.lsp_get(network_id, endpoint_id)])
    _, address = switches.read_addresses(port["rows"][0]).split()
    await host.plug(Running(host, Network(network_id), endpoint_id, [address]))
    return replace(box, dns_names={endpoint_id: (box.name, "front")})


async def test_names_wait_for_others_for_some_seconds_only(hosts: Hosts, short_path: Path) -> None:
    async with ports(hosts, short_path, COUNT) as (host, boxes, proxy):
        pause = 2 * LONGEST_WAIT / COUNT
        assert pause < DEBOUNCE
        async with named(Events(boxes, pause), host.inventory):
            await until(lambda: names(hosts) != {""}, "the first are named", LONGEST_WAIT + 3)
            assert "" in names(hosts)
            await until(lambda: names(hosts) == {each.name for each in boxes}, "all are named", 20)
        assert 2 <= changes(proxy) <= COUNT // 2


async def test_names_that_are_there_are_not_written_again(hosts: Hosts, short_path: Path) -> None:
    async with ports(hosts, short_path, 2) as (host, boxes, proxy):
        async with named(Events(boxes), host.inventory):
            await until(lambda: names(hosts) == {each.name for each in boxes}, "all are named")
        assert changes(proxy) == 1
        async with named(Events(boxes), host.inventory):
            await until(lambda: len(proxy.transactions) == 1, "the ports are read")
        assert changes(proxy) == 0


async def test_a_pass_repairs_all_names_in_one_act(hosts: Hosts, short_path: Path) -> None:
    async with ports(hosts, short_path, COUNT) as (host, boxes, proxy):
        found = [_changed(each) for each in boxes]
        assert await repair_all(host.repairs, found) == [(each, "") for each in found]
        assert names(hosts) == {each.name for each in boxes}
        assert changes(proxy) == 1


def _changed(box: Container) -> Finding:
    [(network_id, endpoint_id)] = box.endpoints
    endpoint = Endpoint(network_id, endpoint_id, "", (), box.container_id)
    return Finding("names-changed", endpoint_id, "its names", (endpoint, names_of(box)))
