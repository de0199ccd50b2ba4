"""Endpoints on a switch that several hosts share: the port and its addresses, both or neither.

An address that our IPAM leased has a lease, into which the endpoint is entered. One that another IPAM chose
is claimed the same way, so that two hosts whose Docker chose the same are told before both are on air.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.overlay import macs
from ovn_docker.overlay.ipam.foreign_addresses import Occupied
from ovn_docker.overlay.network_spec import Shared
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.own_ports import outside
from ovn_docker.ovn import leases, switches
from ovn_docker.ovn.leases import CLAIM, LEASE, Address, Lease
from ovn_docker.ovn.switches import Mark, SwitchPort
from ovn_docker.ovsdb.operations import Operation, Row


class SharedPorts:
    """The ports of this host's endpoints on shared switches."""

    def __init__(self, networks: SharedNetworks, occupied: Occupied) -> None:
        """Make them where `networks` finds a switch; `occupied` knows what others' ports hold."""
        self._northbound = networks.database
        self._networks = networks
        self._occupied = occupied

    async def add(
        self, network: Shared, port: SwitchPort, interfaces: Sequence[addressing.IPInterface]
    ) -> None:
        """Make the port and take its addresses on the switch.

        Raises:
            RequestError: an address is of none of the network's pools.
            ConflictError: an address is taken; the text says by whom.
            ConstraintError: the port is there already.
        """
        strange = [each.network for each in interfaces if str(each.network) not in network.pools]
        if strange:
            raise RequestError(outside(port, strange, network.pools))
        macs.check_reserved(port, network.as_switch().pools)
        addresses = [each.ip for each in interfaces]
        ours = addresses if network.leased and network.context else []
        leased: dict[Address, str] = dict.fromkeys(ours, "")
        try:
            await self._add(network, port, addresses, leased)
        except RequirementError:
            await self._add_again(network, port, addresses)
        self._occupied.changed(network.switch)

    async def _add_again(self, network: Shared, port: SwitchPort, addresses: Sequence[IPAddress]) -> None:
        """Once more, on the switch as it is now, claiming what this host has no lease for.

        A lease may be gone because Northbound was restored, or be of another context's pool.
        """
        located = await self._networks.locate(network)
        mark = await self._northbound.mark()
        found = await self._northbound.transact(
            [leases.lease_get(network.key(each), each) for each in addresses]
        )
        rows = [
            (address, row) for address, each in zip(addresses, found, strict=True) for row in each["rows"]
        ]
        holders = {address: leases.read_lease(row) for address, row in rows}
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
        network: Shared,
        port: SwitchPort,
        addresses: Sequence[IPAddress],
        leased: Mapping[Address, str],
    ) -> None:
        """Make the port; `leased` says which endpoint stands in the lease of an address that has one.

        What this endpoint claimed before its port was lost stands in it too, and is left as it is.
        """
        mark = await self._northbound.mark()
        switch = UUID(network.row)
        question = self._occupied.about([network.switch])
        operations = [
            *question.operations,
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
            claimed = await self._claimed(network, port, [each for each in addresses if each not in leased])
            if not claimed - leased.keys():
                raise
            await self._add(network, port, addresses, {**dict.fromkeys(claimed, CLAIM), **leased})
            return
        try:
            held = await self._occupied.held(question, results[: len(question.operations)])
        except BaseException:
            self._northbound.client.take_back(undo)
            raise
        asked: dict[int | str, Address] = {port.mac: port.mac, **{int(each): each for each in addresses}}
        for key, address in asked.items():
            if who := held.by_port(key):
                await self._northbound.transact(undo, undo)
                raise macs.taken(port, network.switch, f"{address}: {who}")

    async def _claimed(
        self, network: Shared, port: SwitchPort, addresses: Sequence[IPAddress]
    ) -> set[Address]:
        """Which of its MAC address and these the endpoint has claimed already.

        Raises:
            ConflictError: another endpoint has one; the text says which.
        """
        filed: list[tuple[str, Address]] = [(network.key(each), each) for each in addresses]
        filed.append((network.switch, port.mac))
        results = await self._northbound.transact([leases.lease_get(*each) for each in filed])
        claimed: set[Address] = set()
        for (_, address), result in zip(filed, results, strict=True):
            for lease in map(leases.read_lease, result["rows"]):
                if lease.endpoint_id != port.endpoint_id:
                    remedy = await self._northbound.remedy(lease.host)
                    raise macs.taken(port, network.switch, f"{address}: {lease.holder()}{remedy}")
                if lease.kind == CLAIM:
                    claimed.add(address)
        return claimed

    async def delete(self, network: Shared, endpoint_id: str) -> None:
        """Remove the port and give up what it had claimed; a lease is Docker's to release from then on."""
        ids = network.network_id, endpoint_id
        mark = await self._northbound.mark()
        gone = leases.endpoint_del(endpoint_id, mark.host)
        unplug = switches.lsp_del(*ids, UUID(network.row))
        [found] = await self._northbound.transact([switches.lsp_get(*ids)], [unplug, *gone])
        drops = [drop for row in found["rows"] for drop in _drops_of(network, row, mark, endpoint_id)]
        if not found["rows"]:  # an administrator took the port away, or the whole switch
            drops = gone
        delete = [unplug, *drops]
        deleted, *_ = await self._northbound.transact(delete, delete)
        if found["rows"] and not deleted["count"]:
            await self._northbound.transact([switches.lsp_del_anywhere(*ids)])
        self._occupied.changed(network.switch)


def _takes(
    network: Shared,
    port: SwitchPort,
    addresses: Sequence[IPAddress],
    leased: Mapping[Address, str],
    mark: Mark,
) -> list[Operation]:
    """Take each address: enter the endpoint into its lease, or claim it."""
    takes: list[Operation] = [] if port.mac in leased else macs.claims(port, network.switch, mark)
    for address in addresses:
        key, holder = network.key(address), leased.get(address)
        if holder is None:
            takes.append(_claim(key, address, mark, port))
        elif holder != CLAIM:
            takes += _bind(key, address, mark, port, holder)
    return takes


def _drops_of(network: Shared, row: Row, mark: Mark, endpoint_id: str) -> list[Operation]:
    port = SwitchPort(network.network_id, endpoint_id, switches.read_addresses(row))
    addresses = [ipaddress.ip_address(word) for word in port.addresses.split()[1:]]
    return _drops(network, addresses, mark, port)


def _drops(network: Shared, addresses: Sequence[IPAddress], mark: Mark, port: SwitchPort) -> list[Operation]:
    return [
        drop(network.key(each), each, mark.host, port.endpoint_id)
        for each in addresses
        for drop in (leases.claim_del, leases.lease_unbind)
    ] + macs.drops(port, network.switch, mark.host)


def _bind(key: str, address: IPAddress, mark: Mark, port: SwitchPort, holder: str) -> list[Operation]:
    """Enter the endpoint into the lease that this host has, and that is no other endpoint's."""
    return [
        leases.lease_held(key, address, mark.host, holder),
        leases.lease_bind(key, address, mark.host, port.endpoint_id),
    ]


def _claim(key: str, address: IPAddress, mark: Mark, port: SwitchPort) -> Operation:
    return leases.lease_add(key, address, Lease(CLAIM, mark.host, port.endpoint_id), mark)
