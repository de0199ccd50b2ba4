"""Endpoints that are plugged in before their Join, while Docker makes the sandbox; why a port has no flows.

Only Join waits for this work. If it was not begun, or failed, Join does all of it and reports the failure, so
only defects of this driver are logged here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ovn_docker.errors import OvnDockerError
from ovn_docker.host.attachment import Attachments
from ovn_docker.host.open_vswitch import OvnSettings, lacking
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import switches

LOG = logging.getLogger(__name__)

T = TypeVar("T")

AT_ONCE = 64
"""How many endpoints are plugged in at the same time; those beyond are plugged in by their Joins."""

TURNS = 10
"""How often the event loop turns before the work begins: by then the answer to CreateEndpoint is sent, and
the thread that talks to the kernel does not compete with it for the processor."""

LIMIT = 9.0
"""Seconds for one endpoint, as for a verb (libnetwork/server.py, DEADLINE less ROLLBACK)."""

CAUSE_LIMIT = 0.25
"""Seconds for the databases to say why flows are missing; a Join has no more left by then."""


class Plugging:
    """The endpoints that are being plugged in, while `run` runs."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve `begin` until cancelled, which undoes what is under way."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def begin(self, endpoint_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Plug an endpoint in, unless that is under way or too many are; failed `work` leaves nothing."""
        if self._group is None or endpoint_id in self._tasks or len(self._tasks) >= AT_ONCE:
            return
        task = self._group.create_task(_plug_in(endpoint_id, work))
        self._tasks[endpoint_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(endpoint_id))

    async def settled(self, endpoint_id: str) -> None:
        """Wait for the endpoint's work, if any, whether it succeeds or not."""
        if task := self._tasks.get(endpoint_id):
            await asyncio.wait({task})

    async def end(self, endpoint_id: str) -> None:
        """Undo the endpoint's work, if any, because the endpoint is removed."""
        if task := self._tasks.get(endpoint_id):
            task.cancel()
            await asyncio.wait({task})


async def _plug_in(endpoint_id: str, work: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(LIMIT):
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await work()
    except (OvnDockerError, TimeoutError) as error:
        LOG.debug("endpoint %s is not plugged in before its Join: %s", endpoint_id, error)
    except Exception as error:  # noqa: BLE001 - other endpoints go on
        LOG.warning(
            "endpoint %s is not plugged in before its Join: %s: %s", endpoint_id, type(error).__name__, error
        )


# --- Why a port's flows did not come. -----------------------------------------------------------------------
# Each of OVN's programs leaves a trace of what it has done. Southbound, which has more, is not asked: a
# driver is not connected to it.


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of a port that is in Open vSwitch.

    Attributes:
        made: whether ovn-northd has made it in Southbound; None if Northbound did not answer.
        known: whether ovn-controller has given it a conntrack zone, which it does once Open vSwitch has its
            flows; None if Open vSwitch did not answer.
        capabilities: the datapath's, ``"true"`` or ``"false"`` by name.
    """

    made: bool | None
    known: bool | None
    capabilities: Mapping[str, str]


def cause_of(traces: Traces, settings: OvnSettings) -> str:
    """Why the port has no flows, and what to do, as far as is known."""
    lacks = lacking(traces.capabilities)
    if traces.made is False:
        return (
            "ovn-northd has not made its port in OVN Southbound: see whether both run, with"
            " 'ovn-appctl -t ovn-northd status' where they are"
        )
    for key, value in (("ovn-remote", settings.southbound), ("ovn-encap-ip", settings.encap_ips)):
        if not value:
            return f"external_ids:{key} is not set in Open_vSwitch, so ovn-controller does not join OVN"
    if lacks:
        return (
            f"Open vSwitch refuses them, for its datapath on this host lacks {', '.join(lacks)}: use a kernel"
            " with connection tracking, its zones and NAT, or the userspace datapath"
        )
    if traces.known:
        return "ovn-controller knows its port and has not finished: see ovn-controller's log"
    if traces.known is False and traces.made:
        return (
            f"ovn-controller has not taken up its port: see whether it runs and reaches {settings.southbound}"
            " (ovn-remote), with 'ovn-appctl -t ovn-controller connection-status', and its log"
        )
    return "see whether ovn-controller runs, is connected to ovn-remote, and ovn-northd runs"


class MissingFlows:
    """Asks both databases why a Join fails."""

    def __init__(self, database: Northbound, attachments: Attachments) -> None:
        self._northbound = database
        self._attachments = attachments

    async def cause(self, network_id: str, endpoint_id: str) -> str:
        """Why OVN has not installed the flows of a port that is plugged in: two queries by row id."""
        ports, progress = await asyncio.gather(
            _soon(self._northbound.transact([switches.lsp_made(network_id, endpoint_id)])),
            _soon(self._attachments.progress(endpoint_id)),
        )
        traces = Traces(
            made=switches.read_made(ports[0]["rows"]) if ports else None,
            known=progress.known if progress else None,
            capabilities=progress.capabilities if progress else {},
        )
        return cause_of(traces, self._attachments.settings())


async def _soon(answer: Awaitable[T]) -> T | None:
    """What a database answers; None if it fails, or is not in time."""
    try:
        async with asyncio.timeout(CAUSE_LIMIT):
            return await answer
    except (TimeoutError, OvnDockerError):
        return None
