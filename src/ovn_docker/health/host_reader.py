"""Looks at the host: its own database, the kernel's list of sockets, its addresses. Asks no other host."""

import asyncio
import contextlib

from ovn_docker.errors import OvnDockerError
from ovn_docker.health import daemons
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_checks import check_host
from ovn_docker.health.host_setup import HostSetup
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.open_vswitch import Tunnel
from ovn_docker.host.veth import Links

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
            daemons=daemons.running_here(),
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
