"""One host for the overlay driver: real databases and links, and a stand-in for who serves them.

Instead of ovs-vswitchd and ovn-controller a task gives each new Interface its ofport and ovn-installed.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from ovn_docker.daemon.components import assemble_overlay, cancel, running, start
from ovn_docker.daemon.supervision import Supervision
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.overlay_driver import OverlayDriver
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import mapping, mutate, optional, row_is, to_map
from ovn_docker.ovsdb.replica import Replica, Watch
from tests.flags import driver_settings
from tests.functional.private_network import links
from tests.functional.servers import OvsdbServer, Proxy, connected

NET, OTHER_NET = "b5082ded" * 8, "k9qz3h1x0v7p2m5n8r4t6w1y3"
ENDPOINT, OTHER_ENDPOINT = "a0b1c2d3" * 8, "e0e1e2e3" * 8
SANDBOX = "/var/run/docker/netns/fc2ac21230fc"
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
OUTSIDE, INSIDE = "a0b1c2d3a0b1c2d", "a0b1c2d3a0b1c_c"


class SwitchDaemons:
    """Stands in for ovs-vswitchd and ovn-controller.

    Attributes:
        runs: whether a new Interface is ever looked at.
        installs: whether flows are ever installed.
        error: what ovs-vswitchd writes into Interface.error, or "".
    """

    def __init__(self, server: OvsdbServer) -> None:
        self._server = server
        self.runs = self.installs = True
        self.error = ""

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        watches = {"Interface": Watch(("name", "ofport"))}
        async with connected([self._server.remote], "Open_vSwitch", watches) as client:
            work = asyncio.create_task(self._configure(client))
            try:
                yield
            finally:
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

    async def _configure(self, client: Client) -> None:
        for ofport in itertools.count(1):
            uuid = await client.replica.until(lambda: _unconfigured(client.replica) if self.runs else None)
            row = {"error": self.error, "ofport": -1} if self.error else {"ofport": ofport}
            operations = [{"op": "update", "table": "Interface", "where": [row_is(uuid)], "row": row}]
            if self.installs and not self.error:
                installed = ("external_ids", "insert", to_map({"ovn-installed": "true"}))
                operations.append(mutate("Interface", [row_is(uuid)], installed))
            await client.transact(operations)


def _unconfigured(replica: Replica) -> UUID | None:
    rows = replica.rows("Interface").items()
    return next((uuid for uuid, row in rows if optional(row.get("ofport", ["set", []])) is None), None)


@dataclass
class Host:
    """A driver, and all that it works on."""

    driver: OverlayDriver
    northbound: OvsdbServer
    open_vswitch: OvsdbServer
    proxy: Proxy
    daemons: SwitchDaemons
    clients: tuple[Client, Client]

    def transactions(self) -> int:
        """How many transactions Northbound got since the last question."""
        count = len(self.proxy.transactions)
        self.proxy.transactions.clear()
        return count

    def ports(self) -> list[str]:
        """The names of all logical switch ports."""
        return sorted(row["name"] for row in self.northbound.ports("name"))

    def switches(self) -> list[str]:
        return sorted(row["name"] for row in self.northbound.rows("Logical_Switch", "name"))

    def interfaces(self) -> dict[str, dict[str, str]]:
        """Every Interface of Open vSwitch with its external_ids."""
        rows = self.open_vswitch.rows("Interface", "name", "external_ids")
        return {row["name"]: mapping(row["external_ids"]) for row in rows}

    def nothing_is_left(self) -> bool:
        """Whether this host has no link and no port of the driver."""
        return links() == set() and self.interfaces() == {}


@dataclass
class Place:
    """Started databases, of which hosts are made.

    Attributes:
        plugging: whether what CreateEndpoint begins is done, as in a daemon; otherwise Join does all.
    """

    northbound: OvsdbServer
    open_vswitch: OvsdbServer
    directory: Path
    settings: dict[str, str] = field(default_factory=lambda: {"system-id": "chassis-1"})
    datapath: str = "netdev"
    now: Callable[[], datetime] = lambda: NOW
    plugging: bool = False

    def configure(self, **ids: str) -> None:
        """Fill the host's database as an operator and ovn-controller do."""
        ids = {"ovn-nb": f"unix:{self.directory}/proxy"} | self.settings | ids
        bridge = {"name": "br-int", "datapath_type": self.datapath}
        self.open_vswitch.transact(
            {"op": "delete", "table": "Open_vSwitch", "where": []},
            {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": bridge},
            {
                "op": "insert",
                "table": "Open_vSwitch",
                "row": {"bridges": ["named-uuid", "b"], "external_ids": to_map(ids)},
            },
        )

    @contextlib.asynccontextmanager
    async def host(self, **ids: str) -> AsyncIterator[Host]:
        """A running driver, whose way to Northbound leads through a proxy."""
        self.configure(**ids)
        settings = driver_settings(self.open_vswitch.remote, self.directory / "state.json")
        settings = replace(settings, scope="local")
        parts = assemble_overlay(settings, lambda: {"about": "this"}, now=self.now)
        supervision = Supervision()
        proxy = Proxy(self.directory / "proxy", self.northbound.socket)
        daemons = SwitchDaemons(self.open_vswitch)
        async with contextlib.AsyncExitStack() as stack:
            for context in (proxy.serve(), running(parts, supervision), daemons.serve()):
                await stack.enter_async_context(context)
            if self.plugging:
                stack.push_async_callback(cancel, *start(supervision, {"it": parts.driver.plugging.run}))
                await asyncio.sleep(0)  # it runs
            clients = parts.ovs, parts.northbound
            yield Host(parts.driver, self.northbound, self.open_vswitch, proxy, daemons, clients)
            assert supervision.problems() == []


def network(
    *pools: str, network_id: str = NET, gateway: str = "", internal: bool = False, mtu: str = ""
) -> messages.CreateNetworkRequest:
    """CreateNetwork; a pool with a colon is IPv6, the gateway is the first pool's."""
    data = [
        messages.IPAMData(pool=pool, gateway="" if number else gateway) for number, pool in enumerate(pools)
    ]
    options: dict[str, Any] = {messages.GENERIC: {messages.MTU: mtu} if mtu else {}}
    if internal:
        options[messages.INTERNAL] = True
    return messages.CreateNetworkRequest(
        network_id=network_id,
        options=options,
        ipv4_data=[each for each in data if ":" not in each.pool],
        ipv6_data=[each for each in data if ":" in each.pool],
    )


def endpoint(
    address: str = "10.0.0.2/24",
    ipv6: str = "",
    mac: str = "",
    network_id: str = NET,
    endpoint_id: str = ENDPOINT,
) -> messages.CreateEndpointRequest:
    interface = messages.EndpointInterface(address=address, address_ipv6=ipv6, mac_address=mac)
    return messages.CreateEndpointRequest(network_id=network_id, endpoint_id=endpoint_id, interface=interface)


def join(network_id: str = NET, endpoint_id: str = ENDPOINT) -> messages.JoinRequest:
    return messages.JoinRequest(network_id=network_id, endpoint_id=endpoint_id, sandbox_key=SANDBOX)


def of(network_id: str = NET, endpoint_id: str = ENDPOINT) -> messages.EndpointRequest:
    return messages.EndpointRequest(network_id=network_id, endpoint_id=endpoint_id)


def at(network_id: str = NET) -> messages.NetworkRequest:
    return messages.NetworkRequest(network_id=network_id)


def only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The one row there is."""
    [row] = rows
    return row


def text_of(value: Any) -> str:  # noqa: ANN401  (an OVSDB value)
    """A column of at most one string."""
    return str(optional(value) or "")
