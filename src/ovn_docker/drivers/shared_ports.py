"""Endpoints on a switch that several hosts share: the port and its addresses, both or neither.

An address that our IPAM leased has a lease, into which the endpoint is entered. One that another IPAM chose
is claimed the same way, so that two hosts whose Docker chose the same are told before both are on air.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.drivers.occupied import Occupied
from ovn_docker.drivers.shared_networks import SharedNetworks
from ovn_docker.drivers.sharing import Shared
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.ovsdb.operations import Operation
from ovn_docker.schema import leases, northbound
from ovn_docker.schema.leases import CLAIM, LEASE, Lease
from ovn_docker.schema.northbound import Mark, SwitchPort


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
        addresses = [each.ip for each in interfaces]
        leased = dict.fromkeys(addresses, "") if network.leased and network.context else {}
        try:
            await self._add(network, port, addresses, leased)
        except RequirementError:
            await self._add_again(network, port, addresses)

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
        leased = {
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
        leased: Mapping[IPAddress, str],
    ) -> None:
        """Make the port; `leased` says which endpoint stands in the lease of an address that has one."""
        mark = await self._northbound.mark()
        switch = UUID(network.row)
        takes: list[Operation] = []
        for address in addresses:
            key = network.key(address)
            takes += (
                _bind(key, address, mark, port, leased[address])
                if address in leased
                else [_claim(key, address, mark, port)]
            )
        question = self._occupied.about([network.switch])
        operations = [
            *question.operations,
            northbound.ls_exists(switch),
            *takes,
            *northbound.lsp_add(port, switch, (), mark),
        ]
        undo = [
            *northbound.lsp_add_undo(port, switch, mark),
            *_drops(network, addresses, mark, port.endpoint_id),
        ]
        try:
            results = await self._northbound.transact(operations, undo)
        except ConstraintError:
            if holder := await self._holder(network, addresses, port.endpoint_id):
                raise ConflictError(
                    f"endpoint {port.endpoint_id} cannot have an address that is taken on logical switch"
                    f" {network.switch}: {holder}"
                ) from None
            raise
        try:
            held = await self._occupied.held(question, results[: len(question.operations)])
        except BaseException:
            self._northbound.client.take_back(undo)
            raise
        for address in addresses:
            if who := held.by_port(int(address)):
                await self._northbound.transact(undo, undo)
                raise ConflictError(
                    f"endpoint {port.endpoint_id} cannot have an address that is taken on logical switch"
                    f" {network.switch}: {address}: {who}"
                )

    async def _holder(self, network: Shared, addresses: Sequence[IPAddress], endpoint_id: str) -> str:
        """Who else has one of the addresses on the switch, for people, or ""."""
        results = await self._northbound.transact(
            [leases.lease_get(network.key(address), address) for address in addresses]
        )
        for address, result in zip(addresses, results, strict=True):
            for row in result["rows"]:
                lease = leases.read_lease(row)
                if lease.endpoint_id != endpoint_id:
                    return f"{address}: {lease.holder()}"
        return ""

    async def delete(self, network: Shared, endpoint_id: str) -> None:
        """Remove the port and give up what it had claimed; a lease is Docker's to release from then on."""
        ids = network.network_id, endpoint_id
        mark = await self._northbound.mark()
        gone = leases.endpoint_del(endpoint_id, mark.host)
        unplug = northbound.lsp_del(*ids, UUID(network.row))
        [found] = await self._northbound.transact([northbound.lsp_get(*ids)], [unplug, *gone])
        words = [word for row in found["rows"] for word in northbound.read_addresses(row).split()[1:]]
        drops = _drops(network, [ipaddress.ip_address(word) for word in words], mark, endpoint_id)
        if not found["rows"]:  # an administrator took the port away, or the whole switch
            drops = gone
        delete = [unplug, *drops]
        deleted, *_ = await self._northbound.transact(delete, delete)
        if found["rows"] and not deleted["count"]:
            await self._northbound.transact([northbound.lsp_del_anywhere(*ids)])


def _drops(network: Shared, addresses: Sequence[IPAddress], mark: Mark, endpoint_id: str) -> list[Operation]:
    return [
        drop(network.key(each), each, mark.host, endpoint_id)
        for each in addresses
        for drop in (leases.claim_del, leases.lease_unbind)
    ]


def outside(port: SwitchPort, asked: Sequence[IPNetwork], pools: Sequence[str]) -> str:
    """The text for an endpoint whose addresses are none of its network's."""
    return (
        f"endpoint {port.endpoint_id} cannot have {' and '.join(map(str, asked))}: network"
        f" {port.network_id} has the pools {', '.join(pools) or '(none)'}"
    )


def _bind(key: str, address: IPAddress, mark: Mark, port: SwitchPort, holder: str) -> list[Operation]:
    """Enter the endpoint into the lease that this host has, and that is no other endpoint's."""
    return [
        leases.lease_held(key, address, mark.host, holder),
        leases.lease_bind(key, address, mark.host, port.endpoint_id),
    ]


def _claim(key: str, address: IPAddress, mark: Mark, port: SwitchPort) -> Operation:
    return leases.lease_add(key, address, Lease(CLAIM, mark.host, port.endpoint_id), mark)
