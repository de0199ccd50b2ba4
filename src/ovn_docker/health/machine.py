"""What tells this machine from others, whatever they are all called in OVN."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ovn_docker.errors import HostError
from ovn_docker.host.open_vswitch import Settings
from ovn_docker.ovn.hosts import Identity
from ovn_docker.state_file import StateFile

LOG = logging.getLogger(__name__)

KEY = "machine"
"""Of the state file."""

Holding = Callable[[str], Awaitable[str | None]]


class Machine:
    """This machine."""

    def __init__(self, file: StateFile, hostname: str, holding: Holding) -> None:
        """Take it from these.

        Args:
            file: keeps a random number.
            hostname: as the machine calls itself.
            holding: the link of this host that has an IP address, or None.
        """
        self._file = file
        self._hostname = hostname
        self._holding = holding
        self._number = ""

    async def identity(self, settings: Settings, session: str, *, keep: bool) -> Identity:
        """Who this is.

        Args:
            settings: of this host.
            session: of this driver.
            keep: whether a number is made where the state file has none.

        Raises:
            HostError: the state file cannot be used.
        """
        if not self._number:
            self._number = await asyncio.to_thread(self._read, keep=keep)
        own = [each for each in settings.encap_ips if await self._holding(each)]
        return Identity(self._number, self._hostname, ",".join(sorted(own)), session)

    def _read(self, *, keep: bool) -> str:
        number = str(self._file.load().get(KEY, ""))
        if number or not keep:
            return number
        made = secrets.token_hex(16)

        def change(content: dict[str, Any]) -> Mapping[str, Any]:
            return {KEY: made} | content

        try:
            self._file.update(change)
        except HostError as error:
            LOG.warning("this machine is known by its hostname and tunnel address alone: %s", error)
            return made
        return str(self._file.load().get(KEY, made))
