"""The replica of watched rows, fed as ovsdb-server feeds it."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from ovn_docker.ovsdb.replica import Replica, Watch

ONE, TWO = UUID(int=1), UUID(int=2)


@pytest.fixture
def replica() -> Replica:
    return Replica({"Interface": Watch(("name", "ofport", "external_ids"))})


def change(kind: str, uuid: UUID = ONE, **columns: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON values)
    return {"Interface": {str(uuid): {kind: columns}}}


def test_the_request_names_columns_and_conditions() -> None:
    where = (("name", "==", "x"),)
    replica = Replica({"A": Watch(("name",), where), "B": Watch(("b", "c"))})
    assert replica.request() == {
        "A": [{"columns": ["name"], "where": [where[0]]}],
        "B": [{"columns": ["b", "c"]}],
    }


def test_a_row_is_inserted_modified_and_deleted(replica: Replica) -> None:
    replica.reset(change("initial", name="a", ofport=["set", []], external_ids=["map", [["k", "1"]]]))
    replica.update(change("modify", ofport=7, external_ids=["map", [["k", "1"], ["l", "2"]]]))
    assert replica.row("Interface", ONE) == {"name": "a", "ofport": 7, "external_ids": ["map", [["l", "2"]]]}
    replica.update(change("insert", TWO, name="b"))
    assert set(replica.rows("Interface")) == {ONE, TWO}
    replica.update(change("delete") | {})
    assert replica.row("Interface", ONE) is None
    assert set(replica.rows("Interface")) == {TWO}


def test_a_delete_may_arrive_as_null(replica: Replica) -> None:
    replica.reset(change("initial", name="a"))
    replica.update({"Interface": {str(ONE): {"delete": None}}})
    assert not replica.rows("Interface")


def test_a_new_connection_replaces_everything(replica: Replica) -> None:
    replica.reset(change("initial", ONE, name="a"))
    replica.reset(change("initial", TWO, name="b"))
    assert dict(replica.rows("Interface")) == {TWO: {"name": "b"}}
    replica.reset({})
    assert not replica.rows("Interface")


async def test_until_gives_what_is_there_already_without_waiting(replica: Replica) -> None:
    replica.reset(change("initial", name="a"))
    assert await replica.until(lambda: replica.row("Interface", ONE)) == {"name": "a"}


async def test_until_waits_for_the_change_that_it_looks_for(replica: Replica) -> None:
    def named_b() -> bool | None:
        return any(row["name"] == "b" for row in replica.rows("Interface").values()) or None

    waiting = [asyncio.create_task(replica.until(named_b)) for _ in range(2)]
    await asyncio.sleep(0)
    replica.update(change("insert", ONE, name="a"))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    replica.update(change("insert", TWO, name="b"))
    assert await asyncio.wait_for(asyncio.gather(*waiting), 1) == [True, True]


async def test_until_that_was_cancelled_leaves_nothing_behind(replica: Replica) -> None:
    waiting = asyncio.create_task(replica.until(lambda: replica.row("Interface", ONE)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not replica._waiting
