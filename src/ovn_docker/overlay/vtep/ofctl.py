"""The only door to OpenFlow: ovs-ofctl(8), run beside requests and never in one's path.

It reads flows, changes them in one bundle, and tells of changes as they happen. Which flows, and why, is not
known here.
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
"""Seconds for ovs-ofctl to end when it is told to; then it is killed."""

BEGINNING = b"OFPST_FLOW_MONITOR"
"""What the answer to a watch begins with."""

LONGEST_LINE = 1 << 20
"""Bytes of a flow."""


class IntegrationBridge:
    """An integration bridge on this host."""

    def __init__(self, bridge: str, cookie: int) -> None:
        """Name the bridge, as ovs-vswitchd knows it, and the cookie of our flows in it."""
        self.bridge = bridge
        self.cookie = cookie

    async def dump(self, what: str = "") -> list[tuple[int, Flow]]:
        """The flows that meet ovs-ofctl's description `what`, each with its cookie.

        Raises:
            HostError: ovs-vswitchd does not answer, or ovs-ofctl is not there.
        """
        output = await self._run(["--no-stats", "dump-flows", self.bridge, *filter(None, [what])])
        return [found for line in output.splitlines() if (found := openflow.parse_flow(line)) is not None]

    async def foreign(self, what: str) -> list[Flow]:
        """The flows that meet a description and are no driver's of ours.

        Raises:
            HostError: as `dump`.
        """
        return [flow for cookie, flow in await self.dump(what) if cookie & COOKIE_MASK != COOKIE]

    async def own(self) -> list[Flow]:
        """The flows of this driver.

        Raises:
            HostError: as `dump`.
        """
        return [flow for _, flow in await self.dump(f"cookie={self.cookie:#x}/-1")]

    async def apply(self, change: Change) -> None:
        """Make a change as one bundle: all of it at one moment, or nothing.

        Raises:
            HostError: as `dump`, or it was refused.
        """
        lines = [openflow.delete(each, self.cookie) for each in change.deleted]
        lines += [openflow.add(each, self.cookie) for each in change.added]
        await self._run(["--bundle", "add-flows", self.bridge, "-"], "\n".join(lines) + "\n")

    async def _run(self, arguments: Sequence[str], stdin: str = "") -> str:
        process = await _start(["-O", PROTOCOL, *arguments])
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                output, said = await process.communicate(stdin.encode())
        except TimeoutError:
            raise HostError(
                f"Open vSwitch did not answer ovs-ofctl about {self.bridge} within {COMMAND_TIMEOUT:.0f} s:"
                " see whether ovs-vswitchd runs"
            ) from None
        finally:
            await _end(process)
        if process.returncode:
            raise HostError(_refused(self.bridge, said))
        return output.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def watched(self, tables: Iterable[int]) -> AsyncIterator[AsyncIterator[FlowEvent]]:
        """Watch at most two tables: what is there is told first, then each change by whomever.

        Raises:
            HostError: as `dump`, when the watching begins; later the iterator just ends.
        """
        watches = [f"watch:table={each}" for each in tables]
        # It tells what was there on its standard output, and what happens later on its standard error.
        process = await _start(["-O", PROTOCOL, "monitor", self.bridge, *watches], bound=True)
        try:
            if process.stdout is None:
                raise HostError("ovs-ofctl was started without a pipe")
            first = await process.stdout.readline()
            if not first.startswith(BEGINNING):
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
        bound: whether it would outlive this process: then it ends with it, however that ends, and its two
            outputs are one.
    """
    # systemd ends what a service leaves behind, and our unit refuses capset(2), which setpriv always calls.
    alone = bound and "NOTIFY_SOCKET" not in os.environ and shutil.which("setpriv")
    before = ["setpriv", "--pdeathsig", "TERM", "--"] if alone else []
    try:
        return await asyncio.create_subprocess_exec(
            *before,
            "ovs-ofctl",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if bound else asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
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
        except TimeoutError:  # it is stopped, or waits for a disk
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                process.kill()
                await asyncio.wait_for(process.wait(), END_TIMEOUT)


def _refused(bridge: str, said: bytes) -> str:
    lines = said.decode(errors="replace").split("\n")
    why = next((line.removeprefix("ovs-ofctl: ") for line in lines if line.strip()), "no reason given")
    return f"ovs-ofctl failed on {bridge}: {why}"


# --- Finds where OVN's pipeline can be entered and left on a switch, by containers that are there. ----------


MOST_SAMPLES = 3
"""Of how many containers the flows are looked at."""

NO_HOOK = (
    "IP lookup is off: no flow of the switch delivers to a container's port as OVN's local output does:"
    " see whether ovn-controller runs, and whether this release of OVN is supported"
)


NO_WAY_BACK = (
    "IP lookup: containers are reached by VTEPs and their answers are not, because this release of OVN leaves"
    " no place behind its ingress pipeline: it needs OVN 22.09.2, 22.12.1, 23.03.1 or a later one"
)


class HookFinder:
    """Looks at a switch, and knows what it found there before."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: Hooks | None = None

    async def find(self, switch: IntegrationBridge, locations: Iterable[Location]) -> Hooks | None:
        """The hooks, or None where no flow delivers to any of these containers.

        Raises:
            HostError: the switch does not answer.
        """
        for where in itertools.islice(locations, MOST_SAMPLES):
            port = await switch.foreign(f"reg15={where.port:#x},metadata={where.datapath:#x}")
            local = pipeline.local_output(port, where)
            if local is not None and self._known and self._known.local_output == local:
                return self._known  # it was the tables that were emptied, and not OVN that was replaced
            if local is not None:
                found = await _around(switch, where, local)
                self._known = None if no_way_back(found) else found
                return found
        return None


async def _around(switch: IntegrationBridge, where: Location, local: int) -> Hooks:
    onward = dict[int, int | None]()
    while tables := pipeline.unseen(local, onward):
        flows = await asyncio.gather(*(switch.foreign(f"table={each}") for each in tables))
        onward |= zip(tables, map(pipeline.passes_on, flows), strict=True)
    first = pipeline.first_output(local, onward)
    if first is None:
        return Hooks(local)
    nobody = await switch.foreign(f"reg15=0,metadata={where.datapath:#x}")
    return Hooks(local, *first, pipeline.unknown_drop(nobody, where.datapath, first[0]))


def no_way_back(hooks: Hooks) -> str:
    """Why a container's answers do not reach a VTEP, or ""."""
    return NO_WAY_BACK if hooks.output is None or hooks.unknown is None else ""
