"""Tells, without a health check too, that Docker will not make the networks of a driver of global scope.

Docker refuses them after the driver has made them, and in words about swarm: no request shows it.
"""

import asyncio
import logging

from ovn_docker.docker.engine import Engine
from ovn_docker.errors import OvnDockerError
from ovn_docker.health.plugin_checks import global_refused

LOG = logging.getLogger(__name__)

PAUSE, AGAIN = 5.0, 300.0
"""Seconds until Docker is asked again: one that did not answer, and one that did."""


async def watch_scope(engine: Engine, driver_name: str) -> None:
    """Ask Docker until cancelled, and log what is wrong once."""
    told = ""
    while True:
        try:
            version = await engine.refuses_global()
        except OvnDockerError as error:
            LOG.debug("whether Docker makes global networks is not known: %s", error)
            await asyncio.sleep(PAUSE)
            continue
        if version and version != told:
            LOG.warning("%s", global_refused(driver_name, version))
        told = version
        await asyncio.sleep(AGAIN)
