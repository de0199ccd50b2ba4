"""Docker's IpamDriver over OVN Northbound: one pool of addresses for all hosts that share it.

Owns the verbs: pools and their users, and addresses reserved for all hosts. How an address is leased is
leasing.py's.
"""

import contextlib
import ipaddress
import math
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from ovn_docker import addressing, pools
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.drivers.leasing import AddressLeases
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.libnetwork import messages
from ovn_docker.pools import DefaultPool, Pool
from ovn_docker.schema import leases, northbound
from ovn_docker.schema.leases import RESERVED
from ovn_docker.schema.northbound import CREATED

ADDRESS_SPACE = "ovn-docker"
CONTEXT_OPTION = "context"
TOKEN = 12
"""Hex digits of a hold on a pool."""

OPENING = 30.0
"""Seconds after RequestPool in which an explicit address is an auxiliary one, unless a network was made."""


class OverlayIpam:
    """Pools and leases in Northbound."""

    def __init__(
        self,
        database: Northbound,
        addresses: AddressLeases,
        defaults: Sequence[DefaultPool],
        context: str,
        clock: Callable[[], float],
    ) -> None:
        """Serve with these.

        Args:
            database: where pools live.
            addresses: leases them.
            defaults: where subnets come from that nobody named.
            context: the routing context of a network that names none.
            clock: seconds from some moment, never back.
        """
        self._northbound = database
        self._addresses = addresses
        self._defaults = tuple(defaults)
        self._context = context
        self._clock = clock
        self._opening: dict[Pool, float] = {}

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """One name for both scopes: the space is OVN's, whatever Docker thinks of the network's scope."""
        return messages.AddressSpacesResponse(local=ADDRESS_SPACE, global_=ADDRESS_SPACE)

    def opened(self, made: Sequence[IPNetwork]) -> None:
        """Note that a network with these pools was made: explicit addresses are a container's from now on.

        Docker asks for auxiliary addresses between RequestPool and CreateNetwork, with nothing that tells
        them from a container's (moby daemon/libnetwork/network.go ipamAllocateVersion).
        """
        self._opening = {pool: since for pool, since in self._opening.items() if pool.subnet not in made}

    def _is_opening(self, pool: Pool) -> bool:
        return self._clock() - self._opening.get(pool, -math.inf) < OPENING

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Enter the network into its pool."""
        options = dict(request.options or {})
        context = pools.check_context(options.pop(CONTEXT_OPTION, self._context))
        if options:
            raise RequestError(
                f"unknown IPAM option '{next(iter(options))}': this driver knows {CONTEXT_OPTION}"
            )
        token = secrets.token_hex(TOKEN // 2)
        if request.pool:
            pool = pools.new_pool(context, request.pool, request.sub_pool, token)
            while not await self._use(pool) and not await self._make(pool):
                pass
        else:
            pool = await self._make_default(context, token, 6 if request.v6 else 4)
        self._opening[pool] = self._clock()
        return messages.RequestPoolResponse(pool_id=str(pool), pool=str(pool.subnet))

    async def _use(self, pool: Pool) -> bool:
        """Enter a pool that exists."""
        mark = await self._northbound.mark()
        [used] = await self._northbound.transact(
            [leases.pool_use(pool.key, pool.token, mark.host)], leases.pool_leave(pool.key, pool.token)
        )
        return bool(used["count"])

    async def _make(self, pool: Pool, *, named: bool = True) -> bool:
        """Make a pool that does not exist; when a reply was lost it does, with our token."""
        mark = await self._northbound.mark()
        marks = {CREATED: mark.created, **({} if named else {leases.CHOSEN: pool.token})}
        operations = leases.pool_add(pool.context, pool.subnet, pool.key, {pool.token: mark.host}, marks)
        try:
            await self._northbound.transact(operations, leases.pool_leave(pool.key, pool.token))
        except ConstraintError:
            [found] = await self._northbound.transact([leases.pool_users(pool.key)])
            return any(pool.token in leases.read_users(row) for row in found["rows"])
        return True

    async def enter(self, context: str, subnet: str, gateway: str, others: Sequence[str]) -> None:
        """Enter a network into its pool again, of which not all is known any more. It may be repeated.

        Args:
            context: of the network.
            subnet: in CIDR form.
            gateway: that was named, or "".
            others: the auxiliary addresses.

        Raises:
            ConflictError: one of the addresses is a container's by now.
        """
        asked = pools.new_pool(context, subnet, "", "")
        pool = replace(asked, token=await self._again(asked))
        while not await self._use(pool) and not await self._make(pool):
            pass
        await self._reserve(pool, _asked(pool, gateway) or await self._gateway(pool))
        for each in others:
            if (address := _asked(pool, each)) is not None:
                await self._reserve(pool, address)

    async def _again(self, pool: Pool) -> str:
        """The hold of this host's networks that were entered into a pool again; Docker knows another."""
        mark = await self._northbound.mark()
        return addressing.row_id("entered again", mark.host, pool.key).hex[:TOKEN]

    async def forget_reserved(self, key: str) -> None:
        """Remove the reserved addresses of a pool that went, unless another host made it again."""
        with contextlib.suppress(RequirementError):
            await self._northbound.transact(leases.reserved_del(key))

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
            if await self._make(pool, named=False):
                return pool

    async def unnamed(self, context: str, subnets: Sequence[IPNetwork]) -> list[IPNetwork]:
        """Those of a network's subnets that were chosen for this host, for nobody named them."""
        mark = await self._northbound.mark()
        found = await self._northbound.transact(
            [leases.pool_choice(pools.switch_name(context, each)) for each in subnets]
        )
        choosers = [{leases.read_chooser(row) for row in each["rows"]} for each in found]
        return [subnet for subnet, hosts in zip(subnets, choosers, strict=True) if mark.host in hosts]

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Strike the network out of its pool."""
        pool = pools.parse_pool(request.pool_id)
        self._opening.pop(pool, None)
        leave = leases.leave(leases.pool_id(pool.key), [pool.token, await self._again(pool)])
        _, went = await self._northbound.transact(leave, leave)
        if went["count"]:
            await self.forget_reserved(pool.key)

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease the address that is asked for, or the next; a gateway is reserved for all hosts alike."""
        pool = pools.parse_pool(request.pool_id)
        address = _asked(pool, request.address)
        gateway = (request.options or {}).get(messages.ADDRESS_TYPE) == messages.GATEWAY_TYPE
        if gateway and address is None:
            address = await self._gateway(pool)
        if address is None:
            address = await self._addresses.lease_next(pool)
        elif gateway or self._is_opening(pool):
            await self._reserve(pool, address)
        else:
            await self._addresses.lease(pool, address)
        return messages.RequestAddressResponse(address=f"{address}/{pool.subnet.prefixlen}")

    async def _gateway(self, pool: Pool) -> IPAddress:
        """The gateway where the user names none: what the pool's switch says, or the first address."""
        [found] = await self._northbound.transact([northbound.ls_find(pool.key)])
        said = (northbound.read_marks(row).get(northbound.GATEWAY, "") for row in found["rows"])
        return next((_asked(pool, text) for text in said if text), None) or pools.first_gateway(pool.subnet)

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Give up this host's lease, or this network's part in a reserved address."""
        pool = pools.parse_pool(request.pool_id)
        address = _asked(pool, request.address)
        if address is None:
            raise RequestError("ReleaseAddress names no address")
        mark = await self._northbound.mark()
        release = [
            leases.lease_del(pool.key, address, mark.host),
            *leases.reserved_leave(pool.key, address, pool.token),
            *leases.reserved_leave(pool.key, address, await self._again(pool)),
        ]
        await self._northbound.transact(release, release)

    async def _reserve(self, pool: Pool, address: IPAddress) -> None:
        """Keep an address from all containers; a second network that asks the same gets it too."""
        mark = await self._northbound.mark()
        use = leases.reserved_use(pool.key, address, pool.token, mark.host)
        undo = leases.reserved_leave(pool.key, address, pool.token)
        while True:
            [used] = await self._northbound.transact([use], undo)
            if used["count"]:
                return
            try:
                await self._northbound.transact(
                    leases.reserved_add(pool.key, address, pool.token, mark), undo
                )
            except ConstraintError:
                await self._check_reserved(pool, address)
            else:
                return

    async def _check_reserved(self, pool: Pool, address: IPAddress) -> None:
        """Refuse to reserve an address that a container has; what another host reserved just now is fine."""
        [found] = await self._northbound.transact([leases.lease_get(pool.key, address)])
        for holder in map(leases.read_lease, found["rows"]):
            if holder.kind != RESERVED:
                raise ConflictError(
                    f"address {address} of pool {pool.subnet} cannot be reserved: {holder.holder()}"
                )


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
