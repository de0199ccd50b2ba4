"""How the servers of OVN fare that all hosts share, for the health check."""

import time

from ovn_docker.health.snapshot import Central
from ovn_docker.ovn import nb_global
from ovn_docker.ovsdb.client import Client

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
