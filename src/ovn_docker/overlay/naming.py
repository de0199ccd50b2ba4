"""What this host's containers are called, as OVN Northbound has it for all hosts.

Names are written when Docker tells them: with Docker 29 in RequestAddress, else by an event of a container's
start. They are removed with the port of their endpoint (overlay/endpoints.py).
"""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from ovn_docker.dns.host_servers import HostServers
from ovn_docker.dns.name_cache import NameCache
from ovn_docker.docker.dns_names import labels
from ovn_docker.docker.models import Container
from ovn_docker.errors import ConflictError, ConstraintError, NotFoundError, RequirementError
from ovn_docker.health.snapshot import NamesState
from ovn_docker.host import open_vswitch
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.open_vswitch import Attached
from ovn_docker.libnetwork.messages import StaticRoute
from ovn_docker.overlay.network_spec import SharedNetwork
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.ovn import names
from ovn_docker.ovn.names import Named
from ovn_docker.ovsdb.operations import Row, in_batches, mapping

LOG = logging.getLogger(__name__)

ATTEMPTS = 20
"""How often names are written while other hosts write the same ones."""

AT_ONCE = 1000
"""How many rows one transaction reads, so that others are served between two."""


class Naming:
    """Publishes the names of endpoints on shared networks.

    Attributes:
        cache: what this host has looked up lately.
    """

    def __init__(self, shared: SharedNetworks, attachments: Attachments) -> None:
        self._host_servers = HostServers()
        self._shared = shared
        self._northbound = shared.database
        self._attachments = attachments
        self.cache = NameCache(self._read, time.monotonic)
        self._published: dict[str, Named] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    # --- Publishing -----------------------------------------------------------------------------------------

    async def publish_container(self, container: Container) -> None:
        """Call the endpoints of a container what Docker calls them; those that are gone are left out."""
        for named in self._of(container):
            await self.publish(named)

    def _of(self, container: Container) -> list[Named]:
        found = []
        for network_id, endpoint_id in container.endpoints:
            network, interface = self._shared.get(network_id), self._attachments.interface(endpoint_id)
            called = container.dns_names.get(endpoint_id, ())
            if network is not None and interface is not None and interface.addresses and called:
                addresses = tuple(sorted(interface.addresses))
                found.append(Named(network_id, endpoint_id, network.row_id, addresses, called))
        return found

    async def publish_early(
        self, network: SharedNetwork, endpoint_id: str, ips: Iterable[str], name: str
    ) -> None:
        """Call an endpoint by its container's name before Docker starts the container."""
        called, addresses = labels([name]), tuple(sorted(ips))
        if called:
            await self.publish(Named(network.network_id, endpoint_id, network.row_id, addresses, called))

    async def publish(self, named: Named, *, again: bool = False) -> None:
        """Call an endpoint by these names only; nothing if it is gone. `again`: although they are known.

        Raises:
            OvnDockerError: OVN Northbound refused, or cannot be reached.
        """
        lock = self._locks.setdefault(named.endpoint_id, asyncio.Lock())
        async with lock:
            known = self._published.get(named.endpoint_id)
            if known == named and not again:
                return
            try:
                await self._write(named, first=known is None and not again)
                self._published[named.endpoint_id] = named
            except (RequirementError, NotFoundError):
                LOG.debug("endpoint %s is gone, so it has no names", named.endpoint_id)
            finally:
                self.cache.forget(_rows(named) | (_rows(known) if known else set()))
                if not self._published.get(named.endpoint_id):
                    self._locks.pop(named.endpoint_id, None)

    async def _write(self, named: Named, *, first: bool) -> None:
        mark = await self._northbound.mark()
        found: Mapping[UUID, Sequence[Row]] = {}
        record = None
        for attempt in range(ATTEMPTS):
            if attempt or not first:
                found, record = await self._existing(named)
            old = None if record is None else mapping(record["options"])
            if record is not None and not names.is_record(record):
                await self._northbound.transact([names.record_del(named.endpoint_id)])
                continue
            if record is not None and names.read_record(record).switch != named.switch:
                await self._northbound.transact(names.withdraw(record))
                continue
            if record is not None and names.is_published(named, found, record):
                return
            try:
                await self._northbound.transact(names.publish(named, mark, found, old))
            except ConstraintError:  # a name exists by now
                continue
            except RequirementError as error:
                if not error.results:
                    raise
                continue  # what was read is not so by now
            return
        raise ConflictError(f"endpoint {named.endpoint_id}: its names change while they are written")

    async def _existing(self, named: Named) -> tuple[Mapping[UUID, Sequence[Row]], Row | None]:
        """The rows of its names that exist, by row id, and its record."""
        wanted = sorted(_rows(named))
        record, *found = await self._northbound.transact(
            [names.record_get(named.endpoint_id), *map(names.name_get, wanted)]
        )
        rows = {row: each["rows"] for row, each in zip(wanted, found, strict=True) if each["rows"]}
        return rows, next(iter(record["rows"]), None)

    def withdrawn(self, endpoint_id: str, records: Sequence[Row]) -> None:
        """Forget an endpoint whose names were removed with these records."""
        self._published.pop(endpoint_id, None)
        self._locks.pop(endpoint_id, None)
        for record in filter(names.is_record, records):
            self.cache.forget(_rows(names.read_record(record)))

    # --- Servers --------------------------------------------------------------------------------------------

    def servers(self, *interfaces: Attached) -> tuple[str, ...]:
        """The name servers of a container with these interfaces: its own, or the host's."""
        given = " ".join(each.external_ids.get(open_vswitch.SERVERS, "") for each in interfaces)
        return tuple(dict.fromkeys(given.split())) or self._host_servers.servers()

    def routes(self, endpoint_id: str, hops: Mapping[int, str]) -> list[StaticRoute]:
        """Routes by which the queries of a container leave a sealed network, as far as the responder.

        Args:
            endpoint_id: Docker's.
            hops: the network's gateway by IP version.
        """
        interface = self._attachments.interface(endpoint_id)
        routes = []
        for server in self.servers(*([interface] if interface else [])):
            with contextlib.suppress(ValueError):  # a link-local one with its link
                ip = ipaddress.ip_address(server)
                if ip.version in hops and not (ip.is_loopback or ip.is_link_local):
                    destination = f"{ip}/{ip.max_prefixlen}"
                    routes.append(StaticRoute(destination, 0, hops[ip.version]))
        return routes

    # --- The health check -----------------------------------------------------------------------------------

    async def inspect(self, records: Iterable[Named]) -> NamesState:
        """Which of the names that this host has published are not there, or say something else."""
        wanted = [(record, name) for record in records for name in (*record.names, *record.addresses)]
        wrong: dict[str, str] = {}
        for batch in in_batches(wanted, AT_ONCE):
            queries = [names.name_get(names.name_id(record.switch, name)) for record, name in batch]
            results = await self._northbound.transact(queries)
            for (record, name), result in zip(batch, results, strict=True):
                filed = set(names.read_name(result["rows"]).get(record.endpoint_id, ()))
                own = filed and filed <= set(record.names)  # which of them comes first, no record tells
                if filed != set(record.addresses) if name in record.names else not own:
                    wrong.setdefault(record.endpoint_id, name)
        return NamesState(wrong)

    async def restore(self, container: Container) -> None:
        """Write the names of a container again, as Docker has them now."""
        for named in self._of(container):
            await self.publish(named, again=True)

    async def withdraw(self, endpoint_id: str) -> None:
        """Remove the names of an endpoint that this host does not have any more."""
        [found] = await self._northbound.transact([names.record_get(endpoint_id)])
        records = [record for record in found["rows"] if names.is_record(record)]
        for record in records:
            await self._northbound.transact(names.withdraw(record))
        self.withdrawn(endpoint_id, records)

    # --- Look-ups -------------------------------------------------------------------------------------------

    async def _read(self, rows: Sequence[UUID]) -> Mapping[UUID, Mapping[str, str]]:
        """By row id of a name, what it says: addresses, or names, by EndpointID."""
        results: list[dict[str, Any]] = []
        for batch in in_batches(list(rows), AT_ONCE):
            results += await self._northbound.transact([names.name_get(row) for row in batch])
        return {
            row: {each: " ".join(filed) for each, filed in names.read_name(result["rows"]).items()}
            for row, result in zip(rows, results, strict=True)
        }


def _rows(named: Named) -> set[UUID]:
    return {names.name_id(named.switch, name) for name in (*named.names, *named.addresses)}
