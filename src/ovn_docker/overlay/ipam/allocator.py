"""How an address is leased: one transaction where nobody else leases, and what to do where somebody does.

The database judges. A lease is the insert of a row whose id follows from the pool and the address, so of all
who try at once one succeeds. What this process remembers of a pool (where it was, what was free) is a hint
that saves questions; a wrong hint costs one more.
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

# --- Leases of this host whose endpoint is gone from it, as after a power cut, though nobody released them. -
# What is here says so: the endpoint's interface in Open vSwitch, and its link in the kernel.


JOINING = 120.0
"""Seconds from RequestAddress after which an endpoint has been joined or will not be; dockerd tries each
request for 30 s, and Join is the second behind it."""


class AbandonedLeases:
    """Tells them, and removes the port that would go on holding the address."""

    def __init__(self, database: Northbound) -> None:
        """Look there, and on its host."""
        self._northbound = database

    async def has(self, lease: Lease) -> bool:
        """Whether a lease is this host's, for an endpoint that is gone."""
        mark = await self._northbound.mark()
        if (lease.kind, lease.host) != (LEASE, mark.host) or not lease.endpoint_id:
            return False
        attachments = self._northbound.attachments
        plugged, linked = attachments.plugged(lease.endpoint_id), attachments.linked(lease.endpoint_id)
        waiting, age = attachments.waiting(lease.endpoint_id), _seconds(lease.created, mark.created)
        if not is_gone(plugged=plugged, linked=linked, waiting=waiting, age=age):
            return False
        if not plugged:  # else CreateEndpoint of the one that gets the address removes all that is left
            await self._remove_port(lease.endpoint_id, mark.host)
        return True

    async def _remove_port(self, endpoint_id: str, host: str) -> None:
        [found] = await self._northbound.transact([switches.lsp_named(endpoint_id)])
        ports = [switches.read_uuid(row) for row in found["rows"] if hosts.read_host(row) == host]
        if ports:
            try:
                await self._northbound.transact(hosts.ports_del(host, ports))
            except RequirementError:  # it went meanwhile
                return


def is_gone(*, plugged: bool, linked: bool, waiting: bool, age: float) -> bool:
    """Whether the container of an endpoint of this host is gone.

    A link goes with its container, an interface in Open vSwitch stays, over a boot too. An endpoint that has
    neither was unplugged, or lost before it was joined, unless it is just being made. One that waits for its
    Join will not be joined after a while.

    Args:
        plugged: whether it has an interface in Open vSwitch.
        linked: whether it has a link on this host.
        waiting: whether it is plugged in for a Join that has not come.
        age: seconds since its address was leased, by this host's clock.
    """
    if waiting:
        return age > JOINING
    return not linked and (plugged or age > JOINING)


def _seconds(earlier: str, later: str) -> float:
    """From one `Mark.created` to another; 0 where one of them is none."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


FIRST_WINDOW, LARGEST_WINDOW = 32, 1024
"""How many addresses one question asks about; it grows while too many of them are taken."""

ENOUGH = 8
"""How many free addresses are looked for at once, so that a question serves several leases."""

STEPS = (0, 0, 256, 512, 1024, 2048)
"""How many free addresses at most are passed over to step aside from others that lease too, by how often
others were quicker lately. Far enough that each host has a stretch of its own for a while: what another is
leasing at the same moment costs a try, what it leased before costs a question that is asked for many."""

RUN = 8
"""So many of a request's first hex digits are those of the process that it was made to."""

QUIET = 8
"""So many leases in a row with nobody in the way make "lately" shorter."""


@dataclass(slots=True)
class Cursor:
    """Where the next address of a pool is looked for.

    Attributes:
        last: behind which one, as an integer, or None before the first question.
        free: addresses that a question found free and nobody tried since, in the order to try them.
        blind: whether to go on behind `last` without a question, because what was asked about was all free.
        spread: of how many addresses one was free when it was asked last.
        late: how often others were quicker lately, as an index of `STEPS`.
        alone: leases since that last changed.
        step: how many free addresses the next question may pass over; 0 to stay in order.
        round: counts the questions, to tell an address of this one's from an earlier one's.
        asking: held by the one who asks for all.
    """

    last: int | None = None
    free: deque[int] = field(default_factory=deque)
    blind: bool = False
    spread: int = 1
    late: int = 0
    alone: int = 0
    step: int = 0
    round: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def knows(self) -> bool:
        """Whether there is something to try."""
        return self.blind or bool(self.free)

    def next(self, pool: Pool) -> int:
        """The address to try; nobody else in this process is given it."""
        if self.free:
            return self.free.popleft()
        [self.last] = pool.window(self.last, 1)
        return self.last

    def found(self, free: Iterable[int], asked: int, last: int) -> None:
        """Take the answer of a question about `asked` addresses up to `last`."""
        self.free = deque(free)
        self.last, self.blind = last, len(self.free) == asked
        self.spread, self.step = asked // len(self.free), 0
        self.round += 1

    def taken(self) -> None:
        """Note that the try succeeded."""
        self.alone += 1
        if self.late == 1 or self.alone == QUIET:
            self.late, self.alone = max(0, self.late - 1), 0

    def refused(self, asked_in: int, hint: int | None) -> None:
        """Note that somebody else was quicker, and that the pool's last lease was `hint`.

        The first time it is where to go on, so that hosts that take turns lease in order. Who comes too late
        again has others beside him, and steps aside, so that each goes on in order from a place of its own.
        """
        if asked_in != self.round:
            return
        self.late, self.alone = min(self.late + 1, len(STEPS) - 1), 0
        self.round += 1
        self.free.clear()
        self.blind = False
        self.step = STEPS[self.late]
        if not self.step:
            self.last = hint


class TakenError(ConflictError):
    """Somebody has the address; `lease` says who, if it is by a row of ours."""

    def __init__(self, text: str, lease: Lease | None) -> None:
        super().__init__(text)
        self.lease = lease

    def may_be_shared(self, pool: Pool) -> bool:
        """Whether the address is reserved by now, or another network than `pool` was requested for may do so.

        That network's own lease is of another of its auxiliary addresses, or of a container: it stays.
        """
        lease = self.lease
        if lease is None or lease.hold == pool.token:
            return False
        return lease.kind == RESERVED or bool(lease.hold and not lease.endpoint_id and not lease.name)

    def is_own(self, pool: Pool) -> bool:
        """Whether the address was leased through `pool`'s own hold, and no endpoint uses it."""
        return self.lease is not None and self.lease.hold == pool.token and not self.lease.endpoint_id


def of_same_network(pool: Pool, address: IPAddress, role: str) -> ConflictError:
    """The error for an auxiliary address that its own network has in this role already."""
    return ConflictError(
        f"address {address} of pool {pool.subnet} is taken: it is {role} of the same network"
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of a try.

    Attributes:
        holder: who has the address, for people, or "" where it is ours now.
        hint: what the pool leased last before.
        lease: the one that was in the way, or None.
    """

    holder: str
    hint: int | None
    lease: Lease | None = None


class AddressLeases:
    """Takes addresses of pools, for this host or for its swarm."""

    def __init__(
        self,
        database: Northbound,
        occupied: ForeignAddresses,
        choose: Callable[[int], int],
        ours: Callable[[Pool], bool],
    ) -> None:
        """Lease there.

        Args:
            database: where leases live.
            occupied: knows what is held without a lease.
            choose: a random number below its argument, to step aside from hosts that try the same.
            ours: whether a network of this driver leases from a pool, so that CreateEndpoint, which enters
                one endpoint into a lease and no second, judges over what RequestAddress answered.
        """
        self._northbound = database
        self._occupied = occupied
        self._choose = choose
        self._ours = ours
        self._abandoned = AbandonedLeases(database)
        self._run = secrets.token_hex(RUN // 2)
        self._cursors: Recent[tuple[str, IPNetwork], Cursor] = Recent()

    async def lease(self, pool: Pool, address: IPAddress, *, swarm: bool = False, name: str = "") -> None:
        """Lease the address that is asked for, as `take`.

        Raises:
            TakenError: it is taken; the text says by whom, and what to do where that host is away.
        """
        try:
            await self.take(pool, address, swarm=swarm, name=name)
        except TakenError as taken:
            raise await self.explained(taken) from None

    async def take(self, pool: Pool, address: IPAddress, *, swarm: bool = False, name: str = "") -> None:
        """Lease the address that is asked for.

        A swarm's leader asks for what the swarm has already, and a node for what its leader has leased. A
        request that Docker repeats is answered again. An endpoint that is gone from this host has nothing.

        Args:
            pool: of which it is.
            address: the one.
            swarm: whether the swarm is to have it, and not this host.
            name: of the container that asks, where Docker says it.

        Raises:
            TakenError: it is taken; the text says by whom.
        """
        lease = replace(await self._new(swarm=swarm, name=name), hold="" if swarm else pool.token)
        outcome = await self._try(pool, address, lease, [])
        if outcome.lease is not None:
            repeat = is_repeat(lease, outcome.lease, ours=self._ours(pool))
            if repeat or (not swarm and await self._abandoned.has(outcome.lease)):
                if await self._take_over(pool, address, outcome.lease, lease):
                    return
            elif await self._join(pool, address, outcome.lease, swarm=swarm):
                return
        if outcome.holder:
            text = f"address {address} of pool {pool.subnet} is taken: {outcome.holder}"
            raise TakenError(text, outcome.lease)

    async def explained(self, taken: TakenError) -> TakenError:
        """The error with what to do about the host that has the address, where that is away."""
        if taken.lease is None:
            return taken
        return TakenError(f"{taken}{await self._northbound.remedy(taken.lease.host)}", taken.lease)

    async def _take_over(self, pool: Pool, address: IPAddress, found: Lease, lease: Lease) -> bool:
        """Make a lease of this host that of this request, unless it has changed since it was found."""
        mark = await self._northbound.mark()
        take = leases.lease_take_over(pool.key, address, found, lease, mark)
        undo = leases.lease_undo(pool.key, address, lease.request)
        operations = [take, leases.lease_get(pool.key, address), leases.DURABLE]
        _, now, _ = await self._northbound.transact(operations, undo)
        return any(leases.read_lease(row).request == lease.request for row in now["rows"])

    async def _join(self, pool: Pool, address: IPAddress, lease: Lease, *, swarm: bool) -> bool:
        """Become the second holder of a lease, beside a host or beside the swarm, if that may be."""
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
        """Lease the address behind the one leased last, if it is free, else the next free one.

        Raises:
            RequestError: none is free.
        """
        lease = await self._new(swarm=swarm, name=name)
        cursor = self._cursors[pool.key, pool.range] = self._cursors.get((pool.key, pool.range)) or Cursor()
        while True:
            if not cursor.knows:
                async with cursor.asking:
                    if not cursor.knows:
                        await self._ask(pool, cursor)
            asked_in, address = cursor.round, pool.address(cursor.next(pool))
            outcome = await self._try(pool, address, lease, [leases.hint(pool.key, address)])
            if not outcome.holder:
                cursor.taken()
                return address
            cursor.refused(asked_in, outcome.hint)

    async def _try(
        self, pool: Pool, address: IPAddress, lease: Lease, along: Sequence[Operation]
    ) -> _Outcome:
        """Take the address unless somebody has it, in one transaction that says who and does `along`."""
        mark = await self._northbound.mark()
        question = self._occupied.question(pool)
        operations = [
            leases.lease_get(pool.key, address),
            leases.pool_get(pool.key),
            *question.operations,
            *(leases.lease_get(name, address) for name in self._occupied.named(pool)),
            leases.lease_add(pool.key, address, lease, mark),
            *along,
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
            if holder.request != lease.request:  # else its reply was lost, and this was the repeat
                return _Outcome(holder.holder(), _hint(results[1]["rows"]), holder)
        answers, claimed = results[2 : 2 + len(question.operations)], results[2 + len(question.operations) :]
        try:
            held = await self._occupied.held(question, answers)
        except BaseException:
            self._northbound.client.take_back(undo)
            raise
        claims = [leases.read_lease(row).holder() for each in claimed for row in each.get("rows", ())]
        if who := held.by(int(address)) or next(iter(claims), ""):
            await self._northbound.transact(undo, undo)
        return _Outcome(who, _hint(results[1]["rows"]))

    async def _ask(self, pool: Pool, cursor: Cursor) -> None:
        """Find addresses that are free, in windows that grow."""
        after, size, total = cursor.last, FIRST_WINDOW, pool.size()
        if after is None:
            [found] = await self._northbound.transact([leases.pool_get(pool.key)])
            after = _hint(found["rows"])
        if cursor.step:
            after = pool.beyond(after, self._choose(cursor.step) * cursor.spread)
        free: list[int] = []
        asked = 0
        while asked < total and len(free) < ENOUGH:
            window = pool.window(after, min(size, total - asked))
            free += await self._free(pool, window)
            asked += len(window)
            after, size = window[-1], min(size * 2, LARGEST_WINDOW)
        if not free or after is None:
            raise RequestError(
                f"pool {pool.range} of context {pool.context} is exhausted: all of its {pool.size()}"
                " addresses are leased, reserved or held by ports"
            )
        cursor.found(free, asked, after)

    async def _free(self, pool: Pool, window: list[int]) -> list[int]:
        """Those of the addresses that nobody has."""
        question = self._occupied.question(pool)
        keys = (pool.key, *self._occupied.named(pool))
        probes = [leases.lease_probe(key, pool.address(number)) for number in window for key in keys]
        results = await self._northbound.transact([*question.operations, *probes])
        answers = in_batches(results[len(question.operations) :], len(keys))
        held = await self._occupied.held(question, results[: len(question.operations)])
        return [
            number
            for number, probed in zip(window, answers, strict=True)
            if not any(each["rows"] for each in probed) and not held.by(number)
        ]


def is_repeat(asked: Lease, found: Lease, *, ours: bool) -> bool:
    """Whether the lease that is in the way was made by the same request for an address, sent before.

    dockerd sends a request again for 30 s where the connection failed (moby pkg/plugins/client.go
    callWithRetry), as when this process ended with the reply unsent. From Docker 29 on it says which
    container asks, and no two of a network have one name. An older one does not; what it asked of an earlier
    process is answered again where CreateEndpoint lets one container only have the address.

    Args:
        asked: the lease that was to be made.
        found: the one in the way.
        ours: whether the network is this driver's.
    """
    whose = found.kind, found.host, found.hold, found.endpoint_id, found.swarm
    if not asked.hold or whose != (LEASE, asked.host, asked.hold, "", False):
        return False
    if asked.name or found.name:
        return asked.name == found.name
    return ours and asked.request[:RUN] != found.request[:RUN]


def _hint(rows: Sequence[Row]) -> int | None:
    return leases.read_next(rows[0]) if rows else None
