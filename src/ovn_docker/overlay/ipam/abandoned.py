"""Leases of this host whose endpoint is gone from it, as after a power cut, though nobody released them.

What is here says so: the endpoint's interface in Open vSwitch, and its link in the kernel.
"""

from datetime import datetime

from ovn_docker.errors import RequirementError
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import hosts, switches
from ovn_docker.ovn.leases import LEASE, Lease

JOINING = 120.0
"""Seconds from RequestAddress after which an endpoint has been joined or will not be; dockerd tries each
request for 30 s, and Join is the second behind it."""


class AbandonedLeases:
    """Tells them, and removes the port that would go on holding the address."""

    def __init__(self, database: Northbound) -> None:
        """Look there, and on its host."""
        self._northbound = database

    async def has(self, lease: Lease) -> bool:
        """Whether a lease is this host's, for an endpoint that is gone."""
        mark = await self._northbound.mark()
        if (lease.kind, lease.host) != (LEASE, mark.host) or not lease.endpoint_id:
            return False
        attachments = self._northbound.attachments
        plugged, linked = attachments.plugged(lease.endpoint_id), attachments.linked(lease.endpoint_id)
        waiting, age = attachments.waiting(lease.endpoint_id), _seconds(lease.created, mark.created)
        if not is_gone(plugged=plugged, linked=linked, waiting=waiting, age=age):
            return False
        if not plugged:  # else CreateEndpoint of the one that gets the address removes all that is left
            await self._remove_port(lease.endpoint_id, mark.host)
        return True

    async def _remove_port(self, endpoint_id: str, host: str) -> None:
        [found] = await self._northbound.transact([switches.lsp_named(endpoint_id)])
        ports = [switches.read_uuid(row) for row in found["rows"] if hosts.read_host(row) == host]
        if ports:
            try:
                await self._northbound.transact(hosts.ports_del(host, ports))
            except RequirementError:  # it went meanwhile
                return


def is_gone(*, plugged: bool, linked: bool, waiting: bool, age: float) -> bool:
    """Whether the container of an endpoint of this host is gone.

    A link goes with its container, an interface in Open vSwitch stays, over a boot too. An endpoint that has
    neither was unplugged, or lost before it was joined, unless it is just being made. One that waits for its
    Join will not be joined after a while.

    Args:
        plugged: whether it has an interface in Open vSwitch.
        linked: whether it has a link on this host.
        waiting: whether it is plugged in for a Join that has not come.
        age: seconds since its address was leased, by this host's clock.
    """
    if waiting:
        return age > JOINING
    return not linked and (plugged or age > JOINING)


def _seconds(earlier: str, later: str) -> float:
    """From one `Mark.created` to another; 0 where one of them is none."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
