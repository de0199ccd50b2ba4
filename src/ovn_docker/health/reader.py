"""Reads a snapshot: first what is held, then what Docker has, so that nothing that Docker has is missed."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
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
from ovn_docker.health.snapshot import Central, HostSetup, Inventory, LookupState, Owned, Snapshot
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.open_vswitch import Tunnel
from ovn_docker.host.veth import Links
from ovn_docker.ovn import nb_global
from ovn_docker.ovsdb.client import Client

# --- Looks at the host: its own database, the kernel's list of sockets, its addresses. Asks no other host. --


INTERVAL = 15.0
"""Seconds between two looks for /healthz; what is wrong is told when it was so in both."""


class HostReader:
    """This host, as OVN needs it."""

    def __init__(self, attachments: Attachments, links: Links, interval: float = INTERVAL) -> None:
        """Look there; `run` does it each `interval` seconds."""
        self._attachments = attachments
        self._links = links
        self._interval = interval
        self._problems: tuple[str, ...] = ()

    async def read(self) -> HostSetup:
        """One look.

        Raises:
            OvnDockerError: Open vSwitch's database cannot be read.
        """
        settings = await self._attachments.known_settings()
        progress = await self._attachments.progress("")
        return HostSetup(
            settings=settings,
            daemons=snapshot.running_here(),
            addresses={each: await self._links.holding(each) for each in settings.encap_ips},
            capabilities=progress.capabilities,
        )

    async def tunnels(self) -> tuple[Tunnel, ...]:
        """The tunnels to all other hosts.

        Raises:
            OvnDockerError: Open vSwitch's database cannot be read.
        """
        return await self._attachments.tunnels()

    def problems(self) -> tuple[str, ...]:
        """What was wrong in the last two looks of `run`, one line for each."""
        return self._problems

    async def run(self) -> None:
        """Look until cancelled."""
        before: set[tuple[str, str]] = set()
        while True:
            found: list[Finding] = []
            with contextlib.suppress(OvnDockerError):  # an outage is told by the database itself
                found = list(check_host(await self.read()))
            self._problems = tuple(each.text for each in found if (each.kind, each.subject) in before)
            before = {(each.kind, each.subject) for each in found}
            await asyncio.sleep(self._interval)


LOOKED_FOR = frozenset({"endpoint-missing", "lease-missing", "pool-missing"})
"""Kinds of findings before which it is looked once more, by name, whether it is there."""

READ_TIMEOUT = 60.0
"""Seconds for the whole of a reading; a database that is away is waited for so long."""


@dataclass(frozen=True, slots=True)
class DriverReading:
    """A driver as Docker knows it, and as OVN does.

    Attributes:
        name: as in ``docker network create -d``.
        scope: ``local`` or ``global``, or "" where that is not known.
        presence: proves that its host's name is its own, or None where nothing that it holds carries that.
        host: looks at what OVN needs of the host, or None where OVN does not serve it.
        central: looks how the servers fare that all hosts share, or None where there are none.
    """

    name: str
    scope: str
    presence: Presence | None = None
    host: HostReader | None = None
    central: Callable[[], Awaitable[Central]] | None = None


class Reader:
    """Where the parts of a snapshot come from."""

    def __init__(
        self,
        engine: Engine,
        inventory: Inventory,
        attachments: Attachments,
        driver: DriverReading,
        lookups: Callable[[], Awaitable[LookupState]] | None = None,
    ) -> None:
        """Read there.

        Args:
            engine: this host's Docker.
            inventory: what the driver holds.
            attachments: of this host.
            driver: the one whose networks are to be whole.
            lookups: what differs of the flows of IP lookups, or None without them.
        """
        self._lookups = lookups
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
            why = self._attachments.outage() or f"{self._inventory.store} does not answer"
            raise UnreachableError(f"{why}; nothing was compared") from None

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
        """See that Open vSwitch's database can be read, and not only what is known of it from earlier."""
        await self._attachments.known_settings()
        if why := self._attachments.outage():
            raise UnreachableError(f"{why}; nothing was compared")

    async def _read(self) -> Snapshot:
        await self._reached()
        host = await self._driver.host.read() if self._driver.host else None
        if taken := await self._taken():
            nothing = DockerState({}, {}), Owned({}, ()), (), frozenset[str]()
            return Snapshot(self._driver.name, *nothing, self._inventory.pool_key, host=host, taken=taken)
        drivers = await self._engine.network_ids()
        ours = [each for each, driver in drivers.items() if names(driver, self._driver.name)]
        held = await self._inventory.held(ours)
        await self._reached()
        links, attached = await self._attachments.links(), tuple(self._attachments.attached())
        lookups = LookupState() if self._lookups is None else await self._lookups()
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
            store=self._inventory.store,
            setup=setup,
            refuses_global=refuses_global,
            unguarded=unguarded,
            host=host,
            central=central,
        )


async def completed(snapshot: Snapshot, inventory: Inventory) -> Snapshot:
    """The reading with what is there of that which it lacks: a driver may not have known where to look.

    Raises:
        OvnDockerError: it cannot be read.
    """
    missing = [each for each in check(snapshot) if each.kind in LOOKED_FOR]
    return replace(snapshot, held=await inventory.complete(snapshot.held, missing)) if missing else snapshot


# --- How the servers of OVN fare that all hosts share, for the health check. --------------------------------


RELAY = "relay"
"""What a server calls itself that hands on what another serves (ovsdb-server(5), _Server.Database.model)."""


class CentralLook:
    """One question of one row."""

    def __init__(self, northbound: Client) -> None:
        """Ask there."""
        self._northbound = northbound

    async def __call__(self) -> Central:
        """Ask, and take the time.

        Raises:
            DatabaseError: it was refused.
        """
        await self._northbound.ready()
        began = time.monotonic()
        [found] = await self._northbound.transact([nb_global.progress_get()])
        seconds = time.monotonic() - began
        behind = nb_global.read_behind(found["rows"], time.time())
        return Central(seconds, behind, relay=self._northbound.model == RELAY)
