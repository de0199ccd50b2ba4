"""Docker's IpamDriver over OVN Northbound: one pool of addresses for all hosts that share it.

The database judges. A lease is the insert of a row whose id follows from the pool and the address, so of all
hosts that try at once one succeeds. What this process remembers (which address it leased last) is a hint
that saves questions; a wrong hint costs one more.
"""

import ipaddress
import random
import secrets
from collections.abc import Callable, Sequence

from ovn_docker import pools
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.drivers.occupied import Occupied
from ovn_docker.errors import ConflictError, ConstraintError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.ovsdb.operations import Operation
from ovn_docker.pools import DefaultPool, Pool
from ovn_docker.schema import leases
from ovn_docker.schema.leases import Lease

ADDRESS_SPACE = "ovn-docker"
CONTEXT_OPTION = "context"

FIRST_WINDOW, LARGEST_WINDOW = 32, 1024
"""How many addresses one question asks about; it grows while all of them are taken."""


class OverlayIpam:
    """Pools and leases in Northbound."""

    def __init__(
        self,
        northbound: Northbound,
        defaults: Sequence[DefaultPool],
        context: str,
        choose: Callable[[int], int],
    ) -> None:
        """Serve with these.

        Args:
            northbound: where leases live.
            defaults: where subnets come from that nobody named.
            context: the routing context of a network that names none.
            choose: a random number below its argument, to step aside from hosts that try the same.
        """
        self._northbound = northbound
        self._occupied = Occupied(northbound)
        self._defaults = tuple(defaults)
        self._context = context
        self._choose = choose
        self._last: dict[str, int] = {}
        self._opening: set[Pool] = set()

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """One name for both scopes: the space is OVN's, whatever Docker thinks of the network's scope."""
        return messages.AddressSpacesResponse(local=ADDRESS_SPACE, global_=ADDRESS_SPACE)

    def opened(self, made: Sequence[IPNetwork]) -> None:
        """Note that a network with these pools was made: explicit addresses are a container's from now on.

        Docker asks for auxiliary addresses between RequestPool and CreateNetwork, with nothing that tells
        them from a container's (moby daemon/libnetwork/network.go ipamAllocateVersion).
        """
        self._opening = {pool for pool in self._opening if pool.subnet not in made}

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Enter the network into its pool."""
        options = dict(request.options or {})
        context = options.pop(CONTEXT_OPTION, self._context)
        if options:
            raise RequestError(
                f"unknown IPAM option '{next(iter(options))}': this driver knows {CONTEXT_OPTION}"
            )
        token = secrets.token_hex(6)
        if request.pool:
            pool = pools.new_pool(context, request.pool, request.sub_pool, token)
            while not await self._use(pool) and not await self._make(pool):
                pass
        else:
            pool = await self._make_default(context, token, 6 if request.v6 else 4)
        self._opening.add(pool)
        return messages.RequestPoolResponse(pool_id=str(pool), pool=str(pool.subnet))

    async def _use(self, pool: Pool) -> bool:
        mark = await self._northbound.mark()
        [used] = await self._northbound.transact([leases.pool_use(pool.key, pool.token, mark.host)])
        return bool(used["count"])

    async def _make(self, pool: Pool) -> bool:
        mark = await self._northbound.mark()
        user = {pool.token: mark.host}
        try:
            await self._northbound.transact(
                leases.pool_add(pool.context, pool.subnet, pool.key, user, mark.created)
            )
        except ConstraintError:
            return False
        return True

    async def _make_default(self, context: str, token: str, version: int) -> Pool:
        while True:
            [found] = await self._northbound.transact([leases.pool_list(context)])
            taken = [ipaddress.ip_network(row["cidr"]) for row in found["rows"]]
            subnet = pools.free_subnet(self._defaults, taken, version)
            if subnet is None:
                raise RequestError(
                    f"the default address pools have no free IPv{version} subnet left in context {context}:"
                    " name one with --subnet, or give the driver more with --default-address-pool"
                )
            pool = Pool(context, subnet, subnet, token)
            if await self._make(pool):
                return pool

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Strike the network out of its pool."""
        pool = pools.parse_pool(request.pool_id)
        self._opening.discard(pool)
        _, went = await self._northbound.transact(leases.pool_leave(pool.key, pool.token))
        if went["count"]:
            await self._northbound.transact([leases.reserved_del(pool.key)])

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease the address that is asked for, or the next; a gateway is reserved for all hosts alike."""
        pool = pools.parse_pool(request.pool_id)
        asked = _asked(pool, request.address)
        if (request.options or {}).get(messages.ADDRESS_TYPE) == messages.GATEWAY_TYPE:
            address = asked or pools.first_gateway(pool)
            await self._reserve(pool, address)
        elif asked is not None and pool in self._opening:
            address = asked
            await self._reserve(pool, address)
        elif asked is not None:
            address = asked
            await self._lease_asked(pool, address)
        else:
            address = await self._lease_next(pool)
        return messages.RequestAddressResponse(address=f"{address}/{pool.subnet.prefixlen}")

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Give up this host's lease; a reserved address stays until its pool goes."""
        pool = pools.parse_pool(request.pool_id)
        address = _asked(pool, request.address)
        if address is None:
            raise RequestError("ReleaseAddress names no address")
        mark = await self._northbound.mark()
        await self._northbound.transact([leases.lease_del(pool.key, address, mark.host, "lease")])

    async def _reserve(self, pool: Pool, address: IPAddress) -> None:
        """Keep an address from all containers; a second host that asks the same gets it too."""
        mark = await self._northbound.mark()
        lease = Lease("reserved")
        try:
            await self._northbound.transact(
                [leases.lease_add(pool.key, address, lease, mark), leases.DURABLE]
            )
        except ConstraintError:
            holder = await self._holder(pool, address)
            if holder is not None and holder.kind != "reserved":
                raise ConflictError(
                    f"address {address} of pool {pool.subnet} cannot be reserved: {holder.holder()}"
                ) from None

    async def _lease_asked(self, pool: Pool, address: IPAddress) -> None:
        request = secrets.token_hex(8)
        used = await self._occupied.addresses(pool)
        if int(address) in used:
            raise ConflictError(f"address {address} of pool {pool.subnet} is taken: {used[int(address)]}")
        if not await self._take(pool, address, request):
            holder = await self._holder(pool, address)
            if holder is not None and holder.request == request:
                return
            who = holder.holder() if holder is not None else "it was given up just now, try again"
            raise ConflictError(f"address {address} of pool {pool.subnet} is taken: {who}")

    async def _lease_next(self, pool: Pool) -> IPAddress:
        """The address behind the one leased last, if it is free, else the next free one.

        One transaction where nobody else leases at the same time. When others do, one question finds what is
        free, and the more often this host came too late, the wider it steps aside.
        """
        request = secrets.token_hex(8)
        late = 0
        used = await self._occupied.addresses(pool)
        candidates = [number for number in pool.window(self._last.get(pool.key), 4) if number not in used][:1]
        while True:
            for number in candidates:
                address = pool.address(number)
                if await self._take(pool, address, request):
                    self._last[pool.key] = number
                    return address
                holder = await self._holder(pool, address)
                if holder is not None and holder.request == request:
                    return address
            free = await self._free(pool, set(used))
            if not free:
                raise RequestError(
                    f"pool {pool.range} of context {pool.context} is exhausted: all of its {pool.size()}"
                    " addresses are leased, reserved or held by ports"
                )
            late += 1
            candidates = [free[self._choose(min(len(free), 1 << min(late - 1, 8)))]]

    async def _free(self, pool: Pool, used: set[int]) -> list[int]:
        """Free addresses in order, or none if the pool has none; asked for in windows that grow."""
        [row] = await self._northbound.transact([leases.pool_get(pool.key)])
        after = leases.read_next(row["rows"][0]) if row["rows"] else None
        size, seen = FIRST_WINDOW, 0
        total = pool.size()
        while seen < total:
            window = pool.window(after, min(size, total - seen))
            asked = [number for number in window if number not in used]
            results = await self._northbound.transact(
                [leases.lease_probe(pool.key, pool.address(number)) for number in asked]
            )
            free = [number for number, result in zip(asked, results, strict=True) if not result["rows"]]
            if free:
                return free
            seen += len(window)
            after, size = window[-1], min(size * 2, LARGEST_WINDOW)
        return []

    async def _take(self, pool: Pool, address: IPAddress, request: str) -> bool:
        mark = await self._northbound.mark()
        lease = Lease("lease", host=mark.host, request=request)
        operations: list[Operation] = [
            leases.lease_add(pool.key, address, lease, mark),
            leases.hint(pool.key, address),
            leases.DURABLE,
        ]
        try:
            await self._northbound.transact(operations)
        except ConstraintError:
            return False
        return True

    async def _holder(self, pool: Pool, address: IPAddress) -> Lease | None:
        [found] = await self._northbound.transact([leases.lease_get(pool.key, address)])
        return leases.read_lease(found["rows"][0]) if found["rows"] else None


def _asked(pool: Pool, text: str) -> IPAddress | None:
    """The address that a request names, or None.

    Raises:
        RequestError: it is none, or not one of the pool's.
    """
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text.partition("/")[0])
    except ValueError as error:
        raise RequestError(f"'{text}' is no IP address: {error}") from error
    if not pool.has(address):
        raise RequestError(f"address {address} is none of pool {pool.subnet} that a container can have")
    return address


def choose_at_random(below: int) -> int:
    """A random number from 0 to below its argument."""
    return random.randrange(below)  # noqa: S311  (to step aside, not to keep a secret)
