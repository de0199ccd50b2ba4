"""The networks of this host that are on a switch shared with others, and what makes sharing safe.

Docker gives a network another NetworkID on each host, so this host has to remember which switch each of its
networks is on; that is the one thing kept in a file. The switch itself, and who has which address on it, is
Northbound's to say.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ovn_docker import addressing, pools
from ovn_docker.addressing import IPAddress
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.drivers.sharing import Shared
from ovn_docker.errors import ConflictError, ConstraintError, NotFoundError, RequestError, RequirementError
from ovn_docker.ovsdb.operations import Operation
from ovn_docker.ovsdb.values import mapping
from ovn_docker.pools import Pool
from ovn_docker.schema import leases, northbound
from ovn_docker.schema.leases import Lease
from ovn_docker.schema.northbound import Mark, Switch, SwitchPort
from ovn_docker.state import StateFile

NETWORKS = "networks"


class SharedNetworks:
    """What this host shares."""

    def __init__(self, database: Northbound, file: StateFile) -> None:
        """Take up what the file says."""
        self._northbound = database
        self._file = file
        self._networks = {
            network_id: Shared.from_json(content)
            for network_id, content in file.load().get(NETWORKS, {}).items()
        }
        self._saving = asyncio.Lock()

    def get(self, network_id: str) -> Shared | None:
        """The network, or None if it is not a shared one."""
        return self._networks.get(network_id)

    def all(self) -> Sequence[Shared]:
        """All of them."""
        return list(self._networks.values())

    def switches_of(self, pool: Pool) -> list[str]:
        """The names of the switches on which this host's networks lease from a pool.

        Before the network is made, that is the switch of the pool's subnet and context.
        """
        names = {
            each.switch
            for each in self._networks.values()
            if each.leased and str(pool.subnet) in each.pools and each.context in {"", pool.context}
        }
        return sorted(names) or [pool.key]

    async def create(self, asked: Shared, switch: Switch) -> None:
        """Put the network on its switch, which is made only if the network asks for it.

        Raises:
            NotFoundError: the switch does not exist; the text says how to make it.
            ConflictError: the switch is for another subnet or gateway, or the network is known otherwise.
        """
        known = self.get(asked.network_id)
        found = await self._resolve(asked, switch)
        if known is not None and replace(known, row="") != asked:
            raise ConflictError(f"network {asked.network_id} exists with other pools or options")
        await self._remember(replace(asked, row=str(found)))

    async def delete(self, network: Shared) -> None:
        """Forget the network; a switch that we made goes if no port is left on it, whoever's.

        A host with the network but without containers makes the switch again when it needs it.
        """
        async with self._saving:
            self._networks.pop(network.network_id, None)
            await self._save()
        if network.create:
            await self._northbound.transact([northbound.ls_del(northbound.switch_id(network.switch))])

    async def locate(self, network: Shared) -> Shared:
        """Find the switch again after its row has changed, and make it if the network may.

        Raises:
            NotFoundError, ConflictError: as `create`.
        """
        found = await self._resolve(network, network.as_switch())
        located = replace(network, row=str(found))
        await self._remember(located)
        return located

    async def _resolve(self, network: Shared, switch: Switch) -> UUID:
        [result] = await self._northbound.transact([northbound.ls_find(network.switch)])
        rows = result["rows"]
        if len(rows) > 1:
            raise ConflictError(
                f"OVN has {len(rows)} logical switches named {network.switch}: rename all but one"
            )
        if rows:
            _agree(network, switch, mapping(rows[0]["external_ids"]))
            return northbound.read_uuid(rows[0])
        if not network.create:
            raise NotFoundError(_how_to_make(network, switch))
        return await self._make(network, switch)

    async def _make(self, network: Shared, switch: Switch) -> UUID:
        mark = await self._northbound.mark()
        try:
            await self._northbound.transact(northbound.ls_add(switch, mark, network.switch, network.context))
        except (ConstraintError, RequirementError):
            return await self._resolve(network, switch)  # another host was quicker
        return northbound.switch_id(network.switch)

    async def _remember(self, network: Shared) -> None:
        if self.get(network.network_id) == network:
            return
        async with self._saving:
            before = dict(self._networks)
            self._networks[network.network_id] = network
            try:
                await self._save()
            except BaseException:
                self._networks = before
                raise

    async def _save(self) -> None:
        networks = {network_id: network.to_json() for network_id, network in self._networks.items()}
        await asyncio.to_thread(self._file.save, {NETWORKS: networks})

    async def add_port(
        self, network: Shared, port: SwitchPort, interfaces: Sequence[addressing.IPInterface]
    ) -> None:
        """Make the port and take its addresses on the switch, both or neither.

        Raises:
            RequestError: an address is of none of the network's pools.
            ConflictError: an address is taken; the text says by whom.
            ConstraintError: the port is there already.
        """
        strange = [each.network for each in interfaces if str(each.network) not in network.pools]
        if strange:
            raise RequestError(outside(port, strange, network.pools))
        addresses = [each.ip for each in interfaces]
        try:
            await self._add(network, port, addresses)
        except RequirementError:
            await self._add_again(await self.locate(network), port, addresses)

    async def _add_again(self, network: Shared, port: SwitchPort, addresses: Sequence[IPAddress]) -> None:
        """Once more, on the switch as it was found to be now."""
        try:
            await self._add(network, port, addresses)
        except RequirementError:
            raise ConflictError(
                f"endpoint {port.endpoint_id}: this host has no lease for {', '.join(map(str, addresses))} on"
                f" logical switch {network.switch}; start the container again"
            ) from None

    async def _add(self, network: Shared, port: SwitchPort, addresses: Sequence[IPAddress]) -> None:
        mark = await self._northbound.mark()
        switch = UUID(network.row)
        takes = [each for address in addresses for each in _take(network, port, address, mark)]
        operations = [northbound.ls_exists(switch), *takes, *northbound.lsp_add(port, switch, (), mark)]
        try:
            await self._northbound.transact(operations)
        except ConstraintError:
            if holder := await self._holder(network, addresses, port.endpoint_id):
                raise ConflictError(
                    f"endpoint {port.endpoint_id} cannot have an address that is taken on logical switch"
                    f" {network.switch}: {holder}"
                ) from None
            raise

    async def _holder(self, network: Shared, addresses: Sequence[IPAddress], endpoint_id: str) -> str:
        """Who else has one of the addresses on the switch, for people, or ""."""
        results = await self._northbound.transact(
            [leases.lease_get(network.switch, address) for address in addresses]
        )
        for address, result in zip(addresses, results, strict=True):
            for row in result["rows"]:
                lease = leases.read_lease(row)
                if lease.endpoint_id != endpoint_id:
                    return f"{address}: {lease.holder()}"
        return ""

    def drop_claims(self, network: Shared, addresses: Sequence[IPAddress], host: str) -> list[Operation]:
        """Give up the addresses that the port had taken; a lease is Docker's to release."""
        return [leases.lease_del(network.switch, address, host, "claim") for address in addresses]

    def describe(self) -> dict[str, Any]:
        """For people: what is shared, by network."""
        return {
            each.network_id: {
                "Logical_Switch": each.switch,
                "NetworkID": each.network_id,
                "Subnet": each.pools[0],
                "Context": each.context,
            }
            for each in self.all()
        }


def outside(port: SwitchPort, asked: Sequence[addressing.IPNetwork], pools: Sequence[str]) -> str:
    """The text for an endpoint whose addresses are none of its network's."""
    return (
        f"endpoint {port.endpoint_id} cannot have {' and '.join(map(str, asked))}: network"
        f" {port.network_id} has the pools {', '.join(pools) or '(none)'}"
    )


def _take(network: Shared, port: SwitchPort, address: IPAddress, mark: Mark) -> list[Operation]:
    """Enter the endpoint into its lease, or claim an address that another IPAM chose."""
    key = network.switch
    if network.leased and any(
        pools.switch_name(network.context, each) == key
        for each in network.as_switch().pools
        if address in each
    ):
        return [
            leases.lease_held(key, address, mark.host),
            leases.lease_bind(key, address, mark.host, port.endpoint_id),
        ]
    return [leases.lease_add(key, address, Lease("claim", mark.host, port.endpoint_id), mark)]


def _agree(network: Shared, switch: Switch, ids: dict[str, str]) -> None:
    """Refuse a switch that its owner meant for something else."""
    subnet, gateway = ids.get(northbound.SUBNET), ids.get(northbound.GATEWAY)
    if subnet and subnet not in network.pools:
        raise ConflictError(
            f"logical switch {network.switch} is for subnet {subnet}, not for {', '.join(network.pools)}"
        )
    asked = next((each for each in switch.gateways if each is not None), None)
    if gateway and asked is not None and gateway != str(asked):
        raise ConflictError(
            f"logical switch {network.switch} has the gateway {gateway}, not {asked}: create the network with"
            f" --gateway {gateway}"
        )


def _how_to_make(network: Shared, switch: Switch) -> str:
    if not network.context:
        return f"OVN has no logical switch named '{network.switch}': make it with 'ovn-nbctl ls-add'"
    gateway = next((f" external_ids:gateway_ip={each}" for each in switch.gateways if each is not None), "")
    name = network.switch
    return (
        f"OVN has no logical switch for subnet {network.pools[0]} in context {network.context}: make it with"
        f" 'ovn-nbctl ls-add {name} -- set Logical_Switch {name} external_ids:subnet={network.pools[0]}"
        f"{gateway} external_ids:subnet_context={network.context}', or create the network with -o create=true"
    )
