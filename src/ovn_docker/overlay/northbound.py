"""Northbound as the drivers use it: with this host's mark and index, failing where nobody named it."""

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

STRUCK_AT_ONCE = 32
"""So many rows of this host are gone before they are struck out of its index."""


class Northbound:
    """OVN Northbound, as this host is told to reach it."""

    def __init__(
        self,
        client: Client,
        attachments: Attachments,
        now: Callable[[], datetime],
        presence: Presence | None = None,
    ) -> None:
        """Use a client of it; `now` gives UTC.

        With `presence` nothing is asked or changed while this host's name is another machine's.
        """
        self.client = client
        self.attachments = attachments
        self._now = now
        self._presence = presence
        self._gone: dict[UUID, str] = {}
        self._striking: set[asyncio.Task[None]] = set()
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
        """Carry out one transaction; `undo` takes it back if the caller gives up meanwhile.

        A delete names itself: Docker asks once for it and forgets, whatever the answer was. What the
        transaction makes for this host is entered into the host's index with it; before the host has one,
        or after it was lost, in none.

        Raises:
            HostError: Open_vSwitch does not say where Northbound is.
            ConflictError: another machine has this host's name.
            DatabaseError: it refused.
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
        self._strike_soon(hosts.removed(operations, results))
        return results

    def _strike_soon(self, gone: Entries) -> None:
        """Note rows that are gone, and have many at once struck out of the index, which would only grow."""
        self._gone |= gone
        if len(self._gone) < STRUCK_AT_ONCE:
            return
        gone, self._gone = self._gone, {}
        task = asyncio.ensure_future(self.strike(gone))
        self._striking.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._striking.discard)

    async def strike(self, gone: Entries) -> None:
        """Strike rows that are gone out of this host's index; none of them, if one has come back."""
        try:
            mark = await self.mark()
            await self.client.request(hosts.index_remove(mark.host, gone))
        except RequirementError:
            return  # the next pass of the health check sees which
        except OvnDockerError as error:
            LOG.debug("rows that are gone stay in the index of this host: %s", error)

    async def remedy(self, host: str) -> str:
        """How an error goes on that names a host as the holder of something; "" for this one and for none.

        Who asks for the same host while somebody does has the same answer: the lock is asked for once.
        """
        if host in {"", (await self.mark()).host}:
            return ""
        if host not in self._looks:
            task = self._looks[host] = asyncio.ensure_future(host_liveness.remedy(self.client, host))
            task.add_done_callback(lambda _: self._looks.pop(host))
        return await asyncio.shield(self._looks[host])

    def moment(self) -> float:
        """Now, in seconds since 1970 by this host's clock."""
        return self._now().timestamp()

    async def mark(self) -> Mark:
        """This host and this second.

        Raises:
            HostError: the host has no name in OVN.
        """
        settings = await self.attachments.known_settings()
        if not settings.system_id:
            raise HostError("external_ids:system-id is not set in Open_vSwitch: OVN does not know this host")
        return Mark(host=settings.system_id, created=timestamp(self._now()))
