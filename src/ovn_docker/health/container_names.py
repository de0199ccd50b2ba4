"""Follows Docker's events, so that a container is found by its names, and its port has its name and labels.

dockerd gives a driver no names, and must not be asked for them inside a request. So writing them is a change
of the port of its own, which costs ovn-northd as much as the port did. The names of containers that start
together are one change.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import Container
from ovn_docker.errors import NotFoundError, OvnDockerError
from ovn_docker.health.checks import names_of
from ovn_docker.health.findings import short
from ovn_docker.health.snapshot import EndpointIds, Inventory, Names

LOG = logging.getLogger(__name__)

WANTED = {"type": ["container", "network"], "event": ["start", "rename", "connect"]}

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two attempts to listen."""

AT_ONCE = 8
"""How many containers Docker is asked about at the same time."""

DEBOUNCE, LONGEST_WAIT = 1.0, 5.0
"""Seconds without further names after which names are written, and for which the first wait at most.
Meanwhile northd is busy with the ports of the containers that start, and their starts wait for that."""

READ_TIMEOUT, WRITE_TIMEOUT = 10.0, 30.0
"""Seconds for Docker to answer about a container, and for the names of all that came together."""


class ContainerNaming:
    """Writes names as Docker's events report them."""

    def __init__(self, engine: Engine, inventory: Inventory, docker_is_back: Callable[[], None]) -> None:
        """`docker_is_back` is called whenever Docker begins to send events."""
        self._engine = engine
        self._inventory = inventory
        self._docker_is_back = docker_is_back
        self._waiting: set[str] = set()
        self._few = asyncio.Semaphore(AT_ONCE)
        self._gathered: dict[EndpointIds, Mapping[str, str]] = {}
        self._came = asyncio.Event()
        self._said = ""

    async def run(self) -> None:
        """Follow events until cancelled."""
        async with asyncio.TaskGroup() as work:
            work.create_task(self._follow())
            work.create_task(self._write_all())

    # --- Events, and the containers that they name ----------------------------------------------------------

    async def _follow(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.TaskGroup() as reading:
                    async for event in self._engine.events(WANTED):
                        pause = FIRST_PAUSE
                        if event is None:
                            self._said = ""
                            self._docker_is_back()
                            reading.create_task(self._catch_up(reading))
                        elif event.container_id:
                            self._read_soon(reading, event.container_id)
            except* OvnDockerError as errors:
                self._say(str(errors.exceptions[0]))
            self._waiting.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _say(self, problem: str) -> None:
        """Log once why names are not known, which is often only until dockerd is up."""
        if problem != self._said:
            LOG.info("the names of containers are not known yet: %s", problem)
        self._said = problem

    async def _catch_up(self, reading: asyncio.TaskGroup) -> None:
        """Read the names of the containers that run already, which no event will tell of."""
        for container_id in await self._engine.running():
            self._read_soon(reading, container_id)

    def _read_soon(self, reading: asyncio.TaskGroup, container_id: str) -> None:
        """Read a container's names while other events are read: dockerd delays an answer about one that it
        is starting. A container that is being read already is read once more after that.
        """
        if container_id not in self._waiting:
            self._waiting.add(container_id)
            reading.create_task(self._gather(container_id))

    async def _gather(self, container_id: str) -> None:
        """Have a container's names written with those that come with it."""
        async with self._few:
            self._waiting.discard(container_id)
            container = await self._read(container_id)
        if container is not None and container.endpoints:
            await self._publish(container)
            self._gathered |= dict.fromkeys(container.endpoints, names_of(container))
            self._came.set()

    async def _publish(self, container: Container) -> None:
        """Let other hosts find it by name, at once; what fails is left to the next pass."""
        with _logged(f"container {container.name}: its names are not published"):
            async with asyncio.timeout(WRITE_TIMEOUT):
                await self._inventory.publish(container)

    async def _read(self, container_id: str) -> Container | None:
        """A container; what fails is left to the next pass."""
        with _logged(f"container {short(container_id)}: its names are not written"):
            async with asyncio.timeout(READ_TIMEOUT):
                with contextlib.suppress(NotFoundError):  # it is gone already
                    return await self._engine.container(container_id)
        return None

    # --- Writing --------------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        while True:
            await self._settled()
            names, self._gathered = self._gathered, {}
            with _logged(f"the names of {len(names)} port(s) are not written"):
                await self._write(names)

    async def _settled(self) -> None:
        """Wait for names, and then until no others come for a moment."""
        await self._came.wait()
        latest = time.monotonic() + LONGEST_WAIT
        while self._came.is_set():
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(DEBOUNCE, latest - time.monotonic())):
                    await self._came.wait()

    async def _write(self, names: Names) -> None:
        async with asyncio.timeout(WRITE_TIMEOUT):
            failed = await self._inventory.rename(names)
        for (_, endpoint_id), reason in failed.items():
            LOG.info("endpoint %s: its names are not written yet: %s", short(endpoint_id), reason)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log what fails and leave it to the next pass: it must not end the following of events."""
    try:
        yield
    except (OvnDockerError, TimeoutError) as error:
        LOG.info("%s yet: %s", what, error)
    except Exception as error:
        LOG.debug("%s", what, exc_info=error)
        LOG.warning("%s: %r", what, error)
