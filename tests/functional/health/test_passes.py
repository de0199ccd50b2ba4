"""A reading that is not whole is none, and a pass that fails stops nothing and removes nothing."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ovn_docker.daemon.components import Components, assemble_overlay, running
from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import Container, Event, Stopped, _Actor
from ovn_docker.errors import HostError, UnreachableError
from ovn_docker.health.checks import check
from ovn_docker.health.container_names import ContainerNaming
from ovn_docker.health.findings import Finding
from ovn_docker.health.reader import Reader
from ovn_docker.health.reconciler import Reconciler, Report, random_moment
from ovn_docker.health.repairs import Repairs, starting
from ovn_docker.health.snapshot import EndpointIds, Names, Snapshot
from ovn_docker.overlay.overlay_inventory import OverlayInventory
from ovn_docker.ovsdb.operations import to_map
from tests.agreement import agreeing, container, docker, long_id, network
from tests.flags import driver_settings
from tests.functional.private_network import in_private_network
from tests.functional.servers import OvsdbServer, until

pytestmark = pytest.mark.functional

ANSWERS = {"/_ping": "OK", "/networks": [], "/containers/json": []}


@contextlib.asynccontextmanager
async def empty_docker(path: Path) -> AsyncIterator[None]:
    """A Docker that has nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            page = (
                (await reader.readuntil(b"\r\n\r\n"))
                .decode()
                .split()[1]
                .replace("/v1.45", "")
                .partition("?")[0]
            )
            body = json.dumps(ANSWERS[page])
            head = f"HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write((head + body).encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()


@contextlib.asynccontextmanager
async def parts_of(
    open_vswitch: OvsdbServer, northbound: OvsdbServer, directory: Path
) -> AsyncIterator[Components]:
    ids = to_map({"system-id": "h", "ovn-nb": str(northbound.remote)})
    open_vswitch.transact({"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": ids}})
    docker = f"unix://{directory}/docker.sock"
    settings = driver_settings(open_vswitch.remote, directory / "state.json", docker=docker)
    parts = assemble_overlay(settings, dict)
    async with empty_docker(directory / "docker.sock"), running(parts):
        yield parts


async def test_nothing_is_compared_while_open_vswitch_is_away(
    open_vswitch: OvsdbServer, northbound: OvsdbServer, short_path: Path
) -> None:
    async with parts_of(open_vswitch, northbound, short_path) as parts:
        assert (await parts.reader.read()).attached == ()
        open_vswitch.kill()
        await until(parts.ovs.outage, "the connection is lost")
        with pytest.raises(UnreachableError, match=r"Open vSwitch cannot be reached .* nothing was compared"):
            await parts.reader.read()
        open_vswitch.start()
        await until(lambda: not parts.ovs.outage(), "it is back")
        await parts.reader.read()


async def test_nothing_is_compared_while_northbound_is_away(
    open_vswitch: OvsdbServer, northbound: OvsdbServer, short_path: Path
) -> None:
    async with parts_of(open_vswitch, northbound, short_path) as parts:
        await parts.reader.read()
        northbound.kill()
        reading = asyncio.create_task(parts.reader.read())
        done, _ = await asyncio.wait([reading], timeout=0.5)
        assert not done
        northbound.start()
        async with asyncio.timeout(10):
            await reading


@pytest.mark.parametrize(("datapath", "heard"), [("netdev", True), ("system", False), ("", False)])
@in_private_network
async def test_a_guard_that_is_gone_is_installed_again_where_it_is_needed(
    open_vswitch: OvsdbServer,
    northbound: OvsdbServer,
    short_path: Path,
    datapath: str,
    heard: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    async with parts_of(open_vswitch, northbound, short_path) as parts:
        bridge = {"name": "br-int", "datapath_type": datapath}
        holds = ["bridges", "insert", ["set", [["named-uuid", "b"]]]]
        open_vswitch.transact(
            {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": bridge},
            {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [holds]},
        )
        await until(lambda: parts.ovs.replica.rows("Bridge"), "the bridge is known")
        await parts.ovs.ready()
        found = [each for each in check(await parts.reader.read()) if each.kind == "guard-missing"]
        assert len(found) == heard
        for each in found:
            assert await parts.repairs.repair([each]) == [""]
        assert "guard-missing" not in {each.kind for each in check(await parts.reader.read())}


# --- Passes -------------------------------------------------------------------------------------------------

BOX = container("box")
PLAIN = network("plain", "10.0.1.0/24", members=[BOX])
GOOD = agreeing(docker(PLAIN, containers=[BOX]))
STALE = agreeing(docker())


class Readings(Reader):
    """Returns these readings one after the other, and the last one again and again."""

    def __init__(self, readings: Sequence[Snapshot | Exception]) -> None:
        self._readings = list(readings)

    async def read(self) -> Snapshot:
        each = self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]
        if isinstance(each, Exception):
            raise each
        return each


class NoRepairs(Repairs):
    """Notes what it was to repair."""

    def __init__(self, reason: str = "") -> None:
        self.requested: list[str] = []
        self._reason = reason

    async def repair(self, findings: Sequence[Finding]) -> list[str]:
        self.requested += [finding.kind for finding in findings]
        return [self._reason] * len(findings)


def reconciler(
    *readings: Snapshot | Exception, reason: str = ""
) -> tuple[Reconciler, NoRepairs, list[Report]]:
    repairs, reports = NoRepairs(reason), list[Report]()
    return Reconciler(Readings(readings), repairs, 3600, reports.append), repairs, reports


@pytest.mark.parametrize("error", [HostError("half"), ValueError("a defect"), KeyError("another")])
async def test_a_pass_that_fails_is_reported_and_the_next_one_comes(error: Exception) -> None:
    passes, repairs, reports = reconciler(error, GOOD)
    assert not (await passes.one_pass()).good
    assert (await passes.one_pass()).good
    assert ["half" in each.error or type(error).__name__ in each.error for each in reports] == [True, False]
    assert repairs.requested == []


async def test_what_is_seen_in_one_reading_only_is_neither_told_nor_repaired() -> None:
    missing = agreeing(docker(PLAIN, containers=[BOX]))
    lost = Snapshot("openvswitch", missing.docker, STALE.held, (), frozenset(), missing.pool_key)
    passes, repairs, reports = reconciler(lost, GOOD)
    await passes.one_pass()
    await passes.one_pass()
    assert repairs.requested == []
    assert [each.findings for each in reports] == [(), ()]
    assert all(each.good for each in reports)


async def test_a_repair_that_fails_makes_the_pass_none_that_succeeded() -> None:
    lost = Snapshot("openvswitch", GOOD.docker, STALE.held, (), frozenset(), GOOD.pool_key)
    passes, repairs, _ = reconciler(lost, reason="it is not to be")
    report = await passes.one_pass()
    async with asyncio.timeout(10):
        while not report.findings:  # until they are old enough
            await asyncio.sleep(0.05)
            report = await passes.one_pass()
    assert not report.good
    assert repairs.requested == ["network-missing", "endpoint-missing"]
    assert {reason for _, reason in report.failed} == {"it is not to be"}


class Counting(Readings):
    """Notes when it read."""

    def __init__(self) -> None:
        super().__init__([GOOD])
        self.times: list[float] = []

    async def read(self) -> Snapshot:
        self.times.append(time.monotonic())
        return await super().read()


async def test_hosts_do_not_all_read_at_once_when_what_they_share_is_back() -> None:
    readers = [Counting() for _ in range(60)]
    hosts = [Reconciler(each, NoRepairs(), 2.0, lambda _: None) for each in readers]
    tasks = [asyncio.create_task(each.run()) for each in hosts]
    try:
        await until(lambda: all(each.times for each in readers), "all have read once")
        back = time.monotonic()
        for each in hosts:
            each.want()
        await until(lambda: all(each.times[-1] > back for each in readers), "all have read again")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    again = [next(when for when in each.times if when > back) - back for each in readers]
    assert max(again) > 1
    assert len([when for when in again if when < 0.2]) < 30


def test_a_host_reads_within_a_minute_of_the_return_of_what_all_share() -> None:
    moments = [random_moment(3600) for _ in range(1000)]
    assert min(moments) < 10
    assert 50 < max(moments) <= 60
    assert max(random_moment(2) for _ in range(1000)) <= 2


async def test_a_host_reads_at_once_when_something_of_its_own_is_back() -> None:
    reader = Counting()
    passes = Reconciler(reader, NoRepairs(), 3600, lambda _: None)
    task = asyncio.create_task(passes.run())
    try:
        await until(lambda: reader.times, "it has read once")
        passes.hurry()
        await until(lambda: len(reader.times) == 2, "it has read again")
    finally:
        task.cancel()


async def test_nothing_is_read_and_nobody_waits_while_what_all_share_is_away() -> None:
    """Or all who wait would read when it is back, at that very moment."""
    reader, reports, away = Counting(), list[Report](), ["OVN Northbound cannot be reached"]
    passes = Reconciler(reader, NoRepairs(), 3600, reports.append, lambda: away[-1])
    assert (await passes.one_pass()).good  # the first waits for what may still come
    assert not (await passes.one_pass()).good
    assert reports[-1].error == "OVN Northbound cannot be reached; nothing was compared"
    away.append("")
    assert (await passes.one_pass()).good
    assert len(reader.times) == 2


class OneFails(NoRepairs):
    """Repairs of which one meets a defect."""

    async def repair(self, findings: Sequence[Finding]) -> list[str]:
        await super().repair(findings)
        if findings[0].kind in {"network-missing", "container-down"}:
            raise KeyError("ports")
        return [""]


async def passed_until_found(passes: Reconciler) -> Report:
    """Passes until what is wrong is old enough; the report of the last one."""
    async with asyncio.timeout(10):
        report = await passes.one_pass()
        while not report.findings:
            await asyncio.sleep(0.05)
            report = await passes.one_pass()
    return report


async def test_a_repair_that_meets_a_defect_prevents_no_other() -> None:
    lost = Snapshot("openvswitch", GOOD.docker, STALE.held, (), frozenset(), GOOD.pool_key)
    repairs = OneFails()
    report = await passed_until_found(Reconciler(Readings([lost]), repairs, 3600, lambda _: None))
    assert repairs.requested == ["network-missing", "endpoint-missing"]
    assert [each.kind for each in report.repaired] == ["endpoint-missing"]
    assert [(finding.kind, reason) for finding, reason in report.failed] == [
        ("network-missing", "the repair failed: KeyError: 'ports'")
    ]


async def test_a_start_that_meets_a_defect_prevents_no_other_start() -> None:
    repairs = OneFails()
    report = await passed_until_found(Reconciler(Readings([down("a", "b")]), repairs, 3600, lambda _: None))
    assert repairs.requested == ["container-down"] * 2
    assert len(report.failed) == 2


async def test_a_name_that_cannot_be_written_keeps_no_other_from_being_written() -> None:
    class Docker(Engine):
        """Tells of two containers, and then of nothing."""

        async def events(self, types: Mapping[str, list[str]]) -> AsyncIterator[Event | None]:  # noqa: ARG002
            yield None
            yield Event(type="container", action="start", actor=_Actor(object_id="bad"))
            await tried.wait()
            yield Event(type="container", action="start", actor=_Actor(object_id="good"))
            await asyncio.Event().wait()

        async def running(self) -> list[str]:
            return []

        async def container(self, container_id: str) -> Container:
            return Container(container_id, container_id, {}, (("n", container_id),))

    tried, renamed = asyncio.Event(), asyncio.Event()

    class Held(OverlayInventory):
        """Takes one name."""

        def __init__(self) -> None:
            pass

        async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
            if ("n", "bad") in names:
                tried.set()
                raise KeyError("ports")
            renamed.set()
            return {}

    naming = asyncio.create_task(ContainerNaming(Docker("unix:///none", None), Held(), lambda: None).run())
    try:
        await asyncio.wait_for(renamed.wait(), 10)
        assert not naming.done()
    finally:
        naming.cancel()


# --- Starts of containers -----------------------------------------------------------------------------------


def stopped(name: str) -> Stopped:
    on = {PLAIN.name: PLAIN.network_id}
    return Stopped(long_id("container", name), name, on, "", "always", True, "NetworkDriver.Join: no flows")  # noqa: FBT003


def down(*names: str) -> Snapshot:
    state = replace(GOOD.docker, stopped=tuple(map(stopped, names)))
    return replace(GOOD, docker=state)


class Together(NoRepairs):
    """Repairs a container when others are being repaired too."""

    def __init__(self, parties: int) -> None:
        super().__init__()
        self._barrier = asyncio.Barrier(parties)

    async def repair(self, findings: Sequence[Finding]) -> list[str]:
        await self._barrier.wait()
        return await super().repair(findings)


async def test_containers_that_were_down_twice_are_started_at_the_same_time() -> None:
    repairs, reports = Together(3), list[Report]()
    passes = Reconciler(Readings([down("a", "b", "c")]), repairs, 3600, reports.append)
    assert (await passes.one_pass()).findings == ()
    async with asyncio.timeout(10):
        while not repairs.requested:
            await asyncio.sleep(0.05)
            report = await passes.one_pass()
    assert repairs.requested == ["container-down"] * 3
    assert len(report.repaired) == 3


async def test_a_start_that_failed_is_repeated_and_at_once_on_a_return() -> None:
    passes, repairs, reports = reconciler(down("a"), reason="no flows")
    running = asyncio.create_task(passes.run())
    try:
        async with asyncio.timeout(20):
            while len(repairs.requested) < 2:  # noqa: ASYNC110  (the reconciler says nothing of its tries)
                await asyncio.sleep(0.05)
        assert not reports[-1].good
        before = len(repairs.requested)
        passes.hurry()
        async with asyncio.timeout(2):
            while len(repairs.requested) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()


async def test_a_container_is_not_started_when_it_is_not_as_it_was_seen() -> None:
    class Docker(Engine):
        """Returns `said` for each container, and notes which it is to start."""

        said: Stopped | None = None
        started: list[str]

        async def ended(self, container_id: str) -> Stopped | None:  # noqa: ARG002
            return self.said

        async def start(self, container_id: str) -> None:
            self.started.append(container_id)

    engine, seen = Docker("unix:///none", None), stopped("a")
    engine.started = []
    start = starting(engine)["container-down"]
    for engine.said in (None, replace(seen, error=""), replace(seen, wanted=False)):
        with pytest.raises(HostError, match="has changed meanwhile"):
            await start(seen)
    assert engine.started == []
    engine.said = stopped("a")
    await start(seen)
    assert engine.started == [seen.container_id]
