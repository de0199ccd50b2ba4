"""The databases of a cluster whose hosts are only rows: who is registered, has a chassis, is connected."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ovn_docker.health.presence import INTERVAL, Presence, ThisMachine
from ovn_docker.host import ovn_settings
from ovn_docker.ovn import hosts, switches
from ovn_docker.ovn.hosts import HostList
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import insert, mapping, to_map
from ovn_docker.state_file import StateFile
from tests.functional.conftest import MakeServer
from tests.functional.overlay.test_northd import Northd
from tests.functional.servers import LIMIT, OvsdbServer, running

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
CREATED = "2030-01-02T03:04:05Z"


@dataclass(frozen=True)
class Local:
    """What a driver has of its own: clients of its host's database and of Northbound, and a directory."""

    ovs: Client
    nb: Client
    directory: Path

    def presence(self, hostname: str = "box", interval: float = INTERVAL) -> Presence:
        """The driver's, on a machine of that name."""
        return Presence(self.ovs, self.nb, self.machine(hostname), lambda: NOW, interval)

    def machine(self, hostname: str = "box") -> ThisMachine:
        """Where all tunnel addresses but those that end in .99 are the machine's."""

        async def holding(address: str) -> str | None:
            return None if address.endswith(".99") else "eth0"

        return ThisMachine(StateFile(self.directory / "state.json"), hostname, holding)


class Databases:
    """Northbound, Southbound, and an Open_vSwitch for each host that is there."""

    def __init__(self, make_server: MakeServer) -> None:
        self.northbound: OvsdbServer = make_server("OVN_Northbound")
        self.southbound: OvsdbServer = make_server("OVN_Southbound")
        self._make_server = make_server

    def open_vswitch(self, host: str, southbound: str = "", encap_ip: str = "") -> OvsdbServer:
        """The database of a host whose OVN is this one."""
        server: OvsdbServer = self._make_server("Open_vSwitch")
        ids = {
            "system-id": host,
            "ovn-nb": str(self.northbound.remote),
            "ovn-remote": southbound or str(self.southbound.remote),
            "ovn-encap-ip": encap_ip,
        }
        server.transact({"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": to_map(ids)}})
        return server

    @contextlib.contextmanager
    def northd(self) -> Iterator[Northd]:
        """An ovn-northd between the two, without which something is wrong with the cluster."""
        (self.southbound.directory / "northd.ctl").unlink(missing_ok=True)
        daemon = Northd(self.northbound, self.southbound, self.southbound.directory)
        try:
            yield daemon
        finally:
            daemon.process.kill()
            daemon.process.wait(LIMIT)

    def chassis_add(self, *names: str) -> None:
        """What a host's ovn-controller does at its start."""
        for name in names:
            encap = {"chassis_name": name, "type": "geneve", "ip": "192.0.2.1"}
            self.southbound.transact(
                {"op": "insert", "table": "Encap", "uuid-name": "e", "row": encap | {"ip": f"{name}.test"}},
                {
                    "op": "insert",
                    "table": "Chassis",
                    "row": {"name": name, "hostname": f"{name}.test", "encaps": ["named-uuid", "e"]},
                },
                {"op": "insert", "table": "Chassis_Private", "row": {"name": name}},
            )

    def chassis_del(self, name: str) -> None:
        """``ovn-sbctl chassis-del``."""
        where = [("name", "==", name)]
        tables = ("Chassis", "Chassis_Private")
        self.southbound.transact(*({"op": "delete", "table": each, "where": where} for each in tables))

    @contextlib.contextmanager
    def answering(self, *names: str) -> Iterator[None]:
        """What ovn-northd and the ovn-controller of these hosts do when nb_cfg is counted up."""
        if not self.northbound.rows("NB_Global", "nb_cfg"):
            self.northbound.transact({"op": "insert", "table": "NB_Global", "row": {}})
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(0.05):
                [row] = self.northbound.rows("NB_Global", "nb_cfg")
                for name in names:
                    where = [("name", "==", name), ("nb_cfg", "!=", row["nb_cfg"])]
                    self.southbound.transact(
                        {"op": "update", "table": "Chassis_Private", "where": where, "row": row}
                    )

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def remains_of(self, *names: str, listed: bool = True) -> None:
        """What a host leaves that made a network with a port, and was registered.

        Not `listed` by a version that had no list of hosts.
        """
        for name in names:
            if listed and not self.northbound.transact(hosts.list_enter([name]))[0]["count"]:
                self.northbound.transact(hosts.list_add([name]))
            mark, network = Mark(name, CREATED), f"net-of-{name}"
            port = SwitchPort(network, f"port-of-{name}", "02:00:00:00:00:01")
            self.northbound.transact(
                hosts.host_add(mark),
                insert(
                    switches.SWITCH,
                    switches.switch_id(network),
                    switches.ls_add(Switch(network), mark)[-1]["row"],
                ),
                *switches.lsp_add(port, switches.switch_id(network), (), mark),
            )

    def registered(self) -> list[str]:
        """The hosts that Northbound knows."""
        rows = self.northbound.rows("DHCP_Options", "external_ids")
        marks = [mapping(row["external_ids"]) for row in rows]
        return sorted(ids[switches.HOST] for ids in marks if ids["ovn-docker"] == "host")

    def listed(self) -> HostList:
        """What the list of hosts says."""
        [found] = self.northbound.transact(hosts.list_get())
        return hosts.read_list(found["rows"])

    def ports(self) -> list[str]:
        return sorted(row["name"] for row in self.northbound.ports("name"))

    @contextlib.asynccontextmanager
    async def driver(self, host: str, southbound: str = "") -> AsyncIterator[Local]:
        """The clients of a driver on a host of its own."""
        server = await asyncio.to_thread(self.open_vswitch, host, southbound)
        async with self.process(server) as local:
            yield local

    @contextlib.asynccontextmanager
    async def process(self, server: OvsdbServer) -> AsyncIterator[Local]:
        """The clients of a process on the host whose Open_vSwitch that is."""
        ovs = ovn_settings.open_vswitch_client(str(server.remote))
        remotes = (self.northbound.remote,)
        async with running(ovs), ovn_settings.following(ovs, ovn_settings.NORTHBOUND, {}, remotes) as nb:
            await asyncio.wait_for(ovs.ready(), 5)
            await asyncio.wait_for(nb.ready(), 5)
            yield Local(ovs, nb, server.directory)


@contextlib.asynccontextmanager
async def task(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Something that a daemon runs in the background; it must not end by itself."""
    running_task = asyncio.create_task(work)
    try:
        yield
    finally:
        ended = running_task.done()
        running_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running_task
        assert not ended, "it ended by itself"
