"""How fast addresses are leased: on each kind of Northbound, with few and many other rows, by level."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.figures import Figure, Results, Samples, median
from bench.ipam import clients as load
from bench.ipam import page
from bench.ipam.plan import CLIENTS, DRIVERS, FULL, LEVELS, QUICK, IpamPlan, Level
from bench.ipam.testbed import IpamTestbed, Network
from bench.ovsdb import Database
from bench.run import Bench, Part, Run, progress, this_machine, version
from ovn_docker.errors import OvnDockerError

SUBNETS = ("10.61.0.0/16", "10.62.0.0/16", "10.63.0.0/16")
"""One for all that is filled at random, then one for each that is filled in a row."""


_WRITES = 50
_CONTENT = b"\0" * 1024
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def plan(run: Run) -> IpamPlan:
    """What the flags ask for."""
    chosen: IpamPlan = run.plan(FULL, QUICK, "ports")
    return chosen


def _measure(run: Run) -> Results:
    parent = run.arguments.directory
    versions = {"ovsdb-server": version("ovsdb-server"), "Python": platform.python_version()}
    with tempfile.TemporaryDirectory(prefix="ovn-docker-bench-", dir=parent) as name:
        directory = Path(name).resolve()
        kind = _filesystem(directory, Path("/proc/mounts").read_text())
        written = f"databases on {kind}, where 1 kB is on disk after {_sync_ms(directory):.2f} ms"
        results = run.results(this_machine(versions, disk=written))
        if kind in _IN_MEMORY:
            results.failures.append(f"{parent} is in memory: name a disk with --directory")
        return run.measure(parts(directory, plan(run), results), results)


def _filesystem(directory: Path, mounts: str) -> str:
    """The type of the file system of a resolved directory, by /proc/mounts (proc_pid_mounts(5))."""
    fields = [line.split() for line in mounts.splitlines()]
    found = [(len(mount[1]), mount[2]) for mount in fields if directory.is_relative_to(mount[1])]
    return max(found)[1] if found else "unknown"


def _sync_ms(directory: Path) -> float:
    """How long an append of 1 kB and its fdatasync(2) take there, in milliseconds (median)."""
    took = []
    path = directory / "sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(_WRITES):
            started = time.perf_counter()
            os.write(descriptor, _CONTENT)
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return median(took)


def parts(directory: Path, plan: IpamPlan, results: Results) -> Iterator[Part]:
    """Name and function of each part.

    Args:
        directory: for the files of all servers.
        plan: how much.
        results: takes the failures of levels.
    """
    for mode in page.MODES:
        for ports in plan.ports:
            run = _OneNorthbound(mode, ports, plan, results.failures)
            testbed = directory / f"{mode[0]}{ports}"
            yield f"{mode} Northbound with {ports:,} other ports", partial(_levels, run, testbed)


def _levels(run: "_OneNorthbound", directory: Path) -> list[Figure]:
    with IpamTestbed(directory, run.mode, run.ports, run.plan.switches) as testbed:
        return run.levels(testbed)


class _OneNorthbound:
    """What is measured on one Northbound."""

    def __init__(self, mode: str, ports: int, plan: IpamPlan, failures: list[str]) -> None:
        self.mode = mode
        self.ports = ports
        self.plan = plan
        self._failures = failures
        self._times = Samples(page.section(page.TIME, mode), ports)
        self._rates = Samples(page.section(page.RATE, mode), ports)
        self._searches = Samples(page.SEARCH, ports)
        self._leased = self._duplicates = 0

    def levels(self, testbed: IpamTestbed) -> list[Figure]:
        """Measure at each level; one that fails does not take the others with it."""
        subnets = iter(SUBNETS)
        network = testbed.network_create(next(subnets), scattered=True)
        for level in LEVELS:
            progress(f"  {level.title}")
            try:
                with closing(testbed.connect()) as database:
                    if not level.scattered:
                        network.pool.clear(database)
                        network = testbed.network_create(next(subnets), scattered=False)
                    network.pool.fill(database, level)
                    self._level(database, network, level)
            except (OvnDockerError, OSError) as error:
                failure = " ".join(f"{self.mode}, {self.ports:,} other ports, {level.title}: {error}".split())
                self._failures.append(failure)
                progress(f"  FAILED {failure}")
        return self._figures()

    def _level(self, database: Database, network: Network, level: Level) -> None:
        if not level.scattered:
            self._search(database, network)
        for count in CLIENTS:
            for _ in range(self.plan.rounds):
                self._round(database, network, level, count)

    def _search(self, database: Database, network: Network) -> None:
        """The first lease of each driver, which has to find out what is taken from the first address on."""
        item = f"pass {network.pool.filled:,} taken addresses"
        for client in network.clients(DRIVERS):
            network.pool.come_to_end(database)
            with closing(client.connection):
                answers, _ = load.lease([client], 1)
            self._searches.add(self.mode, item, answers[0].took)
            self._check(database, network, answers)

    def _round(self, database: Database, network: Network, level: Level, count: int) -> None:
        column = page.clients(count)
        clients = list(network.clients(count))
        try:
            answers, seconds = load.lease(clients, self.plan.leases)
        finally:
            for client in clients:
                client.connection.close()
        for answer in answers:
            self._times.add(column, level.title, answer.took)
        self._rates.add(column, level.title, len(answers) / seconds)
        self._check(database, network, answers)

    def _check(self, database: Database, network: Network, answers: list[load.Answer]) -> None:
        self._leased += len(answers)
        self._duplicates += network.pool.duplicates(database, answers)
        network.pool.empty(database, answers)

    def _figures(self) -> list[Figure]:
        twice = Figure(
            section=page.DUPLICATES,
            item=page.LEASED_TWICE,
            contestant=self.mode,
            ports=self.ports,
            unit=f"of {self._leased:,}",
            samples=self._leased,
            p50=self._duplicates,
            p99=self._duplicates,
        )
        return [
            *self._times.figures(),
            *self._rates.figures(unit="per s"),
            *self._searches.figures(),
            twice,
        ]


BENCH = Bench(
    name="ipam",
    summary="how fast addresses are leased",
    description="Measure how fast addresses are leased: RequestAddress over HTTP from driver processes on a"
    " private Northbound. It touches nothing of this machine's OVN. Less than 10 minutes, "
    "--quick less than 2.",
    page=page.PAGE,
    measure=_measure,
    quick="few samples and no other ports, in less than 2 minutes",
    ports="default: 0,100000; with --quick: 0",
    directory="where the databases are during the run; on a disk, as a lease is written to it before it is"
    " answered",
)
