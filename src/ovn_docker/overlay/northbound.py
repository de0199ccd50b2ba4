"""Northbound as the overlay driver uses it: with this host's mark, and rows entered into its index."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from ovn_docker.errors import HostError, OvnDockerError, RequirementError
from ovn_docker.health import host_liveness
from ovn_docker.health.presence import Presence
from ovn_docker.host.attachment import Attachments
from ovn_docker.ovn import hosts
from ovn_docker.ovn.hosts import Entries
from ovn_docker.ovn.switches import Mark, timestamp
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation

LOG = logging.getLogger(__name__)

REMOVED_AT_ONCE = 32
"""How many rows of this host are deleted before they are removed from its index."""


class Northbound:
    """OVN Northbound, as this host is told to reach it."""

    def __init__(
        self,
        client: Client,
        attachments: Attachments,
        now: Callable[[], datetime],
        presence: Presence | None = None,
    ) -> None:
        """`now` gives UTC. With `presence` all requests fail while another machine has this host's name."""
        self.client = client
        self.attachments = attachments
        self._now = now
        self._presence = presence
        self._gone: dict[UUID, str] = {}
        self._removing: set[asyncio.Task[None]] = set()
        self._looks: dict[str, asyncio.Task[str]] = {}
        if presence is not None:
            client.admit = presence.admit

    def outage(self) -> str:
        """Why it cannot be used, or ""."""
        taken = "" if self._presence is None else self._presence.problem()
        return self.client.outage() or taken

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        """Carry out one transaction, which also enters the rows that it makes into this host's index, if any.

        `undo` takes it back if the caller is cancelled meanwhile. A delete is its own `undo`: Docker asks for
        it once and forgets, whatever the answer.

        Raises:
            HostError: Open_vSwitch does not say where Northbound is.
            ConflictError: another machine has this host's name.
            DatabaseError: the server refused.
        """
        settings = await self.attachments.known_settings()
        if not settings.northbound:
            raise HostError(
                "external_ids:ovn-nb is not set in Open_vSwitch: name OVN Northbound with"
                " 'ovs-vsctl set Open_vSwitch . external_ids:ovn-nb=tcp:ADDRESS:6641'"
            )
        made = hosts.made(settings.system_id, operations) if settings.system_id else {}
        enter = [hosts.index_add(settings.system_id, made)] if made else []
        results = await self.client.request([*operations, *enter], undo)
        results = results[: len(operations)]
        self._remove_soon(hosts.removed(operations, results))
        return results

    def _remove_soon(self, gone: Entries) -> None:
        """Collect deleted rows, and remove many at once from the index, which would only grow."""
        self._gone |= gone
        if len(self._gone) < REMOVED_AT_ONCE:
            return
        gone, self._gone = self._gone, {}
        task = asyncio.ensure_future(self.remove_entries(gone))
        self._removing.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._removing.discard)

    async def remove_entries(self, gone: Entries) -> None:
        """Remove deleted rows from this host's index; none of them, if one has come back."""
        try:
            mark = await self.mark()
            await self.client.request(hosts.index_remove(mark.host, gone))
        except RequirementError:
            return  # the next health check sees which one
        except OvnDockerError as error:
            LOG.debug("deleted rows stay in the index of this host: %s", error)

    async def remedy(self, host: str) -> str:
        """What to append to an error that names a host as a holder: what to do if it is away, or "".

        Requests about the same host at the same time share one answer, so that its lock is asked for once.
        """
        if host in {"", (await self.mark()).host}:
            return ""
        if host not in self._looks:
            task = self._looks[host] = asyncio.ensure_future(host_liveness.remedy(self.client, host))
            task.add_done_callback(lambda _: self._looks.pop(host))
        return await asyncio.shield(self._looks[host])

    def moment(self) -> float:
        """Now, in seconds since 1970."""
        return self._now().timestamp()

    async def mark(self) -> Mark:
        """This host and this second; a HostError if the host has no name in OVN."""
        settings = await self.attachments.known_settings()
        if not settings.system_id:
            raise HostError("external_ids:system-id is not set in Open_vSwitch: OVN does not know this host")
        return Mark(host=settings.system_id, created=timestamp(self._now()))
