"""The gateway that OVN offers on a switch: the addresses of a logical router's port on it.

A host watches Northbound's router ports, which are few, so without any router a network costs no question.
"""

import ipaddress
import math
from collections.abc import Iterable, Sequence
from uuid import UUID

from ovn_docker.addressing import IPInterface, IPNetwork
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Row, in_batches
from ovn_docker.ovsdb.values import mapping, members
from ovn_docker.schema import northbound, routers

AT_ONCE = 64
"""So many router ports are asked for one by one; more of them in groups first."""


class RouterGateways:
    """Finds the router on a switch."""

    def __init__(self, client: Client) -> None:
        """Use a client that watches `northbound.ROUTER_PORTS`."""
        self._client = client

    async def of(self, switch: UUID, pools: Sequence[IPNetwork]) -> dict[int, str]:
        """The gateway of each IP version, for as many as the switch has a router port in one of its pools.

        Which switch holds a port is asked each time, from the index: an administrator may have moved it.

        Returns:
            4 or 6 to an address without prefix length; empty without a router.
        """
        rows = await self.ports(switch)
        return choose(
            (ipaddress.ip_interface(text) for row in rows for text in members(row["networks"])), pools
        )

    async def ports(self, switch: UUID) -> list[Row]:
        """The router ports on the switch, as `routers.lrp_get` reads them."""
        ports = dict(self._client.replica.rows(northbound.PORT))
        few = await self._narrowed(switch, list(ports))
        if not few:
            return []
        held = await self._client.request([routers.ls_holding(switch, port) for port in few])
        names = [
            mapping(ports[port].get("options")).get("router-port", "")
            for port, found in zip(few, held, strict=True)
            if found["rows"]
        ]
        if not names:
            return []
        results = await self._client.request([routers.lrp_get(name) for name in names])
        return [row for each in results for row in each["rows"]]

    async def _narrowed(self, switch: UUID, ports: Sequence[UUID]) -> Sequence[UUID]:
        """The ports, or of many those that share a group with one that is on the switch."""
        if len(ports) <= AT_ONCE:
            return ports
        groups = list(in_batches(ports, math.ceil(len(ports) / AT_ONCE)))
        there, *without = await self._client.request(
            [
                northbound.ls_exists_question(switch),
                *(routers.ls_without(switch, group) for group in groups),
            ]
        )
        if not there["rows"]:
            return []
        return [
            port
            for group, answer in zip(groups, without, strict=True)
            if not answer["rows"]
            for port in group
        ]


def choose(networks: Iterable[IPInterface], pools: Sequence[IPNetwork]) -> dict[int, str]:
    """Of a router port's addresses, the first of each IP version that lies in one of the pools."""
    gateways: dict[int, str] = {}
    for each in networks:
        if any(each.ip in pool for pool in pools if pool.version == each.version):
            gateways.setdefault(each.version, str(each.ip))
    return gateways
