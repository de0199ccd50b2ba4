"""What this host holds in Northbound, for the health check, and the repairs that no verb of Docker's does."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any, Protocol
from uuid import UUID

from ovn_docker import address_pools, addressing
from ovn_docker.docker.models import Endpoint, Network
from ovn_docker.errors import ConflictError, ConstraintError, RequirementError
from ovn_docker.health import host_cleanup
from ovn_docker.health.checks import is_name
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_cleanup import HostRows
from ovn_docker.health.snapshot import (
    EndpointIds,
    LostAddress,
    Names,
    Owned,
    OwnedEndpoint,
    OwnedLease,
    OwnedNetwork,
    OwnedPool,
    OwnedSwitch,
    Setup,
)
from ovn_docker.overlay.ipam.ipam_driver import CONTEXT_OPTION, OverlayIpam
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import hosts, leases, surveys
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.hosts import Entries, Index
from ovn_docker.ovn.leases import CLAIM, LEASE, RESERVED, Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Row, in_batches, mapping, members

# --- The rows of this host in Northbound: by its index, and once by going through all tables. ---------------
# Going through them costs the server's only thread 2 us for each row of any host. So it is done when an
# operator asks for it, and once where the index is not whole: after an upgrade from a version that had none,
# or when the host's row was lost. That may be so on all hosts at the same time, so each waits for a time of
# its own.


LOG = logging.getLogger(__name__)

SPREAD = 3600.0
"""Seconds over which the hosts of a cluster go through all tables."""


def at_once() -> float:
    """The delay of who goes through all tables now."""
    return 0.0


def some_time() -> float:
    """The delay of one of many hosts."""
    return random.uniform(0.0, SPREAD)  # noqa: S311  (to spread load)


class Scan(Protocol):
    """How a command has all tables gone through."""

    def __call__(self, *, always: bool, note: bool) -> None:
        """Go through them: `always`, or where the index is not whole; `note` what is found in the index."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a host; of pools and reserved addresses those that it has a part in."""

    switches: Sequence[Row]
    ports: Sequence[Row]
    leases: Sequence[Row]
    pools: Sequence[Row]
    reserved: Sequence[Row]

    def entries(self) -> dict[UUID, str]:
        """What an index that is whole names."""
        by_kind = {
            "switch": self.switches,
            "port": self.ports,
            "row": [*self.leases, *self.pools, *self.reserved],
        }
        return {northbound.read_uuid(row): kind for kind, rows in by_kind.items() for row in rows}


class OwnRows:
    """Finds them."""

    def __init__(self, database: Northbound, delay: Callable[[], float]) -> None:
        """Read there; `delay` is how many seconds to wait where the index is not whole."""
        self._northbound = database
        self._delay = delay
        self._due: float | None = None
        self._always = False
        self._note = True

    def scan(self, *, always: bool, note: bool) -> None:
        """See `Scan`."""
        self._always, self._note, self._delay, self._due = always, note, at_once, None

    async def read(self) -> Rows:
        """Read all that is this host's.

        Raises:
            DatabaseError, HostError: it cannot be read.
        """
        host = (await self._northbound.mark()).host
        [found] = await self._northbound.transact([hosts.index_get(host)])
        index = hosts.read_index(found["rows"])
        if self._always or (not index.is_whole and self._is_due()):
            return await self._scanned(Mark(host, index.created))
        read = await host_cleanup.read_entries(self._northbound.transact, host, index)
        if self._note:
            await self._strike(host, read)
        return _sorted(read.rows)

    async def named(self, entries: Entries) -> Rows:
        """Read rows that the host should have, and enter into the index those that are there and its own."""
        host = (await self._northbound.mark()).host
        read = await host_cleanup.read_entries(
            self._northbound.transact, host, Index(entries, is_whole=False)
        )
        rows = _sorted(read.rows)
        if self._note and (found := rows.entries()):
            await self._northbound.transact([hosts.index_add(host, found)])
        return rows

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self._due is None:
            self._due = now + self._delay()
        return now >= self._due

    async def _scanned(self, mark: Mark) -> Rows:
        """Go through all tables (five scans); `mark` is that of the host's row."""
        host = mark.host
        operations = [
            northbound.ls_list(host),
            northbound.lsp_list(host),
            leases.lease_list(host),
            leases.kind_list(leases.POOL_ROW),
            leases.kind_list(leases.RESERVED),
        ]
        switches, ports, leased, pools, reserved = (
            [row for row in each["rows"] if hosts.is_of(host, row)]
            for each in await self._northbound.transact(operations)
        )
        rows = Rows(switches, ports, leased, pools, reserved)
        if self._note:
            await self._finish(mark, rows.entries())
            if self._always:
                await self._forget_surveys()
        return rows

    async def _finish(self, mark: Mark, entries: Entries) -> None:
        """Note what was found, unless the driver has not registered this host yet, or anew meanwhile."""
        [done] = await self._northbound.transact([hosts.index_finish(mark, entries)])
        if done["count"]:
            self._due = None
            LOG.info("the index of this host in OVN Northbound is whole: it names %d row(s)", len(entries))

    async def _forget_surveys(self) -> None:
        """Remove what drivers wrote down of switches that are gone."""
        [found] = await self._northbound.transact([leases.kind_list(surveys.SURVEY)])
        switches = surveys.read_switches(found["rows"])
        questions = [northbound.ls_probe(each) for each in switches]
        there = await self._northbound.transact(questions) if questions else []
        gone = [switch for switch, each in zip(switches, there, strict=True) if not each["rows"]]
        if gone:
            await self._northbound.transact([surveys.survey_del(each) for each in gone])

    async def _strike(self, host: str, read: HostRows) -> None:
        """Strike out what the index names and the host has not; what has changed since stays until later."""
        if read.gone:
            await self._northbound.strike(read.gone)
        for uuid, (kind, row) in read.foreign.items():
            try:
                await self._northbound.transact(hosts.index_remove_foreign(host, uuid, kind, row))
            except RequirementError:
                continue


async def own_switches(database: Northbound, host: str) -> Sequence[Row]:
    """The switches that a host made: in all of the table only where the index is not whole.

    Raises:
        DatabaseError, HostError: they cannot be read.
    """
    [found] = await database.transact([hosts.index_get(host)])
    index = hosts.read_index(found["rows"])
    if not index.is_whole:
        [found] = await database.transact([northbound.ls_list(host)])
        return list(found["rows"])
    made = replace(index, entries={uuid: kind for uuid, kind in index.entries.items() if kind == "switch"})
    return (await host_cleanup.read_entries(database.transact, host, made)).rows["switch"]


def _sorted(rows: Mapping[str, Sequence[Row]]) -> Rows:
    kinds: dict[str, list[Row]] = {}
    for row in rows["row"]:
        kinds.setdefault(mapping(row["external_ids"]).get(leases.KIND, ""), []).append(row)
    return Rows(
        switches=rows["switch"],
        ports=rows["port"],
        leases=[*kinds.get(leases.LEASE, ()), *kinds.get(leases.CLAIM, ())],
        pools=kinds.get(leases.POOL_ROW, ()),
        reserved=kinds.get(leases.RESERVED, ()),
    )


RENAMED_AT_ONCE = 100
"""Ports whose names one transaction writes: less than 2 MB, with as many labels as a port carries."""


class OverlayInventory:
    """Reads and repairs what the overlay driver and its IPAM hold."""

    store = "OVN"

    def __init__(
        self,
        database: Northbound,
        shared: SharedNetworks,
        ipam: OverlayIpam,
        context: str,
        delay: Callable[[], float] = at_once,
    ) -> None:
        """Use these.

        Args:
            database: where it is held.
            shared: the networks of this host that are on shared switches.
            ipam: for pools.
            context: the routing context of a network that names none.
            delay: seconds until all tables are gone through where this host's index is not whole.
        """
        self._northbound = database
        self._rows = OwnRows(database, delay)
        self._shared = shared
        self._ipam = ipam
        self._context = context

    async def setup(self) -> Setup | None:
        """Nothing is set up once that could not be seen in what is held."""
        return None

    def pool_key(self, network: Network, subnet: str) -> str:
        """What a pool is filed under that our IPAM gave to a network."""
        return address_pools.switch_name(self._context_of(network), addressing.network(subnet, "pool"))

    def _context_of(self, network: Network) -> str:
        """The context of a network's pools: what it named, or else the driver's of when it was made."""
        named = network.ipam_options.get(CONTEXT_OPTION)
        if named is not None:
            return named
        made = self._shared.get(network.network_id)
        if made is None or CONTEXT_OPTION in network.options:
            return self._context
        return made.context or self._context

    def scan(self, *, always: bool, note: bool) -> None:
        """Have all tables gone through, see `own_rows.Scan`."""
        self._rows.scan(always=always, note=note)

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read all that carries this host's mark, and whether those networks are whole.

        What could only be removed, and may not be because others have ports on it, is left out.

        Raises:
            DatabaseError, HostError: it cannot be read.
        """
        mark = await self._northbound.mark()
        rows = await self._rows.read()
        remembered = {each.network_id: each for each in self._shared.all()}
        asked = await self._there([*networks, *remembered])
        used = {each.switch for each in remembered.values()}
        spare = [row for row in rows.switches if row["name"] not in used and row["name"] not in asked]
        free = await self._without_ports_of_others(spare, rows.ports)
        own = [row["name"] for row in free if _is_own(row)]
        found = dict.fromkeys(own, True) | asked
        return Owned(
            networks={
                network_id: OwnedNetwork(
                    network_id,
                    whole,
                    remembered[network_id].keys() if network_id in remembered else {},
                )
                for network_id, whole in found.items()
            },
            endpoints=tuple(map(_endpoint, rows.ports)),
            switches=tuple(
                OwnedSwitch(northbound.read_uuid(row), row["name"], northbound.read_network_id(row))
                for row in free
                if not _is_own(row)
            ),
            leases=tuple(map(_lease, rows.leases)),
            pools=tuple(_pool(row, mark.host) for row in rows.pools),
            reserved=tuple(_pool(row, mark.host) for row in rows.reserved),
        )

    async def _without_ports_of_others(self, switches: Sequence[Row], ours: Sequence[Row]) -> Sequence[Row]:
        """Those that could be removed: without ports, or a network's own with this host's ports only."""
        if not switches:
            return ()
        questions = [northbound.ls_ports(northbound.read_uuid(row)) for row in switches]
        results = await self._northbound.transact(questions)
        mine = {northbound.port_id(northbound.read_network_id(row), row["name"]) for row in ours}
        ports = [{port for row in each["rows"] for port in members(row["ports"])} for each in results]
        return [
            row for row, on in zip(switches, ports, strict=True) if on <= (mine if _is_own(row) else set())
        ]

    async def complete(self, held: Owned, missing: Sequence[Finding]) -> Owned:
        """What is held, with those rows that are there though the index did not name them.

        An index that was lost, or is not whole yet, must not have what is there taken for missing.
        """
        known = {each.row for each in held.leases} | {each.row for each in (*held.pools, *held.reserved)}
        entries = {row: kind for each in missing for row, kind in self._named(each) if row not in known}
        if not entries:
            return held
        mark = await self._northbound.mark()
        rows = await self._rows.named(entries)
        lost = [each for each in missing if each.kind == "lease-missing"]
        return replace(
            held,
            endpoints=(*held.endpoints, *map(_endpoint, rows.ports)),
            leases=(*held.leases, *map(_lease, rows.leases)),
            pools=(*held.pools, *(_pool(row, mark.host) for row in rows.pools)),
            reserved=(*held.reserved, *(_pool(row, mark.host) for row in rows.reserved)),
            taken=await self._taken(lost, mark.host) if lost else (),
        )

    async def _taken(self, missing: Sequence[Finding], host: str) -> tuple[LostAddress, ...]:
        """Those of the leases that are missing which this host cannot have, for they are another's."""
        results = await self._northbound.transact([leases.lease_get(*each.evidence[:2]) for each in missing])
        return tuple(
            LostAddress(key, address, endpoint.endpoint_id, lease.holder())
            for (key, address, endpoint, _), result in zip(
                (each.evidence for each in missing), results, strict=True
            )
            for lease in map(leases.read_lease, result["rows"])
            if lease.kind == RESERVED or lease.host not in {"", host}
        )

    def _named(self, missing: Finding) -> Iterator[tuple[UUID, str]]:
        """The rows without which something is called missing, with the kinds of their entries."""
        evidence = missing.evidence
        if missing.kind == "endpoint-missing":
            yield northbound.port_id(evidence.network_id, evidence.endpoint_id), "port"
        elif missing.kind == "lease-missing":
            key, address, _, _ = evidence
            yield leases.lease_id(key, address), "row"
        elif missing.kind == "pool-missing":
            network, subnet = evidence
            key = self.pool_key(network, subnet)
            config = next(each for each in network.pools if each.subnet == subnet)
            yield leases.pool_id(key), "row"
            gateway = config.gateway or str(address_pools.first_gateway(addressing.network(subnet, "pool")))
            for address in (gateway, *config.aux_addresses.values()):
                yield leases.lease_id(key, address), "row"

    async def _there(self, networks: Iterable[str]) -> dict[str, bool]:
        """Whether the switches of networks are there."""
        asked = list(dict.fromkeys(networks))
        questions = [northbound.ls_probe(self._row(each)) for each in asked]
        results = await self._northbound.transact(questions) if questions else []
        return {network: bool(each["rows"]) for network, each in zip(asked, results, strict=True)}

    def _row(self, network_id: str) -> UUID:
        network = self._shared.get(network_id)
        return northbound.switch_id(network_id) if network is None else UUID(network.row)

    async def restore(self, network_id: str) -> bool:
        """Make the switch again of a network that is on a shared one; False for any other."""
        network = self._shared.get(network_id)
        if network is not None:
            await self._shared.locate(network)
        return network is not None

    async def remove_switch(self, switch: OwnedSwitch) -> None:
        """Remove a switch that nobody uses, unless a port is on it by now."""
        await self._northbound.transact([northbound.ls_del(switch.row)])

    async def readdress(self, endpoint: Endpoint) -> None:
        """Give the endpoint's port its addresses again."""
        mac = endpoint.mac or addressing.mac_for(
            endpoint.endpoint_id, [ip_address(each) for each in endpoint.addresses]
        )
        addresses = " ".join([mac, *endpoint.addresses])
        await self._northbound.transact(
            northbound.lsp_set_addresses(endpoint.network_id, endpoint.endpoint_id, addresses)
        )

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Write containers' names to their ports, in place of those that are there, in one transaction.

        Each transaction that changes a port has ovn-northd compute once, however many ports it changes.

        Raises:
            DatabaseError, HostError: not all are written.
        """
        for batch in in_batches(list(names.items()), RENAMED_AT_ONCE):
            found = await self._northbound.transact([northbound.lsp_get(*ids) for ids, _ in batch])
            renames = [
                northbound.lsp_rename(*ids, _names(row), new)
                for (ids, new), each in zip(batch, found, strict=True)
                for row in each["rows"]
                if _names(row) != new
            ]
            if renames:
                await self._northbound.transact(renames)
        return {}

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: FBT001
        """Lease an address for an endpoint that has it.

        Raises:
            ConflictError: it is leased otherwise; the text says to whom.
        """
        mark, ip = await self._northbound.mark(), ip_address(address)
        lease = Lease(LEASE if leased else CLAIM, mark.host, endpoint.endpoint_id, secrets.token_hex(8))
        try:
            await self._northbound.transact([leases.lease_add(key, ip, lease, mark), leases.DURABLE])
        except ConstraintError:
            await self._bind(key, address, endpoint, mark.host)

    async def _bind(self, key: str, address: str, endpoint: Endpoint, host: str) -> None:
        """Enter the endpoint into the lease that this host has already, if it is no other endpoint's.

        What a swarm has and no host uses is the host's whose Docker says that its endpoint has it.
        """
        ip = ip_address(address)
        take = leases.lease_take(key, ip, host)
        [_, found] = await self._northbound.transact([take, leases.lease_get(key, ip)])
        holder = next(map(leases.read_lease, found["rows"]), None)
        if holder is None or holder.endpoint_id == endpoint.endpoint_id:
            return
        if (holder.kind, holder.host, holder.endpoint_id) != (LEASE, host, ""):
            raise ConflictError(
                f"endpoint {endpoint.endpoint_id} has address {address}, which is not its own:"
                f" {holder.holder()}; restart container {endpoint.container_id[:12]}"
            )
        await self._northbound.transact(
            [
                leases.lease_held(key, ip, host, ""),
                leases.lease_bind(key, ip, host, endpoint.endpoint_id),
            ]
        )

    async def release(self, lease: OwnedLease) -> None:
        """Give a lease up, unless it has changed since it was read; its endpoint may have gone from it."""
        unbound = {**lease.marks, leases.ENDPOINT: ""}
        await self._northbound.transact(
            [
                drop
                for marks in (lease.marks, unbound)
                for drop in leases.lease_del_unchanged(lease.row, marks)
            ]
        )

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Enter a network into its pool again, with its gateway and auxiliary addresses."""
        config = next(each for each in network.pools if each.subnet == subnet)
        await self._ipam.enter(
            self._context_of(network), subnet, config.gateway, list(config.aux_addresses.values())
        )

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Strike these holds out of a pool, or of a reserved address, and remove it if they were the last."""
        [gone] = (await self._northbound.transact(leases.leave(pool.row, sorted(pool.tokens))))[-1:]
        if gone["count"] and "/" in pool.cidr:
            await self._ipam.forget_reserved(pool.key)


def _is_own(row: Row) -> bool:
    """Whether a switch is one network's own, and not one for several."""
    return northbound.read_network_id(row) == str(row["name"])


def _endpoint(row: Row) -> OwnedEndpoint:
    return OwnedEndpoint(
        network_id=northbound.read_network_id(row),
        endpoint_id=row["name"],
        addresses=tuple(northbound.read_addresses(row).split()),
        names=_names(row),
    )


def _names(row: Row) -> dict[str, str]:
    return {key: value for key, value in northbound.read_marks(row).items() if is_name(key)}


def _lease(row: Row) -> OwnedLease:
    marks: dict[str, Any] = mapping(row["external_ids"])
    return OwnedLease(
        row=northbound.read_uuid(row),
        key=marks.get(leases.POOL, ""),
        address=row["cidr"],
        endpoint_id=marks.get(leases.ENDPOINT, ""),
        marks=marks,
    )


def _pool(row: Row, host: str) -> OwnedPool:
    tokens = frozenset(token for token, user in leases.read_users(row).items() if user == host)
    key = mapping(row["external_ids"]).get(leases.POOL, "")
    return OwnedPool(northbound.read_uuid(row), key, row["cidr"], tokens)
