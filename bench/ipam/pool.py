"""A pool that is as full as one wants it, and the proof that no address was leased twice."""

import ipaddress
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from bench.ipam.clients import Answer
from bench.ipam.plan import Level
from bench.ovsdb import Database
from ovn_docker.address_pools import parse_pool
from ovn_docker.errors import HostError
from ovn_docker.ovn import leases
from ovn_docker.ovn.leases import LEASE, Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Operation, delete, row_is

_AT_ONCE = 1000
_OTHER_HOSTS = 100
_SEED = 3

_T = TypeVar("_T")


class FilledPool:
    """The addresses of one pool: those leased to others beforehand, and those leased in a round."""

    def __init__(self, pool_id: str, *, scattered: bool) -> None:
        """Take up an empty pool.

        Args:
            pool_id: as the driver named it.
            scattered: whether it is filled at random, or from its first address on.
        """
        self._pool = parse_pool(pool_id)
        first, last = self._pool.bounds()
        self._size = last - first + 1
        self._order = list(range(first + 1, last + 1))  # the first address is the gateway
        if scattered:
            random.Random(_SEED).shuffle(self._order)  # noqa: S311 (the same choice in each run)
        self._filled = 0

    @property
    def filled(self) -> int:
        """How many addresses are leased to others."""
        return self._filled

    def fill(self, database: Database, level: Level) -> None:
        """Lease more addresses to others, in transactions of 1,000."""
        wanted = round(self._size * level.share)
        for chunk in _chunks(self._order[self._filled : wanted]):
            database.transact([self._insert(number) for number in chunk])
        self._filled = max(wanted, self._filled)

    def _insert(self, number: int) -> Operation:
        host = f"other-{number % _OTHER_HOSTS}"
        lease = Lease(LEASE, host=host, endpoint_id=f"{number:064x}", request=f"{number:016x}")
        mark = Mark(host, "2026-01-01T00:00:00Z")
        return leases.lease_add(self._pool.key, self._pool.address(number), lease, mark)

    def come_to_end(self, database: Database) -> None:
        """Have the pool's last lease be its last address: who asks for the next begins at the first."""
        _, last = self._pool.bounds()
        database.transact([leases.hint(self._pool.key, self._pool.address(last))])

    def duplicates(self, database: Database, answers: Sequence[Answer]) -> int:
        """How many of the answers named an address that somebody else had or was told.

        Each must be answered once, must not be one of the others', and its row must say whose it is.
        """
        others = {str(self._pool.address(number)) for number in self._order[: self._filled]}
        answered = Counter(each.address for each in answers)
        holders = self._holders(database, [each.address for each in answers])
        return sum(
            answered[each.address] > 1 or each.address in others or holders[each.address] != each.host
            for each in answers
        )

    def _holders(self, database: Database, addresses: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for chunk in _chunks(addresses):
            questions = [leases.lease_get(self._pool.key, ipaddress.ip_address(each)) for each in chunk]
            for address, answer in zip(chunk, database.transact(questions), strict=True):
                rows = [leases.read_lease(row) for row in answer["rows"]]
                found[address] = rows[0].host if rows and rows[0].kind == LEASE else ""
        return found

    def empty(self, database: Database, answers: Iterable[Answer]) -> None:
        """Give up what was leased in a round.

        Raises:
            HostError: a lease was lost, that is answered but not there.
        """
        addresses = sorted({each.address for each in answers})
        for chunk in _chunks(addresses):
            rows = [leases.lease_id(self._pool.key, ipaddress.ip_address(each)) for each in chunk]
            done = database.transact([delete(leases.TABLE, [row_is(row)]) for row in rows])
            if lost := sum(not each["count"] for each in done):
                raise HostError(f"{lost} leases were answered but are not in Northbound")

    def clear(self, database: Database) -> None:
        """Give up the leases of others."""
        for chunk in _chunks(self._order[: self._filled]):
            rows = [leases.lease_id(self._pool.key, self._pool.address(number)) for number in chunk]
            database.transact([delete(leases.TABLE, [row_is(row)]) for row in rows])
        self._filled = 0


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
