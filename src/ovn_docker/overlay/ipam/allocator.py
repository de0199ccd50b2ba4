"""How an address is leased: one transaction, or a few more while other hosts lease from the same pool.

A lease is the insert of a row whose id follows from the pool and the address, so of several hosts that try at
once one succeeds. What this process remembers of a pool only saves probes; a wrong guess costs one more.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ovn_docker.address_pools import Pool
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.overlay.ipam.foreign_addresses import ForeignAddresses, Recent, Results
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import hosts, leases, switches
from ovn_docker.ovn.leases import LEASE, RESERVED, Lease
from ovn_docker.ovsdb.operations import Operation, Row, in_batches

# --- Leases of this host whose endpoint is gone without a release, as after a power cut. --------------------


JOINING = 120.0
"""Seconds after RequestAddress by which an endpoint has been joined, or never will be: dockerd retries each
request for 30 s, and Join is the second one after it."""


class AbandonedLeases:
    """Recognizes them, and removes the port that would keep the address in use."""

    def __init__(self, database: Northbound) -> None:
        self._northbound = database

    async def has(self, lease: Lease) -> bool:
        """Whether a lease is this host's and its endpoint is gone."""
        mark = await self._northbound.mark()
        if (lease.kind, lease.host) != (LEASE, mark.host) or not lease.endpoint_id:
            return False
        attachments = self._northbound.attachments
        plugged, linked = attachments.plugged(lease.endpoint_id), attachments.linked(lease.endpoint_id)
        waiting, age = attachments.waiting(lease.endpoint_id), _seconds(lease.created, mark.created)
        if not is_gone(plugged=plugged, linked=linked, waiting=waiting, age=age):
            return False
        if not plugged:  # else CreateEndpoint of the address's next user removes what is left
            await self._remove_port(lease.endpoint_id, mark.host)
        return True

    async def _remove_port(self, endpoint_id: str, host: str) -> None:
        [found] = await self._northbound.transact([switches.lsp_named(endpoint_id)])
        ports = [switches.read_uuid(row) for row in found["rows"] if hosts.read_host(row) == host]
        if ports:
            try:
                await self._northbound.transact(hosts.ports_del(host, ports))
            except RequirementError:
                return  # it was removed meanwhile


def is_gone(*, plugged: bool, linked: bool, waiting: bool, age: float) -> bool:
    """Whether the container of an endpoint of this host is gone.

    A link goes with its container; an interface in Open vSwitch stays, even over a reboot. An endpoint with
    neither was unplugged or lost before its Join, unless it is still being created.

    Args:
        plugged: whether it has an interface in Open vSwitch.
        linked: whether it has a link in the kernel.
        waiting: whether it is plugged in for a Join that has not come.
        age: seconds since its address was leased.
    """
    if waiting:
        return age > JOINING
    return not linked and (plugged or age > JOINING)


def _seconds(earlier: str, later: str) -> float:
    """From one `Mark.created` to another; 0 if one is not a time."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


FIRST_WINDOW, LARGEST_WINDOW = 32, 1024
"""How many addresses one probe covers; it doubles while too few of them are free."""

ENOUGH = 8
"""How many free addresses a probe looks for, so that it serves several leases."""

FIRST_SKIP, LARGEST_SKIP = 2048, 16384
"""Below how many addresses a random number of them is passed over to step aside from other hosts: far enough
that each host has a stretch of its own for a while."""

RUN = 8
"""How many of a request's first hex digits identify the process that it was made to."""


@dataclass(slots=True)
class Cursor:
    """Where the next address of a pool is looked for; all addresses are integers.

    Attributes:
        last: look behind this one; None before the first probe.
        free: what the last probe found free and nobody has tried since, in order.
        sequential: allocate after `last` without probing, because the last probed window was entirely free.
        skip: the next probe passes over a random number of addresses below this one; 0 to stay in order.
        generation: counts the windows, to tell an address of this one from one of an earlier one.
        probing: held by the one request that probes for all.
    """

    last: int | None = None
    free: deque[int] = field(default_factory=deque)
    sequential: bool = False
    skip: int = 0
    generation: int = 0
    probing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def has_candidates(self) -> bool:
        return self.sequential or bool(self.free)

    def next(self, pool: Pool) -> int:
        """The address to try; nobody else in this process is given it."""
        if self.free:
            return self.free.popleft()
        [self.last] = pool.window(self.last, 1)
        return self.last

    def found(self, free: Iterable[int], probed: int, last: int) -> None:
        """Take the answer of a probe of `probed` addresses up to `last`."""
        self.free = deque(free)
        self.last, self.sequential = last, len(self.free) == probed
        self.generation += 1

    def succeeded(self) -> None:
        """Return to order the sooner the longer no other host is in the way."""
        self.skip //= 2

    def refused(self, generation: int, hint: int | None) -> None:
        """Note that another host was quicker, and that the pool's last lease is `hint`.

        The first time it is where to go on, so that hosts that take turns lease in order. A host that is
        refused again steps aside, so that each goes on in order from a place of its own.
        """
        if generation != self.generation:
            return
        self.generation += 1
        self.free.clear()
        self.sequential = False
        if self.skip:
            self.skip = min(max(self.skip * 2, FIRST_SKIP), LARGEST_SKIP)
        else:
            self.last, self.skip = hint, 1


class TakenError(ConflictError):
    """The address is in use; `lease` says by whom, unless by a port that is not ours."""

    def __init__(self, text: str, lease: Lease | None) -> None:
        super().__init__(text)
        self.lease = lease

    def may_be_shared(self, pool: Pool) -> bool:
        """Whether another network than the one behind `pool` has reserved the address, or is about to."""
        lease = self.lease
        if lease is None or lease.hold == pool.token:
            return False
        return lease.kind == RESERVED or bool(lease.hold and not lease.endpoint_id and not lease.name)

    def is_own(self, pool: Pool) -> bool:
        """Whether the address was leased by the same network, and no endpoint uses it."""
        return self.lease is not None and self.lease.hold == pool.token and not self.lease.endpoint_id


def of_same_network(pool: Pool, address: IPAddress, role: str) -> ConflictError:
    """The error for an auxiliary address that its own network uses in this role already."""
    return ConflictError(
        f"address {address} of pool {pool.subnet} is taken: it is {role} of the same network"
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a try to lease an address.

    Attributes:
        holder: who has the address, for people; "" if the try succeeded.
        hint: the address that the pool leased last before.
        lease: the one that was in the way, or None.
    """

    holder: str
    hint: int | None
    lease: Lease | None = None


class AddressLeases:
    """Leases addresses, for this host or for its swarm."""

    def __init__(
        self,
        database: Northbound,
        foreign: ForeignAddresses,
        choose: Callable[[int], int],
        serves: Callable[[Pool], bool],
    ) -> None:
        """`choose` gives a random number below its argument.

        `serves` says whether a network of this driver leases from a pool. If so, CreateEndpoint enters only
        one endpoint into a lease, whatever RequestAddress answered.
        """
        self._northbound = database
        self._foreign = foreign
        self._choose = choose
        self._serves = serves
        self._abandoned = AbandonedLeases(database)
        self._run = secrets.token_hex(RUN // 2)
        self._cursors: Recent[tuple[str, IPNetwork], Cursor] = Recent()

    async def lease(self, pool: Pool, address: IPAddress, *, swarm: bool = False, name: str = "") -> None:
        """Lease a given address, as `take`; an error also says what to do if the holder's host is away."""
        try:
            await self.take(pool, address, swarm=swarm, name=name)
        except TakenError as taken:
            raise await self.explained(taken) from None

    async def take(self, pool: Pool, address: IPAddress, *, swarm: bool = False, name: str = "") -> None:
        """Lease a given address.

        A swarm's leader may ask for what the swarm has already, and a node for what its leader has leased. A
        request that Docker repeats succeeds again. A lease whose endpoint is gone from this host is reused.

        Args:
            pool: the address's.
            address: what to lease.
            swarm: whether to lease it for the swarm, and not for this host.
            name: the container's, if Docker says it.

        Raises:
            TakenError: it is in use; the text says by whom.
        """
        lease = replace(await self._new(swarm=swarm, name=name), hold="" if swarm else pool.token)
        outcome = await self._try(pool, address, lease, [])
        if outcome.lease is not None:
            repeat = is_repeat(lease, outcome.lease, own_network=self._serves(pool))
            if repeat or (not swarm and await self._abandoned.has(outcome.lease)):
                if await self._take_over(pool, address, outcome.lease, lease):
                    return
            elif await self._join(pool, address, outcome.lease, swarm=swarm):
                return
        if outcome.holder:
            text = f"address {address} of pool {pool.subnet} is taken: {outcome.holder}"
            raise TakenError(text, outcome.lease)

    async def explained(self, taken: TakenError) -> TakenError:
        """The error with what to do if the host that has the address is away."""
        if taken.lease is None:
            return taken
        return TakenError(f"{taken}{await self._northbound.remedy(taken.lease.host)}", taken.lease)

    async def _take_over(self, pool: Pool, address: IPAddress, found: Lease, lease: Lease) -> bool:
        """Make this host's lease this request's, unless it has changed since it was found."""
        mark = await self._northbound.mark()
        take = leases.lease_take_over(pool.key, address, found, lease, mark)
        undo = leases.lease_undo(pool.key, address, lease.request)
        operations = [take, leases.lease_get(pool.key, address), leases.DURABLE]
        _, now, _ = await self._northbound.transact(operations, undo)
        return any(leases.read_lease(row).request == lease.request for row in now["rows"])

    async def _join(self, pool: Pool, address: IPAddress, lease: Lease, *, swarm: bool) -> bool:
        """Become a lease's second holder, beside a host or the swarm, if that is allowed."""
        host = (await self._northbound.mark()).host
        if swarm:
            take, undo = leases.lease_adopt(pool.key, address), []
        elif pool.is_global or not lease.swarm:
            return False
        elif lease.host == host:
            return not lease.endpoint_id  # a repeat
        else:
            take, undo = leases.lease_take(pool.key, address, host), leases.lease_del(pool.key, address, host)
        taken, *_ = await self._northbound.transact([take, leases.DURABLE], undo)
        return bool(taken["count"])

    async def _new(self, *, swarm: bool, name: str) -> Lease:
        mark = await self._northbound.mark()
        host = "" if swarm else mark.host
        return Lease(LEASE, host, request=self._run + secrets.token_hex(6), swarm=swarm, name=name)

    async def lease_next(self, pool: Pool, *, swarm: bool = False, name: str = "") -> IPAddress:
        """Lease the first free address behind the one leased last."""
        lease = await self._new(swarm=swarm, name=name)
        cursor = self._cursors[pool.key, pool.range] = self._cursors.get((pool.key, pool.range)) or Cursor()
        while True:
            if not cursor.has_candidates:
                async with cursor.probing:
                    if not cursor.has_candidates:
                        await self._probe(pool, cursor)
            generation, address = cursor.generation, pool.address(cursor.next(pool))
            outcome = await self._try(pool, address, lease, [leases.hint(pool.key, address)])
            if not outcome.holder:
                cursor.succeeded()
                return address
            cursor.refused(generation, outcome.hint)

    async def _try(self, pool: Pool, address: IPAddress, lease: Lease, also: Sequence[Operation]) -> _Outcome:
        """Lease the address unless it is in use, in one transaction, which also carries out `also`."""
        mark = await self._northbound.mark()
        query = self._foreign.query(pool)
        operations = [
            leases.lease_get(pool.key, address),
            leases.pool_get(pool.key),
            *query.operations,
            *(leases.lease_get(name, address) for name in self._foreign.named(pool)),
            leases.lease_add(pool.key, address, lease, mark),
            *also,
            leases.DURABLE,
        ]
        undo = leases.lease_undo(pool.key, address, lease.request)
        try:
            results: Results = await self._northbound.transact(operations, undo)
        except ConstraintError as refused:
            results = refused.results
            if not results or not results[0]["rows"]:
                raise
            holder = leases.read_lease(results[0]["rows"][0])
            if holder.request != lease.request:  # else the first reply was lost, and this was the repeat
                return _Outcome(holder.holder(), _hint(results[1]["rows"]), holder)
        answers, claimed = results[2 : 2 + len(query.operations)], results[2 + len(query.operations) :]
        try:
            in_use = await self._foreign.in_use(query, answers)
        except BaseException:
            self._northbound.client.take_back(undo)
            raise
        claims = [leases.read_lease(row).holder() for result in claimed for row in result.get("rows", ())]
        if holder_name := in_use.by(int(address)) or next(iter(claims), ""):
            await self._northbound.transact(undo, undo)
        return _Outcome(holder_name, _hint(results[1]["rows"]))

    async def _probe(self, pool: Pool, cursor: Cursor) -> None:
        """Find free addresses, in windows that grow."""
        after, size, total = cursor.last, FIRST_WINDOW, pool.size()
        if after is None:
            [found] = await self._northbound.transact([leases.pool_get(pool.key)])
            after = _hint(found["rows"])
        if cursor.skip:
            after = pool.beyond(after, self._choose(cursor.skip))
        free: list[int] = []
        probed = 0
        while probed < total and len(free) < ENOUGH:
            window = pool.window(after, min(size, total - probed))
            free += await self._free(pool, window)
            probed += len(window)
            after, size = window[-1], min(size * 2, LARGEST_WINDOW)
        if not free or after is None:
            raise RequestError(
                f"pool {pool.range} of context {pool.context} is exhausted: all of its {pool.size()}"
                " addresses are leased, reserved or held by ports"
            )
        cursor.found(free, probed, after)

    async def _free(self, pool: Pool, window: list[int]) -> list[int]:
        """The addresses in the window that are not in use."""
        query = self._foreign.query(pool)
        keys = (pool.key, *self._foreign.named(pool))
        probes = [leases.lease_probe(key, pool.address(number)) for number in window for key in keys]
        results = await self._northbound.transact([*query.operations, *probes])
        answers = in_batches(results[len(query.operations) :], len(keys))
        in_use = await self._foreign.in_use(query, results[: len(query.operations)])
        return [
            number
            for number, leased in zip(window, answers, strict=True)
            if not any(answer["rows"] for answer in leased) and not in_use.by(number)
        ]


def is_repeat(requested: Lease, found: Lease, *, own_network: bool) -> bool:
    """Whether the lease that is in the way was made by the same request, sent before.

    dockerd retries a request for 30 s if the connection failed (moby pkg/plugins/client.go callWithRetry), as
    when this process ended before it replied. Since Docker 29 it names the container, and no two containers
    of a network share a name. What an older one asked of an earlier process is answered again if the network
    is this driver's, whose CreateEndpoint lets only one container have the address.
    """
    whose = found.kind, found.host, found.hold, found.endpoint_id, found.swarm
    if not requested.hold or whose != (LEASE, requested.host, requested.hold, "", False):
        return False
    if requested.name or found.name:
        return requested.name == found.name
    return own_network and requested.request[:RUN] != found.request[:RUN]


def _hint(rows: Sequence[Row]) -> int | None:
    return leases.read_next(rows[0]) if rows else None
