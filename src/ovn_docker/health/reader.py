"""Reads a snapshot: first what is held, then what Docker has, so that nothing that Docker has is missed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import DockerState, names
from ovn_docker.errors import UnreachableError
from ovn_docker.health import host_identity
from ovn_docker.health.checks import check
from ovn_docker.health.host_identity import Standing
from ovn_docker.health.host_reader import HostReader
from ovn_docker.health.presence import Presence
from ovn_docker.health.snapshot import Central, Held, Inventory, Lookups, Snapshot
from ovn_docker.host.attachment import Attachments

LOOKED_FOR = frozenset({"endpoint-missing", "lease-missing", "pool-missing"})
"""Kinds of findings before which it is looked once more, by name, whether it is there."""

READ_TIMEOUT = 60.0
"""Seconds for the whole of a reading; a database that is away is waited for so long."""


@dataclass(frozen=True, slots=True)
class Driver:
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
        driver: Driver,
        lookups: Callable[[], Awaitable[Lookups]] | None = None,
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
            nothing = DockerState({}, {}), Held({}, ()), (), frozenset[str]()
            return Snapshot(self._driver.name, *nothing, self._inventory.pool_key, host=host, taken=taken)
        drivers = await self._engine.network_ids()
        ours = [each for each, driver in drivers.items() if names(driver, self._driver.name)]
        held = await self._inventory.held(ours)
        await self._reached()
        links, attached = await self._attachments.links(), tuple(self._attachments.attached())
        lookups = Lookups() if self._lookups is None else await self._lookups()
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
