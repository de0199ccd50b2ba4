"""What a server carries out after its caller was cancelled is undone, and nothing else is."""

import asyncio
import ipaddress
import signal
from collections.abc import Sequence

import pytest

from ovn_docker.errors import ConflictError, RequirementError, UnreachableError, UnstorableError
from ovn_docker.ovn import switches as schema
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb import client as client_module
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation
from tests.functional.servers import OvsdbServer, connected, until

pytestmark = pytest.mark.functional

NB = "OVN_Northbound"
EARLY, LATE = Mark("h1", "2026-01-01T00:00:00Z"), Mark("h1", "2026-01-01T00:00:01Z")
POOL = ipaddress.ip_network("10.0.0.0/24")
NET, PORT = Switch("net", (POOL,)), SwitchPort("net", "port", "02:00:00:00:00:01 10.0.0.2")
SWITCH_ROW = schema.switch_id("net")


async def abandon(
    client: Client, server: OvsdbServer, operations: Sequence[Operation], undo: Sequence[Operation]
) -> None:
    """Send a transaction to a server that hangs, cancel it, and let the server go on."""
    await client.transact([])
    server.signal(signal.SIGSTOP)
    doomed = asyncio.create_task(client.transact(operations, undo))
    await asyncio.sleep(0)  # it is sent
    doomed.cancel()
    await asyncio.wait({doomed})
    assert doomed.cancelled()
    server.signal(signal.SIGCONT)
    await client.transact([])  # comes after both


def names(server: OvsdbServer, table: str) -> list[str]:
    return sorted(row["name"] for row in server.rows(table, "name"))


async def test_an_abandoned_switch_is_removed(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await abandon(client, northbound, schema.ls_add(NET, EARLY), schema.ls_add_undo("net", "net", EARLY))
    assert names(northbound, schema.SWITCH) == []


async def test_without_an_undo_transaction_it_stays(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await abandon(client, northbound, schema.ls_add(NET, EARLY), [])
    assert names(northbound, schema.SWITCH) == ["net"]


async def test_an_abandoned_port_is_removed(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact(schema.ls_add(NET, EARLY))
        undo = schema.lsp_add_undo(PORT, SWITCH_ROW, EARLY)
        await abandon(client, northbound, schema.lsp_add(PORT, SWITCH_ROW, [POOL], EARLY), undo)
    assert names(northbound, schema.PORT) == []
    assert names(northbound, schema.SWITCH) == ["net"]


async def test_an_abandoned_repeat_does_not_undo_the_earlier_call(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact([*schema.ls_add(NET, EARLY), *schema.lsp_add(PORT, SWITCH_ROW, [POOL], EARLY)])
        undo = schema.lsp_add_undo(PORT, SWITCH_ROW, LATE)
        await abandon(client, northbound, schema.lsp_add(PORT, SWITCH_ROW, [POOL], LATE), undo)
        await abandon(client, northbound, schema.ls_add(NET, LATE), schema.ls_add_undo("net", "net", LATE))
    assert names(northbound, schema.PORT) == ["port"]
    assert names(northbound, schema.SWITCH) == ["net"]


async def test_a_switch_that_has_a_port_meanwhile_is_not_removed(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact([*schema.ls_add(NET, EARLY), *schema.lsp_add(PORT, SWITCH_ROW, [POOL], EARLY)])
        await client.transact(schema.ls_add_undo("net", "net", EARLY))
    assert names(northbound, schema.SWITCH) == ["net"]


async def test_an_undo_of_a_missing_port_changes_nothing(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact(schema.ls_add(NET, EARLY))
        with pytest.raises(RequirementError):
            await client.transact(schema.lsp_add_undo(PORT, SWITCH_ROW, EARLY))


async def test_a_server_that_owes_an_answer_is_named(
    northbound: OvsdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENCE", 0.1)
    async with connected([northbound.remote], NB) as client:
        await client.transact([])
        assert client.outage() == ""
        northbound.signal(signal.SIGSTOP)
        waiting = asyncio.create_task(client.transact([]))
        await until(lambda: "has not answered" in client.outage(), "the silence is reported")
        assert str(northbound.remote) in client.outage()
        northbound.signal(signal.SIGCONT)
        await asyncio.wait_for(waiting, 5)
        assert client.outage() == ""


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_a_text_that_cannot_be_sent_leaves_no_answer_to_wait_for(
    northbound: OvsdbServer, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact([])
        monkeypatch.setattr(client_module, "SILENCE", 1e-9)
        for _ in range(3):
            with pytest.raises(UnstorableError):
                await client.transact([schema.ls_find(text)])
        assert client.outage() == ""
        assert client._connection is not None
        assert client._connection._replies == {}


@pytest.mark.parametrize("admitted", [True, False])
async def test_a_request_of_an_outage_is_undone_if_it_is_admitted(
    northbound: OvsdbServer,
    admitted: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    """A delete names itself; another machine's rows of the same name are not its own to delete."""
    admission = asyncio.Event()

    async def admit() -> None:
        admission.set()
        if not admitted:
            raise ConflictError("the name is another machine's")

    client = Client("OVN Northbound", NB, {}, outage_timeout=0.1)
    async with connected([northbound.remote], NB) as other:
        await other.transact(schema.ls_add(NET, EARLY))
        client.admit = admit
        delete = schema.ls_add_undo("net", "net", EARLY)
        with pytest.raises(UnreachableError):
            await client.request(delete, delete)
        assert not admission.is_set()
        client.redirect((northbound.remote,))
        running = asyncio.create_task(client.run())
        await asyncio.wait_for(admission.wait(), 10)
        await until(lambda: not len(client._undoing), "nothing is left to be undone")
        running.cancel()
        await asyncio.wait({running})
    assert names(northbound, schema.SWITCH) == ([] if admitted else ["net"])
