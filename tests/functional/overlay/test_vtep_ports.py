"""A VTEP's port of type vtep: a real ovn-northd between real databases, and one that lets nobody in."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from ovn_docker.daemon.components import assemble_overlay, running
from ovn_docker.errors import ConflictError, DatabaseError, UnreachableError
from ovn_docker.host import ovn_settings
from ovn_docker.overlay.vtep import vtep_ports
from ovn_docker.overlay.vtep.vtep_config import AUTO, Vteps
from ovn_docker.overlay.vtep.vtep_ports import VtepPorts
from ovn_docker.ovn import vteps as schema
from ovn_docker.ovn.vteps import LOOKUP, VTEP_PORT
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import mapping, members, to_map, to_set
from ovn_docker.ovsdb.remotes import Remote
from tests.flags import driver_settings
from tests.functional.conftest import MakeServer
from tests.functional.overlay.test_northd import Northd
from tests.functional.servers import LIMIT, OvsdbServer, run
from tests.versions import beside_geneve

pytestmark = pytest.mark.functional

REMOTE, ANOTHER = ip_address("192.0.2.50"), ip_address("192.0.2.51")
RED, BLUE, FOREIGN = uuid4(), uuid4(), uuid4()


@dataclass
class Central:
    """Both databases, and northd between them."""

    northbound: OvsdbServer
    southbound: OvsdbServer
    northd: Northd
    open_vswitch: OvsdbServer

    def hosts(self, *kinds: str) -> None:
        """Make the hosts' rows, each with the encapsulations that are named, as "geneve+vxlan"."""
        for number, host_kinds in enumerate(kinds):
            name, ip = f"h{number}", f"192.0.2.{number + 1}"
            encaps = [
                {"op": "insert", "table": "Encap", "uuid-name": f"e{index}", "row": encap(kind, ip, name)}
                for index, kind in enumerate(host_kinds.split("+"))
            ]
            named = to_set(["named-uuid", str(encap["uuid-name"])] for encap in encaps)
            chassis = {"name": name, "hostname": name, "encaps": named}
            self.southbound.transact(*encaps, {"op": "insert", "table": "Chassis", "row": chassis})

    def no_vxlan_mode(self) -> None:
        """Tell northd that hosts use Geneve."""
        run(
            "ovn-nbctl", f"--db={self.northbound.remote}", "set", "NB_Global", ".", "options:vxlan_mode=false"
        )

    def key(self, switch: UUID) -> int:
        """The tunnel key of a switch."""
        self.northd.sync()
        rows = self.southbound.rows("Datapath_Binding", "tunnel_key", "external_ids")
        ids = {mapping(row["external_ids"])["logical-switch"]: row["tunnel_key"] for row in rows}
        return int(ids[str(switch)])

    def everything(self) -> list[Any]:
        """All that `vtep` may write."""
        self.northd.sync()
        nb, sb = self.northbound.rows, self.southbound.rows
        switches = nb("Logical_Switch", "name", "external_ids", "other_config", "ports")
        ports, chassis = nb("Logical_Switch_Port", "name"), sb("Chassis", "name")
        found = switches + ports + chassis + sb("Encap", "ip", "type") + sb("Port_Binding", "logical_port")
        return sorted(map(repr, found))

    def bound(self) -> dict[str, str]:
        """Logical ports and the chassis that each is on."""
        rows = self.southbound.rows("Chassis", "_uuid", "name")
        names = {row["_uuid"][1]: row["name"] for row in rows}
        ports = self.southbound.rows("Port_Binding", "logical_port", "chassis")
        return {
            row["logical_port"]: names.get(str(next(iter(members(row["chassis"])), "")), "") for row in ports
        }

    @contextlib.asynccontextmanager
    async def vteps(self, southbound: Remote | None) -> AsyncIterator[Vteps]:
        """What the command uses."""
        settings = driver_settings(self.open_vswitch.remote, self.open_vswitch.directory / "state.json")
        parts = assemble_overlay(settings, dict)
        sb = Client("OVN Southbound", "OVN_Southbound", {})
        sb.redirect((southbound,) if southbound else ())
        async with running(parts), ovn_settings.connected(sb):
            yield Vteps(parts.shared.database, VtepPorts(parts.shared.database, sb))


def encap(kind: str, ip: str, chassis: str) -> dict[str, Any]:
    return {"type": kind, "ip": ip, "chassis_name": chassis}


@pytest.fixture
def central(
    northbound: OvsdbServer, open_vswitch: OvsdbServer, make_server: MakeServer, short_path: Path
) -> Any:  # noqa: ANN401
    ids = {"system-id": "h0", "ovn-nb": str(northbound.remote)}
    open_vswitch.transact({"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": to_map(ids)}})
    for uuid, name in ((RED, "red"), (BLUE, "blue"), (FOREIGN, "foreign")):
        marks = {} if uuid is FOREIGN else {"ovn-docker-network": name}
        row = {"name": name, "external_ids": to_map(marks)}
        northbound.transact({"op": "insert", "table": "Logical_Switch", "uuid": str(uuid), "row": row})
    southbound = make_server("OVN_Southbound")
    northd = Northd(northbound, southbound, short_path)
    place = Central(northbound, southbound, northd, open_vswitch)
    yield place
    place.northd.process.kill()
    place.northd.process.wait(LIMIT)


@pytest.fixture
async def vteps(central: Central) -> AsyncIterator[Vteps]:
    """The command on a host of an OVN that is set up for ports of its own."""
    central.no_vxlan_mode()
    central.hosts("geneve+vxlan", "geneve+vxlan")
    async with central.vteps(central.southbound.remote) as found:
        yield found


@beside_geneve
async def test_a_port_is_bound_and_its_switch_is_called_by_the_vni(central: Central, vteps: Vteps) -> None:
    old = central.key(RED)
    done = await vteps.add(REMOTE, 5001, RED)
    assert (done.mode, done.reason) == (VTEP_PORT, "")
    [note] = done.notes
    assert note.startswith(f"logical switch red now has the tunnel key 5001 (was {old})")
    assert central.key(RED) == 5001
    assert central.bound() == {schema.vtep_port_name(RED, "192.0.2.50"): "vtep-192.0.2.50"}
    [found] = await vteps.all()
    assert (found.mode, found.vtep.vni, found.switch_name) == (VTEP_PORT, 5001, "red")


async def test_what_is_deleted_leaves_nothing(central: Central, vteps: Vteps) -> None:
    before = central.everything()
    await vteps.add(REMOTE, 5001, RED)
    assert central.everything() != before
    assert await vteps.remove(REMOTE, RED)
    assert central.everything() == before
    assert not await vteps.remove(REMOTE, RED)
    assert central.everything() == before


@beside_geneve
async def test_a_repeat_changes_nothing_and_another_vni_all_that_follows(
    central: Central, vteps: Vteps
) -> None:
    await vteps.add(REMOTE, 5001, RED)
    once = central.everything()
    assert (await vteps.add(REMOTE, 5001, RED)).notes == ()
    assert central.everything() == once
    await vteps.add(REMOTE, 6001, RED)
    assert central.key(RED) == 6001
    await vteps.add(REMOTE, 5001, RED)
    assert central.everything() == once


@beside_geneve
async def test_a_repeat_makes_whole_what_was_lost(central: Central, vteps: Vteps) -> None:
    await vteps.add(REMOTE, 5001, RED)
    whole, bound = central.everything(), central.bound()
    central.southbound.transact(
        {"op": "delete", "table": "Chassis", "where": [["name", "==", "vtep-192.0.2.50"]]}
    )
    assert central.everything() != whole
    assert (await vteps.add(REMOTE, 5001, RED)).mode == VTEP_PORT
    assert central.everything() == whole
    assert central.bound() == bound


@beside_geneve
async def test_a_chassis_serves_all_networks_of_its_vtep_and_goes_with_the_last(
    central: Central, vteps: Vteps
) -> None:
    before = central.everything()
    for vni, switch in ((5001, RED), (5002, BLUE)):
        assert (await vteps.add(REMOTE, vni, switch)).mode == VTEP_PORT
    await vteps.add(ANOTHER, 5001, RED)
    await vteps.remove(REMOTE, RED)
    assert central.key(RED) == 5001  # which the other VTEP needs
    assert central.bound() == {
        schema.vtep_port_name(RED, "192.0.2.51"): "vtep-192.0.2.51",
        schema.vtep_port_name(BLUE, "192.0.2.50"): "vtep-192.0.2.50",
    }
    await vteps.remove(REMOTE, BLUE)
    await vteps.remove(ANOTHER, RED)
    assert central.everything() == before


@beside_geneve
async def test_a_vtep_changes_its_mode_only_when_told_to(central: Central, vteps: Vteps) -> None:
    await vteps.add(REMOTE, 5001, RED, LOOKUP)
    looked_up = central.everything()
    assert (await vteps.add(REMOTE, 5001, RED, AUTO)).mode == LOOKUP
    assert central.everything() == looked_up
    assert (await vteps.add(REMOTE, 5001, RED, VTEP_PORT)).mode == VTEP_PORT
    assert (await vteps.add(REMOTE, 5001, RED, AUTO)).mode == VTEP_PORT
    with pytest.raises(ConflictError, match="is in mode vtep for other networks"):
        await vteps.add(REMOTE, 5002, BLUE, LOOKUP)
    assert (await vteps.add(REMOTE, 5001, RED, LOOKUP)).mode == LOOKUP
    assert central.everything() == looked_up


@beside_geneve
async def test_a_switch_of_somebody_elses_is_not_changed(central: Central, vteps: Vteps) -> None:
    before = central.everything()
    done = await vteps.add(REMOTE, 5001, FOREIGN)
    assert done.mode == LOOKUP
    assert "was not made by this driver" in done.reason
    await vteps.remove(REMOTE, FOREIGN)
    with pytest.raises(ConflictError, match="other_config:requested-tnl-key=5001"):
        await vteps.add(REMOTE, 5001, FOREIGN, VTEP_PORT)
    assert central.everything() == before
    run(
        "ovn-nbctl",
        f"--db={central.northbound.remote}",
        "set",
        "Logical_Switch",
        "foreign",
        "other_config:requested-tnl-key=5001",
    )
    owners = central.everything()
    assert (await vteps.add(REMOTE, 5001, FOREIGN, VTEP_PORT)).mode == VTEP_PORT
    await vteps.remove(REMOTE, FOREIGN)
    assert central.everything() == owners


async def test_no_switch_loses_its_tunnel_key(central: Central, vteps: Vteps) -> None:
    taken = central.key(BLUE)
    done = await vteps.add(REMOTE, taken, RED)
    assert done.mode == LOOKUP
    assert done.reason.endswith(f"{taken} is the tunnel key of blue in OVN")
    assert central.key(BLUE) == taken


@beside_geneve
async def test_hosts_that_speak_no_vxlan_are_told_and_lookups_take_the_place(central: Central) -> None:
    central.hosts("geneve", "geneve+vxlan")
    central.no_vxlan_mode()
    async with central.vteps(central.southbound.remote) as vteps:
        done = await vteps.add(REMOTE, 5001, RED)
        assert done.mode == LOOKUP
        assert "ovn-encap-type of host h0 does not name vxlan" in done.reason
        done = await vteps.add(REMOTE, 5001, RED, VTEP_PORT)
        assert done.notes[-1].startswith("host h0 does not reach the VTEP")


async def test_where_southbound_is_not_to_be_written_lookups_take_the_place(central: Central) -> None:
    central.hosts("geneve+vxlan")
    central.no_vxlan_mode()
    connection = f"--db={central.southbound.remote}"
    run("ovn-sbctl", connection, "set-connection", "role=ovn-controller", "ptcp:0:127.0.0.1")
    central.southbound.appctl("ovsdb-server/add-remote", "db:OVN_Southbound,SB_Global,connections")
    central.northd.sync()  # northd writes the roles
    before = central.everything()
    restricted = Remote("tcp", "127.0.0.1", central.southbound.tcp_port())
    async with central.vteps(restricted) as vteps:
        with pytest.raises(DatabaseError, match="permission error"):
            await vteps.add(REMOTE, 5001, RED, VTEP_PORT)
        assert central.everything() == before
        done = await vteps.add(REMOTE, 5001, RED)
        assert done.mode == LOOKUP
        assert "permission error" in done.reason


async def test_without_southbound_lookups_take_the_place(
    central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtep_ports, "REACH_TIMEOUT", 0.2)
    async with central.vteps(None) as vteps:
        done = await vteps.add(REMOTE, 5001, RED)
        assert done.mode == LOOKUP
        with pytest.raises(UnreachableError):
            await vteps.add(ANOTHER, 5001, RED, VTEP_PORT)


async def test_without_northd_nothing_stays(
    central: Central, vteps: Vteps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtep_ports, "NORTHD_TIMEOUT", 0.3)
    before = central.everything()
    central.northd.process.kill()
    central.northd.process.wait(LIMIT)
    with pytest.raises(UnreachableError, match="ovn-northd did not make"):
        await vteps.add(REMOTE, 5001, RED, VTEP_PORT)
    central.northd = Northd(central.northbound, central.southbound, central.northbound.directory)
    assert central.everything() == before
