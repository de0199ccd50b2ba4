"""Docker's IpamDriver over OVN Northbound: one pool of addresses for all hosts that share it.

Owns the verbs, and pools with their users. How an address is leased is allocator.py's, how one is kept from
all containers ipam_driver.py's.
"""

import asyncio
import contextlib
import ipaddress
import math
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

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
from ovn_docker.ovsdb.operations import Operation

# --- The end of a swarm's network in its pools: when the swarm frees it, or an operator does for it. --------


class Database(Protocol):
    """Northbound."""

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Do these; see `ovn_docker.ovsdb.client.Client.transact`."""


async def uses(database: Database, network_id: str) -> list[str]:
    """The pools and reserved addresses that a swarm's network stands in."""
    [found] = await database.transact([leases.network_uses(network_id)])
    return sorted(row["cidr"] for row in found["rows"])


async def free(database: Database, network_id: str) -> None:
    """Strike a swarm's network out of its pools, and remove its own switch if no port is on it.

    With the last user of a pool go its reserved addresses and the swarm's leases that no host uses.
    """
    [found] = await database.transact([leases.network_uses(network_id)])
    for row in found["rows"]:
        leave = leases.leave(switches.read_uuid(row), [network_id])
        _, went = await database.transact(leave, leave)
        if went["count"] and "/" in row["cidr"]:
            await forget(database, switches.read_marks(row)[leases.POOL])
    delete = [switches.ls_del(switches.switch_id(network_id))]
    await database.transact(delete, delete)


async def forget(database: Database, key: str) -> None:
    """Remove what a pool that went had reserved, unless another host made the pool again."""
    with contextlib.suppress(RequirementError):
        await database.transact(leases.reserved_del(key))


# --- Addresses that are kept from the containers of all hosts: gateways, and auxiliary addresses. -----------


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
        reserve = leases.lease_reserve(pool.key, address, pool.token, mark)
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


ADDRESS_SPACES = ADDRESS_SPACE, GLOBAL_SPACE = "ovn-docker", "ovn-docker-global"
CONTEXT_OPTION = "context"
TOKEN = 12
"""Hex digits of a hold on a pool."""

OPENING = 30.0
"""Seconds after RequestPool in which an explicit address may be auxiliary, unless a network was made."""

PATIENCE, PAUSE = 2.0, 0.1
"""Seconds to wait for the CreateNetwork behind another host's auxiliary address; between two looks."""


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
        self._reserved = ReservedAddresses(database)
        self._defaults = tuple(defaults)
        self._context = context
        self._clock = clock
        self._opening: Recent[Pool, float] = Recent()
        self._gateways: Recent[Pool, IPAddress] = Recent()
        self._named: Recent[Pool, tuple[IPAddress, ...]] = Recent()

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """Two names for one space: the global one tells a swarm's allocator from its nodes."""
        return messages.AddressSpacesResponse(local=ADDRESS_SPACE, global_=GLOBAL_SPACE)

    async def opened(self, made: Mapping[IPNetwork, Sequence[IPAddress]]) -> None:
        """Note that a network was made, and keep its auxiliary addresses from the containers of all hosts.

        Docker asks for them between RequestPool and CreateNetwork, with nothing that tells them from a
        container's (moby daemon/libnetwork/network.go ipamAllocateVersion), so each was leased. Of a network
        of another driver's nobody says that it was made: the health check sees to those.

        Args:
            made: the network's pools, and the auxiliary addresses of each.
        """
        for pool in [each for each in self._opening if each.subnet in made]:
            for address in made[pool.subnet]:
                await self._reserved.keep(pool, address)
            self._opening.pop(pool, None)
            self._named.pop(pool, None)

    def elsewhere(self, context: str, subnets: Sequence[IPNetwork], *, swarm: bool) -> Pool | None:
        """A pool of a network that is being made, if it was requested in another context than its switch's.

        What was requested of another process, or before a restart, is not known and passes.
        """
        for subnet in subnets:
            asked = [pool for pool in self._opening if pool.subnet == subnet]
            if swarm:  # it may have Docker's addresses, and older ones are another driver's network's
                asked = [pool for pool in asked if pool.is_global and self._is_opening(pool)]
            if asked and all(pool.context != context for pool in asked):
                return asked[-1]
        return None

    async def held_beside(self, subnets: Sequence[IPNetwork]) -> bool:
        """Whether a network of this host, besides those that are being made, may hold one of these pools.

        What is being made was requested just before; where it was not, of another process, nobody can tell.
        """
        asked = [pool for pool in self._opening if pool.subnet in subnets]
        if not asked:
            return True
        mark = await self._northbound.mark()
        found = await self._northbound.transact([leases.pool_users(pool.key) for pool in asked])
        made = {pool.token for pool in asked}
        holds = {
            token
            for each in found
            for row in each["rows"]
            for token, host in leases.read_users(row).items()
            if host == mark.host
        }
        return bool(holds - made)

    async def allocated(self, network_id: str, subnets: Sequence[IPNetwork], *, alone: bool) -> None:
        """Enter a swarm's network into the pools that this manager has just requested for it.

        From now on they are held by the network, whoever leads the swarm, until it is `freed`. Docker names
        IPv4 pools only (moby libnetwork/cnmallocator/networkallocator.go allocateDriverState); an IPv6 pool
        that was requested just before is taken for the network's too.

        Args:
            network_id: of the swarm's network.
            subnets: its IPv4 pools.
            alone: whether it did not ask to share them with another network of the swarm.

        Raises:
            ConflictError: another network of the swarm has one of them.
        """
        wide = [pool for pool in self._opening if pool.is_global and self._is_opening(pool)]
        ours = [pool for pool in wide if pool.subnet in subnets or pool.subnet.version == 6]  # noqa: PLR2004
        if alone and ours:
            await self._check_alone(network_id, ours)
        mark = await self._northbound.mark()
        enter = [leases.network_enter(network_id, pool.token, mark.host) for pool in ours]
        if enter:
            await self._northbound.transact([*enter, leases.DURABLE])
        for pool in ours:
            self._opening.pop(pool, None)

    async def _check_alone(self, network_id: str, asked: Sequence[Pool]) -> None:
        """Refuse a swarm's network in a pool of another, unless it is there already: a new leader repeats."""
        found = await self._northbound.transact([leases.pool_users(pool.key) for pool in asked])
        for pool, each in zip(asked, found, strict=True):
            users = [pair for row in each["rows"] for pair in leases.read_users(row).items()]
            networks = [token for token, host in users if not host]
            if networks and network_id not in networks:
                raise ConflictError(
                    f"Pool overlaps with other one on this address space: network {networks[0]} of the swarm"
                    f" has {pool.subnet} of context {pool.context}: choose another subnet, or name the"
                    f" context with -o context={pool.context} to put both on one switch; if the swarm has no"
                    f" such network, run 'ovn-docker gc --swarm-network {networks[0]}'"
                )

    async def freed(self, network_id: str) -> None:
        """Strike a swarm's network out of its pools, which go with their last user; its switch, too."""
        await free(self._northbound, network_id)

    def _is_opening(self, pool: Pool) -> bool:
        return self._clock() - self._opening.get(pool, -math.inf) < OPENING

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Enter the network into its pool."""
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
        """Enter a pool that exists."""
        mark = await self._northbound.mark()
        [used] = await self._northbound.transact(
            [leases.pool_use(pool.key, pool.token, mark.host)], leases.pool_leave(pool.key, pool.token)
        )
        return bool(used["count"])

    async def _make_apart(self, pool: Pool) -> bool:
        """Make a pool that does not exist, if it overlaps no other of its context.

        Raises:
            ConflictError: it does; the text says with which, and whose that is.
        """
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
        """Make a pool that does not exist; when a reply was lost it does, with our token.

        Args:
            pool: the one.
            named: whether somebody named its subnet.
            beside: the pools that its context has besides; it is not made where it has others by now.
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
        """Enter a network into its pool again, of which not all is known any more. It may be repeated.

        Args:
            context: of the network.
            subnet: in CIDR form.
            gateway: that was named, or "".
            others: the auxiliary addresses.

        Raises:
            ConflictError: one of the addresses is a container's by now.
        """
        asked = address_pools.new_pool(context, subnet, "", "")
        pool = replace(asked, token=await self._again(asked))
        while not await self._use(pool) and not await self._make(pool):
            pass
        await self._reserved.reserve(pool, _asked(pool, gateway) or await self._gateway(pool))
        for each in others:
            if (address := _asked(pool, each)) is not None:
                await self._reserved.keep(pool, address)

    async def _again(self, pool: Pool) -> str:
        """The hold of this host's networks that were entered into a pool again; Docker knows another."""
        mark = await self._northbound.mark()
        return addressing.row_id("entered again", mark.host, pool.key).hex[:TOKEN]

    async def forget_reserved(self, key: str) -> None:
        """Remove the reserved addresses of a pool that went, unless another host made it again."""
        await forget(self._northbound, key)

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
        """Those of a network's subnets that were chosen for this host, for nobody named them."""
        mark = await self._northbound.mark()
        found = await self._northbound.transact(
            [leases.pool_choice(address_pools.switch_name(context, each)) for each in subnets]
        )
        choosers = [{leases.read_chooser(row) for row in each["rows"]} for each in found]
        return [subnet for subnet, hosts in zip(subnets, choosers, strict=True) if mark.host in hosts]

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Strike the network out of its pool, with the auxiliary addresses that it had leased so far.

        Of a network that is refused, Docker releases the pool only (moby network.go, ipamAllocateVersion).
        """
        pool = address_pools.parse_pool(request.pool_id)
        self._opening.pop(pool, None)
        named = self._named.pop(pool, ())
        leave = leases.leave(leases.pool_id(pool.key), [pool.token, await self._again(pool)])
        forsake = [leases.lease_forsake(pool.key, each, pool.token) for each in named]
        *_, went = await self._northbound.transact([*forsake, *leave], [*forsake, *leave])
        if went["count"]:
            await self.forget_reserved(pool.key)

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease the address that is asked for, or the next; a gateway is reserved for all hosts alike."""
        pool = address_pools.parse_pool(request.pool_id)
        address = _asked(pool, request.address)
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
        return messages.RequestAddressResponse(address=f"{address}/{pool.subnet.prefixlen}")

    async def _gateway(self, pool: Pool) -> IPAddress:
        """The gateway where the user names none: what the pool's switch says, or the first address."""
        [found] = await self._northbound.transact([switches.ls_find(pool.key)])
        said = (switches.read_marks(row).get(switches.GATEWAY, "") for row in found["rows"])
        return next((_asked(pool, text) for text in said if text), None) or address_pools.first_gateway(
            pool.subnet
        )

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Give up this host's lease or its swarm's, or this network's part in a reserved address."""
        pool = address_pools.parse_pool(request.pool_id)
        address = _asked(pool, request.address)
        if address is None:
            raise RequestError("ReleaseAddress names no address")
        mark = await self._northbound.mark()
        give_up = leases.swarm_lease_del if pool.is_global else leases.lease_del
        release = [
            *give_up(pool.key, address, mark.host),
            *leases.reserved_leave(pool.key, address, pool.token),
            *leases.reserved_leave(pool.key, address, await self._again(pool)),
        ]
        await self._northbound.transact(release, release)

    async def _lease_or_share(self, pool: Pool, address: IPAddress) -> None:
        """Lease what may be an auxiliary address, or have a part in it where another host's network has it.

        Under another network driver it may as well be a container's, which two hosts must not have. Another
        host that asks for its auxiliary addresses just now has them leased until its CreateNetwork.
        """
        if address == self._gateways.get(pool):
            raise of_same_network(pool, address, "the gateway")
        deadline = self._clock() + PATIENCE
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
            await asyncio.sleep(PAUSE)


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
        raise RequestError(f"'{text}' is not a valid IP address: {error}") from error
    if not pool.has(address):
        raise RequestError(f"address {address} is not one that a container can have in pool {pool.subnet}")
    return address


def _is_dockers(option: str) -> bool:
    """Whether Docker put an option among those of ``--ipam-opt``: a swarm's allocator keeps its own there."""
    return option == messages.ADDRESS_TYPE or option.startswith(messages.DOCKER_OPTIONS)


def choose_at_random(below: int) -> int:
    """A random number from 0 to below its argument."""
    return random.randrange(below)  # noqa: S311  (to step aside, not to keep a secret)
