"""The HTTP front as dockerd meets it: over a real unix socket and TCP, before a stub driver."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.errors import ConflictError, NotFoundError, UnreachableError, UnstorableError
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.server import BODY_LIMIT, create_application
from tests.functional.libnetwork.front import (
    ALIKE,
    ANSWERS,
    ENDPOINT,
    NETWORK,
    PLUGIN_TYPE,
    REQUESTS,
    Client,
    Reply,
    StubDriver,
    StubIpam,
    nothing,
    until,
)

pytestmark = pytest.mark.functional

DEADLINE = 1.0
ENDPOINT_VERBS = ("CreateEndpoint", "EndpointOperInfo", "Join", "Leave", "DeleteEndpoint")


@dataclass
class Plugin:
    """A served stub driver."""

    driver: StubDriver
    listeners: Listeners
    path: Path
    clients: list[Client] = field(default_factory=list)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_unix_connection(str(self.path)))
        self.clients.append(client)
        return client

    async def post(self, verb: str, message: dict[str, Any] | bytes = b"") -> Reply:
        return await (await self.connect()).post(verb, message)


@pytest.fixture
async def plugin(tmp_path: Path) -> AsyncIterator[Plugin]:
    driver = StubDriver()
    listeners = Listeners(create_application(driver, deadline=DEADLINE), grace=DEADLINE)
    plugin = Plugin(driver, listeners, tmp_path / "plugin.sock")
    await listeners.start(plugin.path, None)
    yield plugin
    for client in plugin.clients:
        await client.close()
    await listeners.stop()


def assert_error(reply: Reply, status: int, text: str) -> None:
    assert reply.status == status
    assert reply.headers["content-type"].startswith("application/")
    assert text in reply.json["Err"]
    assert reply.json["Err"] == reply.json["Error"]
    assert "\n" not in reply.json["Err"]


@pytest.mark.parametrize("body", [b"", b"{}", b"not json"])
async def test_activate_and_capabilities_answer_whatever_the_body(plugin: Plugin, body: bytes) -> None:
    activate = await plugin.post("Plugin.Activate", body)
    assert (activate.status, activate.json) == (200, {"Implements": ["NetworkDriver"]})
    assert activate.headers["content-type"] == PLUGIN_TYPE
    capabilities = await plugin.post("NetworkDriver.GetCapabilities", body)
    assert capabilities.json == {"Scope": "local", "ConnectivityScope": "global", "GwAllocChecker": True}


async def test_activate_names_the_services_that_are_served(tmp_path: Path) -> None:
    application = create_application(StubDriver(), StubIpam())
    listeners = Listeners(application)
    await listeners.start(tmp_path / "p.sock", None)
    client = Client(*await asyncio.open_unix_connection(str(tmp_path / "p.sock")))
    reply = await client.post("Plugin.Activate")
    await client.close()
    await listeners.stop()
    assert reply.json == {"Implements": ["NetworkDriver", "IpamDriver"]}


IPAM_CALLS: dict[str, tuple[dict[str, Any] | bytes, dict[str, Any]]] = {
    "GetCapabilities": (b"", {"RequiresMACAddress": False, "RequiresRequestReplay": False}),
    "GetDefaultAddressSpaces": (
        b"",
        {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "there"},
    ),
    "RequestPool": (
        {"AddressSpace": "here", "Pool": "10.0.0.0/24", "SubPool": "", "Options": None, "V6": False},
        {"PoolID": "p", "Pool": "10.0.0.0/24", "Data": {}},
    ),
    "ReleasePool": ({"PoolID": "p"}, {}),
    "RequestAddress": (
        {
            "PoolID": "p",
            "Address": "10.0.0.1",
            "Options": {"RequestAddressType": "com.docker.network.gateway"},
        },
        {"Address": "10.0.0.1/24", "Data": {}},
    ),
}


@pytest.mark.parametrize("verb", IPAM_CALLS)
async def test_every_ipam_verb_is_answered_as_docker_spells_it(tmp_path: Path, verb: str) -> None:
    body, answer = IPAM_CALLS[verb]
    reply = await ipam_post(tmp_path, verb, body)
    assert (reply.status, reply.json) == (200, answer)


async def test_a_refused_ipam_verb_says_so_under_both_of_dockers_keys(tmp_path: Path) -> None:
    reply = await ipam_post(tmp_path, "ReleaseAddress", {"PoolID": "p", "Address": "10.0.0.2"})
    assert_error(reply, 400, "10.0.0.2 is another's")


async def ipam_post(directory: Path, verb: str, body: dict[str, Any] | bytes) -> Reply:
    """One request to a plugin that serves addresses."""
    listeners = Listeners(create_application(StubDriver(), StubIpam()))
    await listeners.start(directory / "p.sock", None)
    client = Client(*await asyncio.open_unix_connection(str(directory / "p.sock")))
    try:
        return await client.post(f"IpamDriver.{verb}", body)
    finally:
        await client.close()
        await listeners.stop()


@pytest.mark.parametrize("verb", REQUESTS)
async def test_every_verb_is_answered_and_reaches_its_method(plugin: Plugin, verb: str) -> None:
    reply = await plugin.post(f"NetworkDriver.{verb}", REQUESTS[verb])
    assert (reply.status, reply.json) == (200, ANSWERS.get(verb, {}))
    assert reply.headers["content-type"] == PLUGIN_TYPE
    assert len(plugin.driver.calls) == (verb not in ALIKE)
    for call in plugin.driver.calls:
        assert getattr(call, "network_id", NETWORK["NetworkID"]) == NETWORK["NetworkID"]


@pytest.mark.parametrize("verb", REQUESTS)
async def test_an_empty_body_never_passes_for_a_request(plugin: Plugin, verb: str) -> None:
    assert_error(await plugin.post(f"NetworkDriver.{verb}", b""), 400, "the body is empty")
    assert plugin.driver.calls == []


@pytest.mark.parametrize("verb", ENDPOINT_VERBS)
async def test_a_verb_about_an_endpoint_needs_its_id(plugin: Plugin, verb: str) -> None:
    assert_error(await plugin.post(f"NetworkDriver.{verb}", {"NetworkID": "n"}), 400, "EndpointID")
    assert plugin.driver.calls == []


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_database_is_for_people(plugin: Plugin, method: str) -> None:
    client = await plugin.connect()
    await client.send("/NetworkDriver.Database", b"", method=method)
    reply = await client.receive()
    assert (reply.status, reply.json) == (200, {"networks": {}})
    assert reply.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "NetworkDriver.Join: the body is not valid JSON"),
        (b'{"NetworkID":"n"}', "EndpointID"),
        (b'{"NetworkID":"n","EndpointID":7}', "$.EndpointID"),
        (b'{"NetworkID":"../n","EndpointID":"e"}', "$.NetworkID"),
        (b'{"NetworkID":"n","EndpointID":"e","Options":' + b'{"a":' * 100_000, "nested too deep"),
    ],
)
async def test_a_wrong_body_is_refused_before_the_driver_sees_it(
    plugin: Plugin, body: bytes, text: str
) -> None:
    assert_error(await plugin.post("NetworkDriver.Join", body), 400, text)
    assert plugin.driver.calls == []


@pytest.mark.parametrize(
    "path", ["/", "/NetworkDriver.Nonsense", "/NetworkDriver.join", "/x%0ay", "//Plugin.Activate"]
)
async def test_an_unknown_path_is_404_in_dockers_words(plugin: Plugin, path: str) -> None:
    client = await plugin.connect()
    await client.send(path, b"{}")
    assert_error(await client.receive(), 404, "Not Found")


async def test_a_wrong_method_is_405(plugin: Plugin) -> None:
    client = await plugin.connect()
    await client.send("/NetworkDriver.Join", b"", method="GET")
    reply = await client.receive()
    assert_error(reply, 405, "Method Not Allowed")
    assert reply.headers["allow"] == "POST"


async def test_a_body_of_ten_megabytes_is_refused_readably(plugin: Plugin) -> None:
    client = await plugin.connect()
    body = json.dumps(ENDPOINT | {"Options": {"x": "y" * 10_000_000}}).encode()
    assert_error(await client.post("NetworkDriver.Join", body), 413, f"longer than {BODY_LIMIT} bytes")
    assert (await client.post("NetworkDriver.Join", REQUESTS["Join"])).status == 200
    assert len(plugin.driver.calls) == 1


async def test_a_body_just_within_the_limit_is_taken(plugin: Plugin) -> None:
    padding = BODY_LIMIT - 1 - len(json.dumps(ENDPOINT | {"Options": {"x": ""}}))
    message = ENDPOINT | {"Options": {"x": "y" * padding}}
    assert (await plugin.post("NetworkDriver.Join", message)).status == 200


async def test_half_a_request_does_nothing(plugin: Plugin) -> None:
    client = await plugin.connect()
    body = json.dumps(REQUESTS["Join"]).encode()
    await client.send("/NetworkDriver.Join", body, length=len(body) + 1)
    await client.close()
    assert (await plugin.post("Plugin.Activate")).status == 200
    assert plugin.driver.calls == []


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"POST\r\n\r\n", b"POST / HTTP/1.1\r\nA" * 5000]
)
async def test_what_is_not_http_harms_no_other_client(plugin: Plugin, garbage: bytes) -> None:
    client = await plugin.connect()
    client.writer.write(garbage)
    client.writer.write_eof()
    assert (await plugin.post("NetworkDriver.Join", REQUESTS["Join"])).status == 200


async def test_a_body_in_chunks_is_read_and_bounded_too(plugin: Plugin) -> None:
    client = await plugin.connect()
    body = json.dumps(ENDPOINT | {"Options": {"x": "y" * 2 * BODY_LIMIT}}).encode()
    client.writer.write(b"POST /NetworkDriver.Join HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    await client.writer.drain()
    assert_error(await client.receive(), 413, "longer than")
    assert plugin.driver.calls == []


async def test_a_body_that_stalls_is_refused_within_the_deadline(plugin: Plugin) -> None:
    client = await plugin.connect()
    started = time.monotonic()
    await client.send("/NetworkDriver.Join", b'{"Netw', length=100)
    assert_error(await client.receive(), 400, "did not arrive whole")
    assert time.monotonic() - started < DEADLINE
    assert plugin.driver.calls == []


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotFoundError("network n does not exist"), 400, "network n does not exist"),
        (ConflictError("taken"), 400, "taken"),
        (UnstorableError("a text cannot be stored"), 400, "a text cannot be stored"),
        (UnreachableError("OVN Northbound at\ntcp:127.0.0.1:6641 does not answer"), 500, "at tcp:127.0.0.1"),
        (KeyError("bug"), 500, "NetworkDriver.Join failed inside the driver: KeyError: 'bug'"),
        (asyncio.CancelledError(), 500, "cancelled from inside"),
        (TimeoutError("x"), 500, "TimeoutError"),
    ],
)
async def test_whatever_the_driver_raises_becomes_dockers_error(
    plugin: Plugin, error: BaseException, status: int, text: str
) -> None:
    async def fail() -> None:
        raise error

    plugin.driver.behaviour = fail
    client = await plugin.connect()
    assert_error(await client.post("NetworkDriver.Join", REQUESTS["Join"]), status, text)
    plugin.driver.behaviour = nothing
    assert (await client.post("NetworkDriver.Join", REQUESTS["Join"])).status == 200


async def test_an_error_that_quotes_a_long_request_is_short_and_keeps_its_end(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ConflictError(f"'{'x' * 1_000_000}' is no address: give another")

    plugin.driver.behaviour = fail
    caplog.set_level(logging.INFO, "ovn_docker")
    reply = await plugin.post("NetworkDriver.Join", REQUESTS["Join"])
    assert_error(reply, 400, "[...]")
    assert reply.json["Err"].endswith("is no address: give another")
    assert len(reply.body) < 10_000
    assert all(len(record.getMessage()) < 5_000 for record in caplog.records)


async def test_an_unexpected_error_is_one_line_and_its_traceback_is_at_debug(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError("bug")

    plugin.driver.behaviour = fail
    caplog.set_level(logging.DEBUG, "ovn_docker")
    await plugin.post("NetworkDriver.Join", REQUESTS["Join"])
    records = [record for record in caplog.records if record.name.startswith("ovn_docker")]
    assert [record.levelname for record in records] == ["ERROR", "DEBUG", "WARNING"]
    assert [record.exc_info is not None for record in records] == [False, True, False]


async def test_each_verb_is_one_line_at_info_and_the_database_at_debug(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "ovn_docker")
    await plugin.post("NetworkDriver.Join", REQUESTS["Join"])
    await plugin.post("NetworkDriver.Join", b"")
    await plugin.post("NetworkDriver.Database")
    joined, refused, database = [record for record in caplog.records if record.name.startswith("ovn_docker")]
    assert joined.levelname == refused.levelname == "INFO"
    assert joined.getMessage().startswith(
        f"NetworkDriver.Join network_id={NETWORK['NetworkID']} endpoint_id={'e' * 64} duration_ms="
    )
    assert joined.getMessage().endswith(" outcome=ok")
    assert 'outcome="NetworkDriver.Join: the body is empty' in refused.getMessage()
    assert database.levelname == "DEBUG"


async def test_a_verb_that_hangs_is_answered_within_the_deadline(plugin: Plugin) -> None:
    undone = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            undone.set()

    plugin.driver.behaviour = hang
    plugin.driver.out = "OVN Northbound at tcp:127.0.0.1:6641 does not answer"
    started = time.monotonic()
    reply = await plugin.post("NetworkDriver.Join", REQUESTS["Join"])
    assert time.monotonic() - started < DEADLINE
    assert_error(reply, 500, f"timed out after 1 s: {plugin.driver.out}")
    assert undone.is_set()


async def test_the_rollback_of_a_verb_that_hangs_is_awaited(plugin: Plugin) -> None:
    undone: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            undone.append("veth")

    plugin.driver.behaviour = hang
    assert_error(await plugin.post("NetworkDriver.Join", REQUESTS["Join"]), 500, "timed out")
    assert undone == ["veth"]


async def test_what_the_rollback_of_a_late_verb_says_is_passed_on(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise UnreachableError("ovs-vswitchd does not answer") from None

    plugin.driver.behaviour = hang
    reply = await plugin.post("NetworkDriver.Join", REQUESTS["Join"])
    assert_error(reply, 500, "timed out after 1 s: ovs-vswitchd does not answer")
    assert "timed out, and failed then: UnreachableError: ovs-vswitchd" in caplog.text


async def test_a_verb_that_ends_well_in_its_last_moment_is_a_success(plugin: Plugin) -> None:
    async def finish() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    plugin.driver.behaviour = finish
    assert (await plugin.post("NetworkDriver.Join", REQUESTS["Join"])).status == 200


async def test_a_verb_that_ignores_its_cancellation_keeps_no_one_waiting(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    plugin.driver.behaviour = stubborn
    started = time.monotonic()
    try:
        assert_error(await plugin.post("NetworkDriver.Join", REQUESTS["Join"]), 500, "timed out")
        assert time.monotonic() - started < DEADLINE
        assert "ignores its cancellation" in caplog.text
    finally:
        release.set()  # or the end of the event loop would wait for it for ever
    await until(lambda: "timed out, has ended" in caplog.text)


async def test_a_client_that_goes_away_does_not_end_a_verb_in_the_middle(plugin: Plugin) -> None:
    release, finished = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        await release.wait()
        finished.set()

    plugin.driver.behaviour = slow
    client = await plugin.connect()
    await client.send("/NetworkDriver.Join", json.dumps(REQUESTS["Join"]).encode())
    await until(lambda: bool(plugin.driver.calls))
    client.writer.transport.abort()
    assert (await plugin.post("Plugin.Activate")).status == 200
    release.set()
    async with asyncio.timeout(5):
        await finished.wait()


async def test_a_stop_answers_what_is_in_flight_and_then_closes(plugin: Plugin) -> None:
    release = asyncio.Event()
    plugin.driver.behaviour = lambda: _wait(release)
    busy, idle = await plugin.connect(), await plugin.connect()
    assert (await busy.post("Plugin.Activate")).status == 200
    assert (await idle.post("Plugin.Activate")).status == 200
    await busy.send("/NetworkDriver.Join", json.dumps(REQUESTS["Join"]).encode())
    await until(lambda: bool(plugin.driver.calls))
    stopping = asyncio.create_task(plugin.listeners.stop())
    assert await idle.is_closed_by_the_server()
    assert not plugin.path.exists()
    release.set()
    reply = await busy.receive()
    assert (reply.status, reply.json) == (200, ANSWERS["Join"])
    assert await busy.is_closed_by_the_server()
    await stopping


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_many_callers_are_served_at_the_same_time(plugin: Plugin) -> None:
    everybody = asyncio.Barrier(50)

    async def together() -> None:
        await everybody.wait()

    plugin.driver.behaviour = together
    replies = await asyncio.gather(*(plugin.post("NetworkDriver.Join", REQUESTS["Join"]) for _ in range(50)))
    assert {reply.status for reply in replies} == {200}
