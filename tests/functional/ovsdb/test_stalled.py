"""A server behind something that spoils what it says: whoever waits for it is not stalled for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.ovsdb import connection
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.jsonrpc import Decoder, encode
from ovn_docker.ovsdb.remotes import Remote
from ovn_docker.ovsdb.replica import Watch
from tests.functional.servers import OvsdbServer, connected, running, until

pytestmark = pytest.mark.functional

PROBE, LONGEST = 0.2, 1.0
NB = "OVN_Northbound"
INSERT = {"op": "insert", "table": "Logical_Switch", "row": {"name": "foo"}}
SWITCHES = {"Logical_Switch": Watch(("name",))}

Spoil = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Takes what the server sends, and writes what its client gets."""


class Relay:
    """Between a client and a real server: each connection is handed on as it is, until it is spoiled."""

    def __init__(self, path: Path, server: OvsdbServer) -> None:
        self.remote = Remote("unix", str(path))
        self._server = server
        self.first: Spoil | None = None
        """How each connection is spoiled from its beginning."""
        self._spoils: list[Spoil | None] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def connections(self) -> int:
        return len(self._spoils)

    def spoil(self, how: Spoil) -> None:
        """From now on, on the connections that there are."""
        self._spoils = [how] * len(self._spoils)

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["Relay"]:
        listening = await asyncio.start_unix_server(self._accept, self.remote.address)
        try:
            yield self
        finally:
            listening.close()
            for task in self._tasks:
                task.cancel()
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
            assert not [each for each in ended if each is not None], ended

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = len(self._spoils)
        self._spoils.append(self.first)
        from_server, to_server = await asyncio.open_unix_connection(str(self._server.socket))

        async def spoiled(data: bytes, to: asyncio.StreamWriter) -> None:
            await (self._spoils[number] or _as_it_is)(data, to)

        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(
                _hand_on(reader, to_server, _as_it_is), _hand_on(from_server, writer, spoiled)
            )
        for each in (writer, to_server):
            each.transport.abort()
        await asyncio.sleep(0)  # the transports close


async def _as_it_is(data: bytes, to: asyncio.StreamWriter) -> None:
    to.write(data)


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoil: Spoil) -> None:
    while data := await reader.read(1 << 16):
        await spoil(data, writer)
    writer.close()


async def never_complete(data: bytes, to: asyncio.StreamWriter) -> None:
    """All that the server says stands in a text that does not end."""
    to.write(b'{"id":"' + data.replace(b'"', b""))


async def changes_alone(data: bytes, to: asyncio.StreamWriter) -> None:
    """Changes are told, and no question is answered."""
    to.write(b"".join(encode(each) for each in Decoder().feed(data) if each.get("method") == "update2"))


async def slowly(data: bytes, to: asyncio.StreamWriter) -> None:
    """Byte by byte, in three times the interval of the probe."""
    for byte in data:
        to.write(bytes([byte]))
        await asyncio.sleep(3 * PROBE / len(data))


@contextlib.asynccontextmanager
async def client_behind(path: Path, server: OvsdbServer) -> AsyncIterator[tuple[Client, Relay]]:
    async with (
        Relay(path / "relay", server).serve() as relay,
        connected([relay.remote], NB, SWITCHES) as client,
    ):
        await client.transact([])
        yield client, relay


@contextlib.asynccontextmanager
async def changing(server: OvsdbServer) -> AsyncIterator[None]:
    """Somebody else makes changes meanwhile, several in the interval of the probe."""

    async def change(client: Client) -> None:
        while True:
            await client.transact([INSERT])
            await asyncio.sleep(PROBE / 4)

    async with connected([server.remote], NB) as client:
        changes = asyncio.create_task(change(client))
        yield
        changes.cancel()
        await asyncio.wait([changes])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PROBE_INTERVAL", PROBE)
    monkeypatch.setattr(connection, "LONGEST_MESSAGE", LONGEST)


@pytest.mark.parametrize("spoil", [never_complete, changes_alone])
async def test_a_connection_that_brings_bytes_but_no_reply_is_closed(
    northbound: OvsdbServer, short_path: Path, spoil: Spoil
) -> None:
    async with client_behind(short_path, northbound) as (client, relay), changing(northbound):
        relay.spoil(spoil)
        async with asyncio.timeout(10 * LONGEST):
            await client.transact([INSERT])
        assert relay.connections == 2


async def test_a_connection_without_replies_is_closed_even_without_a_request(
    northbound: OvsdbServer, short_path: Path
) -> None:
    async with client_behind(short_path, northbound) as (client, relay):
        relay.spoil(never_complete)
        await until(lambda: relay.connections == 2, "it connects anew")
        await client.transact([])


async def test_a_server_whose_messages_do_not_end_is_an_outage(
    northbound: OvsdbServer, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovn_docker.ovsdb.client.SILENCE", LONGEST / 2)
    async with client_behind(short_path, northbound) as (client, relay), changing(northbound):
        relay.spoil(never_complete)
        request = asyncio.create_task(client.transact([]))
        await until(lambda: "has not answered for" in client.outage(), "the outage is told")
        await request
        assert client.answers()


async def test_a_long_reply_that_takes_its_time_is_waited_for(
    northbound: OvsdbServer, short_path: Path
) -> None:
    async with client_behind(short_path, northbound) as (client, relay):
        relay.spoil(slowly)
        await client.transact([])
        assert relay.connections == 1


async def test_a_server_that_is_slow_to_begin_is_not_asked_again(
    northbound: OvsdbServer, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would do all that work once more, and that for each of its clients."""
    begun: list[bytes] = []

    async def busy(data: bytes, to: asyncio.StreamWriter) -> None:
        begun.append(data)
        for byte in data if len(begun) == 1 else ():
            to.write(bytes([byte]))
            await asyncio.sleep(4.5 / len(data))
        if len(begun) > 1:
            to.write(data)

    monkeypatch.setattr(connection, "LONGEST_MESSAGE", 20.0)
    async with Relay(short_path / "relay", northbound).serve() as relay:
        relay.first = busy
        async with connected([relay.remote], NB, SWITCHES) as client, asyncio.timeout(30):
            await client.transact([])
        assert relay.connections == 1


def test_each_client_tries_the_servers_of_a_cluster_in_an_order_of_its_own() -> None:
    remotes = tuple(Remote("tcp", "10.0.0.1", port) for port in range(1, 6))
    orders = set()
    for _ in range(20):
        client = Client("OVN Northbound", NB, {})
        client.redirect(remotes)
        assert client.remotes == remotes
        assert sorted(client._order, key=str) == list(remotes)
        orders.add(tuple(client._order))
    assert len(orders) > 1


async def test_a_server_that_did_not_answer_is_tried_last_from_then_on(
    northbound: OvsdbServer, short_path: Path
) -> None:
    async with Relay(short_path / "relay", northbound).serve() as silent:
        silent.first = _nothing
        client = Client("OVN Northbound", NB, {})
        client.redirect((silent.remote, northbound.remote))
        client._order = [silent.remote, northbound.remote]
        async with running(client), asyncio.timeout(10):
            await client.transact([])
            assert client._order == [northbound.remote, silent.remote]
            northbound.kill()
            northbound.start()
            await client.transact([])
        assert silent.connections == 1


async def _nothing(_data: bytes, _to: asyncio.StreamWriter) -> None:
    """Say nothing."""


async def test_a_server_that_is_not_to_be_probed_is_waited_for(
    northbound: OvsdbServer, short_path: Path
) -> None:
    """As long as its connection lasts; the interval of all others would have passed several times."""
    async with Relay(short_path / "relay", northbound).serve() as relay:
        client = Client("OVN Northbound", NB, {})
        client.probe_interval = 0
        client.redirect((relay.remote,))
        async with running(client):
            await client.transact([])
            relay.spoil(_nothing)
            asked = asyncio.create_task(client.transact([]))
            done, _ = await asyncio.wait({asked}, timeout=5 * PROBE)
            assert not done
            assert relay.connections == 1
            asked.cancel()
