"""Plain TCP: who is served, what is refused before it is read, and how much one client may take."""

import asyncio
import contextlib
import json
import logging
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ovn_docker.libnetwork import listeners, server
from ovn_docker.libnetwork.listeners import Listeners
from ovn_docker.libnetwork.server import create_application
from tests.functional.libnetwork.front import PLUGIN_TYPE, REQUESTS, Client, Reply, StubDriver, until
from tests.functional.libnetwork.oddities import ODD, mutilated
from tests.functional.private_network import in_private_network, ip
from tests.polling import eventually

pytestmark = pytest.mark.functional

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Served:
    """A stub driver on a port of all addresses."""

    def __init__(self, capacity: int = 1024) -> None:
        self.driver = StubDriver()
        self.listeners = Listeners(create_application(self.driver, deadline=1), grace=1, capacity=capacity)

    @property
    def port(self) -> int:
        assert self.listeners.tcp_address is not None
        return self.listeners.tcp_address[1]

    async def connect(self, address: str = "127.0.0.1") -> Client:
        return Client(*await asyncio.open_connection(address, self.port))

    async def ask(self, raw: str, address: str = "127.0.0.1") -> Reply:
        """Send a request as it is written here, and read one answer."""
        client = await self.connect(address)
        client.writer.write(raw.replace("\n", "\r\n").encode())
        reply = await client.receive()
        await client.close()
        return reply


@contextlib.asynccontextmanager
async def serving(address: str = "0.0.0.0", capacity: int = 1024) -> AsyncIterator[Served]:
    served = Served(capacity)
    await served.listeners.start(None, (address, 0))
    try:
        yield served
    finally:
        await served.listeners.stop()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as one:
        yield one


@contextlib.contextmanager
def neighbour() -> Iterator[list[str]]:
    """Another host on the same wire: the words that run a command there."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    enter = ["nsenter", "--target", str(process.pid), "--net"]
    try:
        own = Path("/proc/thread-self/ns/net").readlink()
        theirs = Path(f"/proc/{process.pid}/ns/net")
        eventually(lambda: theirs.readlink() != own, 5, "the other host has a network of its own")
        ip("link", "add", "here", "type", "veth", "peer", "name", "there", "netns", str(process.pid))
        ip("addr", "add", f"{HERE}/24", "dev", "here")
        ip("link", "set", "here", "up")
        for words in (["addr", "add", f"{THERE}/24", "dev", "there"], ["link", "set", "there", "up"]):
            subprocess.run([*enter, "ip", *words], check=True, timeout=10)
        subprocess.run(
            [*enter, "ethtool", "-K", "there", "tx", "off"], check=True, timeout=10, capture_output=True
        )
        yield enter
    finally:
        process.kill()
        process.wait()


async def curl(*words: str) -> tuple[int, str]:
    """HTTP status and body, as curl(1) sees them."""
    command = [*words[:-1], "curl", "-s", "--max-time", "5", "-w", "\n%{http_code}", *words[-1].split()]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    body, _, status = output.decode().rpartition("\n")
    return int(status), body


@in_private_network
async def test_another_host_is_refused_and_this_one_is_served_at_every_address() -> None:
    with neighbour() as neighbour_command:
        async with serving() as served:
            base = f"http://{HERE}:{served.port}"
            for path in ("NetworkDriver.Database", "healthz", "metrics"):
                status, body = await curl(*neighbour_command, f"{base}/{path}")
                assert (status, "plain TCP serves this host only" in json.loads(body)["Err"]) == (403, True)
                for address in (HERE, "127.0.0.1", "0.0.0.0"):
                    assert (await curl(f"http://{address}:{served.port}/{path}"))[0] == 200
            for verb in ("Plugin.Activate", "NetworkDriver.Join"):
                assert (await curl(*neighbour_command, f"-X POST {base}/{verb}"))[0] == 403
            assert served.driver.calls == []


@in_private_network
async def test_no_body_of_another_host_is_read(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"x" * 300_000)
    flags = f"-H Content-Type:application/json --data-binary @{tmp_path / 'body'}"
    with neighbour() as neighbour_command:
        async with serving() as served:
            url = f"http://{HERE}:{served.port}/NetworkDriver.Join"
            assert (await curl(*neighbour_command, f"{flags} {url}"))[0] == 403
            assert (await curl(*neighbour_command, f"{flags} -H Expect:100-continue {url}"))[0] == 403


@in_private_network
async def test_many_rejected_connections_keep_nobody_out() -> None:
    script = (
        "import socket,time,sys\n"
        "held=[socket.create_connection((sys.argv[1],int(sys.argv[2]))) for _ in range(300)]\n"
        "print('held',flush=True)\ntime.sleep(30)\n"
    )
    with neighbour() as neighbour_command:
        async with serving(capacity=16) as served:
            process = await asyncio.create_subprocess_exec(
                *neighbour_command, "python3", "-c", script, HERE, str(served.port), stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"held\n"
            assert (await curl(*neighbour_command, f"http://{HERE}:{served.port}/healthz"))[0] == 403
            assert (await curl(f"http://127.0.0.1:{served.port}/healthz"))[0] == 200
            process.kill()
            await process.wait()


@in_private_network
async def test_ipv6_and_mapped_ipv4_of_this_host_are_served() -> None:
    async with serving("::1") as served:
        reply = await served.ask("GET /healthz HTTP/1.1\nHost: [::1]\n\n", "::1")
        assert reply.status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /Plugin.Activate HTTP/1.1\nHost: evil.example:5000\n", 403),
        ("POST /Plugin.Activate HTTP/1.1\nHost: 127.0.0.1\nOrigin: http://evil.example\n", 403),
        ("GET /NetworkDriver.Database HTTP/1.1\nHost: 127.0.0.1\nSec-Fetch-Site: cross-site\n", 403),
        ("GET /metrics HTTP/1.1\nHost: evil.example\n", 403),
        ("PUT /NetworkDriver.Join HTTP/1.1\nHost: 127.0.0.1\n", 405),
        (
            "POST /Plugin.Activate HTTP/1.1\nHost: localhost\nContent-Type: a/b\nContent-Length: 2\n",
            415,
        ),
        ("GET /Plugin.Activate HTTP/1.1\nHost: localhost\n", 405),
    ],
)
async def test_what_a_browser_could_be_tricked_into_is_refused_in_json(
    served: Served, head: str, status: int
) -> None:
    reply = await served.ask(f"{head}\n")
    assert reply.status == status
    assert reply.json["Err"] == reply.json["Error"]
    assert served.driver.calls == []


async def test_dockerd_and_curl_are_served_over_tcp(served: Served) -> None:
    body = json.dumps(REQUESTS["Leave"])
    for host, extra in (
        (f"127.0.0.1:{served.port}", f"User-Agent: Go-http-client/1.1\nAccept: {PLUGIN_TYPE}\n"),
        ("localhost", "Content-Type: application/json\n"),
    ):
        head = f"POST /NetworkDriver.Leave HTTP/1.1\nHost: {host}\n{extra}Content-Length: {len(body)}\n\n"
        assert (await served.ask(head + body)).status == 200
    assert (await curl(f"http://0.0.0.0:{served.port}/NetworkDriver.Database"))[0] == 200


@pytest.mark.parametrize(
    "garbage",
    ["\x16\x03\x01\x02\x00\x01\n\n", "NONSENSE\n\n", "GET / HTTP/9.9\n\n", "GET /\x01 HTTP/1.1\nA b: c\n\n"],
)
async def test_what_is_not_http_is_answered_in_json(served: Served, garbage: str) -> None:
    reply = await served.ask(garbage)
    assert reply.status == 400
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.json["Err"].startswith("the request is not valid HTTP")


async def test_an_expectation_that_is_not_text_is_not_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    client = await served.connect()
    client.writer.write(b"POST /Nonsense HTTP/1.1\r\nHost: localhost\r\nExpect: \xff\r\n\r\n")
    reply = await client.receive()
    assert (reply.status, reply.json["Err"]) == (
        400,
        "the request is not valid HTTP: a header is not valid Unicode text",
    )
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    await client.close()


async def test_mutilated_requests_are_answered_in_json_if_at_all_and_not_logged(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = random.Random(20261124)  # noqa: S311 - repeatable, not secret
    for request in [*ODD, *(mutilated(numbers) for _ in range(300))]:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(request)
        if numbers.random() < 0.5:
            writer.write_eof()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            async with asyncio.timeout(0.05):
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"\r\nContent-Type: application/" in head or b" 100 Continue" in head, (request, head)
        writer.transport.abort()
    assert (await served.ask("GET /healthz HTTP/1.1\nHost: localhost\n\n")).status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(("host", "asked"), [("localhost", True), ("evil.example", False)])
async def test_a_body_is_asked_for_only_where_it_will_be_read(
    served: Served, host: str, *, asked: bool
) -> None:
    client = await served.connect()
    head = f"POST /NetworkDriver.Leave HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n"
    client.writer.write(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert (b" 100 " in await client.line()) is asked
    await client.close()


async def test_a_head_that_is_too_long_is_refused(served: Served) -> None:
    reply = await served.ask(f"GET /healthz HTTP/1.1\nHost: localhost\nX: {'y' * 20_000}\n\n")
    assert reply.status == 400
    assert "Err" in reply.json


async def test_a_head_that_does_not_arrive_is_answered_408(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "HEAD_TIMEOUT", 0.2)
    silent, slow = await served.connect(), await served.connect()
    slow.writer.write(b"POST /Plugin.Act")
    for client in (silent, slow):
        async with asyncio.timeout(3):
            assert (await client.receive()).status == 408
            assert await client.is_closed_by_the_server()
        await client.close()


async def test_a_connection_that_docker_keeps_is_not_closed_when_idle(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "HEAD_TIMEOUT", 0.2)
    kept, other = await served.connect(), await served.connect()
    assert (await kept.post("Plugin.Activate")).status == 200
    assert (await other.receive()).status == 408  # as long as a head may take
    assert (await kept.post("NetworkDriver.Leave", REQUESTS["Leave"])).status == 200
    await kept.close()
    await other.close()


async def test_of_too_many_connections_the_longest_idle_leaves_and_no_busy_one() -> None:
    async with serving(capacity=3) as served:
        release = asyncio.Event()

        async def wait() -> None:
            await release.wait()

        served.driver.behaviour = wait
        busy, first, second = [await served.connect() for _ in range(3)]
        for each in (busy, first, second):
            assert (await each.post("Plugin.Activate")).status == 200
        await busy.send("/NetworkDriver.Leave", json.dumps(REQUESTS["Leave"]).encode())
        await until(lambda: bool(served.driver.calls))
        third = await served.connect()
        assert (await third.post("Plugin.Activate")).status == 200
        with contextlib.suppress(ConnectionError):
            assert await first.is_closed_by_the_server()
        assert (await second.post("Plugin.Activate")).status == 200
        release.set()
        assert (await busy.receive()).status == 200
        for each in (busy, first, second, third):
            await each.close()


async def test_connections_without_an_answer_leave_before_one_that_docker_keeps() -> None:
    async with serving(capacity=2) as served:
        kept = await served.connect()
        assert (await kept.post("Plugin.Activate")).status == 200
        others = [await served.connect() for _ in range(5)]
        with contextlib.suppress(ConnectionError):
            assert await others[3].is_closed_by_the_server()
        assert (await kept.post("Plugin.Activate")).status == 200
        for each in (kept, *others):
            await each.close()


async def test_large_bodies_wait_for_each_other_and_small_ones_for_nobody(served: Served) -> None:
    slow = [await served.connect() for _ in range(server.MAX_LARGE_BODIES)]
    for each in slow:
        await each.send("/NetworkDriver.Leave", b"{", length=server.SMALL_BODY + 1)
    large = await served.connect()
    padded = json.dumps(REQUESTS["Leave"]).encode().ljust(server.SMALL_BODY + 1)
    await large.send("/NetworkDriver.Leave", padded)
    small = await served.connect()
    assert (await small.post("NetworkDriver.Leave", REQUESTS["Leave"])).status == 200
    assert len(served.driver.calls) == 1
    await slow[0].close()
    assert (await large.receive()).status == 200
    for each in (*slow, large, small):
        await each.close()


async def test_when_all_connections_are_busy_one_more_is_answered_503() -> None:
    async with serving(capacity=1) as served:
        release = asyncio.Event()

        async def wait() -> None:
            await release.wait()

        served.driver.behaviour = wait
        busy = await served.connect()
        await busy.send("/NetworkDriver.Leave", json.dumps(REQUESTS["Leave"]).encode())
        await until(lambda: bool(served.driver.calls))
        late = await served.connect()
        reply = await late.receive()
        await late.close()
        assert (reply.status, "too many requests" in reply.json["Err"]) == (503, True)
        release.set()
        assert (await busy.receive()).status == 200
        await busy.close()
