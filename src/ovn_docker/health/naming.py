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

RENAME_TIMEOUT = 10.0
"""Seconds for one container's names."""


class Naming:
    """Writes names as Docker tells of them."""

    def __init__(self, engine: Engine, inventory: Inventory, docker_is_back: Callable[[], None]) -> None:
        """Listen there, write there; `docker_is_back` is called when events are listened to (again)."""
        self._engine = engine
        self._inventory = inventory
        self._docker_is_back = docker_is_back

    async def run(self) -> None:
        """Follow events until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                async for event in self._engine.events(WANTED):
                    pause = FIRST_PAUSE
                    if event is None:
                        self._docker_is_back()
                    elif event.container_id:
                        await self._name(event.container_id)
            except OvnDockerError as error:
                LOG.debug("Docker's events: %s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _name(self, container_id: str) -> None:
        """Write one container's names; what fails is left to the next pass."""
        try:
            async with asyncio.timeout(RENAME_TIMEOUT):
                container = await self._engine.container(container_id)
                for network_id, endpoint_id in container.endpoints:
                    await self._inventory.rename(network_id, endpoint_id, names_of(container))
        except NotFoundError:
            pass  # it is gone already
        except (OvnDockerError, TimeoutError) as error:
            LOG.info("container %s: its names are not written yet: %s", container_id[:12], error)
