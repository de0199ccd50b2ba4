"""/healthz and /metrics as a monitor meets them: over a real socket, whatever the driver is doing."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ovn_docker.daemon.metrics import Metrics
from ovn_docker.errors import RequestError, UnreachableError
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.server import ContainerNames, Observation, create_application
from tests.exposition import read, value
from tests.functional.libnetwork.front import REQUESTS, Client, Reply, StubDriver

pytestmark = pytest.mark.functional

LEAVE = json.dumps(REQUESTS["Leave"]).encode()
Counted = tuple[str, str, float]


class Watched:
    """A served driver and what its observers were told."""

    def __init__(self) -> None:
        self.driver = StubDriver()
        self.problems: list[str] = []
        self.counted: list[Counted] = []
        self.names = ContainerNames()
        self.metrics = Metrics("1", {})
        observation = Observation(
            self._count,
            lambda: self.problems,
            lambda: b"up 1\n",
            self.names.of,
            in_flight=self.metrics.in_flight,
        )
        self.listeners = Listeners(create_application(self.driver, deadline=0.5, observation=observation))
        self.path = Path()

    def _count(self, verb: str, outcome: str, seconds: float) -> None:
        self.counted.append((verb, outcome, seconds))

    def in_flight(self) -> float | None:
        return value(read(self.metrics.exposition()), "ovn_docker_requests_in_flight")

    async def ask(self, path: str, body: bytes = b"", method: str = "GET") -> Reply:
        client = Client(*await asyncio.open_unix_connection(str(self.path)))
        await client.send(path, body, method=method)
        reply = await client.receive()
        await client.close()
        return reply


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched()
    watched.path = tmp_path / "p.sock"
    await watched.listeners.start(watched.path, None)
    yield watched
    await watched.listeners.stop()


async def test_healthz_is_200_while_nothing_is_wrong(watched: Watched) -> None:
    reply = await watched.ask("/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok", "problems": []})
    assert reply.headers["content-type"].startswith("application/json")


async def test_healthz_is_503_with_a_line_for_each_thing_that_is_wrong(watched: Watched) -> None:
    watched.problems = ["Open vSwitch cannot be reached:\n gone", "OVN Northbound too"]
    reply = await watched.ask("/healthz")
    assert (reply.status, reply.json) == (
        503,
        {"status": "failing", "problems": ["Open vSwitch cannot be reached: gone", "OVN Northbound too"]},
    )


async def test_metrics_are_text_of_prometheus(watched: Watched) -> None:
    reply = await watched.ask("/metrics")
    assert (reply.status, reply.body) == (200, b"up 1\n")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_both_are_for_get_only_and_are_not_counted(watched: Watched, path: str) -> None:
    assert (await watched.ask(path, b"{}", "POST")).status == 405
    assert (await watched.ask(path)).status == 200
    assert watched.counted == []


async def test_both_answer_while_a_verb_waits_for_a_database_and_is_in_flight(watched: Watched) -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    watched.driver.behaviour = wait
    request = asyncio.create_task(watched.ask("/NetworkDriver.Leave", LEAVE, "POST"))
    async with asyncio.timeout(5):
        assert (await watched.ask("/healthz")).status == 200
        assert (await watched.ask("/metrics")).status == 200
    assert not request.done()
    assert watched.in_flight() == 1
    release.set()
    assert (await request).status == 200
    assert watched.in_flight() == 0


async def test_each_request_is_counted_with_its_outcome_and_time(watched: Watched) -> None:
    async def refuse() -> None:
        raise RequestError("no")

    async def fail() -> None:
        raise UnreachableError("no")

    async def hang() -> None:
        await asyncio.Event().wait()

    async def succeed() -> None:
        """Do nothing."""

    for behaviour in (succeed, refuse, fail, hang):
        watched.driver.behaviour = behaviour
        await watched.ask("/NetworkDriver.Leave", LEAVE, "POST")
    await watched.ask("/NetworkDriver.Leave", b"", "POST")
    await watched.ask("/Plugin.Activate", b"", "POST")
    await watched.ask("/NetworkDriver.Nonsense", b"", "POST")
    assert [(verb, outcome) for verb, outcome, _ in watched.counted] == [
        ("NetworkDriver.Leave", "ok"),
        ("NetworkDriver.Leave", "refused"),
        ("NetworkDriver.Leave", "failed"),
        ("NetworkDriver.Leave", "overdue"),
        ("NetworkDriver.Leave", "refused"),
        ("Plugin.Activate", "ok"),
    ]
    assert all(0 <= seconds < 0.5 for _, _, seconds in watched.counted)


async def test_the_log_names_the_container_of_an_endpoint_once_it_is_known(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ovn_docker")
    await watched.ask("/NetworkDriver.Leave", LEAVE, "POST")
    watched.names.note(REQUESTS["Leave"]["EndpointID"], "web")
    await watched.ask("/NetworkDriver.Leave", LEAVE, "POST")
    lines = [record.getMessage() for record in caplog.records if "NetworkDriver.Leave" in record.getMessage()]
    assert [" container=web " in line for line in lines] == [False, True]
