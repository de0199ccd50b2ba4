"""Endpoints in OVN: a port and its addresses, both or neither.

On a shared switch an endpoint is entered into the lease of an address that our IPAM gave. An address that
another IPAM chose is claimed by a row of the same kind, so that of two hosts that chose the same one fails.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.overlay import mac_claims
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.network_spec import SharedNetwork
from ovn_docker.overlay.networks import SharedNetworks, read_switch
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import leases, names, switches
from ovn_docker.ovn.leases import CLAIM, LEASE, Address, Lease
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.operations import Operation, Row


class OwnPorts:
    """The ports of this host's endpoints on switches that are one network's own."""

    def __init__(self, database: Northbound) -> None:
        self._northbound = database
        self._macs = mac_claims.Macs(database)

    async def add(self, port: SwitchPort, pools: Sequence[IPNetwork]) -> Switch:
        """Make the port, whose addresses are of these pools, and return the switch that it is on.

        It has port security, which is removed at once if the switch has none.

        Raises:
            ConstraintError: the port exists.
        """
        await self._macs.check(port)
        key, mark = port.network_id, await self._northbound.mark()
        switch = switches.switch_id(key)
        add = [switches.ls_get(switch), *switches.lsp_add(port, switch, pools, mark)]
        claims, drops = mac_claims.claims(port, key, mark), mac_claims.drops(port, key, mark.host)
        undo = [*switches.lsp_add_undo(port, switch, mark), *drops]
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

    async def unsecure(self, port: SwitchPort, rows: Sequence[Row]) -> None:
        """Let the port send from any address if its switch, of these rows, has no port security."""
        if any(not switches.read_switch(port.network_id, row).port_security for row in rows):
            await self._northbound.transact([switches.lsp_unsecure(port.network_id, port.endpoint_id)])

    async def delete(self, network_id: str, endpoint_id: str) -> None:
        """Remove the port, and release its claims."""
        ids = network_id, endpoint_id
        mark = await self._northbound.mark()
        delete = switches.lsp_del(*ids, switches.switch_id(network_id))
        found, deleted = await self._northbound.transact([switches.lsp_get(*ids), delete], [delete])
        rest = [
            drop
            for row in found["rows"]
            for drop in mac_claims.drops(
                SwitchPort(*ids, switches.read_addresses(row)), network_id, mark.host
            )
        ]
        if not deleted["count"]:
            rest = [switches.lsp_del_anywhere(*ids), *leases.endpoint_del(endpoint_id, mark.host)]
        if rest:
            await self._northbound.transact(rest, rest)


def outside(port: SwitchPort, requested: Sequence[IPNetwork], pools: Sequence[str]) -> str:
    """The text for an endpoint whose addresses lie outside its network's pools."""
    return (
        f"endpoint {port.endpoint_id} cannot have {' and '.join(map(str, requested))}: network"
        f" {port.network_id} has the pools {', '.join(pools) or '(none)'}"
    )


class SharedPorts:
    """The ports of this host's endpoints on shared switches."""

    def __init__(self, networks: SharedNetworks, foreign: ForeignAddresses, naming: Naming) -> None:
        self._northbound = networks.database
        self._networks = networks
        self._foreign = foreign
        self._naming = naming

    async def add(
        self, network: SharedNetwork, port: SwitchPort, interfaces: Sequence[addressing.IPInterface]
    ) -> None:
        """Make the port and take its addresses on the switch.

        Raises:
            ConstraintError: the port exists.
        """
        others = [each.network for each in interfaces if str(each.network) not in network.pools]
        if others:
            raise RequestError(outside(port, others, network.pools))
        mac_claims.check_reserved(port, network.as_switch().pools)
        addresses = [interface.ip for interface in interfaces]
        leased: dict[Address, str] = (
            dict.fromkeys(addresses, "") if network.leased and network.context else {}
        )
        try:
            await self._add(network, port, addresses, leased)
        except RequirementError:
            await self._add_again(network, port, addresses)
        self._foreign.changed(network.switch)

    async def _add_again(
        self, network: SharedNetwork, port: SwitchPort, addresses: Sequence[IPAddress]
    ) -> None:
        """Add the port again, on the switch as it is now, claiming addresses without a lease of this host.

        A lease may be lost because Northbound was restored, or belong to another context's pool.
        """
        located = await self._networks.locate(network)
        mark = await self._northbound.mark()
        found = await self._northbound.transact(
            [leases.lease_get(network.key(address), address) for address in addresses]
        )
        holders = {
            address: leases.read_lease(row)
            for address, result in zip(addresses, found, strict=True)
            for row in result["rows"]
        }
        leased: dict[Address, str] = {
            address: lease.endpoint_id
            for address, lease in holders.items()
            if (lease.kind, lease.host) == (LEASE, mark.host) and lease.endpoint_id in {"", port.endpoint_id}
        }
        try:
            await self._add(located, port, addresses, leased)
        except RequirementError:
            raise ConflictError(
                f"endpoint {port.endpoint_id}: logical switch {network.switch} or its leases change while the"
                " port is made; start the container again"
            ) from None

    async def _add(
        self,
        network: SharedNetwork,
        port: SwitchPort,
        addresses: Sequence[IPAddress],
        leased: Mapping[Address, str],
    ) -> None:
        """Make the port; `leased` says which endpoint is in the lease of an address that has one.

        It says CLAIM for an address that this endpoint claimed before its port was lost.
        """
        mark = await self._northbound.mark()
        switch = network.row_id
        query = self._foreign.about([network.switch])
        operations = [
            *query.operations,
            switches.ls_exists(switch),
            *_takes(network, port, addresses, leased, mark),
            *switches.lsp_add(port, switch, (), mark),
        ]
        undo = [
            *switches.lsp_add_undo(port, switch, mark),
            *_drops(network, addresses, mark, port),
        ]
        try:
            results = await self._northbound.transact(operations, undo)
        except ConstraintError:
            claimed = await self._claimed(network, port, [ip for ip in addresses if ip not in leased])
            if not claimed - leased.keys():
                raise
            await self._add(network, port, addresses, {**dict.fromkeys(claimed, CLAIM), **leased})
            return
        try:
            in_use = await self._foreign.in_use(query, results[: len(query.operations)])
        except BaseException:
            self._northbound.client.take_back(undo)
            raise
        requested: dict[int | str, Address] = {port.mac: port.mac, **{int(ip): ip for ip in addresses}}
        for key, address in requested.items():
            if user := in_use.by_port(key):
                await self._northbound.transact(undo, undo)
                raise mac_claims.taken(port, network.switch, f"{address}: {user}")

    async def _claimed(
        self, network: SharedNetwork, port: SwitchPort, addresses: Sequence[IPAddress]
    ) -> set[Address]:
        """Which of its MAC address and these the endpoint has claimed; fails if another endpoint has one."""
        keys: list[tuple[str, Address]] = [(network.key(address), address) for address in addresses]
        keys.append((network.switch, port.mac))
        results = await self._northbound.transact([leases.lease_get(*key) for key in keys])
        claimed: set[Address] = set()
        for (_, address), result in zip(keys, results, strict=True):
            for lease in map(leases.read_lease, result["rows"]):
                if lease.endpoint_id != port.endpoint_id:
                    remedy = await self._northbound.remedy(lease.host)
                    raise mac_claims.taken(port, network.switch, f"{address}: {lease.holder()}{remedy}")
                if lease.kind == CLAIM:
                    claimed.add(address)
        return claimed

    async def delete(self, network: SharedNetwork, endpoint_id: str) -> None:
        """Remove the port and its names, and release its claims; Docker releases its leases."""
        ids = network.network_id, endpoint_id
        mark = await self._northbound.mark()
        gone = leases.endpoint_del(endpoint_id, mark.host)
        unplug = switches.lsp_del(*ids, network.row_id)
        queries = [switches.lsp_get(*ids), names.record_get(endpoint_id)]
        found, recorded = await self._northbound.transact(queries, [unplug, *gone])
        records = list(filter(names.is_record, recorded["rows"]))
        drops = [drop for row in found["rows"] for drop in _drops_of(network, row, mark, endpoint_id)]
        if not found["rows"]:  # an administrator removed the port, or the whole switch
            drops = gone
        delete = [names.record_get(endpoint_id), unplug, *drops, *_withdraw(records)]
        recorded, deleted, *_ = await self._northbound.transact(delete, delete)
        late = [record for record in filter(names.is_record, recorded["rows"]) if record not in records]
        if late:  # published since the first look; without a port no others follow
            await self._northbound.transact(_withdraw(late), _withdraw(late))
        self._naming.withdrawn(endpoint_id, [*records, *late])
        if found["rows"] and not deleted["count"]:
            await self._northbound.transact([switches.lsp_del_anywhere(*ids)])
        self._foreign.changed(network.switch)


def _withdraw(records: Iterable[Row]) -> list[Operation]:
    return [operation for record in records for operation in names.withdraw(record)]


def _takes(
    network: SharedNetwork,
    port: SwitchPort,
    addresses: Sequence[IPAddress],
    leased: Mapping[Address, str],
    mark: Mark,
) -> list[Operation]:
    """Take each address: enter the endpoint into this host's lease of it, or claim it."""
    takes: list[Operation] = [] if port.mac in leased else mac_claims.claims(port, network.switch, mark)
    for address in addresses:
        key, holder = network.key(address), leased.get(address)
        if holder is None:
            takes.append(leases.lease_add(key, address, Lease(CLAIM, mark.host, port.endpoint_id), mark))
        elif holder != CLAIM:
            takes.append(leases.lease_held(key, address, mark.host, holder))
            takes.append(leases.lease_bind(key, address, mark.host, port.endpoint_id))
    return takes


def _drops_of(network: SharedNetwork, row: Row, mark: Mark, endpoint_id: str) -> list[Operation]:
    port = SwitchPort(network.network_id, endpoint_id, switches.read_addresses(row))
    addresses = [ipaddress.ip_address(word) for word in port.addresses.split()[1:]]
    return _drops(network, addresses, mark, port)


def _drops(
    network: SharedNetwork, addresses: Sequence[IPAddress], mark: Mark, port: SwitchPort
) -> list[Operation]:
    return [
        drop(network.key(address), address, mark.host, port.endpoint_id)
        for address in addresses
        for drop in (leases.claim_del, leases.lease_unbind)
    ] + mac_claims.drops(port, network.switch, mark.host)
