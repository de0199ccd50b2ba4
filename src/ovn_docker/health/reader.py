"""Reads a snapshot: first what is held, then what Docker has, so that nothing new of Docker's seems stale."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import DockerState, names
from ovn_docker.errors import OvnDockerError, UnreachableError
from ovn_docker.health import host_identity, snapshot
from ovn_docker.health.checks import check
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_checks import check_host
from ovn_docker.health.host_identity import Standing
from ovn_docker.health.presence import Presence
from ovn_docker.health.snapshot import (
    Central,
    EgressState,
    HostSetup,
    Inventory,
    LookupState,
    NamesState,
    Owned,
    Snapshot,
)
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.open_vswitch import Tunnel
from ovn_docker.host.veth import Links
from ovn_docker.ovn import nb_global
from ovn_docker.ovn.names import Named
from ovn_docker.ovsdb.client import Client

INTERVAL = 15.0
"""Seconds between two looks for /healthz, which shows what was wrong in both."""

CONFIRMED_BY_NAME = frozenset({"endpoint-missing", "lease-missing", "pool-missing"})
"""Kinds of findings for which the missing rows are read by their names: the index may lack them."""

READ_TIMEOUT = 60.0
"""Seconds for the whole of a reading, for which it waits for a database that is away."""

RELAY = "relay"
"""How a relay describes itself (ovsdb-server(5), _Server.Database.model)."""


class HostReader:
    """Looks at what OVN needs of this host; asks no other host."""

    def __init__(self, attachments: Attachments, links: Links, interval: float = INTERVAL) -> None:
        """`run` looks each `interval` seconds."""
        self._attachments = attachments
        self._links = links
        self._interval = interval
        self._problems: tuple[str, ...] = ()

    async def read(self) -> HostSetup:
        """One look; an OvnDockerError if Open vSwitch's database cannot be read."""
        settings = await self._attachments.known_settings()
        progress = await self._attachments.progress("")
        return HostSetup(
            settings=settings,
            daemons=snapshot.running_here(),
            addresses={address: await self._links.holding(address) for address in settings.encap_ips},
            capabilities=progress.capabilities,
        )

    async def tunnels(self) -> tuple[Tunnel, ...]:
        """The tunnels to all other hosts."""
        return await self._attachments.tunnels()

    def problems(self) -> tuple[str, ...]:
        """What was wrong in the last two looks of `run`, one line for each."""
        return self._problems

    async def run(self) -> None:
        """Look until cancelled."""
        before: set[Finding] = set()
        while True:
            found: list[Finding] = []
            with contextlib.suppress(OvnDockerError):  # /healthz shows an outage anyway
                found = list(check_host(await self.read()))
            self._problems = tuple(finding.text for finding in found if finding in before)
            before = set(found)
            await asyncio.sleep(self._interval)


@dataclass(frozen=True, slots=True)
class DriverReading:
    """The driver whose networks are compared.

    Attributes:
        name: as in ``docker network create -d``.
        scope: ``local`` or ``global``, or "" where that is not known.
        presence: None where nothing that it holds carries the host's name.
        host: None where OVN does not serve this host.
        central: looks at the servers that all hosts share; None where there are none.
    """

    name: str
    scope: str
    presence: Presence | None = None
    host: HostReader | None = None
    central: Callable[[], Awaitable[Central]] | None = None


class Reader:
    """Reads snapshots."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        attachments: Attachments,
        driver: DriverReading,
        lookups: Callable[[], Awaitable[LookupState]] | None = None,
        egress: Callable[[Sequence[str]], Awaitable[EgressState]] | None = None,
        published: Callable[[Sequence[Named]], Awaitable[NamesState]] | None = None,
    ) -> None:
        """`lookups` compares the flows of IP lookups, `egress` the ways out of networks, by NetworkID.

        `published` compares what names lead to with what this host has published.
        """
        self._lookups = lookups
        self._egress = egress
        self._published = published
        self._engine = engine
        self._inventory = inventory
        self._attachments = attachments
        self._driver = driver

    async def read(self) -> Snapshot:
        """One whole reading.

        Raises:
            OvnDockerError: a part cannot be read; then nothing is returned.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await completed(await self._read(), self._inventory)
        except TimeoutError:
            reason = self._attachments.outage() or f"{self._inventory.store} does not answer"
            raise UnreachableError(f"{reason}; nothing was compared") from None

    async def _taken(self) -> tuple[str, str] | None:
        """This host's name and who has it, if that is another machine."""
        settings = await self._attachments.known_settings()
        if self._driver.presence is None or not (settings.system_id and settings.northbound):
            return None
        verdict = await self._driver.presence.prove()
        if verdict.standing is Standing.UNSETTLED:
            raise UnreachableError(host_identity.unsettled(settings.system_id))
        if verdict.standing is Standing.TAKEN:
            return settings.system_id, host_identity.taken(settings.system_id, verdict)
        return None

    async def _reached(self) -> None:
        """Raise unless Open vSwitch's database is connected: what was read earlier is not enough."""
        await self._attachments.known_settings()
        if reason := self._attachments.outage():
            raise UnreachableError(f"{reason}; nothing was compared")

    async def _read(self) -> Snapshot:
        await self._reached()
        host = await self._driver.host.read() if self._driver.host else None
        if taken := await self._taken():
            nothing = DockerState({}, {}), Owned({}, ()), (), frozenset[str]()
            return Snapshot(self._driver.name, *nothing, self._inventory.pool_key, host=host, taken=taken)
        drivers = await self._engine.network_ids()
        own = [network_id for network_id, driver in drivers.items() if names(driver, self._driver.name)]
        held = await self._inventory.held(own)
        await self._reached()
        links, attached = await self._attachments.links(), tuple(self._attachments.attached())
        lookups = LookupState() if self._lookups is None else await self._lookups()
        egress = EgressState() if self._egress is None else await self._egress(own)
        published = NamesState() if self._published is None else await self._published(held.names)
        unguarded = await self._attachments.unguarded()
        setup = await self._inventory.setup()
        refuses_global = await self._engine.refuses_global() if self._driver.scope == "global" else ""
        central = None if self._driver.central is None else await self._driver.central()
        docker = await self._engine.read()
        return Snapshot(
            self._driver.name,
            docker,
            held,
            attached,
            links,
            self._inventory.pool_key,
            lookups=lookups,
            egress=egress,
            names=published,
            store=self._inventory.store,
            setup=setup,
            refuses_global=refuses_global,
            unguarded=unguarded,
            host=host,
            central=central,
        )


async def completed(snapshot: Snapshot, inventory: Inventory) -> Snapshot:
    """The reading with those things that seemed to be missing and are not, as the index did not name them."""
    missing = [finding for finding in check(snapshot) if finding.kind in CONFIRMED_BY_NAME]
    return replace(snapshot, held=await inventory.complete(snapshot.held, missing)) if missing else snapshot


async def look_at_central(northbound: Client) -> Central:
    """Query one row of Northbound and measure the time."""
    await northbound.ready()
    began = time.monotonic()
    [found] = await northbound.transact([nb_global.progress_get()])
    seconds = time.monotonic() - began
    return Central(
        seconds, nb_global.read_behind(found["rows"], time.time()), relay=northbound.model == RELAY
    )
