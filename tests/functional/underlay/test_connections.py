"""Connections to Neutron: one for calls that follow each other, and what a server's closing of one costs."""

import asyncio
import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from ovn_docker.errors import UnreachableError
from ovn_docker.underlay.neutron import neutron_client
from ovn_docker.underlay.neutron.credentials import from_environment
from ovn_docker.underlay.neutron.neutron_client import Neutron
from tests.functional.underlay.openstack import token_of

pytestmark = pytest.mark.functional


class Server:
    """Keystone and Neutron as bytes.

    Attributes:
        requests: to Neutron, method by connection.
        answers: how many requests to Neutron a connection answers; with the next it is closed without a word.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: dict[int, list[str]] = {}
        self.answers = 1000
        self.hang = 0.0
        self._numbers = itertools.count()
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["Server"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._connection(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        mine: list[str] = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split("\r\n", 1)[0].split(" ")
                length = re.search(r"(?i)content-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                if path.startswith("/network"):
                    mine.append(method)
                    self.requests[number] = mine
                    if len(mine) > self.answers:
                        break
                    await asyncio.sleep(self.hang)
                writer.write(self._answer(path))

    def _answer(self, path: str) -> bytes:
        if path.startswith("/network"):
            return _answer("200 OK", {"networks": []})
        if path.endswith("/auth/tokens"):
            return _answer("201 Created\r\nX-Subject-Token: t", {"token": token_of(self.url)})
        link = {"rel": "self", "href": f"{self.url}/v3"}
        return _answer("200 OK", {"version": {"id": "v3.14", "status": "stable", "links": [link]}})


def _answer(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server().serve() as serving:
        yield serving


@pytest.fixture
async def neutron(server: Server) -> AsyncIterator[Neutron]:
    names = {"OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "p"}
    client = Neutron(from_environment({"OS_AUTH_URL": f"{server.url}/v3", **names}))
    try:
        yield client
    finally:
        await client.close()


async def test_successive_calls_share_a_connection(server: Server, neutron: Neutron) -> None:
    server.hang = 0.1
    await asyncio.gather(*(neutron.get("networks") for _ in range(3)))
    assert len(server.requests) == 3
    server.hang = 0
    for _ in range(20):
        await neutron.get("networks")
    assert sorted(map(len, server.requests.values())) == [1, 1, 21]


async def test_a_safe_request_is_repeated_when_the_server_closes_the_connection(
    server: Server, neutron: Neutron
) -> None:
    server.answers = 1
    for _ in range(4):
        assert await neutron.get("networks") == {"networks": []}
    await neutron.delete("ports/x")
    assert Counter(map(len, server.requests.values()))[2] == 4


async def test_a_request_that_may_have_been_carried_out_is_not_repeated(
    server: Server, neutron: Neutron
) -> None:
    server.answers = 1
    await neutron.get("networks")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await neutron.post("ports", {})
    assert [method for methods in server.requests.values() for method in methods] == ["GET", "POST"]


async def test_a_connection_that_was_idle_for_long_is_not_used(
    server: Server, neutron: Neutron, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would have closed it with the next request."""
    server.answers = 1
    await neutron.get("networks")
    monkeypatch.setattr(neutron_client, "LONGEST_IDLE", 0.0)
    await neutron.post("ports", {})
    assert list(server.requests.values()) == [["GET"], ["POST"]]
