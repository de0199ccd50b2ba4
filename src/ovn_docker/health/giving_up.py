"""Gives up what a dead host left in OVN Northbound, a bounded part at a time.

Knows neither who decided it nor why. Each transaction asserts locks that are lost at the moment the host is
back: its driver takes them before its first transaction. So nothing that a host makes anew is ever removed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from ovn_docker.errors import ConflictError, RequirementError
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, Row, assert_lock, in_batches
from ovn_docker.ovsdb.values import members
from ovn_docker.schema import hosts, leases, northbound

BATCH = 100
"""Rows in one transaction: 9 ms for ports where there are 1,000 switches and 10,000 ports."""

PASSES = 5
"""How often the ports are looked for again when they have changed hands meanwhile."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What there is of a host, or was.

    Attributes:
        ports: rows of Logical_Switch_Port.
        leases: leased and claimed addresses.
        uses: pools and reserved addresses in which a network of the host stands as a user.
        switches: those that it made and that no port of others is on.
    """

    ports: int = 0
    leases: int = 0
    uses: int = 0
    switches: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return any(asdict(self).values())

    def __str__(self) -> str:
        """For people."""
        return ", ".join(
            (
                _counted(self.ports, "port"),
                _counted(self.leases, "lease"),
                f"{_counted(self.uses, 'use')} of pools and reserved addresses",
                _counted(self.switches, "switch", "switches"),
            )
        )


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


async def remains(client: Client, host: str) -> Remains:
    """Count what there is of a host in Northbound."""
    [ports] = await client.transact([hosts.ports_of(host)])
    own = set(_uuids(ports["rows"]))
    leased = await client.transact(hosts.leases_of(host))
    used = await client.transact(hosts.all_used())
    [made] = await client.transact([hosts.switches_of(host)])
    return Remains(
        ports=len(own),
        leases=sum(len(each["rows"]) for each in leased),
        uses=sum(len(hosts.uses(host, each["rows"])) for each in used),
        switches=sum(own.issuperset(members(row["ports"])) for row in made["rows"]),
    )


class GivingUp:
    """The removal of all that one host left."""

    def __init__(self, client: Client, host: str, locks: Sequence[str]) -> None:
        """Remove it with this client, as long as it has these locks."""
        self._client = client
        self._host = host
        self._asserts = [assert_lock(name) for name in locks]

    async def run(self) -> Remains:
        """Remove all; the host itself is struck off last, so that what was cut short is found again.

        Returns:
            What was removed.

        Raises:
            LockError: a lock was lost, so the host may be back; what was removed until then is.
            ConflictError: its ports change all the time.
        """
        gone = Remains(
            ports=await self._ports(),
            leases=await self._leases(),
            uses=await self._uses(),
            switches=await self._switches(),
        )
        await self._transact([hosts.host_del(self._host)])
        return gone

    async def _transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        results = await self._client.transact([*self._asserts, *operations])
        return results[len(self._asserts) :]

    async def _ports(self) -> int:
        gone = 0
        for _ in range(PASSES):
            [found] = await self._client.transact([hosts.ports_of(self._host)])
            if not found["rows"]:
                return gone
            gone += await self._drop_ports(_uuids(found["rows"]))
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

    async def _leases(self) -> int:
        found = await self._client.transact(hosts.leases_of(self._host))
        gone = 0
        for batch in in_batches([uuid for each in found for uuid in _uuids(each["rows"])], BATCH):
            drops = [each for lease in batch for each in hosts.lease_drop(self._host, lease)]
            dropped = await self._transact(drops)
            gone += sum(each["count"] for each in dropped)
        return gone

    async def _uses(self) -> int:
        """Strike the host out; with a pool's last user go the pool and what was reserved in it."""
        found = await self._client.transact(hosts.all_used())
        used = [use for each in found for use in hosts.uses(self._host, each["rows"])]
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

    async def _switches(self) -> int:
        [found] = await self._client.transact([hosts.switches_of(self._host)])
        gone = 0
        for batch in in_batches(_uuids(found["rows"]), BATCH):
            dropped = await self._transact([hosts.switch_drop(self._host, each) for each in batch])
            gone += sum(each["count"] for each in dropped)
        return gone


def _uuids(rows: Sequence[Row]) -> list[UUID]:
    return [northbound.read_uuid(row) for row in rows]
