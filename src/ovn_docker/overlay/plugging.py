"""Endpoints that are plugged in before their Join, while Docker makes the sandbox. Knows no database.

Nobody waits for this work but Join. Where it was not begun, or failed, Join does all of it, and tells of the
failure. So nothing is told here but a defect of ours.
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

# --- Why a port's flows did not come, told from what both databases say of the port. Pure. ------------------
# Each program of OVN's leaves a trace of what it has done. Southbound, which has more, is not asked, for a
# driver is not connected to it.


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of a port that Open vSwitch has taken up.

    Attributes:
        made: whether ovn-northd has made it in Southbound, or None where Northbound does not tell.
        known: whether ovn-controller has given it a conntrack zone, which it does once Open vSwitch has taken
            its flows; or None where Open vSwitch does not tell.
        capabilities: of the bridge's datapath, ``"true"`` or ``"false"`` by name.
    """

    made: bool | None
    known: bool | None
    capabilities: Mapping[str, str]


def cause_of(traces: Traces, settings: OvnSettings) -> str:
    """Why the port has no flows, and what to do, as far as it can be told."""
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


LOG = logging.getLogger(__name__)

MOST = 64
"""So many endpoints are plugged in at the same time; the others' Joins do it."""

TURNS = 10
"""So often the event loop turns before the work begins. By then the answer to CreateEndpoint is sent, and the
thread that talks to the kernel does not keep it from the processor."""

LIMIT = 9.0
"""Seconds for one endpoint, as for a verb (libnetwork/server.py, DEADLINE less ROLLBACK)."""


class Plugging:
    """The endpoints that are being plugged in."""

    def __init__(self) -> None:
        """Nothing is begun before `run` is."""
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Do what is begun, until cancelled; what is under way then is undone."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None

    def begin(self, endpoint_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Plug an endpoint in, unless that is under way or as many as may be are.

        Args:
            endpoint_id: of the endpoint.
            work: does it, or leaves nothing.
        """
        if self._group is None or endpoint_id in self._tasks or len(self._tasks) >= MOST:
            return
        task = self._group.create_task(_plug_in(endpoint_id, work))
        self._tasks[endpoint_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(endpoint_id))

    async def settled(self, endpoint_id: str) -> None:
        """Return when nothing is under way for an endpoint, whether it is plugged in or not."""
        if task := self._tasks.get(endpoint_id):
            await asyncio.wait({task})

    async def end(self, endpoint_id: str) -> None:
        """Return when what is under way for an endpoint is undone, for the endpoint goes."""
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
    except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
        LOG.warning(
            "endpoint %s is not plugged in before its Join: %s: %s", endpoint_id, type(error).__name__, error
        )


# --- Asks both databases why the flows of a port did not come; plugging.py tells what it means. --


T = TypeVar("T")

CAUSE_LIMIT = 0.25
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
        return cause_of(traces, self._attachments.settings())


async def _soon(answer: Awaitable[T]) -> T | None:
    """What a database answers, or None if it does not, or not in time."""
    try:
        async with asyncio.timeout(CAUSE_LIMIT):
            return await answer
    except (TimeoutError, OvnDockerError):
        return None
