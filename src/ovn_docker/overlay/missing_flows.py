"""Asks both databases why the flows of a port did not come; missing_flows_rules.py tells what it means."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from ovn_docker.errors import OvnDockerError
from ovn_docker.host.attachment import Attachments
from ovn_docker.overlay import missing_flows_rules
from ovn_docker.overlay.missing_flows_rules import Traces
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import switches

T = TypeVar("T")

LIMIT = 0.25
"""Seconds for the databases to answer; a Join has no more left by then."""


class MissingFlows:
    """Tells why a Join fails."""

    def __init__(self, database: Northbound, attachments: Attachments) -> None:
        """Ask these."""
        self._northbound = database
        self._attachments = attachments

    async def cause(self, network_id: str, endpoint_id: str) -> str:
        """Why OVN has not installed the flows of a port that is plugged in: two questions by row id."""
        answers = await asyncio.gather(
            _soon(self._northbound.transact([switches.lsp_made(network_id, endpoint_id)])),
            _soon(self._attachments.progress(endpoint_id)),
        )
        ports, progress = answers
        traces = Traces(
            made=switches.read_made(ports[0]["rows"]) if ports else None,
            known=progress.known if progress else None,
            capabilities=progress.capabilities if progress else {},
        )
        return missing_flows_rules.cause(traces, self._attachments.settings())


async def _soon(answer: Awaitable[T]) -> T | None:
    """What a database answers, or None if it does not, or not in time."""
    try:
        async with asyncio.timeout(LIMIT):
            return await answer
    except (TimeoutError, OvnDockerError):
        return None
