"""Addresses of a pool that are in use without a lease: an administrator's ports, a router's, exclude_ips.

What a switch holds is read again only when its row has changed (RFC 7047 section 3.2: _version), and of its
ports only those that are new; those of our own making are in the leases. So a lease on a switch that nobody
changes costs one question more, whatever the switch's size.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from ovn_docker import pools
from ovn_docker.drivers.northbound import Northbound
from ovn_docker.ovsdb.operations import Row
from ovn_docker.ovsdb.values import mapping, members
from ovn_docker.pools import Pool
from ovn_docker.schema import northbound


@dataclass(slots=True)
class _Seen:
    """What was read of one switch.

    Attributes:
        version: of its row.
        ours: ports that carry our mark.
        foreign: all others.
    """

    version: object = None
    ours: set[UUID] = field(default_factory=set)
    foreign: list[UUID] = field(default_factory=list)


class Occupied:
    """Remembers what it read; what it answers is always what the database says now."""

    def __init__(self, database: Northbound) -> None:
        """Read from there."""
        self._northbound = database
        self._seen: dict[str, _Seen] = {}

    async def addresses(self, pool: Pool) -> Mapping[int, str]:
        """The addresses in use, as integers, and by whom, for people."""
        seen = self._seen.setdefault(pool.key, _Seen())
        switches, *ports = await self._northbound.transact(
            [northbound.ls_state(pool.key), *map(northbound.lsp_state, seen.foreign)]
        )
        if not switches["rows"]:
            self._seen.pop(pool.key, None)
            return {}
        [switch, *_] = switches["rows"]
        rows = [row for each in ports for row in each["rows"]]
        if switch["_version"] != seen.version:
            rows = await self._look(pool.key, seen, switch["_version"])
        used = await self._held(rows)
        for first, last in pools.excluded(mapping(switch["other_config"]).get("exclude_ips", "")):
            low, high = pool.bounds()
            used.update(
                (each, "other_config:exclude_ips of its switch names it")
                for each in range(max(first, low), min(last, high) + 1)
            )
        return used

    async def _look(self, key: str, seen: _Seen, version: object) -> list[Row]:
        """Read the switch's ports, those known to be ours excepted."""
        [switches] = await self._northbound.transact([northbound.ls_members(key)])
        held = {port for row in switches["rows"] for port in members(row["ports"])}
        unknown = [port for port in held if port not in seen.ours]
        results = await self._northbound.transact([northbound.lsp_state(port) for port in unknown])
        rows = [row for each in results for row in each["rows"]]
        foreign = [row for row in rows if not northbound.is_endpoint(row)]
        strange = {northbound.read_uuid(row) for row in foreign}
        seen.version, seen.foreign, seen.ours = version, list(strange), held - strange
        return foreign

    async def _held(self, rows: Iterable[Row]) -> dict[int, str]:
        used = {}
        routers = []
        for row in rows:
            holder = f"logical switch port {row['name']} holds it"
            words = " ".join([*members(row["addresses"]), *members(row["dynamic_addresses"])]).split()
            used.update(dict.fromkeys(_numbers(words), holder))
            if row["type"] == "router":
                routers.append(mapping(row["options"]).get("router-port", ""))
        results = (
            await self._northbound.transact([northbound.lrp_get(name) for name in routers]) if routers else []
        )
        for name, result in zip(routers, results, strict=True):
            words = [text.partition("/")[0] for row in result["rows"] for text in members(row["networks"])]
            used.update(dict.fromkeys(_numbers(words), f"router port {name} holds it"))
        return used


def _numbers(words: Iterable[str]) -> list[int]:
    """Those of the words that are IP addresses, as integers; a MAC address or "dynamic" is none."""
    numbers = []
    for word in words:
        try:
            numbers.append(int(ipaddress.ip_address(word)))
        except ValueError:
            continue
    return numbers
