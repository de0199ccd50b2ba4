"""Northbound as the drivers use it: this host's mark, and transactions that fail where nobody named it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from ovn_docker.errors import HostError
from ovn_docker.health.presence import Presence
from ovn_docker.host.attachment import Attachments
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation
from ovn_docker.schema.northbound import Mark, timestamp


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

        A delete names itself: Docker asks once for it and forgets, whatever the answer was.

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
        return await self.client.request(operations, undo)

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
