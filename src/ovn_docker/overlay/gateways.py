"""The gateway that OVN offers on a switch: the addresses of a logical router's port on it.

A host watches Northbound's router ports, which are few, so without any router a network costs no question.
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

    def __init__(self, client: Client, occupied: ForeignAddresses) -> None:
        """Use a client that watches `switches.WATCHES`; `occupied` knows the routers on shared switches."""
        self._routers = Routers(client)
        self._occupied = occupied

    async def of(
        self, network: SharedNetwork | None, switch: UUID, pools: Sequence[IPNetwork]
    ) -> Mapping[int, str]:
        """The gateway of each IP version, for as many as the switch has a router port in one of its pools.

        Args:
            network: what this host remembers of a shared one, or None.
            switch: its row.
            pools: of the network.

        Returns:
            4 or 6 to an address without prefix length; empty without a router.
        """
        if network is None or self._routers.none:
            rows = await self._routers.on(switch)
        else:
            rows = await self._occupied.router_ports(network.switch)
        networks = (ipaddress.ip_interface(text) for row in rows for text in members(row["networks"]))
        return choose(networks, pools)


class Routers:
    """Finds the routers on a switch that is one network's own: its ports are those of one host, and a few."""

    def __init__(self, client: Client) -> None:
        """Use a client that watches `switches.WATCHES`."""
        self._client = client

    @property
    def none(self) -> bool:
        """Whether OVN has no router port at all."""
        return not self._client.replica.rows(switches.ROUTER_PORT)

    def have(self, mac: str) -> bool:
        """Whether a router port, on whatever switch, has this MAC address."""
        known = self._client.replica.rows(switches.ROUTER_PORT).values()
        return any(str(row.get("mac", "")).lower() == mac for row in known)

    async def on(self, switch: UUID) -> list[Row]:
        """The router ports on the switch, as `switches.lrp_get` reads them.

        Which ports it holds is asked each time: an administrator may have moved one.
        """
        if self.none:
            return []
        [held] = await self._client.request([switches.ls_ports(switch)])
        ports = [port for row in held["rows"] for port in switches.read_ports(row)[1]]
        found = await self._ask(list(map(switches.lsp_state, ports)))
        names = filter(None, map(switches.read_router_port, found))
        return await self._ask([switches.lrp_get(name) for name in names])

    async def _ask(self, questions: Sequence[Operation]) -> list[Row]:
        results = await self._client.request(questions) if questions else []
        return [row for each in results for row in each["rows"]]


def choose(networks: Iterable[IPInterface], pools: Sequence[IPNetwork]) -> dict[int, str]:
    """Of a router port's addresses, the first of each IP version that lies in one of the pools."""
    gateways: dict[int, str] = {}
    for each in networks:
        if any(each.ip in pool for pool in pools if pool.version == each.version):
            gateways.setdefault(each.version, str(each.ip))
    return gateways
