"""How long a request waits for a server: through a failover, but not again and again in a long outage."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.errors import UnreachableError
from ovn_docker.ovsdb import client as client_module
from ovn_docker.ovsdb.client import LATE_TIMEOUT, Client
from ovn_docker.ovsdb.remotes import Remote
from tests.functional.servers import OvsdbServer, running, until

pytestmark = pytest.mark.functional

TIMEOUT = 0.5
SWITCH = {"op": "insert", "table": "Logical_Switch", "row": {"name": "foo"}}
QUESTION = {"op": "select", "table": "Logical_Switch", "where": []}
NO_SWITCH = {"op": "delete", "table": "Logical_Switch", "where": []}


@contextlib.asynccontextmanager
async def client_of(remote: Remote) -> AsyncIterator[Client]:
    client = Client("OVN Northbound", "OVN_Northbound", {}, TIMEOUT)
    client.redirect((remote,))
    async with running(client):
        yield client


async def seconds_to_refuse(client: Client, *operations: dict[str, Any]) -> float:
    """How long a request waits until it is refused for want of a server."""
    started = asyncio.get_running_loop().time()
    with pytest.raises(UnreachableError, match="OVN Northbound cannot be reached at unix:"):
        await client.request(operations, operations)
    return asyncio.get_running_loop().time() - started


async def test_in_an_outage_only_the_first_of_several_requests_waits(short_path: Path) -> None:
    async with client_of(Remote("unix", str(short_path / "nobody"))) as client:
        waited = [await seconds_to_refuse(client, SWITCH) for _ in range(4)]
    assert waited[0] > TIMEOUT / 2
    assert max(waited[1:]) < 2 * LATE_TIMEOUT


async def test_the_first_request_waits_however_long_the_outage_has_lasted(northbound: OvsdbServer) -> None:
    """dockerd may start long after the driver."""
    northbound.kill()
    async with client_of(northbound.remote) as client:
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > began + 2 * TIMEOUT, "it has lasted")
        assert await seconds_to_refuse(client, SWITCH) > 0.9 * TIMEOUT
        assert await seconds_to_refuse(client, SWITCH) < 0.9 * TIMEOUT


async def test_a_silent_server_delays_no_longer_than_an_absent_one(
    short_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short_path / "silent"))
        silent.listen()
        async with client_of(Remote("unix", str(short_path / "silent"))) as client:
            waited = [await seconds_to_refuse(client, SWITCH) for _ in range(3)]
    assert max(waited[1:]) < 2 * LATE_TIMEOUT


async def test_a_server_that_is_back_serves_the_next_request(northbound: OvsdbServer) -> None:
    northbound.kill()
    async with client_of(northbound.remote) as client:
        await seconds_to_refuse(client, QUESTION)
        northbound.start()
        await client.request([SWITCH])
    assert [row["name"] for row in northbound.rows("Logical_Switch", "name")] == ["foo"]


async def test_a_request_refused_in_an_outage_is_undone_after_it(northbound: OvsdbServer) -> None:
    northbound.transact(SWITCH)
    northbound.kill()
    async with client_of(northbound.remote) as client:
        for _ in range(2):
            await seconds_to_refuse(client, NO_SWITCH)
        northbound.start()
        await until(lambda: northbound.rows("Logical_Switch", "name") == [], "the delete was carried out")


async def test_after_a_new_address_the_first_request_waits_again(
    short_path: Path, northbound: OvsdbServer
) -> None:
    northbound.kill()
    async with client_of(Remote("unix", str(short_path / "nobody"))) as client:
        await seconds_to_refuse(client, SWITCH)
        client.redirect((northbound.remote,))
        assert await seconds_to_refuse(client, SWITCH) > TIMEOUT / 2


async def test_a_transaction_waits_without_limit(northbound: OvsdbServer) -> None:
    northbound.kill()
    async with client_of(northbound.remote) as client:
        await seconds_to_refuse(client, QUESTION)
        patient = asyncio.create_task(client.transact([SWITCH]))
        await seconds_to_refuse(client, QUESTION)
        assert not patient.done()
        northbound.start()
        await patient


def removal(name: str) -> dict[str, Any]:
    return {"op": "delete", "table": "Logical_Switch", "where": [["name", "==", name]]}


async def test_undo_transactions_are_kept_up_to_a_limit_and_the_log_says_so(
    northbound: OvsdbServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client_module, "MAX_QUEUED", 30)
    names = [f"s{number:02}" for number in range(40)]
    northbound.transact(*({**SWITCH, "row": {"name": name}} for name in names))
    northbound.kill()
    async with client_of(northbound.remote) as client:
        for _ in range(2):
            for name in names:
                client.take_back([removal(name)])
                await asyncio.sleep(0)
        assert len(client._undoing) == 30
        [line] = [message for message in caplog.messages if "wait to be undone" in message]
        assert "left to the health check" in line
        northbound.start()
        await until(lambda: not len(client._undoing), "all are carried out")
        assert sorted(row["name"] for row in northbound.rows("Logical_Switch", "name")) == names[30:]
        client.take_back([removal(names[30])])
        await until(lambda: not len(client._undoing), "there is room again")


async def test_equal_undo_transactions_are_kept_once(short_path: Path) -> None:
    async with client_of(Remote("unix", str(short_path / "nobody"))) as client:
        for _ in range(100):
            for name in ("a", "b"):
                client.take_back([removal(name)])
                await asyncio.sleep(0)
        assert len(client._undoing) <= 4  # the first of each is under way
