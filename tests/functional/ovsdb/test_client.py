"""The client against real ovsdb-servers: refusals, what is watched, and every way to lose a server."""

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from ovn_docker.errors import ConstraintError, DatabaseError, RequirementError, SchemaError
from ovn_docker.ovsdb import client as client_module
from ovn_docker.ovsdb import connection
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.jsonrpc import Decoder, encode
from ovn_docker.ovsdb.operations import delete, insert, mapping, mutate, require, row_is, select, to_map
from ovn_docker.ovsdb.remotes import Remote
from ovn_docker.ovsdb.replica import Watch
from tests.functional.conftest import MakeServer
from tests.functional.servers import Cluster, OvsdbServer, Proxy, connected, open_files, run, running, until

pytestmark = pytest.mark.functional

NB = "OVN_Northbound"
SWITCH, ROOT = "Logical_Switch", "NB_Global"
WATCH_SWITCHES = {SWITCH: Watch(("name", "external_ids"))}
MISSING = Remote("unix", "/nonexistent/db.sock")


def switch(name: str, uuid: UUID | None = None, **ids: str) -> dict[str, Any]:
    return insert(SWITCH, uuid or uuid4(), {"name": name, "external_ids": to_map(ids)})


def names(server: OvsdbServer) -> list[str]:
    return sorted(row["name"] for row in server.rows(SWITCH, "name"))


async def test_a_transaction_gives_a_result_for_each_operation(northbound: OvsdbServer) -> None:
    uuid = uuid4()
    async with connected([northbound.remote], NB) as client:
        inserted, found = await client.transact([switch("s", uuid), select(SWITCH, [row_is(uuid)], ["name"])])
        assert inserted == {"uuid": ["uuid", str(uuid)]}
        assert found == {"rows": [{"name": "s"}]}
        assert client.outage() == ""
    assert names(northbound) == ["s"]


@pytest.mark.parametrize(
    ("operations", "error", "text"),
    [
        ([switch("s", UUID(int=7)), switch("t", UUID(int=7))], ConstraintError, "duplicate uuid"),
        (
            [
                insert("Logical_Switch_Port", UUID(int=8), {"name": "p"}),
                insert("Logical_Switch_Port", UUID(int=9), {"name": "p"}),
                insert(
                    SWITCH,
                    UUID(int=10),
                    {"ports": ["set", [["uuid", str(UUID(int=8))], ["uuid", str(UUID(int=9))]]]},
                ),
            ],
            ConstraintError,
            "constraint violation",
        ),
        ([switch("s"), require(SWITCH, [("name", "==", "s")], ["name"], [])], RequirementError, "timed out"),
        ([select("Nowhere", [], ["name"])], DatabaseError, "No table named Nowhere"),
        ([select(SWITCH, [], ["nothing"])], DatabaseError, "nothing"),
        ([select(SWITCH, [("nothing", "==", "x")], ["name"])], SchemaError, "unknown column"),
        ([{"op": "abort"}], DatabaseError, "aborted"),
        ([{"op": "nonsense"}], DatabaseError, "nonsense"),
    ],
)
async def test_a_refusal_is_typed_and_nothing_is_changed(
    northbound: OvsdbServer, operations: list[dict[str, Any]], error: type[DatabaseError], text: str
) -> None:
    async with connected([northbound.remote], NB) as client:
        with pytest.raises(error, match=text) as refused:
            await client.transact(operations)
        assert "\n" not in str(refused.value)
        assert await client.transact([]) == []
    assert names(northbound) == []


async def test_what_is_watched_is_what_ovsdb_client_dumps(northbound: OvsdbServer) -> None:
    northbound.transact(
        *({"op": "insert", "table": SWITCH, "row": {"name": f"s{number}"}} for number in range(20))
    )
    async with connected([northbound.remote], NB, WATCH_SWITCHES) as client:
        await client.transact([switch("new", a="1", b="2")])
        change = ("external_ids", "insert", to_map({"c": "3"}))
        await client.transact([mutate(SWITCH, [("name", "==", "s3")], change)])
        await client.transact([mutate(SWITCH, [("name", "==", "new")], ("external_ids", "delete", "a"))])
        await client.transact([{"op": "update", "table": SWITCH, "where": [], "row": {"name": "same"}}])
        await client.transact([delete(SWITCH, [("external_ids", "==", to_map({"c": "3"}))])])
        # What is at its default is not sent (ovs ovsdb/monitor.c).
        held = {
            (str(uuid), row["name"], tuple(sorted(mapping(row.get("external_ids")).items())))
            for uuid, row in client.replica.rows(SWITCH).items()
        }
    dump = json.loads(
        run(
            "ovsdb-client",
            "-f",
            "json",
            "dump",
            str(northbound.remote),
            NB,
            SWITCH,
            "_uuid",
            "external_ids",
            "name",
        )
    )
    assert dump["headings"] == ["_uuid", "external_ids", "name"]
    dumped = {(row[0][1], row[2], tuple(sorted(mapping(row[1]).items()))) for row in dump["data"]}
    assert held == dumped
    assert len(held) == 20


async def test_our_own_change_is_watched_before_its_transaction_returns(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB, WATCH_SWITCHES) as client:
        for number in range(50):
            await client.transact([switch(f"s{number}")])
            assert len(client.replica.rows(SWITCH)) == number + 1


async def test_only_rows_that_meet_the_condition_are_held(northbound: OvsdbServer) -> None:
    watches = {SWITCH: Watch(("name",), (("name", "==", "ours"),))}
    async with connected([northbound.remote], NB, watches) as client:
        await client.transact([switch("ours"), switch("theirs")])
        assert [row["name"] for row in client.replica.rows(SWITCH).values()] == ["ours"]
        await client.transact([{"op": "update", "table": SWITCH, "where": [], "row": {"name": "theirs"}}])
        assert not client.replica.rows(SWITCH)


async def test_many_transactions_at_once_each_get_their_own_answer(northbound: OvsdbServer) -> None:
    async def add(number: int) -> str:
        uuid = uuid4()
        results = await client.transact(
            [switch(f"s{number}", uuid), select(SWITCH, [row_is(uuid)], ["name"])]
        )
        return str(results[1]["rows"][0]["name"])

    async with connected([northbound.remote], NB) as client:
        assert await asyncio.gather(*map(add, range(200))) == [f"s{number}" for number in range(200)]


async def test_a_message_larger_than_any_read_arrives_whole(northbound: OvsdbServer) -> None:
    text = 'ü"\\{' * 500_000
    async with connected([northbound.remote], NB, WATCH_SWITCHES) as client:
        await client.transact([switch("large", text=text)])
        [row] = client.replica.rows(SWITCH).values()
        assert mapping(row["external_ids"]) == {"text": text}


async def test_after_a_crash_of_the_server_the_client_recovers(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB, WATCH_SWITCHES) as client:
        await client.transact([switch("before"), {"op": "commit", "durable": True}])
        northbound.kill()
        await until(lambda: not client.connected, "the loss is noticed")
        assert str(northbound.remote) in client.outage()
        waiting = asyncio.create_task(client.transact([switch("meanwhile")]))
        northbound.start()
        northbound.transact({"op": "insert", "table": SWITCH, "row": {"name": "by another"}})
        await asyncio.wait_for(waiting, 5)
        await until(lambda: len(client.replica.rows(SWITCH)) == 3, "the replica is whole again")
    assert names(northbound) == ["before", "by another", "meanwhile"]


async def test_a_reply_that_is_lost_is_asked_for_again(northbound: OvsdbServer, short_path: Path) -> None:
    uuid = uuid4()
    async with (
        Proxy(short_path / "p", northbound.socket).serve() as proxy,
        connected([proxy.remote], NB) as client,
    ):
        await client.transact([])
        proxy.lose_replies = 1
        with pytest.raises(ConstraintError, match="duplicate uuid"):
            await client.transact([switch("once", uuid)])
        assert len(proxy.transactions) == 3
    assert names(northbound) == ["once"]


async def test_a_cancelled_call_does_not_disturb_the_others(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB) as client:
        await client.transact([])
        northbound.signal(signal.SIGSTOP)
        doomed, patient = (
            asyncio.create_task(client.transact([switch(name)])) for name in ("doomed", "patient")
        )
        await asyncio.sleep(0)
        doomed.cancel()
        northbound.signal(signal.SIGCONT)
        await asyncio.wait_for(patient, 5)
        assert doomed.cancelled()
        await client.transact([])


async def test_of_several_remotes_one_that_serves_is_found(northbound: OvsdbServer) -> None:
    remotes = [MISSING, Remote("tcp", "127.0.0.1", 1), northbound.remote]
    async with connected(remotes, NB) as client:
        async with asyncio.timeout(5):
            await client.transact([])


async def test_a_server_without_the_database_is_passed_over(
    northbound: OvsdbServer, open_vswitch: OvsdbServer
) -> None:
    async with connected([open_vswitch.remote], NB) as client:
        await until(lambda: "has no database OVN_Northbound" in client.outage(), "the reason is known")
        client.redirect((open_vswitch.remote, northbound.remote))
        async with asyncio.timeout(5):
            await client.transact([])


async def test_a_change_of_address_takes_effect_at_once(make_server: MakeServer) -> None:
    one, other = make_server(NB), make_server(NB)
    async with connected([one.remote], NB, WATCH_SWITCHES) as client:
        await client.transact([switch("first")])
        client.redirect((other.remote,))
        started = time.monotonic()
        await client.transact([switch("second")])
        assert time.monotonic() - started < 1
        assert [row["name"] for row in client.replica.rows(SWITCH).values()] == ["second"]
        client.redirect((), nowhere="nobody named it")
        await until(lambda: not client.connected, "the connection is closed")
        assert client.outage().endswith("cannot be reached: nobody named it")
        client.redirect((one.remote,))
        async with asyncio.timeout(1):
            await client.transact([])
    assert (names(one), names(other)) == (["first"], ["second"])


async def test_a_table_that_the_database_lacks_is_named_and_tried_again(northbound: OvsdbServer) -> None:
    async with connected([northbound.remote], NB, {"Of_Tomorrow": Watch(("name",))}) as client:
        await until(lambda: "Of_Tomorrow" in client.outage(), "the reason is known")
        assert not client.connected


async def test_a_server_that_refuses_is_named_with_the_systems_reason() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        remote = Remote("tcp", "127.0.0.1", nobody.getsockname()[1])
        client = Client("OVN Northbound", "OVN_Northbound", {})
        client.redirect((remote,))
        async with running(client):
            await until(lambda: "not tried yet" not in client.outage(), "the reason is known")
            assert client.outage() == f"OVN Northbound cannot be reached at {remote}: Connection refused"


async def test_what_is_tried_in_vain_holds_no_sockets(short_path: Path) -> None:
    async with connected([MISSING, Remote("unix", str(short_path / "nobody"))], NB) as client:
        await until(lambda: "No such file" in client.outage(), "the reason is known")
        before = open_files()
        await until(lambda: open_files() <= before, "no socket is left open")


# --- Servers that are not OVSDB servers ---------------------------------------------------------------------


class Peer:
    """A server of one unix socket that says whatever a test wants."""

    def __init__(self, path: Path, answer: Callable[[bytes], bytes]) -> None:
        self.remote = Remote("unix", str(path))
        self.connections = 0
        self._answer = answer

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with await asyncio.start_unix_server(self._accept, self.remote.address):
            yield

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(self._answer(data))
        writer.close()


NOT_OVSDB = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n{}",
    b"{}}",
    b"\xff\xfe{}",
    b'{"id":[],"result":[],"error":null}',
    b'{"id":{"a":1},"result":[],"error":null}',
    b'{"id":1,"result":null,"error":null}',
    b'{"id":1,"result":[7],"error":null}',
    b'{"id":1,"result":{"Nowhere":{"x":{}}},"error":null}',
    b'{"id":1,"result":{"Database":{"no uuid":{"initial":{}}}},"error":null}',
    b'{"id":1,"result":{"Database":7},"error":null}',
    b'{"id":1,"result":null,"error":"unknown method"}',
    b'{"id":1,"result":null,"error":{"error":7,"details":[]}}',
    b'{"id":null,"method":"update2","params":[]}',
    b'{"id":null,"method":"update2","params":["_Server",{"Nowhere":{}}]}',
    b'{"id":null,"method":7,"params":{}}',
]


@pytest.mark.parametrize("answers", NOT_OVSDB)
async def test_a_peer_that_does_not_speak_ovsdb_is_named_and_skipped(
    northbound: OvsdbServer, short_path: Path, monkeypatch: pytest.MonkeyPatch, answers: bytes
) -> None:
    monkeypatch.setattr(client_module, "OPEN_TIMEOUT", 0.5)
    peer = Peer(short_path / "peer", lambda _: answers)
    async with peer.serve(), connected([peer.remote], NB) as client:
        await until(lambda: peer.connections, "the peer is tried")
        await until(lambda: "not tried yet" not in client.outage(), "the reason is known")
        assert "\n" not in client.outage()
        client.redirect((northbound.remote,))
        async with asyncio.timeout(5):
            await client.transact([])


async def test_a_server_that_accepts_and_never_answers_is_passed_over(
    northbound: OvsdbServer, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "OPEN_TIMEOUT", 0.5)
    peer = Peer(short_path / "peer", lambda _: b"")
    async with peer.serve(), connected([peer.remote, northbound.remote], NB) as client:
        async with asyncio.timeout(6):
            await client.transact([])
        assert peer.connections <= 1  # the order is random


async def test_a_server_that_falls_silent_is_left_after_its_probe(
    northbound: OvsdbServer, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PROBE_INTERVAL", 0.2)
    spare = make_server(NB)
    async with connected([northbound.remote, spare.remote], NB) as client:
        await client.transact([switch("before")])
        northbound.signal(signal.SIGSTOP)
        async with asyncio.timeout(5):
            await client.transact([switch("after")])
        northbound.signal(signal.SIGCONT)
    assert "after" in names(spare)


async def test_a_quiet_connection_is_probed_and_kept(
    northbound: OvsdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PROBE_INTERVAL", 0.4)
    async with connected([northbound.remote], NB) as client:
        await client.transact([])
        first = client._connection
        for _ in range(5):
            await asyncio.sleep(0.4)
            assert client._connection is first


async def test_the_servers_own_probe_is_answered(make_server: MakeServer) -> None:
    """ovsdb-server ends a connection that leaves its echo unanswered for another interval."""
    server = make_server("Open_vSwitch", "--remote=db:Open_vSwitch,Open_vSwitch,manager_options")
    path = server.directory / "m.sock"
    manager = {"target": f"punix:{path}", "inactivity_probe": 1000}
    server.transact(
        {"op": "insert", "table": "Manager", "uuid-name": "m", "row": manager},
        {"op": "insert", "table": "Open_vSwitch", "row": {"manager_options": ["named-uuid", "m"]}},
    )
    await until(path.exists, "the manager's socket is there")
    async with connected([Remote("unix", str(path))], "Open_vSwitch") as client:
        await client.transact([])
        first = client._connection
        await asyncio.sleep(2.5)  # twice the server's interval and more
        assert client._connection is first
        await client.transact([])


SERVED = {
    "Database": {str(UUID(int=1)): {"initial": {"model": "clustered", "connected": True, "leader": True}}}
}


def peer_answering(path: Path, answer: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Peer:
    """A peer that gives these messages for each request."""
    decoder = Decoder()
    return Peer(
        path,
        lambda data: b"".join(encode(each) for message in decoder.feed(data) for each in answer(message)),
    )


def reply(message: dict[str, Any], result: object) -> dict[str, Any]:
    return {"id": message["id"], "result": result, "error": None}


async def test_a_change_that_comes_together_with_the_first_rows_is_not_lost(short_path: Path) -> None:
    """The reply of monitor_cond and an update behind it may arrive in one read."""
    row = UUID(int=5)

    def answer(message: dict[str, Any]) -> list[dict[str, Any]]:
        if message["params"][0] == "_Server":
            return [reply(message, SERVED)]
        update = [NB, {SWITCH: {str(row): {"modify": {"name": "new"}}}}]
        return [
            reply(message, {SWITCH: {str(row): {"initial": {"name": "old"}}}}),
            {"id": None, "method": "update2", "params": update},
        ]

    peer = peer_answering(short_path / "peer", answer)
    async with peer.serve(), connected([peer.remote], NB, WATCH_SWITCHES) as client:
        await until(lambda: client.connected, "it is connected")
        assert client.replica.rows(SWITCH)[row]["name"] == "new"


async def test_a_transaction_that_costs_the_leadership_is_repeated(short_path: Path) -> None:
    answers = [[{"error": "cluster error", "details": "lost leadership"}], [{"count": 1}]]

    def answer(message: dict[str, Any]) -> list[dict[str, Any]]:
        return [reply(message, answers.pop(0) if message["method"] == "transact" else SERVED)]

    peer = peer_answering(short_path / "peer", answer)
    async with peer.serve(), connected([peer.remote], NB) as client, asyncio.timeout(5):
        assert await client.transact([delete(SWITCH, [])]) == [{"count": 1}]
        assert peer.connections == 2


# --- A cluster ----------------------------------------------------------------------------------------------


async def test_the_leader_of_a_cluster_is_followed(cluster: Cluster) -> None:
    uuids = [uuid4() for _ in range(40)]

    async def write() -> None:
        for number, uuid in enumerate(uuids):
            try:
                await client.transact([switch(f"s{number}", uuid)])
            except ConstraintError:  # its reply was lost with the leader
                continue

    async with connected(cluster.remotes, NB, WATCH_SWITCHES) as client:
        await client.transact([])
        writing = asyncio.create_task(write())
        await until(lambda: len(client.replica.rows(SWITCH)) > 5, "writing has begun")
        leader = await asyncio.to_thread(cluster.leader)
        assert leader is not None
        await asyncio.to_thread(leader.kill)
        await asyncio.wait_for(writing, 10)
        assert sorted(map(str, client.replica.rows(SWITCH))) == sorted(map(str, uuids))


async def test_a_leader_that_hands_over_is_left(cluster: Cluster) -> None:
    leader = cluster.leader()
    assert leader is not None
    async with connected(cluster.remotes, NB) as client:
        await client.transact([switch("before")])
        assert "Leader: self" in await asyncio.to_thread(leader.appctl, "cluster/status", NB)
        await asyncio.to_thread(
            leader.appctl, "cluster/failure-test", "transfer-leadership-after-sending-append-request"
        )
        async with asyncio.timeout(10):
            for number in range(5):
                with contextlib.suppress(ConstraintError):  # done, but its reply was lost with the leadership
                    await client.transact([switch(f"after{number}")])
            assert (await client.transact([select(SWITCH, [], ["name"])]))[0]["rows"] != []
    assert cluster.leader() is not None
    assert names(cluster.members[0]) == ["after0", "after1", "after2", "after3", "after4", "before"]


async def test_a_follower_alone_is_refused_with_advice(cluster: Cluster) -> None:
    follower = next(member for member in cluster.members if member is not cluster.leader())
    async with connected([follower.remote], NB) as client:
        await until(lambda: "name all members" in client.outage(), "the reason is known")


async def test_without_a_majority_the_outage_says_so(cluster: Cluster) -> None:
    async with connected(cluster.remotes, NB) as client:
        await client.transact([])
        for member in cluster.members[:2]:
            await asyncio.to_thread(member.kill)
        await until(client.outage, "the outage is noticed", 8)
        waiting = asyncio.create_task(client.transact([switch("patient")]))
        await asyncio.to_thread(cluster.members[0].start)
        await asyncio.wait_for(waiting, 10)


@pytest.mark.parametrize("name", ["nul\0byte", "half \ud800 a pair"])
async def test_a_text_the_server_would_hang_up_on_is_refused_beforehand(
    northbound: OvsdbServer, name: str
) -> None:
    async with connected([northbound.remote], NB) as client:
        with pytest.raises(DatabaseError, match="cannot be stored in OVSDB"):
            await client.transact([switch(name)])
        async with asyncio.timeout(5):
            await client.transact([switch("honest")])
    assert names(northbound) == ["honest"]
