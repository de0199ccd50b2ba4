"""OpenFlow through ovs-ofctl(8), run beside requests and never in one's path.

Reads flows, changes them in one bundle, follows changes as they happen, and finds where OVN's pipeline can be
entered and left.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence

from ovn_docker.errors import HostError
from ovn_docker.overlay.vtep import openflow, pipeline
from ovn_docker.overlay.vtep.openflow import COOKIE, COOKIE_MASK, PROTOCOL, Change, Flow, FlowEvent
from ovn_docker.overlay.vtep.pipeline import Hooks, Location

COMMAND_TIMEOUT = 10.0
"""Seconds for one run of ovs-ofctl."""

END_TIMEOUT = 2.0
"""Seconds for ovs-ofctl to end on SIGTERM; then it is killed."""

MONITOR_REPLY = b"OFPST_FLOW_MONITOR"
"""How the answer to a watch begins."""

MAX_LINE = 1 << 20
"""Bytes of a flow."""


class IntegrationBridge:
    """An integration bridge on this host, and the cookie of this driver's flows in it."""

    def __init__(self, bridge: str, cookie: int) -> None:
        self.bridge = bridge
        self.cookie = cookie

    async def dump(self, what: str = "") -> list[tuple[int, Flow]]:
        """The flows that match `what`, in ovs-ofctl's notation, each with its cookie.

        Raises:
            HostError: ovs-vswitchd does not answer, or ovs-ofctl is missing.
        """
        output = await self._run(["--no-stats", "dump-flows", self.bridge, *filter(None, [what])])
        return [found for line in output.splitlines() if (found := openflow.parse_flow(line)) is not None]

    async def foreign(self, what: str) -> list[Flow]:
        """The flows that match `what` and are not any driver's."""
        return [flow for cookie, flow in await self.dump(what) if cookie & COOKIE_MASK != COOKIE]

    async def own(self) -> list[Flow]:
        """The flows of this driver."""
        return [flow for _, flow in await self.dump(f"cookie={self.cookie:#x}/-1")]

    async def apply(self, change: Change) -> None:
        """Make a change as one bundle: all of it at one moment, or nothing."""
        lines = [openflow.delete(flow, self.cookie) for flow in change.deleted]
        lines += [openflow.add(flow, self.cookie) for flow in change.added]
        await self._run(["--bundle", "add-flows", self.bridge, "-"], "\n".join(lines) + "\n")

    async def _run(self, arguments: Sequence[str], stdin: str = "") -> str:
        process = await _start(["-O", PROTOCOL, *arguments])
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                output, errors = await process.communicate(stdin.encode())
        except TimeoutError:
            raise HostError(
                f"Open vSwitch did not answer ovs-ofctl about {self.bridge} within {COMMAND_TIMEOUT:.0f} s:"
                " see whether ovs-vswitchd runs"
            ) from None
        finally:
            await _end(process)
        if process.returncode:
            raise HostError(_refused(self.bridge, errors))
        return output.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def watched(self, tables: Iterable[int]) -> AsyncIterator[AsyncIterator[FlowEvent]]:
        """Watch at most two tables: present flows come first, then each change by anybody.

        Raises:
            HostError: at the beginning, as `dump`; later the iterator just ends.
        """
        watches = [f"watch:table={table}" for table in tables]
        # Present flows are printed to standard output, later changes to standard error.
        process = await _start(["-O", PROTOCOL, "monitor", self.bridge, *watches], bound=True)
        try:
            if process.stdout is None:
                raise HostError("ovs-ofctl was started without a pipe")
            first = await process.stdout.readline()
            if not first.startswith(MONITOR_REPLY):
                raise HostError(_refused(self.bridge, first))
            yield _events(process.stdout)
        finally:
            await _end(process)


async def _events(stream: asyncio.StreamReader) -> AsyncIterator[FlowEvent]:
    async for line in stream:
        event = openflow.parse_event(line.decode(errors="replace"))
        if event is not None:
            yield event


async def _start(arguments: Sequence[str], *, bound: bool = False) -> asyncio.subprocess.Process:
    """Start ovs-ofctl.

    Args:
        arguments: its own.
        bound: whether to end it with this process, however that ends, and to join its two outputs.
    """
    # systemd ends what a service leaves behind, and the unit refuses capset(2), which setpriv always calls.
    unsupervised = bound and "NOTIFY_SOCKET" not in os.environ and shutil.which("setpriv")
    before = ["setpriv", "--pdeathsig", "TERM", "--"] if unsupervised else []
    try:
        return await asyncio.create_subprocess_exec(
            *before,
            "ovs-ofctl",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if bound else asyncio.subprocess.PIPE,
            limit=MAX_LINE,
        )
    except OSError as error:
        raise HostError(
            f"ovs-ofctl cannot be started: {error.strerror}: install Open vSwitch's tools"
        ) from error


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_TIMEOUT)
        except TimeoutError:  # it is suspended, or waits for a disk
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                process.kill()
                await asyncio.wait_for(process.wait(), END_TIMEOUT)


def _refused(bridge: str, output: bytes) -> str:
    lines = output.decode(errors="replace").split("\n")
    reason = next((line.removeprefix("ovs-ofctl: ") for line in lines if line.strip()), "no reason given")
    return f"ovs-ofctl failed on {bridge}: {reason}"


# --- Where OVN's pipeline can be entered and left on a switch, found by the flows of containers on it. ------


MAX_SAMPLES = 3
"""Containers whose flows are read."""

NO_HOOK = (
    "IP lookup is off: no flow of the switch delivers to a container's port as OVN's local output does:"
    " see whether ovn-controller runs, and whether this release of OVN is supported"
)


NO_WAY_BACK = (
    "IP lookup: VTEPs reach containers but get no answers, because this release of OVN has no table behind"
    " its ingress pipeline: install OVN 22.09.2, 22.12.1, 23.03.1 or a later one"
)


class HookFinder:
    """Finds the hooks of a switch, and remembers them."""

    def __init__(self) -> None:
        self._known: Hooks | None = None

    async def find(self, switch: IntegrationBridge, locations: Iterable[Location]) -> Hooks | None:
        """The hooks, or None where no flow delivers to any of these containers."""
        for where in itertools.islice(locations, MAX_SAMPLES):
            port = await switch.foreign(f"reg15={where.port:#x},metadata={where.datapath:#x}")
            local = pipeline.local_output(port, where)
            if local is not None and self._known and self._known.local_output == local:
                return self._known  # the tables were emptied, but OVN was not replaced
            if local is not None:
                found = await _around(switch, where, local)
                self._known = None if no_way_back(found) else found
                return found
        return None


async def _around(switch: IntegrationBridge, where: Location, local: int) -> Hooks:
    onward = dict[int, int | None]()
    while tables := pipeline.unseen(local, onward):
        flows = await asyncio.gather(*(switch.foreign(f"table={table}") for table in tables))
        onward |= zip(tables, map(pipeline.passes_on, flows), strict=True)
    first = pipeline.first_output(local, onward)
    if first is None:
        return Hooks(local)
    no_output = await switch.foreign(f"reg15=0,metadata={where.datapath:#x}")
    return Hooks(local, *first, pipeline.unknown_drop(no_output, where.datapath, first[0]))


def no_way_back(hooks: Hooks) -> str:
    """Why a container's answers do not reach a VTEP, or ""."""
    return NO_WAY_BACK if hooks.output is None or hooks.unknown is None else ""
