"""Docker's IpamDriver over OVN Northbound: one pool of addresses for all hosts that share it.

Owns the verbs, pools with their users, and reserved addresses. allocator.py leases addresses.
"""

import asyncio
import contextlib
import ipaddress
import math
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ovn_docker import address_pools, addressing
from ovn_docker.address_pools import DefaultPool, Pool
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.network_options import meant
from ovn_docker.overlay.ipam.allocator import AddressLeases, TakenError, of_same_network
from ovn_docker.overlay.ipam.foreign_addresses import Recent
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import leases, switches
from ovn_docker.ovn.leases import RESERVED
from ovn_docker.ovn.switches import CREATED
from ovn_docker.ovsdb.client import Client

# --- A swarm's network leaves its pools: when the swarm frees it, or an operator does so for it. ------------


async def uses(database: Client, network_id: str) -> list[str]:
    """The pools and reserved addresses that a swarm's network uses."""
    [found] = await database.transact([leases.network_uses(network_id)])
    return sorted(row["cidr"] for row in found["rows"])


async def free(database: Northbound | Client, network_id: str) -> None:
    """Remove a swarm's network from its pools, and its own switch if no port is on it.

    A pool goes with its last user, and so do its reserved addresses and the swarm's leases that no host uses.
    """
    [found] = await database.transact([leases.network_uses(network_id)])
    for row in found["rows"]:
        leave = leases.leave(switches.read_uuid(row), [network_id])
        _, removed = await database.transact(leave, leave)
        if removed["count"] and "/" in row["cidr"]:
            await forget_reserved(database, switches.read_marks(row)[leases.POOL])
    delete = switches.ls_del(switches.switch_id(network_id))
    await database.transact(delete, delete)


async def forget_reserved(database: Northbound | Client, key: str) -> None:
    """Remove the reserved addresses of a pool that is gone, unless another host has created it again."""
    with contextlib.suppress(RequirementError):
        await database.transact(leases.reserved_del(key))


class ReservedAddresses:
    """Gateways and auxiliary addresses, which no container of any host may have; networks may share one."""

    def __init__(self, database: Northbound) -> None:
        self._northbound = database

    async def use(self, pool: Pool, address: IPAddress) -> bool:
        """Become a user of a reserved address; False if it is not reserved."""
        mark = await self._northbound.mark()
        use = leases.reserved_use(pool.key, address, pool.token, mark.host)
        undo = leases.reserved_leave(pool.key, address, pool.token)
        [used] = await self._northbound.transact([use], undo)
        return bool(used["count"])

    async def reserve(self, pool: Pool, address: IPAddress) -> None:
        """Reserve an address, or become another user of it; a ConflictError says which container has it."""
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
        """Reserve an auxiliary address, which this host may have leased; fails as `reserve`."""
        mark = await self._northbound.mark()
        undo = leases.reserved_leave(pool.key, address, pool.token)
        reserve = leases.lease_reserve(pool.key, address, pool.token, mark)
        reserved, _ = await self._northbound.transact([reserve, leases.DURABLE], undo)
        if not reserved["count"]:
            await self.reserve(pool, address)

    async def _check(self, pool: Pool, address: IPAddress) -> None:
        """Fail if a container has the address; that another host has just reserved it is fine."""
        [found] = await self._northbound.transact([leases.lease_get(pool.key, address)])
        for holder in map(leases.read_lease, found["rows"]):
            if holder.kind != RESERVED:
                raise ConflictError(
                    f"address {address} of pool {pool.subnet} cannot be reserved: {holder.holder()}"
                )


ADDRESS_SPACES = ADDRESS_SPACE, GLOBAL_SPACE = "ovn-docker", "ovn-docker-global"
CONTEXT_OPTION = "context"
TOKEN = 12
"""Hex digits of the token that stands for one RequestPool's hold on a pool."""

OPENING = 30.0
"""Seconds after RequestPool in which an explicit address may be auxiliary, unless its network was created."""

SHARE_TIMEOUT, RETRY_INTERVAL = 2.0, 0.1
"""Seconds to wait for the CreateNetwork behind another host's auxiliary address; between two tries."""


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
        """`context` is the routing context of a network that names none; `clock` is monotonic, in seconds."""
        self._northbound = database
        self._addresses = addresses
        self._reserved = ReservedAddresses(database)
        self._defaults = tuple(defaults)
        self._context = context
        self._clock = clock
        self._opening: Recent[Pool, float] = Recent()
        self._gateways: Recent[Pool, IPAddress] = Recent()
        self._named: Recent[Pool, tuple[IPAddress, ...]] = Recent()
        self._called: Recent[tuple[str, IPAddress], str] = Recent()

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """Two names of one space: only a swarm's allocator asks in the global one."""
        return messages.AddressSpacesResponse(local=ADDRESS_SPACE, global_=GLOBAL_SPACE)

    async def opened(self, made: Mapping[IPNetwork, Sequence[IPAddress]]) -> None:
        """Reserve the auxiliary addresses of a network that was created, by pool.

        Docker asks for them between RequestPool and CreateNetwork, and nothing tells them from a container's
        (moby daemon/libnetwork/network.go ipamAllocateVersion), so each was leased. For networks of
        other drivers the health check does this.
        """
        for pool in [pool for pool in self._opening if pool.subnet in made]:
            for address in made[pool.subnet]:
                await self._reserved.keep(pool, address)
            self._opening.pop(pool, None)
            self._named.pop(pool, None)

    def elsewhere(self, context: str, subnets: Sequence[IPNetwork], *, swarm: bool) -> Pool | None:
        """A pool of a network being created, if it was requested in another context than its switch's.

        Pools requested from another process, or before a restart, are not known and pass.
        """
        for subnet in subnets:
            requested = [pool for pool in self._opening if pool.subnet == subnet]
            if swarm:  # it may have Docker's addresses; older pools are another driver's networks'
                requested = [pool for pool in requested if pool.is_global and self._is_opening(pool)]
            if requested and all(pool.context != context for pool in requested):
                return requested[-1]
        return None

    async def held_beside(self, subnets: Sequence[IPNetwork]) -> bool:
        """Whether a network of this host, besides those being created, may hold one of these pools.

        If none was requested from this process, it cannot tell, and the answer is yes.
        """
        requested = [pool for pool in self._opening if pool.subnet in subnets]
        if not requested:
            return True
        mark = await self._northbound.mark()
        found = await self._northbound.transact([leases.pool_users(pool.key) for pool in requested])
        holds = {
            token
            for result in found
            for row in result["rows"]
            for token, host in leases.read_users(row).items()
            if host == mark.host
        }
        return bool(holds - {pool.token for pool in requested})

    async def allocated(self, network_id: str, subnets: Sequence[IPNetwork], *, alone: bool) -> None:
        """Enter a swarm's network into the pools that this manager has just requested for it.

        From now on the network holds them, whoever leads the swarm, until it is `freed`. Docker names only
        IPv4 pools (moby libnetwork/cnmallocator/networkallocator.go allocateDriverState); an IPv6 pool that
        was requested just before is taken for the network's too.

        Args:
            network_id: the network's.
            subnets: its IPv4 pools.
            alone: whether it must not share a pool with another network of the swarm (ConflictError).
        """
        opening = [pool for pool in self._opening if pool.is_global and self._is_opening(pool)]
        own = [pool for pool in opening if pool.subnet in subnets or pool.subnet.version == 6]  # noqa: PLR2004
        if alone and own:
            await self._check_alone(network_id, own)
        mark = await self._northbound.mark()
        enter = [leases.network_enter(network_id, pool.token, mark.host) for pool in own]
        if enter:
            await self._northbound.transact([*enter, leases.DURABLE])
        for pool in own:
            self._opening.pop(pool, None)

    async def _check_alone(self, network_id: str, pools: Sequence[Pool]) -> None:
        """Refuse a swarm's network in the pool of another, unless it is in it: a new leader repeats."""
        found = await self._northbound.transact([leases.pool_users(pool.key) for pool in pools])
        for pool, result in zip(pools, found, strict=True):
            users = [pair for row in result["rows"] for pair in leases.read_users(row).items()]
            networks = [token for token, host in users if not host]
            if networks and network_id not in networks:
                raise ConflictError(
                    f"Pool overlaps with other one on this address space: network {networks[0]} of the swarm"
                    f" has {pool.subnet} of context {pool.context}: choose another subnet, or name the"
                    f" context with -o context={pool.context} to put both on one switch; if the swarm has no"
                    f" such network, run 'ovn-docker gc --swarm-network {networks[0]}'"
                )

    async def freed(self, network_id: str) -> None:
        """Remove a swarm's network from its pools, see `free`."""
        await free(self._northbound, network_id)

    def _is_opening(self, pool: Pool) -> bool:
        return self._clock() - self._opening.get(pool, -math.inf) < OPENING

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Enter the network into its pool, which is created if it does not exist."""
        options = {name: text for name, text in (request.options or {}).items() if not _is_dockers(name)}
        context = address_pools.check_context(options.pop(CONTEXT_OPTION, self._context))
        if options:
            name = next(iter(options))
            hint = meant(name, [CONTEXT_OPTION])
            raise RequestError(f"unknown IPAM option '{name}': this driver knows {CONTEXT_OPTION}{hint}")
        token, wide = secrets.token_hex(TOKEN // 2), request.address_space == GLOBAL_SPACE
        if request.pool:
            pool = address_pools.new_pool(context, request.pool, request.sub_pool, token, is_global=wide)
            while not await self._use(pool) and not await self._make_apart(pool):
                pass
        else:
            pool = await self._make_default(context, token, 6 if request.v6 else 4, wide=wide)
        self._opening[pool] = self._clock()
        return messages.RequestPoolResponse(pool_id=str(pool), pool=str(pool.subnet))

    async def _use(self, pool: Pool) -> bool:
        """Become a user of a pool; False if it does not exist."""
        mark = await self._northbound.mark()
        [used] = await self._northbound.transact(
            [leases.pool_use(pool.key, pool.token, mark.host)], leases.pool_leave(pool.key, pool.token)
        )
        return bool(used["count"])

    async def _make_apart(self, pool: Pool) -> bool:
        """Create a pool, if it overlaps no other of its context (ConflictError); see `_make`."""
        taken = await self._taken(pool.context)
        other = address_pools.overlapping(pool.subnet, taken)
        if other is None:
            return await self._make(pool, beside=taken)
        key = address_pools.switch_name(pool.context, other)
        [found] = await self._northbound.transact([leases.pool_users(key)])
        hosts = sorted({host for row in found["rows"] for host in leases.read_users(row).values()} - {""})
        whose = f", which networks of {', '.join(hosts[:3])} have" if hosts else ""
        raise ConflictError(
            f"Pool overlaps with other one on this address space: {pool.subnet} with {other} of context"
            f" {pool.context}{whose}: choose another subnet, or another context with both --ipam-opt"
            " context=NAME and -o context=NAME"
        )

    async def _taken(self, context: str) -> list[IPNetwork]:
        """The subnets of all pools of a context."""
        [found] = await self._northbound.transact([leases.pool_list(context)])
        return [ipaddress.ip_network(row["cidr"]) for row in found["rows"]]

    async def _make(
        self, pool: Pool, *, named: bool = True, beside: Sequence[IPNetwork] | None = None
    ) -> bool:
        """Create a pool; False if it exists, unless with our token because a reply was lost.

        Args:
            pool: what to create.
            named: whether its subnet was named, and not chosen for this host.
            beside: the only other pools that its context may have; with others it is not created.
        """
        mark = await self._northbound.mark()
        marks = {CREATED: mark.created, **({} if named else {leases.CHOSEN: pool.token})}
        operations = leases.pool_add(pool.context, pool.subnet, pool.key, {pool.token: mark.host}, marks)
        if beside is not None:
            operations.append(leases.pools_are(pool.context, map(str, {*beside, pool.subnet})))
        try:
            await self._northbound.transact(operations, leases.pool_leave(pool.key, pool.token))
        except RequirementError:
            return False
        except ConstraintError:
            [found] = await self._northbound.transact([leases.pool_users(pool.key)])
            return any(pool.token in leases.read_users(row) for row in found["rows"])
        return True

    async def enter(self, context: str, subnet: str, gateway: str, others: Sequence[str]) -> None:
        """Enter a network into its pool again when its own hold is not known any more; may be repeated.

        Args:
            context: the network's.
            subnet: in CIDR form.
            gateway: the one that was named, or "".
            others: the auxiliary addresses.
        """
        requested = address_pools.new_pool(context, subnet, "", "")
        pool = replace(requested, token=await self._reentry_token(requested))
        while not await self._use(pool) and not await self._make(pool):
            pass
        await self._reserved.reserve(pool, _requested(pool, gateway) or await self._gateway(pool))
        for text in others:
            if (address := _requested(pool, text)) is not None:
                await self._reserved.keep(pool, address)

    async def _reentry_token(self, pool: Pool) -> str:
        """The hold of this host's networks that were entered into a pool again; Docker knows another."""
        mark = await self._northbound.mark()
        return addressing.row_id("entered again", mark.host, pool.key).hex[:TOKEN]

    async def _make_default(self, context: str, token: str, version: int, *, wide: bool) -> Pool:
        while True:
            taken = await self._taken(context)
            subnet = address_pools.free_subnet(self._defaults, taken, version)
            if subnet is None:
                raise RequestError(
                    f"the default address pools have no free IPv{version} subnet left in context {context}:"
                    " name one with --subnet, or give the driver more with --default-address-pool"
                )
            pool = Pool(context, subnet, subnet, token, wide)
            if await self._make(pool, named=False, beside=taken):
                return pool

    async def unnamed(self, context: str, subnets: Sequence[IPNetwork]) -> list[IPNetwork]:
        """Which of a network's subnets nobody named, so that they were chosen for this host."""
        mark = await self._northbound.mark()
        found = await self._northbound.transact(
            [leases.pool_choice(address_pools.switch_name(context, subnet)) for subnet in subnets]
        )
        choosers = [{leases.read_chooser(row) for row in result["rows"]} for result in found]
        return [subnet for subnet, hosts in zip(subnets, choosers, strict=True) if mark.host in hosts]

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Remove the network from its pool, with the auxiliary addresses that it has leased so far.

        When a network is refused, Docker releases only the pool (moby network.go, ipamAllocateVersion).
        """
        pool = address_pools.parse_pool(request.pool_id)
        self._opening.pop(pool, None)
        release = [
            leases.lease_release_unused(pool.key, address, pool.token)
            for address in self._named.pop(pool, ())
        ]
        release += leases.leave(leases.pool_id(pool.key), [pool.token, await self._reentry_token(pool)])
        *_, removed = await self._northbound.transact(release, release)
        if removed["count"]:
            await forget_reserved(self._northbound, pool.key)

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease a given address, or the next free one; a gateway is reserved, once for all hosts."""
        pool = address_pools.parse_pool(request.pool_id)
        address = _requested(pool, request.address)
        options = request.options or {}
        gateway = options.get(messages.ADDRESS_TYPE) == messages.GATEWAY_TYPE
        swarm, name = pool.is_global and messages.SERIAL in options, options.get(messages.ENDPOINT_NAME, "")
        if gateway and address is None:
            address = await self._gateway(pool)
        if address is None:
            address = await self._addresses.lease_next(pool, swarm=swarm, name=name)
        elif gateway:
            await self._reserved.reserve(pool, address)
            self._gateways[pool] = address
        elif swarm or name or not self._is_opening(pool):  # a swarm's leader has no auxiliary addresses
            await self._addresses.lease(pool, address, swarm=swarm, name=name)
        else:
            await self._lease_or_share(pool, address)
        self._called.pop((pool.key, address), None)  # of a container that was not made after all
        if name:
            self._called[pool.key, address] = name
        return messages.RequestAddressResponse(address=f"{address}/{pool.subnet.prefixlen}")

    def caller(self, key: str, address: IPAddress) -> str:
        """The container that an address of a pool was just leased for, if Docker said so (29); told once."""
        return self._called.pop((key, address), "")

    async def _gateway(self, pool: Pool) -> IPAddress:
        """The gateway of a network that names none: what the pool's switch says, or the first address."""
        [found] = await self._northbound.transact([switches.ls_find(pool.key)])
        for row in found["rows"]:
            gateway = _requested(pool, switches.read_marks(row).get(switches.GATEWAY, ""))
            if gateway is not None:
                return gateway
        return address_pools.first_gateway(pool.subnet)

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Release this host's lease, or its swarm's, or this network's use of a reserved address."""
        pool = address_pools.parse_pool(request.pool_id)
        address = _requested(pool, request.address)
        if address is None:
            raise RequestError("ReleaseAddress names no address")
        mark = await self._northbound.mark()
        lease_del = leases.swarm_lease_del if pool.is_global else leases.lease_del
        release = [
            *lease_del(pool.key, address, mark.host),
            *leases.reserved_leave(pool.key, address, pool.token),
            *leases.reserved_leave(pool.key, address, await self._reentry_token(pool)),
        ]
        await self._northbound.transact(release, release)

    async def _lease_or_share(self, pool: Pool, address: IPAddress) -> None:
        """Lease what may be an auxiliary address, or share it if another host's network has reserved it.

        With another network driver it may as well be a container's, which two hosts must not both have. Until
        its CreateNetwork another host only has its auxiliary addresses leased: wait for that.
        """
        if address == self._gateways.get(pool):
            raise of_same_network(pool, address, "the gateway")
        deadline = self._clock() + SHARE_TIMEOUT
        while not await self._reserved.use(pool, address):
            try:
                await self._addresses.take(pool, address)
            except TakenError as taken:
                if taken.is_own(pool) and address in self._named.get(pool, ()):
                    raise of_same_network(pool, address, "an auxiliary address") from None
                if not taken.may_be_shared(pool) or self._clock() > deadline:
                    raise await self._addresses.explained(taken) from None
            else:
                self._named[pool] = (*self._named.get(pool, ()), address)
                return
            await asyncio.sleep(RETRY_INTERVAL)


def _requested(pool: Pool, text: str) -> IPAddress | None:
    """The address that a request names, or None if it names none."""
    address = addressing.address(text)
    if address is not None and not pool.has(address):
        raise RequestError(f"address {address} is not assignable in pool {pool.subnet}")
    return address


def _is_dockers(option: str) -> bool:
    """Whether an option is Docker's own: a swarm's allocator puts some among those of ``--ipam-opt``."""
    return option == messages.ADDRESS_TYPE or option.startswith(messages.DOCKER_OPTIONS)


def choose_at_random(below: int) -> int:
    """A random number from 0 to below its argument."""
    return random.randrange(below)  # noqa: S311  (to step aside, not to keep a secret)
