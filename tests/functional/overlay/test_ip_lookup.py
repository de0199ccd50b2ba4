"""VTEPs in Northbound, and IP lookups on a host whose switch cannot be spoken to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from ovn_docker.daemon.components import assemble_overlay, running
from ovn_docker.errors import ConflictError, NotFoundError, RequestError
from ovn_docker.host import open_vswitch
from ovn_docker.overlay.vtep import lookup_flows, openflow
from ovn_docker.overlay.vtep.ip_lookup import IpLookup, _SwitchState
from ovn_docker.overlay.vtep.lookup_flows import LocalEndpoint
from ovn_docker.overlay.vtep.ofctl import IntegrationBridge
from ovn_docker.overlay.vtep.openflow import Flow
from ovn_docker.overlay.vtep.pipeline import Hooks, Location
from ovn_docker.overlay.vtep.vtep_config import Vteps
from ovn_docker.overlay.vtep.vtep_ports import VtepPorts
from ovn_docker.ovn import vteps
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovn.vteps import Entry
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import row_is, to_map
from tests.flags import driver_settings
from tests.functional.servers import OvsdbServer

pytestmark = pytest.mark.functional

LOOKUP = vteps.LOOKUP
REMOTE = ip_address("192.0.2.1")
RED, BLUE = uuid4(), uuid4()


@dataclass
class World:
    """One host and its central."""

    lookup: IpLookup
    vteps: Vteps
    northbound: OvsdbServer

    def configured(self) -> list[tuple[str, int]]:
        """What the host knows of VTEPs."""
        shown: list[dict[str, Any]] = self.lookup.about()["vteps"]
        return [(vtep["remote_ip"], vtep["vni"]) for vtep in shown]

    async def until(self, known: list[tuple[str, int]]) -> None:
        """Wait until it knows these."""
        async with asyncio.timeout(5):
            while self.configured() != known:  # noqa: ASYNC110  (nothing tells of it)
                await asyncio.sleep(0.02)


@pytest.fixture
async def world(
    northbound: OvsdbServer,
    open_vswitch: OvsdbServer,
    short_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    monkeypatch.setenv("OVS_RUNDIR", str(short_path))  # there is no ovs-vswitchd
    ids = {"system-id": "h1", "ovn-nb": str(northbound.remote)}
    open_vswitch.transact(
        {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": "br-int"}},
        {
            "op": "insert",
            "table": "Open_vSwitch",
            "row": {"external_ids": to_map(ids), "bridges": ["named-uuid", "b"]},
        },
    )
    for row, name in ((RED, "red"), (BLUE, "blue")):
        insert = {"op": "insert", "table": "Logical_Switch", "uuid": str(row), "row": {"name": name}}
        northbound.transact(insert)
    parts = assemble_overlay(
        driver_settings(open_vswitch.remote, short_path / "state.json", "--ip-lookup"), dict
    )
    sb = Client("OVN Southbound", "OVN_Southbound", {})  # which there is none of
    async with running(parts):
        database = parts.shared.database
        yield World(parts.ip_lookup, Vteps(database, VtepPorts(database, sb)), northbound)


async def test_a_vtep_is_known_to_a_host_as_long_as_it_is_configured(world: World) -> None:
    await world.vteps.add(REMOTE, 5001, RED, LOOKUP)
    await world.until([("192.0.2.1", 5001)])
    await world.vteps.add(REMOTE, 5002, RED, LOOKUP)
    await world.until([("192.0.2.1", 5002)])
    assert [(each.switch_name, each.vtep.vni) for each in await world.vteps.all()] == [("red", 5002)]
    assert await world.vteps.remove(REMOTE, RED)
    await world.until([])
    assert not await world.vteps.remove(REMOTE, RED)


async def test_the_other_vteps_of_a_network_stay(world: World) -> None:
    other = ip_address("2001:db8::1")
    await world.vteps.add(REMOTE, 1, RED, LOOKUP)
    await world.vteps.add(other, 1, RED, LOOKUP)
    await world.vteps.remove(REMOTE, RED)
    await world.until([("2001:db8::1", 1)])


async def test_a_vni_means_one_network(world: World) -> None:
    await world.vteps.add(REMOTE, 5001, RED, LOOKUP)
    with pytest.raises(ConflictError, match="VNI 5001 belongs to logical switch red"):
        await world.vteps.add(ip_address("192.0.2.2"), 5001, BLUE, LOOKUP)


@pytest.mark.parametrize(("remote", "vni"), [("192.0.2.1", 0), ("192.0.2.1", 1 << 24), ("239.1.1.1", 7)])
async def test_what_is_no_vtep_is_refused(world: World, remote: str, vni: int) -> None:
    with pytest.raises(RequestError):
        await world.vteps.add(ip_address(remote), vni, RED)


async def test_a_network_is_found_by_the_name_of_its_only_switch(world: World) -> None:
    assert await world.vteps.switch_named("red") == RED
    assert await world.vteps.switch_named("green") is None
    world.northbound.transact({"op": "insert", "table": "Logical_Switch", "row": {"name": "red"}})
    with pytest.raises(ConflictError, match="2 logical switches named red"):
        await world.vteps.switch_named("red")
    with pytest.raises(NotFoundError):
        await world.vteps.add(REMOTE, 7, UUID(int=1), LOOKUP)


async def test_a_vtep_port_is_shown_as_bound_once_it_is(world: World) -> None:
    """Its row id follows from the switch and the VTEP: no port is watched for it."""
    remote, mark = str(REMOTE), Mark("h1", "2030-01-02T03:04:05Z")
    world.northbound.transact(
        vteps.ls_vtep_add(RED, remote, Entry(5001, vteps.VTEP_PORT)),
        *vteps.lsp_vtep_add(RED, remote, "vtep-chassis", mark),
    )
    await world.until([(remote, 5001)])
    await world.lookup.look()
    assert "is not bound" in world.lookup.about()["vteps"][0]["Error"]
    port = [row_is(vteps.vtep_port_id(RED, remote))]
    world.northbound.transact(
        {"op": "update", "table": "Logical_Switch_Port", "where": port, "row": {"up": True}}
    )
    await world.lookup.look()
    assert "is not bound" not in world.lookup.about()["vteps"][0]["Error"]


async def test_a_switch_that_does_not_answer_is_told_and_nothing_ends(world: World) -> None:
    following = asyncio.create_task(world.lookup.run())
    async with asyncio.timeout(10):
        while "ovs-ofctl failed" not in world.lookup.about()["outage"]:  # noqa: ASYNC110  (nothing tells of it)
            await asyncio.sleep(0.02)
    assert "ovs-ofctl failed on br-int" in (await world.lookup.inspect()).outage
    assert not following.done()
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


# --- Which removal waits, and for what ----------------------------------------------------------------------

HOOKS = Hooks(local_output=40)
ROWS = [open_vswitch.interface_id(f"{number:064x}") for number in range(100)]


def served(rows: Iterable[UUID]) -> lookup_flows.World:
    """Endpoints that a VTEP reaches."""
    containers = {
        row: (
            LocalEndpoint(port, f"02:00:00:00:00:{port:02x}", (f"10.0.0.{port}",), RED),
            Location(datapath=1, port=port),
        )
        for port, row in enumerate(rows, start=1)
    }
    return lookup_flows.World(vteps=(lookup_flows.Vtep(REMOTE, 5, RED),), served=containers)


def state_of(world: lookup_flows.World, hooks: Hooks | None = HOOKS) -> _SwitchState:
    flows = lookup_flows.leading_to(world, hooks, world.served)
    return _SwitchState(followed=True, installed={flow.key: flow for flow in flows}, world=world, hooks=hooks)


def test_a_removal_waits_only_where_an_entry_may_lead_to_the_endpoint() -> None:
    first, second, other = ROWS[:3]
    assert _SwitchState().may_lead_to(first), "an earlier run's flows may be there"
    state = state_of(served([first]))
    state.coming = served([second])
    assert [state.may_lead_to(row) for row in (first, second, other)] == [True, True, False]
    assert not state_of(served([first]), hooks=None).may_lead_to(first)


class SlowSwitch(IntegrationBridge):
    """Takes the changes and the time of ovs-ofctl."""

    def __init__(self) -> None:
        super().__init__("br-int", 1)
        self.deleted: list[Flow] = []

    async def apply(self, change: openflow.Change) -> None:
        self.deleted += change.deleted
        await asyncio.sleep(0.01)


async def test_removals_that_keep_coming_do_not_delay_other_changes(world: World) -> None:
    switch, state = SlowSwitch(), state_of(served(ROWS))
    removals, installed = world.lookup._removals, dict(state.installed)
    await world.lookup._ovs.ready()
    world.lookup._ovs.replica.update({"Interface": {str(row): {"insert": {}} for row in ROWS}})
    requests = []

    async def burst() -> None:
        for number in range(len(ROWS)):
            requests.append(asyncio.create_task(removals.wait(f"{number:064x}")))
            await asyncio.sleep(0.004)

    bursting = asyncio.create_task(burst())
    async with asyncio.timeout(0.35):
        await world.lookup._remove_meanwhile(switch, state)
    assert switch.deleted, "meanwhile they are removed"
    assert all(installed[flow.key] == flow for flow in switch.deleted)
    assert len(state.installed) + len(switch.deleted) == len(installed)
    await bursting
    with removals.served():
        pass
    await asyncio.gather(*requests)
