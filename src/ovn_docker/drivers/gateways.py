"""The gateway that OVN offers on a switch: the addresses of a logical router's port on it.

A host watches Northbound's router ports, which are few, so a network without a router costs no question.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from uuid import UUID

from ovn_docker.addressing import IPInterface, IPNetwork
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.values import atom, mapping, members
from ovn_docker.schema import northbound


class RouterGateways:
    """Finds the router on a switch."""

    def __init__(self, client: Client) -> None:
        """Use a client that watches `northbound.ROUTER_PORTS`."""
        self._client = client
        self._switches: dict[UUID, UUID] = {}

    async def of(self, network_id: str, pools: Sequence[IPNetwork]) -> dict[int, str]:
        """The gateway of each IP version, for as many as the switch has a router port in one of its pools.

        Returns:
            4 or 6 to an address without prefix length; empty without a router.
        """
        await self._locate()
        switch = northbound.switch_id(network_id)
        names = [
            mapping(row.get("options")).get("router-port", "")
            for port, row in self._client.replica.rows(northbound.PORT).items()
            if self._switches.get(port) == switch
        ]
        if not names:
            return {}
        results = await self._client.transact([northbound.lrp_get(name) for name in names])
        networks = [text for each in results for row in each["rows"] for text in members(row["networks"])]
        return choose(map(ipaddress.ip_interface, networks), pools)

    async def _locate(self) -> None:
        """Learn which switch holds each router port that came since the last call."""
        ports = self._client.replica.rows(northbound.PORT)
        self._switches = {port: switch for port, switch in self._switches.items() if port in ports}
        new = [port for port in ports if port not in self._switches]
        if new:
            results = await self._client.transact([northbound.ls_of_port(port) for port in new])
            for port, result in zip(new, results, strict=True):
                if result["rows"]:
                    self._switches[port] = atom(result["rows"][0]["_uuid"])


def choose(networks: Iterable[IPInterface], pools: Sequence[IPNetwork]) -> dict[int, str]:
    """Of a router port's addresses, the first of each IP version that lies in one of the pools."""
    gateways: dict[int, str] = {}
    for each in networks:
        if any(each.ip in pool for pool in pools if pool.version == each.version):
            gateways.setdefault(each.version, str(each.ip))
    return gateways
