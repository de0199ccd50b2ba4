"""Endpoints on a switch of their network's own: the port, and its MAC address where it needs a claim."""

from collections.abc import Sequence

from ovn_docker.addressing import IPNetwork
from ovn_docker.errors import ConstraintError, NotFoundError, RequestError
from ovn_docker.overlay import macs
from ovn_docker.overlay.macs import Macs
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import leases
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.switches import Switch, SwitchPort
from ovn_docker.ovsdb.operations import Row


class OwnPorts:
    """The ports of this host's endpoints on switches that are one network's."""

    def __init__(self, database: Northbound) -> None:
        """Make them there."""
        self._northbound = database
        self._macs = Macs(database)

    async def add(self, port: SwitchPort, pools: Sequence[IPNetwork]) -> Switch:
        """Make the port with port security, which goes again if the switch says that it has none.

        Args:
            port: what it is to be.
            pools: of which its addresses are.

        Returns:
            The switch that it is on.

        Raises:
            NotFoundError: there is no switch.
            RequestError: an address is of none of the network's pools, or kept for another endpoint.
            ConflictError: the MAC address is another port's.
            ConstraintError: the port is there already.
        """
        await self._macs.check(port)
        key, mark = port.network_id, await self._northbound.mark()
        switch = northbound.switch_id(key)
        add = [northbound.ls_get(switch), *northbound.lsp_add(port, switch, pools, mark)]
        claims, drops = macs.claims(port, key, mark), macs.drops(port, key, mark.host)
        undo = [*northbound.lsp_add_undo(port, switch, mark), *drops]
        try:
            results = await self._northbound.transact([*claims, *add], undo)
        except ConstraintError:
            if not claims or not await self._macs.claimed(port, key):
                raise
            results = await self._northbound.transact(add, undo)
        rows = results[-len(add)]["rows"]
        if not results[-1]["count"]:
            if drops:
                await self._northbound.transact(drops, drops)
            raise RequestError(outside(port, pools, list(map(str, read_switch(key, rows).pools))))
        await self.unsecure(port, rows)
        return read_switch(key, rows)

    async def unsecure(self, port: SwitchPort, switches: Sequence[Row]) -> None:
        """Let the port send from any address if its switch, which these rows hold, says so."""
        if any(not northbound.read_switch(port.network_id, row).port_security for row in switches):
            await self._northbound.transact([northbound.lsp_unsecure(port.network_id, port.endpoint_id)])

    async def delete(self, network_id: str, endpoint_id: str) -> None:
        """Remove the port and give up what it had claimed; nothing where it is gone."""
        ids = network_id, endpoint_id
        mark = await self._northbound.mark()
        delete = northbound.lsp_del(*ids, northbound.switch_id(network_id))
        found, deleted = await self._northbound.transact([northbound.lsp_get(*ids), delete], [delete])
        rest = [
            drop
            for row in found["rows"]
            for drop in macs.drops(SwitchPort(*ids, northbound.read_addresses(row)), network_id, mark.host)
        ]
        if not deleted["count"]:
            rest = [northbound.lsp_del_anywhere(*ids), *leases.endpoint_del(endpoint_id, mark.host)]
        if rest:
            await self._northbound.transact(rest, rest)


def read_switch(network_id: str, rows: Sequence[Row]) -> Switch:
    """The network's switch, of the rows that were found for it.

    Raises:
        NotFoundError: there is none.
    """
    if not rows:
        raise NotFoundError(no_network(network_id))
    return northbound.read_switch(network_id, rows[0])


def no_network(network_id: str) -> str:
    """The text for a network whose switch is gone."""
    return f"OVN has no logical switch for network {network_id}: remove the network and create it again"


def outside(port: SwitchPort, asked: Sequence[IPNetwork], pools: Sequence[str]) -> str:
    """The text for an endpoint whose addresses are none of its network's."""
    return (
        f"endpoint {port.endpoint_id} cannot have {' and '.join(map(str, asked))}: network"
        f" {port.network_id} has the pools {', '.join(pools) or '(none)'}"
    )
