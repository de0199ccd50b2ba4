"""What there is of one host in Northbound: by its index where that is whole, else in all tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol
from uuid import UUID

from ovn_docker.health import host_rows
from ovn_docker.ovn import host_index, hosts
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.hosts import Use
from ovn_docker.ovn.leases import CLAIM, KIND, LEASE
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Row
from ovn_docker.ovsdb.values import mapping, members


@dataclass(frozen=True, slots=True)
class Remains:
    """How much there is of a host, or was.

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


class Finder(Protocol):
    """Finds the rows of a host, as they are when it is asked."""

    async def ports(self) -> list[UUID]:
        """Its ports."""

    async def leases(self) -> list[UUID]:
        """Its leases and claims."""

    async def uses(self) -> list[Use]:
        """Its parts in pools and reserved addresses."""

    async def switches(self) -> list[UUID]:
        """The switches that it made."""


async def finder(client: Client, host: str, *, deep: bool = False) -> Finder:
    """Who finds the rows of a host.

    Args:
        client: of Northbound.
        host: its ``system-id``.
        deep: whether to go through all tables in any case.
    """
    [found] = await client.transact([host_index.index_get(host)])
    is_whole = host_index.read_index(found["rows"]).is_whole
    return _Named(client, host) if is_whole and not deep else _Scanned(client, host)


async def remains(client: Client, host: str, *, deep: bool = False) -> Remains:
    """Count what there is of a host in Northbound; the arguments are those of `finder`."""
    find = await finder(client, host, deep=deep)
    own = set(await find.ports())
    made = await find.switches()
    held = await client.transact([northbound.ls_ports(each) for each in made]) if made else []
    return Remains(
        ports=len(own),
        leases=len(await find.leases()),
        uses=len(await find.uses()),
        switches=sum(own.issuperset(members(row["ports"])) for each in held for row in each["rows"]),
    )


class _Named:
    """By the host's index: what that names is read by row id, and told only if it is the host's."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    async def _rows(self, kind: str) -> Sequence[Row]:
        return (await host_rows.read(self._client, self._host)).rows[kind]

    async def ports(self) -> list[UUID]:
        return _uuids(await self._rows("port"))

    async def leases(self) -> list[UUID]:
        rows = await self._rows("row")
        return _uuids([row for row in rows if mapping(row["external_ids"]).get(KIND) in {LEASE, CLAIM}])

    async def uses(self) -> list[Use]:
        return hosts.uses(self._host, await self._rows("row"))

    async def switches(self) -> list[UUID]:
        return _uuids(await self._rows("switch"))


class _Scanned:
    """By going through all tables."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    async def ports(self) -> list[UUID]:
        [found] = await self._client.transact([hosts.ports_of(self._host)])
        return _uuids(found["rows"])

    async def leases(self) -> list[UUID]:
        found = await self._client.transact(hosts.leases_of(self._host))
        return [uuid for each in found for uuid in _uuids(each["rows"])]

    async def uses(self) -> list[Use]:
        found = await self._client.transact(hosts.all_used())
        return [use for each in found for use in hosts.uses(self._host, each["rows"])]

    async def switches(self) -> list[UUID]:
        [found] = await self._client.transact([hosts.switches_of(self._host)])
        return _uuids(found["rows"])


def _uuids(rows: Sequence[Row]) -> list[UUID]:
    return [northbound.read_uuid(row) for row in rows]
