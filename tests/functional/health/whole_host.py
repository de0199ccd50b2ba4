"""A driver with all of its parts, on a host that is an Open_vSwitch and a Docker that has nothing."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.daemon.components import OverlayComponents, assemble_overlay, running
from ovn_docker.health.checks import check
from ovn_docker.health.findings import Finding
from ovn_docker.health.presence import Presence
from tests.flags import driver_settings
from tests.functional.health.cluster_of_hosts import task
from tests.functional.health.test_passes import empty_docker
from tests.functional.servers import OvsdbServer

PROGRAM = Path(sys.executable).with_name("ovn-docker")


@dataclass(frozen=True)
class Driver:
    """One that runs."""

    parts: OverlayComponents

    @property
    def presence(self) -> Presence:
        return self.parts.presence

    async def findings(self) -> list[Finding]:
        """What one reading shows."""
        async with asyncio.timeout(20):
            return check(await self.parts.reader.read())


@dataclass(frozen=True)
class WholeHost:
    """One host, on which drivers and commands run."""

    open_vswitch: OvsdbServer

    @property
    def state_file(self) -> Path:
        return self.open_vswitch.directory / "state.json"

    @property
    def _docker_socket(self) -> str:
        return f"unix://{self.open_vswitch.directory}/docker.sock"

    def flags(self) -> list[str]:
        ovsdb, state = self.open_vswitch.remote, self.state_file
        return [f"--ovsdb={ovsdb}", f"--state-file={state}", f"--docker-socket={self._docker_socket}"]

    @contextlib.asynccontextmanager
    async def docker(self) -> AsyncIterator[None]:
        async with empty_docker(self.open_vswitch.directory / "docker.sock"):
            yield

    def assemble(self, *flags: str) -> OverlayComponents:
        """The parts of a driver that was started with these flags."""
        settings = driver_settings(
            self.open_vswitch.remote, self.state_file, *flags, docker=self._docker_socket
        )
        return assemble_overlay(settings, dict)

    @contextlib.asynccontextmanager
    async def driver(self, *flags: str) -> AsyncIterator[Driver]:
        """A driver, as a daemon has it, that knows by now whose its name is."""
        parts = self.assemble(*flags)
        driver = Driver(parts)
        async with running(parts), task(driver.presence.run()):
            async with asyncio.timeout(10):
                await driver.presence.prove()
            yield driver

    async def run(self, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """A command of ovn-docker, as an operator types it."""
        words = [str(PROGRAM), command, *self.flags(), *flags]
        return await asyncio.to_thread(
            subprocess.run, words, capture_output=True, text=True, timeout=60, check=False
        )
