"""What this host has in Northbound, for the health check, and repairs that no verb of Docker's makes."""

import logging
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from ovn_docker import address_pools, addressing
from ovn_docker.docker.models import Container, Endpoint, Network
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
from ovn_docker.overlay.ipam.ipam_driver import CONTEXT_OPTION, OverlayIpam, forget_reserved
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import hosts, leases, names, surveys, switches
from ovn_docker.ovn.hosts import Entries, Index
from ovn_docker.ovn.leases import CLAIM, LEASE, RESERVED, Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Row, in_batches, mapping

# --- The rows of this host in Northbound: by its index, or once by a scan of all tables. --------------------
# A scan costs the server's only thread 2 us for each row of any host. So it is made when an operator asks for
# it, and once if the index is not complete: after an upgrade from a version that had none, or when the host's
# row was lost. That may happen to all hosts at the same time, so each waits for a random time.


LOG = logging.getLogger(__name__)

SPREAD = 3600.0
"""Seconds over which the scans of a cluster's hosts are spread."""


def at_once() -> float:
    """No delay before a scan."""
    return 0.0


def some_time() -> float:
    """A random delay before a scan, for one of many hosts."""
    return random.uniform(0.0, SPREAD)  # noqa: S311  (to spread load)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a host, and the pools and reserved addresses that it uses."""

    switches: Sequence[Row]
    ports: Sequence[Row]
    leases: Sequence[Row]
    pools: Sequence[Row]
    reserved: Sequence[Row]
    names: Sequence[Row]

    def entries(self) -> dict[UUID, str]:
        """What a complete index names."""
        by_kind = {
            "switch": self.switches,
            "port": self.ports,
            "row": [*self.leases, *self.pools, *self.reserved, *self.names],
        }
        return {switches.read_uuid(row): kind for kind, rows in by_kind.items() for row in rows}


class OwnRows:
    """Finds this host's rows."""

    def __init__(self, database: Northbound, delay: Callable[[], float]) -> None:
        """`delay` gives the seconds to wait with a scan if the index is not complete."""
        self._northbound = database
        self._delay = delay
        self._due: float | None = None
        self._always = False
        self._note = True

    def scan(self, *, always: bool, note: bool) -> None:
        """Have `read` scan all tables: `always`, or if the index is not complete; `note` enters the rows."""
        self._always, self._note, self._delay, self._due = always, note, at_once, None

    async def read(self) -> Rows:
        """Read all rows of this host."""
        host = (await self._northbound.mark()).host
        [found] = await self._northbound.transact([hosts.index_get(host)])
        index = hosts.read_index(found["rows"])
        if self._always or (not index.is_whole and self._is_due()):
            return await self._scanned(Mark(host, index.created))
        read = await host_cleanup.read_entries(self._northbound.transact, host, index)
        if self._note:
            await self._clean_index(host, read)
        return _sorted(read.rows)

    async def named(self, entries: Entries) -> Rows:
        """Read rows that the host should have, and enter those that are its own into the index."""
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
        """Scan all tables; `mark` is that of the host's row."""
        host = mark.host
        operations = [
            switches.ls_list(host),
            switches.lsp_list(host),
            leases.lease_list(host),
            leases.kind_list(leases.POOL_ROW),
            leases.kind_list(leases.RESERVED),
            names.record_list(host),
        ]
        rows = Rows(
            *(
                [row for row in result["rows"] if hosts.is_of(host, row)]
                for result in await self._northbound.transact(operations)
            )
        )
        if self._note:
            await self._finish(mark, rows.entries())
            if self._always:
                await self._forget_surveys()
        return rows

    async def _finish(self, mark: Mark, entries: Entries) -> None:
        """Note what was found, unless the driver has not registered this host, or has done so again."""
        [done] = await self._northbound.transact([hosts.index_finish(mark, entries)])
        if done["count"]:
            self._due = None
            LOG.info("the index of this host in OVN Northbound is complete: it names %d row(s)", len(entries))

    async def _forget_surveys(self) -> None:
        """Remove the surveys of switches that do not exist any more."""
        [found] = await self._northbound.transact([leases.kind_list(surveys.SURVEY)])
        surveyed = surveys.read_switches(found["rows"])
        queries = [switches.ls_probe(switch) for switch in surveyed]
        results = await self._northbound.transact(queries) if queries else []
        gone = [switch for switch, result in zip(surveyed, results, strict=True) if not result["rows"]]
        if gone:
            await self._northbound.transact([surveys.survey_del(switch) for switch in gone])

    async def _clean_index(self, host: str, read: HostRows) -> None:
        """Remove index entries without a row of this host's; what has changed meanwhile stays until later."""
        if read.gone:
            await self._northbound.remove_entries(read.gone)
        for uuid, (kind, row) in read.foreign.items():
            try:
                await self._northbound.transact(hosts.index_remove_foreign(host, uuid, kind, row))
            except RequirementError:
                continue


async def own_switches(database: Northbound, host: str) -> Sequence[Row]:
    """The switches that a host made, by its index, or by a scan if that is not complete."""
    [found] = await database.transact([hosts.index_get(host)])
    index = hosts.read_index(found["rows"])
    if not index.is_whole:
        [found] = await database.transact([switches.ls_list(host)])
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
        names=kinds.get(names.RECORD, ()),
    )


RENAMED_AT_ONCE = 100
"""How many ports' names one transaction writes: less than 2 MB, with the most labels that a port may have."""


class OverlayInventory:
    """Reads and repairs what the overlay driver and its IPAM hold."""

    store = "OVN"

    def __init__(
        self,
        database: Northbound,
        shared: SharedNetworks,
        ipam: OverlayIpam,
        context: str,
        naming: Naming,
        delay: Callable[[], float] = at_once,
    ) -> None:
        """`context` is that of a network that names none; `delay` is that of `OwnRows`."""
        self._northbound = database
        self._rows = OwnRows(database, delay)
        self._shared = shared
        self._ipam = ipam
        self._context = context
        self._naming = naming

    async def setup(self) -> Setup | None:
        return None

    def pool_key(self, network: Network, subnet: str) -> str:
        """What a pool that our IPAM gave to a network is filed under."""
        return address_pools.switch_name(self._context_of(network), addressing.network(subnet, "pool"))

    def _context_of(self, network: Network) -> str:
        """The context of a network's pools: the one that it named, or the driver's when it was created."""
        named = network.ipam_options.get(CONTEXT_OPTION)
        if named is not None:
            return named
        made = self._shared.get(network.network_id)
        if made is None or CONTEXT_OPTION in network.options:
            return self._context
        return made.context or self._context

    def scan(self, *, always: bool, note: bool) -> None:
        """See `OwnRows.scan`."""
        self._rows.scan(always=always, note=note)

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read all that carries this host's mark, and whether these networks have their switches.

        Switches that others have ports on, and that so could not be removed, are left out.
        """
        mark = await self._northbound.mark()
        rows = await self._rows.read()
        remembered = {network.network_id: network for network in self._shared.all()}
        requested = await self._exist([*networks, *remembered])
        used = {network.switch for network in remembered.values()} | requested.keys()
        spare = [row for row in rows.switches if row["name"] not in used]
        free = await self._without_ports_of_others(spare, rows.ports)
        own = [row["name"] for row in free if _is_own(row)]
        found = dict.fromkeys(own, True) | requested
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
                OwnedSwitch(switches.read_uuid(row), row["name"], switches.read_network_id(row))
                for row in free
                if not _is_own(row)
            ),
            leases=tuple(map(_lease, rows.leases)),
            pools=tuple(_pool(row, mark.host) for row in rows.pools),
            reserved=tuple(_pool(row, mark.host) for row in rows.reserved),
            names=tuple(map(names.read_record, filter(names.is_record, rows.names))),
        )

    async def _without_ports_of_others(self, rows: Sequence[Row], own_ports: Sequence[Row]) -> Sequence[Row]:
        """The switches that could be removed: without ports, or a network's own with only this host's."""
        if not rows:
            return ()
        queries = [switches.ls_ports(switches.read_uuid(row)) for row in rows]
        results = await self._northbound.transact(queries)
        own = {switches.port_id(switches.read_network_id(row), row["name"]) for row in own_ports}
        ports = [
            {
                port
                for held in result["rows"]
                for port in switches.read_occupants(held, switches.read_uuid(row))
            }
            for row, result in zip(rows, results, strict=True)
        ]
        return [row for row, on in zip(rows, ports, strict=True) if on <= (own if _is_own(row) else set())]

    async def complete(self, held: Owned, missing: Sequence[Finding]) -> Owned:
        """What is held, with the missing rows that exist though the index does not name them.

        Rows must not count as missing because the index was lost, or is not complete yet.
        """
        known = {lease.row for lease in held.leases} | {pool.row for pool in (*held.pools, *held.reserved)}
        entries = {row: kind for finding in missing for row, kind in self._named(finding) if row not in known}
        if not entries:
            return held
        mark = await self._northbound.mark()
        rows = await self._rows.named(entries)
        lost = [finding for finding in missing if finding.kind == "lease-missing"]
        return replace(
            held,
            endpoints=(*held.endpoints, *map(_endpoint, rows.ports)),
            leases=(*held.leases, *map(_lease, rows.leases)),
            pools=(*held.pools, *(_pool(row, mark.host) for row in rows.pools)),
            reserved=(*held.reserved, *(_pool(row, mark.host) for row in rows.reserved)),
            taken=await self._taken(lost, mark.host) if lost else (),
        )

    async def _taken(self, missing: Sequence[Finding], host: str) -> tuple[LostAddress, ...]:
        """The missing leases that this host cannot have, because they are another's."""
        evidence = [finding.evidence for finding in missing]
        results = await self._northbound.transact([leases.lease_get(*lost[:2]) for lost in evidence])
        return tuple(
            LostAddress(key, address, endpoint.endpoint_id, lease.holder())
            for (key, address, endpoint, _), result in zip(evidence, results, strict=True)
            for lease in map(leases.read_lease, result["rows"])
            if lease.kind == RESERVED or lease.host not in {"", host}
        )

    def _named(self, missing: Finding) -> Iterator[tuple[UUID, str]]:
        """The rows whose absence is this finding, with the kinds of their entries."""
        evidence = missing.evidence
        if missing.kind == "endpoint-missing":
            yield switches.port_id(evidence.network_id, evidence.endpoint_id), "port"
        elif missing.kind == "lease-missing":
            key, address, _, _ = evidence
            yield leases.lease_id(key, address), "row"
        elif missing.kind == "pool-missing":
            network, subnet = evidence
            key = self.pool_key(network, subnet)
            config = next(pool for pool in network.pools if pool.subnet == subnet)
            yield leases.pool_id(key), "row"
            gateway = config.gateway or str(address_pools.first_gateway(addressing.network(subnet, "pool")))
            for address in (gateway, *config.aux_addresses.values()):
                yield leases.lease_id(key, address), "row"

    async def _exist(self, networks: Iterable[str]) -> dict[str, bool]:
        """Whether the switches of networks exist."""
        unique = list(dict.fromkeys(networks))
        queries = [switches.ls_probe(self._row(network)) for network in unique]
        results = await self._northbound.transact(queries) if queries else []
        return {network: bool(result["rows"]) for network, result in zip(unique, results, strict=True)}

    def _row(self, network_id: str) -> UUID:
        network = self._shared.get(network_id)
        return switches.switch_id(network_id) if network is None else network.row_id

    async def restore(self, network_id: str) -> bool:
        """Create a shared network's switch again; False for any other network."""
        network = self._shared.get(network_id)
        if network is not None:
            await self._shared.locate(network)
        return network is not None

    async def remove_switch(self, switch: OwnedSwitch) -> None:
        """Remove an unused switch, unless a port is on it by now."""
        await self._northbound.transact(switches.ls_del(switch.row))

    async def readdress(self, endpoint: Endpoint) -> None:
        """Write the endpoint's addresses to its port again."""
        mac = endpoint.mac or addressing.mac_for(
            endpoint.endpoint_id, [ip_address(text) for text in endpoint.addresses]
        )
        addresses = " ".join([mac, *endpoint.addresses])
        await self._northbound.transact(
            switches.lsp_set_addresses(endpoint.network_id, endpoint.endpoint_id, addresses)
        )

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Write containers' names to their ports, in few transactions: each has ovn-northd compute once."""
        for batch in in_batches(list(names.items()), RENAMED_AT_ONCE):
            found = await self._northbound.transact([switches.lsp_get(*ids) for ids, _ in batch])
            renames = [
                switches.lsp_rename(*ids, _names(row), new)
                for (ids, new), result in zip(batch, found, strict=True)
                for row in result["rows"]
                if _names(row) != new
            ]
            if renames:
                await self._northbound.transact(renames)
        return {}

    async def publish(self, container: Container) -> None:
        """Publish a container's names, where its networks are shared by hosts."""
        await self._naming.publish_container(container)

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: FBT001
        """Lease an address for an endpoint that has it; a ConflictError says who has the lease."""
        mark, ip = await self._northbound.mark(), ip_address(address)
        lease = Lease(LEASE if leased else CLAIM, mark.host, endpoint.endpoint_id, secrets.token_hex(8))
        try:
            await self._northbound.transact([leases.lease_add(key, ip, lease, mark), leases.DURABLE])
        except ConstraintError:
            await self._bind(key, address, endpoint, mark.host)

    async def _bind(self, key: str, address: str, endpoint: Endpoint, host: str) -> None:
        """Enter the endpoint into the lease that this host has, unless that is another endpoint's.

        A swarm's lease that no host uses goes to the host whose Docker has an endpoint with it.
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
        """Release a lease, unless it has changed since it was read, but for its endpoint being removed."""
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
        config = next(pool for pool in network.pools if pool.subnet == subnet)
        await self._ipam.enter(
            self._context_of(network), subnet, config.gateway, list(config.aux_addresses.values())
        )

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Remove these users from a pool or a reserved address, which goes with its last user."""
        [gone] = (await self._northbound.transact(leases.leave(pool.row, sorted(pool.tokens))))[-1:]
        if gone["count"] and "/" in pool.cidr:
            await forget_reserved(self._northbound, pool.key)


def _is_own(row: Row) -> bool:
    """Whether a switch is one network's own."""
    return switches.read_network_id(row) == str(row["name"])


def _endpoint(row: Row) -> OwnedEndpoint:
    return OwnedEndpoint(
        network_id=switches.read_network_id(row),
        endpoint_id=row["name"],
        addresses=tuple(switches.read_addresses(row).split()),
        names=_names(row),
    )


def _names(row: Row) -> dict[str, str]:
    return {key: value for key, value in switches.read_marks(row).items() if is_name(key)}


def _lease(row: Row) -> OwnedLease:
    marks: dict[str, Any] = mapping(row["external_ids"])
    return OwnedLease(
        row=switches.read_uuid(row),
        key=marks.get(leases.POOL, ""),
        address=row["cidr"],
        endpoint_id=marks.get(leases.ENDPOINT, ""),
        marks=marks,
    )


def _pool(row: Row, host: str) -> OwnedPool:
    tokens = frozenset(token for token, user in leases.read_users(row).items() if user == host)
    key = mapping(row["external_ids"]).get(leases.POOL, "")
    return OwnedPool(switches.read_uuid(row), key, row["cidr"], tokens)
