"""The gateway that OVN offers on a switch: the addresses of a logical router's port on it.

A host watches Northbound's router ports, which are few, so a network without any router costs no query.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from ovn_docker.addressing import IPInterface, IPNetwork
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses
from ovn_docker.overlay.network_spec import SharedNetwork
from ovn_docker.ovn import switches
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, Row, members


class Gateways:
    """Finds the gateways of a network."""

    def __init__(self, client: Client, foreign: ForeignAddresses) -> None:
        """`client` must watch `switches.WATCHES`; `foreign` knows the routers on shared switches."""
        self._routers = Routers(client)
        self._foreign = foreign

    async def of(
        self, network: SharedNetwork | None, switch: UUID, pools: Sequence[IPNetwork]
    ) -> Mapping[int, str]:
        """By IP version, the gateway, without prefix length, if a router port has one in these pools.

        Args:
            network: what this host remembers of a shared network, or None.
            switch: the row of the network's switch.
            pools: the network's.
        """
        if network is None or self._routers.none:
            rows = await self._routers.on(switch)
        else:
            rows = await self._foreign.router_ports(network.switch)
        networks = (ipaddress.ip_interface(text) for row in rows for text in members(row["networks"]))
        return choose(networks, pools)


class Routers:
    """Finds the routers on a switch that is one network's own: it has few ports, those of one host."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def none(self) -> bool:
        """Whether OVN has no router port at all."""
        return not self._client.replica.rows(switches.ROUTER_PORT)

    def have(self, mac: str) -> bool:
        """Whether a router port, on any switch, has this MAC address."""
        known = self._client.replica.rows(switches.ROUTER_PORT).values()
        return any(str(row.get("mac", "")).lower() == mac for row in known)

    async def on(self, switch: UUID) -> list[Row]:
        """The router ports on the switch, as `switches.lrp_get` reads them.

        Its ports are read each time: an administrator may have moved one.
        """
        if self.none:
            return []
        [held] = await self._client.request([switches.ls_ports(switch)])
        ports = [port for row in held["rows"] for port in switches.read_ports(row)[1]]
        found = await self._ask(list(map(switches.lsp_state, ports)))
        names = filter(None, map(switches.read_router_port, found))
        return await self._ask([switches.lrp_get(name) for name in names])

    async def _ask(self, queries: Sequence[Operation]) -> list[Row]:
        results = await self._client.request(queries) if queries else []
        return [row for result in results for row in result["rows"]]


def choose(networks: Iterable[IPInterface], pools: Sequence[IPNetwork]) -> dict[int, str]:
    """Of a router port's addresses, the first of each IP version that lies in one of the pools."""
    gateways: dict[int, str] = {}
    for interface in networks:
        if any(interface.ip in pool for pool in pools if pool.version == interface.version):
            gateways.setdefault(interface.version, str(interface.ip))
    return gateways
