"""Shows the other hosts that this one is there: its row in Northbound, and a lock as long as it is connected.

The lock is taken from whoever has it before the first transaction of each connection, so that nobody who
gives this host up goes on with it.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from ovn_docker.errors import ConstraintError, DatabaseError
from ovn_docker.ovsdb.client import Client
from ovn_docker.schema import hosts, open_vswitch
from ovn_docker.schema.northbound import Mark, timestamp

LOG = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds after which the row is looked for again: one look-up by row id."""


class Presence:
    """This host's part in the list of hosts."""

    def __init__(
        self, ovs: Client, nb: Client, now: Callable[[], datetime], interval: float = INTERVAL
    ) -> None:
        """Use clients of Open_vSwitch and Northbound; `now` gives UTC."""
        self._ovs = ovs
        self._nb = nb
        self._now = now
        self._interval = interval

    async def run(self) -> None:
        """Stay present until cancelled, under the name that Open_vSwitch says."""
        while True:
            name = await self._ovs.replica.until(lambda: self._name() or None)
            async with self._nb.lock(hosts.presence_lock(name), steal=True):
                await self._stay(name)

    def _name(self) -> str:
        return open_vswitch.read_settings(self._ovs.replica).system_id

    async def _stay(self, name: str) -> None:
        while self._name() == name:
            try:
                await self._register(name)
            except DatabaseError as error:
                LOG.warning("host %s is not registered in OVN Northbound: %s", name, error)
            try:
                async with asyncio.timeout(self._interval):
                    await self._ovs.replica.until(lambda: self._name() != name or None)
            except TimeoutError:
                continue

    async def _register(self, name: str) -> None:
        [found] = await self._nb.transact([hosts.host_get(name)])
        if found["rows"]:
            return
        try:
            await self._nb.transact([hosts.host_add(Mark(name, timestamp(self._now())))])
        except ConstraintError:  # another driver of this host was quicker
            return
        LOG.info("host %s is registered in OVN Northbound", name)
