"""What the parts of a run stand on, one after the other; all of it ends with the run."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.ipam import servers
from bench.ipam.servers import Servers
from bench.scale.clock import Clock
from bench.scale.crowd import Crowd
from bench.scale.plan import CALLERS, ScalePlan
from ovn_docker.errors import HostError

FIRST_CALLER = 10_000_000
"""Above the number of any host."""


@contextmanager
def running(directory: Path, plan: ScalePlan) -> Iterator["ScaleTestbed"]:
    """A testbed whose processes run as long as the context lasts."""
    clock = Clock(plan.limit)
    groups = [list(range(first, plan.hosts, plan.processes)) for first in range(plan.processes)]
    ours = [list(range(FIRST_CALLER, FIRST_CALLER + max(CALLERS)))]
    with (
        closing(Crowd(directory / "hosts", clock, [group for group in groups if group], plan)) as crowd,
        closing(Crowd(directory / "callers", clock, ours, plan)) as callers,
    ):
        yield ScaleTestbed(directory, plan, clock, crowd, callers)


class ScaleTestbed:
    """The files of a run, its drivers, and one Northbound at a time.

    Attributes:
        plan: the sizes.
        clock: of the run.
        directory: for all files.
        crowd: the hosts.
        callers: further hosts, that have no containers when nothing is measured.
        empty_mb: memory of the processes of the hosts before any of these ran, in MB.
    """

    def __init__(self, directory: Path, plan: ScalePlan, clock: Clock, crowd: Crowd, callers: Crowd) -> None:
        """Use these; no driver runs, and there are no rows."""
        self.plan = plan
        self.clock = clock
        self.directory = directory
        self.crowd = crowd
        self.callers = callers
        self.empty_mb = crowd.memory()
        self._rows = directory / "rows"
        self._filled = False

    @contextmanager
    def standalone(self) -> Iterator[Servers]:
        """An empty Northbound of one server."""
        probe = self.plan.probe
        with self._up(servers.standalone(self._new("standalone"), tcp=True, probe=probe)) as northbound:
            yield northbound

    @contextmanager
    def filled_standalone(self) -> Iterator[Servers]:
        """A Northbound of one server with all rows."""
        directory, probe = self._new("standalone"), self.plan.probe
        with self._up(servers.standalone(directory, self.filled(), tcp=True, probe=probe)) as northbound:
            yield northbound

    @contextmanager
    def cluster(self) -> Iterator[Servers]:
        """A Northbound of three servers with all rows."""
        directory, probe = self._new("cluster"), self.plan.probe
        with self._up(servers.cluster(directory, self.filled(), tcp=True, probe=probe)) as northbound:
            northbound.settle()
            yield northbound

    def keep(self, northbound: Servers) -> None:
        """Keep the rows of a standalone server, which is ended; compacted, as it does it after a while."""
        northbound.stop()
        file = northbound.members[0].file
        servers.tool("compact", str(file), limit=servers.LONG)
        file.replace(self._rows)
        self._filled = True

    def filled(self) -> Path:
        """The file with all rows."""
        if not self._filled:
            raise HostError("there are no rows: they could not be written")
        return self._rows

    def _new(self, name: str) -> Path:
        taken = sum(path.name.startswith(name) for path in self.directory.iterdir())
        return self.directory / f"{name}{taken}"

    @contextmanager
    def _up(self, northbound: Servers) -> Iterator[Servers]:
        """The servers, and at the end all drivers ended before them; an interrupt leaves those for later."""
        try:
            yield northbound
            for hosts in (self.crowd, self.callers):
                hosts.ask("stop")
        finally:
            northbound.stop()
