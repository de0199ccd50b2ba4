"""Gives up what a dead host left in OVN Northbound, a bounded part at a time.

Knows neither who decided it nor why. Each transaction asserts locks that are lost at the moment the host is
back: its driver takes them before its first transaction. So nothing that a host makes anew is ever removed.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ovn_docker.errors import ConflictError, RequirementError
from ovn_docker.health.remains import Finder, Remains, finder
from ovn_docker.ovn import host_list, hosts, leases
from ovn_docker.ovn.hosts import Use
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, assert_lock, in_batches

BATCH = 100
"""Rows in one transaction: 9 ms for ports where there are 1,000 switches and 10,000 ports."""

PASSES = 5
"""How often the ports are looked for again when they have changed hands meanwhile."""


class GivingUp:
    """The removal of all that one host left."""

    def __init__(self, client: Client, host: str, locks: Sequence[str], *, deep: bool = False) -> None:
        """Remove it with this client, as long as it has these locks; `deep` as in `remains.finder`."""
        self._client = client
        self._host = host
        self._deep = deep
        self._asserts = [assert_lock(name) for name in locks]

    async def run(self) -> Remains:
        """Remove all; the host itself is struck off last, so that what was cut short is found again.

        Returns:
            What was removed.

        Raises:
            LockError: a lock was lost, so the host may be back; what was removed until then is.
            ConflictError: its ports change all the time.
        """
        find = await finder(self._client, self._host, deep=self._deep)
        gone = Remains(
            ports=await self._ports(find),
            leases=await self._leases(await find.leases()),
            uses=await self._uses(await find.uses()),
            switches=await self._switches(await find.switches()),
        )
        await self._transact([hosts.host_del(self._host), host_list.list_strike(self._host)])
        return gone

    async def _transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        results = await self._client.transact([*self._asserts, *operations])
        return results[len(self._asserts) :]

    async def _ports(self, find: Finder) -> int:
        gone = 0
        for _ in range(PASSES):
            ports = await find.ports()
            if not ports:
                return gone
            gone += await self._drop_ports(ports)
        raise ConflictError(f"the ports of host {self._host} change while it is given up: is it running?")

    async def _drop_ports(self, ports: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(ports, BATCH):
            try:
                await self._transact(hosts.ports_del(self._host, batch))
            except RequirementError:  # one of them went, or is another's by now
                continue
            gone += len(batch)
        return gone

    async def _leases(self, leased: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(leased, BATCH):
            drops = [each for lease in batch for each in hosts.lease_drop(self._host, lease)]
            dropped = await self._transact(drops)
            gone += sum(each["count"] for each in dropped)
        return gone

    async def _uses(self, used: Sequence[Use]) -> int:
        """Strike the host out; with a pool's last user go the pool and what was reserved in it."""
        for use in used:
            _, went = await self._transact(hosts.use_drop(self._host, use))
            if went["count"] and use.kind == leases.POOL_ROW:
                await self._reserved(use.key)
        return len(used)

    async def _reserved(self, key: str) -> None:
        try:
            await self._transact(leases.reserved_del(key))
        except RequirementError:  # another host made the pool again
            return

    async def _switches(self, made: Sequence[UUID]) -> int:
        gone = 0
        for batch in in_batches(made, BATCH):
            dropped = await self._transact([hosts.switch_drop(self._host, each) for each in batch])
            gone += sum(each["count"] for each in dropped)
        return gone
