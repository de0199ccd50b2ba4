"""Follows Docker's events, so that a container's name and labels stand at its port within a second.

dockerd tells a driver no names, and may not be asked for them inside a request.
"""

import asyncio
import logging
from collections.abc import Callable

from ovn_docker.docker.engine import Engine
from ovn_docker.errors import NotFoundError, OvnDockerError
from ovn_docker.health.checks import names_of
from ovn_docker.health.snapshot import Inventory

LOG = logging.getLogger(__name__)

WANTED = {"type": ["container", "network"], "event": ["start", "rename", "connect"]}

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two tries to listen."""

AT_ONCE = 8
"""How many containers are written at the same time."""

RENAME_TIMEOUT = 10.0
"""Seconds for one container's names."""


class Naming:
    """Writes names as Docker tells of them."""

    def __init__(self, engine: Engine, inventory: Inventory, docker_is_back: Callable[[], None]) -> None:
        """Listen there, write there; `docker_is_back` is called when events are listened to (again)."""
        self._engine = engine
        self._inventory = inventory
        self._docker_is_back = docker_is_back
        self._waiting: set[str] = set()
        self._few = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Follow events until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.TaskGroup() as writing:
                    async for event in self._engine.events(WANTED):
                        pause = FIRST_PAUSE
                        if event is None:
                            self._docker_is_back()
                        elif event.container_id:
                            self._write(writing, event.container_id)
            except* OvnDockerError as errors:
                LOG.debug("Docker's events: %s", errors.exceptions)
            self._waiting.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _write(self, writing: asyncio.TaskGroup, container_id: str) -> None:
        """Write a container's names while other events are read: dockerd holds back an answer about one
        that is just being started. What is being written already is written once more after that.
        """
        if container_id in self._waiting:
            return
        self._waiting.add(container_id)
        writing.create_task(self._name(container_id))

    async def _name(self, container_id: str) -> None:
        """Write one container's names; what fails is left to the next pass."""
        async with self._few:
            self._waiting.discard(container_id)
            await self._try(container_id)

    async def _try(self, container_id: str) -> None:
        try:
            async with asyncio.timeout(RENAME_TIMEOUT):
                container = await self._engine.container(container_id)
                for network_id, endpoint_id in container.endpoints:
                    await self._inventory.rename(network_id, endpoint_id, names_of(container))
        except NotFoundError:
            pass  # it is gone already
        except (OvnDockerError, TimeoutError) as error:
            LOG.info("container %s: its names are not written yet: %s", container_id[:12], error)
        except Exception as error:  # or the names of all others would not be written either
            LOG.debug("container %s", container_id[:12], exc_info=error)
            LOG.warning("container %s: its names are not written: %r", container_id[:12], error)
