"""A server in OVN's place, or a broken one, answers with JSON of any shape: the driver goes on."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.servers import OvsdbServer
from tests.functional.test_daemon import NET, NETWORK, Daemons, configure

pytestmark = [pytest.mark.functional, pytest.mark.timeout(120)]

ODD: list[Any] = [None, True, -1, "", "\u202e", [], {}, [[]], {"a": 1}, ["uuid", "x"], ["map", 1], ["set", 5]]
LEAST = 10
"""Lies without which nothing is shown."""

MOST_ROUNDS = 5
"""Of requests, to hear so many."""

REQUESTS = (
    ("CreateNetwork", NETWORK),
    ("CreateEndpoint", NET | {"EndpointID": "e", "Interface": {"Address": "10.0.0.2/24"}}),
    ("Join", NET | {"EndpointID": "e", "SandboxKey": "/x"}),
    ("Leave", NET | {"EndpointID": "e"}),
    ("DeleteEndpoint", NET | {"EndpointID": "e"}),
    ("DeleteNetwork", NET),
)


def twisted(value: Any, dice: random.Random, depth: int = 0) -> Any:  # noqa: ANN401 - JSON
    """The value with one place of it changed, left out or added."""
    if depth > 6 or not value or not isinstance(value, dict | list) or dice.random() < 0.15:
        return dice.choice(ODD)
    copy = value.copy()
    place = dice.choice(list(value)) if isinstance(value, dict) else dice.randrange(len(value))
    if dice.random() < 0.15:
        del copy[place]
    else:
        copy[place] = twisted(value[place], dice, depth + 1)
    return copy


class Liar:
    """Stands before a server and changes a part of what it says."""

    def __init__(self, server: OvsdbServer, seed: int) -> None:
        self._server = server
        self._dice = random.Random(seed)  # noqa: S311 - the same each time
        self._serving: set[asyncio.Task[Any]] = set()
        self.lies = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(str(self._server.socket))
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(_copy(reader, to_server), self._lie(from_server, writer))
        for stream in (writer, to_server):
            stream.transport.abort()

    async def end(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.wait(self._serving)
        await asyncio.sleep(0)  # the transports close

    async def _lie(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = ""
        while data := await reader.read(1 << 20):
            text += data.decode()
            while text:
                try:
                    message, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break
                text = text[end:].lstrip()
                if self._dice.random() < 0.2:
                    self.lies += 1
                    message = twisted(message, self._dice)
                writer.write(json.dumps(message).encode())
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def lying(server: OvsdbServer, path: Path, seed: int) -> AsyncIterator[Liar]:
    liar = Liar(server, seed)
    listening = await asyncio.start_unix_server(liar.serve, path)
    try:
        yield liar
    finally:
        listening.close()
        await liar.end()


@pytest.fixture
def started(short_path: Path) -> Iterator[Daemons]:
    daemons = Daemons(short_path)
    yield daemons
    daemons.end()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_whatever_servers_say_the_driver_goes_on_without_a_traceback(
    started: Daemons, northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path, seed: int
) -> None:
    configure(open_vswitch, **{"ovn-nb": f"unix:{short_path}/nb"})
    log = short_path / "log"
    async with (
        lying(northbound, short_path / "nb", seed) as nb,
        lying(open_vswitch, short_path / "ovs", -seed) as ovs,
    ):
        flags = ("--unix-socket", str(short_path / "driver.sock"), "--log-file", str(log), "-vfile:info")
        driver = started(*flags, "--dead-host-after=60", ovsdb=f"unix:{short_path}/ovs").answers()
        rounds = 0
        while rounds < 2 or (nb.lies + ovs.lies <= LEAST and rounds < MOST_ROUNDS):
            rounds += 1
            calls = [driver.call(f"NetworkDriver.{verb}", body) for _ in range(8) for verb, body in REQUESTS]
            statuses = {status for status, _ in await asyncio.gather(*calls)}
            assert statuses <= {200, 400, 500}
            await driver.database()
        assert nb.lies + ovs.lies > LEAST
        assert driver.process.poll() is None
    assert await asyncio.to_thread(driver.stop) == 0
    assert "Traceback" not in log.read_text()
