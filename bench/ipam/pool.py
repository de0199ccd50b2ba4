"""A pool that is as full as it should be, and the proof that no address was leased twice."""

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
        """Make the pool's last lease its last address, so that the next search begins at the first."""
        _, last = self._pool.bounds()
        database.transact([leases.hint(self._pool.key, self._pool.address(last))])

    def duplicates(self, database: Database, answers: Sequence[Answer]) -> int:
        """How many answers named an address that another host had or got, or whose row names another host."""
        others = {str(self._pool.address(number)) for number in self._order[: self._filled]}
        answered = Counter(answer.address for answer in answers)
        holders = self._holders(database, [answer.address for answer in answers])
        return sum(
            answered[answer.address] > 1 or answer.address in others or holders[answer.address] != answer.host
            for answer in answers
        )

    def _holders(self, database: Database, addresses: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for chunk in _chunks(addresses):
            questions = [leases.lease_get(self._pool.key, ipaddress.ip_address(address)) for address in chunk]
            for address, answer in zip(chunk, database.transact(questions), strict=True):
                rows = [leases.read_lease(row) for row in answer["rows"]]
                found[address] = rows[0].host if rows and rows[0].kind == LEASE else ""
        return found

    def empty(self, database: Database, answers: Iterable[Answer]) -> None:
        """Remove what was leased in a round."""
        addresses = sorted({answer.address for answer in answers})
        for chunk in _chunks(addresses):
            rows = [leases.lease_id(self._pool.key, ipaddress.ip_address(address)) for address in chunk]
            done = database.transact([delete(leases.TABLE, [row_is(row)]) for row in rows])
            if lost := sum(not result["count"] for result in done):
                raise HostError(f"{lost} leases were answered but are not in Northbound")

    def clear(self, database: Database) -> None:
        """Remove the leases of others."""
        for chunk in _chunks(self._order[: self._filled]):
            rows = [leases.lease_id(self._pool.key, self._pool.address(number)) for number in chunk]
            database.transact([delete(leases.TABLE, [row_is(row)]) for row in rows])
        self._filled = 0


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
