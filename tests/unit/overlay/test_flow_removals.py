"""Requests that wait until no flow leads to an endpoint that is being removed."""

import asyncio
from uuid import uuid4

import pytest

from ovn_docker.host import open_vswitch
from ovn_docker.overlay.vtep import ip_lookup
from ovn_docker.overlay.vtep.ip_lookup import FlowRemovals
from ovn_docker.overlay.vtep.lookup_flows import LocalEndpoint

ENDPOINT, SWITCH = "e" * 64, uuid4()
ROW = open_vswitch.interface_id(ENDPOINT)
PRESENT = {ROW: LocalEndpoint(1, "02:42:0a:00:00:02", (), SWITCH)}


async def waiting(removals: FlowRemovals) -> asyncio.Task[None]:
    task = asyncio.create_task(removals.wait(ENDPOINT))
    await asyncio.sleep(0)
    return task


async def test_an_endpoint_has_no_flow_from_the_request_until_its_row_is_gone() -> None:
    removals = FlowRemovals(asyncio.Event())
    assert removals.remaining(PRESENT) == PRESENT
    task = await waiting(removals)
    assert removals.remaining(PRESENT) == {}
    assert removals.remaining({}) == {}
    assert removals.remaining(PRESENT) == PRESENT  # the row came back: another Join of the endpoint
    task.cancel()


async def test_a_request_waits_for_the_first_change_that_began_after_it() -> None:
    due = asyncio.Event()
    removals = FlowRemovals(due)
    with removals.served():
        task = await waiting(removals)
    assert due.is_set()
    assert removals.urgent.is_set()
    await asyncio.sleep(0)
    assert not task.done()
    with removals.served():
        assert not removals.urgent.is_set()
    await task


async def test_a_request_waits_on_when_the_change_fails() -> None:
    removals = FlowRemovals(asyncio.Event())
    task = await waiting(removals)
    with pytest.raises(OSError, match="no"), removals.served():
        raise OSError("no")
    await asyncio.sleep(0)
    assert not task.done()
    with removals.served():
        pass
    await task


async def test_a_switch_that_does_not_answer_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ip_lookup, "REMOVAL_TIMEOUT", 0.01)
    await FlowRemovals(asyncio.Event()).wait(ENDPOINT)
    assert ENDPOINT in caplog.text
