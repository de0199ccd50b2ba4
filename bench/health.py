"""What a reading of the health check costs Northbound and its clients."""

import asyncio
import contextlib
import ipaddress
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bench import fill
from bench.figures import OURS, Figure, Results, Samples
from bench.ipam.servers import Server, Servers, standalone
from bench.ovsdb import Database
from bench.run import Bench, Part, Run, this_machine, version
from bench.tables import Page, Target, find
from ovn_docker.daemon.components import assemble_overlay, running
from ovn_docker.ovn import leases
from ovn_docker.ovn.leases import LEASE, Lease
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Operation, select, to_map
from ovn_docker.settings import Program
from tests.flags import settings_of

SECTION = "health"
READING, WAIT, ALONE = "one reading", "longest wait of another client meanwhile", "its wait without a reading"
READINGS, SWITCHES, HOSTS, AT_ONCE = 21, 50, 100, 1000
FIRST, SUBNET_KEY = int(ipaddress.ip_address("10.0.0.2")), "bench"
MOST = 100_000
PORTS = (0, 10_000, MOST)

PAGE = Page(
    sections={
        SECTION: "Northbound read for one host, with a lease for each other port (median / 99th percentile)"
    },
    columns=(OURS,),
    with_p99=frozenset({SECTION}),
    targets=(
        Target(f"{WAIT}, 10,000 other ports and leases, p50, ms", 50, find(SECTION, WAIT, OURS, 10_000)),
        Target(f"{WAIT}, 100,000 other ports and leases, p50, ms", 500, find(SECTION, WAIT, OURS, MOST)),
    ),
    marks=("<!-- bench health: begin -->", "<!-- bench health: end -->"),
)


def _measure(run: Run) -> Results:
    versions = {"ovsdb-server": version("ovsdb-server"), "Python": platform.python_version()}
    with tempfile.TemporaryDirectory(prefix="ovn-docker-bench-") as name:
        results = run.results(this_machine(versions))
        return run.measure(_parts(Path(name), run.arguments.ports or PORTS), results)


def _parts(directory: Path, numbers: Sequence[int]) -> Iterator[Part]:
    for ports in numbers:
        yield f"{ports:,} other ports and leases", partial(_readings, directory / str(ports), ports)


def _readings(directory: Path, ports: int) -> list[Figure]:
    with contextlib.ExitStack() as undo:
        northbound = standalone(directory)
        undo.callback(northbound.stop)
        with contextlib.closing(northbound.connect()) as database:
            fill.fill(database, ports, SWITCHES)
            _fill_leases(database, ports)
        host = _host(directory / "ovs", northbound)
        undo.callback(host.stop)
        samples = Samples(SECTION, ports)
        asyncio.run(_read(host, northbound, samples))
        return samples.figures()


def _fill_leases(database: Database, count: int) -> None:
    """Leases of other hosts."""
    for start in range(0, count, AT_ONCE):
        database.transact([_lease(number) for number in range(start, min(start + AT_ONCE, count))])


def _lease(number: int) -> Operation:
    host = f"other-{number % HOSTS}"
    lease = Lease(LEASE, host=host, endpoint_id=f"{number:064x}", request=f"{number:016x}")
    mark = Mark(host, "2026-01-01T00:00:00Z")
    return leases.lease_add(SUBNET_KEY, ipaddress.ip_address(FIRST + number), lease, mark)


def _host(directory: Path, northbound: Servers) -> Server:
    """A host's own database."""
    server = Server(directory, "Open_vSwitch")
    server.create()
    server.start()
    ids = to_map({"system-id": "bench", "ovn-nb": northbound.remote})
    with contextlib.closing(server.connect()) as database:
        database.transact([{"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": ids}}])
    return server


async def _read(host: Server, northbound: Servers, samples: Samples) -> None:
    """Read again and again, with another client that asks for next to nothing meanwhile and without."""
    state = host.file.with_name("state.json")
    words = ["--ovsdb", host.remote, "--state-file", str(state)]
    parts = assemble_overlay(settings_of(*words, program=Program.CHECK), dict)
    assert parts.scan is not None
    parts.scan(always=True, note=False)
    async with running(parts):
        await parts.inventory.held([])
        for _ in range(READINGS):
            with _other_client(northbound) as longest:
                began = time.perf_counter()
                await parts.inventory.held([])
                samples.add(OURS, READING, 1000 * (time.perf_counter() - began))
            samples.add(OURS, WAIT, 1000 * longest())
            with _other_client(northbound) as longest:
                await asyncio.sleep(0.05)
            samples.add(OURS, ALONE, 1000 * longest())


@contextlib.contextmanager
def _other_client(northbound: Servers) -> Iterator[Callable[[], float]]:
    """A client in a thread that asks one thing after the other; the longest time to an answer, in seconds."""
    waits: list[float] = []
    stop, began_asking = threading.Event(), threading.Event()
    database = northbound.connect()

    def ask() -> None:
        while not stop.is_set():
            began = time.perf_counter()
            database.transact([select("NB_Global", [], ["_uuid"])])
            waits.append(time.perf_counter() - began)
            began_asking.set()

    thread = threading.Thread(target=ask)
    thread.start()
    began_asking.wait()
    try:
        yield lambda: max(waits[1:], default=waits[0])
    finally:
        stop.set()
        thread.join()
        database.close()


BENCH = Bench(
    name="health",
    summary="what a reading of the health check costs",
    description="Measure what one reading of the health check costs: how long it takes, and how long "
    "Northbound serves nobody else meanwhile. It touches nothing of this machine's OVN. Less "
    "than 2 minutes.",
    page=PAGE,
    measure=_measure,
    ports="and of leases of other hosts; default: 0,10000,100000",
)
