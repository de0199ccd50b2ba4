"""The parts of a run on each kind of Northbound, in their order."""

import argparse
import contextlib
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.drivers import resident_mb
from bench.figures import Figure, Results, median
from bench.ipam.page import CLUSTER, STANDALONE
from bench.ipam.servers import Servers
from bench.run import Bench, Part, Run, progress, this_machine, version
from bench.scale import driver, page, plan
from bench.scale.clock import processor_seconds
from bench.scale.northd import southbound_parts
from bench.scale.page import figure
from bench.scale.testbed import ScaleTestbed, running
from ovn_docker.errors import ConfigError, HostError, OvnDockerError

_CONNECT, _FILL = 120.0, 600.0
"""Seconds for all to be connected, and to have made their containers."""


MOST_LOAD = 3.0
"""Above this load average the figures show other programs more than OVN."""

OTHER_FILES = 200
"""Of a process, besides one for each driver."""


def _add_flags(made: argparse.ArgumentParser) -> None:
    made.add_argument("--hosts", type=_number, metavar="N", help="drivers (default: 1000)")
    made.add_argument("--containers", type=_number, metavar="N", help="of each host (default: 100)")
    made.add_argument("--chassis", type=_number, metavar="N", help="ovn-controllers (default: 20)")
    made.add_argument(
        "--seconds", type=_seconds, metavar="N", help="for which each thing is measured (default: 8 to 60)"
    )
    made.add_argument(
        "--probe",
        type=_seconds,
        metavar="SECONDS",
        help="of silence, after which Northbound and a driver probe each other (default: 5, as in both);"
        " another number needs Open vSwitch 3.3 or newer",
    )
    made.add_argument(
        "--only",
        action="append",
        choices=plan.SECTIONS,
        help="measure this alone; may be repeated. With 100000 ports southbound needs 9 GB of memory",
    )
    made.add_argument("--busy", action="store_true", help="measure also above a load average of 3")


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("give more than 0")
    return seconds


def sizes(run: Run) -> plan.ScalePlan:
    """What the flags ask for."""
    chosen: plan.ScalePlan = run.plan(
        plan.FULL, plan.QUICK, "hosts", "containers", "chassis", "seconds", "probe"
    )
    if seconds := run.arguments.seconds:
        chosen = replace(chosen, idle_seconds=seconds, health_seconds=seconds)
    if not chosen.fits():
        raise ConfigError("10.0.0.0/8 has no room for so many networks: lower --hosts or --containers")
    return chosen


def _measure(run: Run) -> Results:
    size = sizes(run)
    check_load(run.load, busy=run.arguments.busy)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_files(most, size)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    versions = {
        "ovsdb-server": version("ovsdb-server"),
        "Python": platform.python_version(),
        "OVN": version("ovn-northd"),
    }
    with tempfile.TemporaryDirectory(prefix="ovn-docker-bench-", dir=run.arguments.directory) as name:
        results = run.results(this_machine(versions))
        with (
            running(Path(name).resolve(), size) as testbed,
            contextlib.closing(parts(testbed, run.arguments.only or plan.SECTIONS)) as steps,
        ):
            return run.measure(steps, results)


def check_files(most: int, size: plan.ScalePlan) -> None:
    """Check that a process may open a session for each driver, and some files besides."""
    if most < size.hosts + OTHER_FILES:
        raise ConfigError(
            f"a process may open {most} files, and {size.hosts} hosts need {size.hosts + OTHER_FILES}:"
            " raise 'ulimit -Hn' as root, or lower --hosts"
        )


def check_load(load: float, *, busy: bool) -> None:
    """Report the load, and check that the machine is quiet enough."""
    progress(f"load average {load:.1f}")
    if load > MOST_LOAD and not busy:
        raise ConfigError(f"the load average is {load:.1f}, above {MOST_LOAD:g}: wait, or give --busy")


def parts(testbed: ScaleTestbed, sections: Sequence[str]) -> Generator[Part, None, None]:
    """Name and function of each part; those that write the rows come first, whichever is asked for.

    Args:
        testbed: with all that runs.
        sections: of `plan.SECTIONS`.
    """
    of_section: dict[str, Callable[[ScaleTestbed], Iterator[Part]]] = {
        plan.STANDALONE: _standalone,
        plan.CLUSTER: _cluster,
        plan.SOUTHBOUND: southbound_parts,
    }
    yield from _guarded("filling Northbound", _rows(testbed, empty=plan.STANDALONE in sections))
    for section in plan.SECTIONS:
        if section in sections:
            yield from _guarded(section, of_section[section](testbed))


def _guarded(name: str, steps: Iterator[Part]) -> Iterator[Part]:
    """The parts; where what they stand on fails between two of them, that is a part that fails."""
    try:
        yield from steps
    except (OvnDockerError, OSError) as error:
        yield name, partial(_fail, error)


def _fail(error: Exception) -> list[Figure]:
    raise error


def _rows(testbed: ScaleTestbed, *, empty: bool) -> Iterator[Part]:
    with testbed.standalone() as northbound:
        if empty:
            yield "an empty Northbound", partial(_lives, testbed, northbound, page.EMPTY)
        yield f"{testbed.plan.ports:,} ports are made", partial(_fill, testbed, northbound)


def _standalone(testbed: ScaleTestbed) -> Iterator[Part]:
    with testbed.filled_standalone() as northbound:
        yield "standalone: endpoint lives", partial(_lives, testbed, northbound, page.FILLED)
        yield "  all connect", partial(_connect, testbed, northbound, STANDALONE)
        yield "  endpoint lives beside idle drivers", partial(_lives, testbed, northbound, page.CROWDED)
        yield "  health checks", partial(_health, testbed, northbound)
        yield "  memory", partial(_memory, testbed, northbound)
        yield "  kill -9 of the server", partial(_kill, testbed, northbound, STANDALONE)


def _cluster(testbed: ScaleTestbed) -> Iterator[Part]:
    with testbed.cluster() as northbound:
        yield "3-node cluster: endpoint lives", partial(_lives, testbed, northbound, CLUSTER)
        yield "  all connect", partial(_connect, testbed, northbound, CLUSTER)
        crowded = partial(_lives, testbed, northbound, page.CLUSTER_CROWDED)
        yield "  endpoint lives beside idle drivers", crowded
        member = partial(_one, page.MEMORY, page.MEMBER_MB, lambda: resident_mb(_pid(northbound)), "MB")
        yield "  memory", member
        yield "  kill -9 of the leader", partial(_kill, testbed, northbound, CLUSTER)


def _one(section: str, item: str, value: Callable[[], float], unit: str) -> list[Figure]:
    return [figure(section, item, [value()], unit)]


def _pid(northbound: Servers) -> int:
    return northbound.leader().pid


def _fill(testbed: ScaleTestbed, northbound: Servers) -> list[Figure]:
    """Have all hosts make their networks and containers, and keep the rows."""
    began = time.monotonic()
    seconds = testbed.clock.left(_FILL)
    testbed.crowd.ask("fill", seconds + 5, northbound=northbound.remote, limit=seconds)
    took = time.monotonic() - began
    testbed.callers.ask("stop")
    testbed.keep(northbound)
    sizes = testbed.plan
    return [
        figure(page.SIZES, page.HOSTS, [sizes.hosts], "number"),
        figure(page.SIZES, page.NETWORKS, [sizes.hosts], "number"),
        figure(page.SIZES, page.PORTS, [sizes.ports], "number"),
        figure(page.SIZES, page.FILL, [sizes.ports / took], "per s"),
    ]


def _lives(testbed: ScaleTestbed, northbound: Servers, column: str) -> list[Figure]:
    """Endpoints made and removed by one caller, then by several."""
    _callers(testbed, northbound)
    figures = []
    for count in plan.CALLERS:
        seconds = testbed.plan.seconds
        [answer] = testbed.callers.ask("lives", seconds + 60, callers=count, seconds=seconds)
        if answer["errors"]:
            raise HostError(f"{count} callers were refused: {answer['errors']}")
        times = answer["times"]
        rate = len(times[driver.CREATE]) / answer["seconds"]
        figures.append(figure(page.RATES, page.callers(count), [rate], "per s", column))
        figures += [
            figure(page.TIMES, page.call(verb, count), times[verb], "ms", column) for verb in driver.VERBS
        ]
    return figures


def _callers(testbed: ScaleTestbed, northbound: Servers) -> None:
    """Start the callers and wait until they are connected."""
    testbed.callers.ask("stop")
    testbed.callers.ask("start")
    began = time.monotonic()
    testbed.callers.ask("point", northbound=northbound.remote)
    testbed.callers.ask("wait", _CONNECT + 5, since=began, limit=_CONNECT)
    testbed.callers.ask("network", subnet=plan.CALLERS_SUBNET)


def _connect(testbed: ScaleTestbed, northbound: Servers, column: str) -> list[Figure]:
    """Point all drivers to Northbound at once."""
    testbed.crowd.ask("start", _CONNECT)
    pid = _pid(northbound)
    used, began = processor_seconds(pid), time.monotonic()
    testbed.crowd.ask("point", northbound=northbound.remote)
    connected, serving = _wait(testbed, began)
    cost = 1000 * (processor_seconds(pid) - used) / testbed.plan.hosts
    testbed.crowd.ask("drift", testbed.plan.probe + 60, seconds=testbed.plan.probe)
    return [
        figure(page.SESSIONS, page.CONNECT, [max(connected)], "s", column),
        figure(page.SESSIONS, page.CONNECT_HALF, [median(connected)], "s", column),
        figure(page.SESSIONS, page.SERVING, [serving], "s", column),
        figure(page.SESSIONS, page.CONNECT_COST, [cost], "ms", column),
    ]


def _wait(testbed: ScaleTestbed, since: float) -> tuple[list[float], float]:
    """Seconds until each driver was connected, and until the last would serve Docker."""
    answers = testbed.crowd.ask("wait", _CONNECT + 5, since=since, limit=_CONNECT)
    connected = [moment for answer in answers for moment in answer["connected"]]
    return connected, max(answer["serving"] for answer in answers)


def _kill(testbed: ScaleTestbed, northbound: Servers, column: str) -> list[Figure]:
    """Kill the server that all are connected to; a standalone one is started again at once."""
    victim = northbound.leader()
    began = time.monotonic()
    victim.kill()
    if column == STANDALONE:
        victim.start()
    connected, _ = _wait(testbed, began)
    return [
        figure(page.SESSIONS, page.BACK, [max(connected)], "s", column),
        figure(page.SESSIONS, page.BACK_HALF, [median(connected)], "s", column),
    ]


def _health(testbed: ScaleTestbed, northbound: Servers) -> list[Figure]:
    """Northbound's processor without health checks, and with those of all hosts at their interval."""
    testbed.callers.ask("stop")
    sizes = testbed.plan
    idle = _share(northbound, sizes.idle_seconds)
    testbed.crowd.ask("watch")
    busy = _share(northbound, sizes.health_seconds)
    answers = testbed.crowd.ask("passes")
    passes = sum(answer["passes"] for answer in answers)
    troubles = {text for answer in answers for text in answer["troubles"]}
    if troubles:
        raise HostError(f"health checks found what should not be: {', '.join(sorted(troubles)[:5])}")
    share = max(0.0, busy - idle)  # below zero it is noise
    cost = [1000 * share / 100 * sizes.health_seconds / passes] if passes else []
    return [
        figure(page.HEALTH, page.IDLE, [idle], "% of a core"),
        figure(page.HEALTH, page.WITH_CHECKS, [busy], "% of a core"),
        figure(page.HEALTH, page.CHECKS, [share], "% of a core"),
        *([figure(page.HEALTH, page.A_PASS, cost, "ms")] if cost else []),
        figure(page.HEALTH, page.TROUBLES, [0], f"in {passes} checks"),
    ]


def _share(northbound: Servers, seconds: float) -> float:
    """What a server uses of a core, in percent."""
    pid = _pid(northbound)
    used, began = processor_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (processor_seconds(pid) - used) / (time.monotonic() - began)


def _memory(testbed: ScaleTestbed, northbound: Servers) -> list[Figure]:
    a_driver = (testbed.crowd.memory() - testbed.empty_mb) / testbed.plan.hosts
    return [
        figure(page.MEMORY, page.STANDALONE_MB, [resident_mb(_pid(northbound))], "MB"),
        figure(page.MEMORY, page.DRIVER_MB, [a_driver], "MB"),
    ]


BENCH = Bench(
    name="scale",
    summary="what 1,000 hosts do to OVN's databases",
    description="Measure OVN with many hosts: 1,000 drivers' part towards Northbound, in a few processes, "
    "on a standalone Northbound and on a 3-node cluster with 100,000 ports and leases; then "
    "ovn-northd, Southbound and 20 ovn-controllers. It touches nothing of this machine's OVN. "
    "About 15 minutes, --quick about 2.",
    page=page.PAGE,
    measure=_measure,
    quick="100 hosts and few samples, in about 2 minutes",
    directory="where the databases are during the run; on a disk",
    add_flags=_add_flags,
)
