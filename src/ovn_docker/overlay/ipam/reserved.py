"""Addresses that are kept from the containers of all hosts: gateways, and auxiliary addresses."""

from ovn_docker.address_pools import Pool
from ovn_docker.addressing import IPAddress
from ovn_docker.errors import ConflictError, ConstraintError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import handovers, leases
from ovn_docker.ovn.leases import RESERVED


class ReservedAddresses:
    """Rows that several networks, of any host, may have a part in."""

    def __init__(self, database: Northbound) -> None:
        """Keep them there."""
        self._northbound = database

    async def use(self, pool: Pool, address: IPAddress) -> bool:
        """Enter the network into an address that is reserved; False where it is not."""
        mark = await self._northbound.mark()
        use = leases.reserved_use(pool.key, address, pool.token, mark.host)
        undo = leases.reserved_leave(pool.key, address, pool.token)
        [used] = await self._northbound.transact([use], undo)
        return bool(used["count"])

    async def reserve(self, pool: Pool, address: IPAddress) -> None:
        """Keep an address from all containers; a second network that asks the same gets it too.

        Raises:
            ConflictError: a container has it.
        """
        mark = await self._northbound.mark()
        undo = leases.reserved_leave(pool.key, address, pool.token)
        while not await self.use(pool, address):
            try:
                await self._northbound.transact(
                    leases.reserved_add(pool.key, address, pool.token, mark), undo
                )
            except ConstraintError:
                await self._check(pool, address)
            else:
                return

    async def keep(self, pool: Pool, address: IPAddress) -> None:
        """Reserve an auxiliary address, which this host may have leased.

        Raises:
            ConflictError: a container has it.
        """
        mark = await self._northbound.mark()
        undo = leases.reserved_leave(pool.key, address, pool.token)
        reserve = handovers.lease_reserve(pool.key, address, pool.token, mark)
        reserved, _ = await self._northbound.transact([reserve, leases.DURABLE], undo)
        if not reserved["count"]:
            await self.reserve(pool, address)

    async def _check(self, pool: Pool, address: IPAddress) -> None:
        """Refuse to reserve an address that a container has; what another host reserved just now is fine."""
        [found] = await self._northbound.transact([leases.lease_get(pool.key, address)])
        for holder in map(leases.read_lease, found["rows"]):
            if holder.kind != RESERVED:
                raise ConflictError(
                    f"address {address} of pool {pool.subnet} cannot be reserved: {holder.holder()}"
                )
