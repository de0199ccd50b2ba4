"""The contest of drivers: this project's, the incumbent and Docker's bridge on one emulated host."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench import containers, costs, verbs
from bench.containers import RUN
from bench.costs import MEMORY, START
from bench.figures import BRIDGE, CONTESTANTS, INTERNAL, OWN_BRIDGE, ROUTED, Figure, Results
from bench.run import Bench, Part, Run, progress
from bench.tables import Page, Target, find
from bench.testbed import ContestTestbed
from bench.verbs import JOIN_INSTALLED

LIVE_PORTS = 20_000
"""More than this keep ovn-northd busy for minutes on a small machine: then Northbound is measured alone."""


@dataclass(frozen=True, slots=True)
class ContestPlan:
    """The sizes of a run.

    Attributes:
        calls: lifecycles of an endpoint per contestant, with nothing else in Northbound.
        crowded_calls: the same with ports of others.
        slow_calls: of the incumbent, where a call takes seconds.
        runs: rounds of `docker run` and `docker rm` with nothing else in Northbound.
        crowded_runs: the same with ports of others.
        bursts: how often containers are started at once.
        burst: how many containers at once.
        first_packets: containers whose first packet is watched.
        idle_seconds: how long the daemons are left alone.
        starts: how often each daemon is started.
        ports: numbers of other ports in Northbound, ascending.
        switches: how many switches they are spread over.
    """

    calls: int = 200
    crowded_calls: int = 50
    slow_calls: int = 5
    runs: int = 30
    crowded_runs: int = 15
    bursts: int = 3
    burst: int = 20
    first_packets: int = 30
    idle_seconds: int = 30
    starts: int = 5
    ports: tuple[int, ...] = (0, 10_000, 100_000)
    switches: int = 50

    @property
    def live(self) -> tuple[int, ...]:
        """Numbers of ports with which OVN runs as a whole."""
        return tuple(ports for ports in self.ports if ports <= LIVE_PORTS)


FULL = ContestPlan()
QUICK = ContestPlan(
    calls=20,
    crowded_calls=8,
    slow_calls=2,
    runs=5,
    crowded_runs=3,
    bursts=1,
    first_packets=5,
    idle_seconds=5,
    starts=3,
    ports=(0, 10_000),
)


SECTIONS = {
    "verbs": "Calls to the driver (median / 99th percentile)",
    "join": "From CreateEndpoint to Join, as seen in Open_vSwitch (median / 99th percentile)",
    "docker": "Docker's commands (median, ratio to bridge)",
    "shares": "Where a `docker run` and `docker rm` spend their time (median)",
    "burst": "Containers started at the same time (median)",
    "first packet": "The first packet of a new container",
    "costs": "The daemon itself",
    "northbound": "Calls with ovn-northd stopped (median / 99th percentile)",
    "one switch": "The same with all other ports in the network's own switch (median / 99th percentile)",
}
"""Titles by section, in the order in which they are shown."""

MOST_PORTS = 100_000

TARGETS = (
    Target("CreateEndpoint, p50, ms", 3, find("verbs", "CreateEndpoint")),
    Target("Join with flows installed, p50, ms", 15, find("verbs", JOIN_INSTALLED)),
    Target("Leave, p50, ms", 22, find("verbs", "Leave")),
    Target("DeleteEndpoint, p50, ms", 2, find("verbs", "DeleteEndpoint")),
    Target(
        "CreateEndpoint at 100,000 ports / at none",
        1.2,
        find("northbound", "CreateEndpoint", ports=MOST_PORTS),
        find("northbound", "CreateEndpoint"),
    ),
    Target("docker run -d / bridge", 1.05, find("docker", RUN), find("docker", RUN, BRIDGE)),
    Target("docker run -d / user-defined bridge", 1.05, find("docker", RUN), find("docker", RUN, OWN_BRIDGE)),
    Target(
        "docker run -d on an --internal network / bridge",
        1.05,
        find("docker", RUN, INTERNAL),
        find("docker", RUN, BRIDGE),
    ),
    Target(
        "docker run -d on a network with an OVN router / bridge",
        1.05,
        find("docker", RUN, ROUTED),
        find("docker", RUN, BRIDGE),
    ),
    Target("resident memory at 100,000 ports, MB", 60, find("costs", MEMORY, ports=MOST_PORTS)),
    Target("start until answering, s", 0.5, find("costs", START)),
)

PAGE = Page(
    sections=SECTIONS,
    columns=CONTESTANTS,
    with_p99=frozenset({"verbs", "join", "northbound", "one switch"}),
    targets=TARGETS,
    marks=("<!-- bench: begin -->", "<!-- bench: end -->"),
)


def plan(run: Run) -> ContestPlan:
    """What the flags ask for; 0 other ports are always measured, as others are compared with that."""
    chosen = run.plan(FULL, QUICK, "ports")
    return replace(chosen, ports=tuple(sorted({0, *chosen.ports})))


def _measure(run: Run) -> Results:
    with ContestTestbed(run.arguments.name, progress) as testbed:
        results = run.results(testbed.machine())
        results.failures = testbed.failures
        return run.measure(contest(testbed, plan(run)), results)


def contest(testbed: ContestTestbed, plan: ContestPlan) -> Iterator[Part]:
    """The parts of the contest of drivers; each begins with all of them running."""
    for name, measure in parts(testbed, plan):
        yield name, partial(_with_all, testbed, measure)


def _with_all(testbed: ContestTestbed, measure: Callable[[], list[Figure]]) -> list[Figure]:
    testbed.start_missing()
    return measure()


def parts(testbed: ContestTestbed, plan: ContestPlan) -> Iterator[Part]:
    """Name and function of each part, in their order; none runs before the one before it has."""
    yield "memory, idle processor time, start", lambda: _costs(testbed, plan)
    for ports in plan.live:
        yield f"OVN with {ports:,} other ports", lambda ports=ports: _fill_live(testbed, plan, ports)  # type: ignore[misc]
        calls = plan.crowded_calls if ports else plan.calls
        yield "  calls to the drivers", lambda calls=calls: _verbs(testbed, calls)  # type: ignore[misc]
        runs = plan.crowded_runs if ports else plan.runs
        yield "  docker run and docker rm", lambda runs=runs: containers.measure_runs(testbed, runs)  # type: ignore[misc]
        if ports:
            yield "  memory", lambda: costs.measure_memory(testbed)
        else:
            yield "  containers at once", lambda: containers.measure_bursts(testbed, plan.bursts, plan.burst)
            yield "  first packets", lambda: containers.measure_first_packets(testbed, plan.first_packets)
    yield from _northbound_parts(testbed, plan)


def _northbound_parts(testbed: ContestTestbed, plan: ContestPlan) -> Iterator[Part]:
    for ports in plan.ports:
        name = f"Northbound alone with {ports:,} other ports"
        yield name, lambda ports=ports: _northbound(testbed, plan, ports)  # type: ignore[misc]
    most = plan.live[-1] if plan.live else 0
    if most:
        name = f"Northbound alone with {most:,} ports in one switch"
        yield name, lambda: _one_switch(testbed, plan, most)


def _costs(testbed: ContestTestbed, plan: ContestPlan) -> list[Figure]:
    starts = costs.measure_starts(testbed, plan.starts)
    return [*starts, *costs.measure_memory(testbed), *costs.measure_idle(testbed, plan.idle_seconds)]


def _fill_live(testbed: ContestTestbed, plan: ContestPlan, ports: int) -> list[Figure]:
    if ports != testbed.ports:
        testbed.pause_northd()
        testbed.fill(ports, plan.switches)
    testbed.resume_northd()
    return []


def _verbs(testbed: ContestTestbed, calls: int) -> list[Figure]:
    return verbs.measure(testbed, verbs.callers(testbed, calls, calls))


def _northbound(testbed: ContestTestbed, plan: ContestPlan, ports: int) -> list[Figure]:
    testbed.pause_northd()
    testbed.fill(ports, plan.switches)
    figures = verbs.measure_northbound(testbed, _alone(testbed, plan, ports))
    if ports not in plan.live:
        figures += costs.measure_memory(testbed)
    return figures


def _one_switch(testbed: ContestTestbed, plan: ContestPlan, ports: int) -> list[Figure]:
    testbed.pause_northd()
    testbed.fill(0, plan.switches)
    return verbs.measure_northbound(testbed, _alone(testbed, plan, ports), one_switch=ports)


def _alone(testbed: ContestTestbed, plan: ContestPlan, ports: int) -> Sequence[verbs.Caller]:
    return verbs.callers(testbed, plan.calls, plan.slow_calls if ports else plan.crowded_calls)


BENCH = Bench(
    name="contest",
    summary="this driver beside the incumbent and Docker's bridge (the default)",
    description="Compare this driver, the incumbent (Debian's package ovn-docker, run in place) and "
    "Docker's bridge, in one run on an emulated host of its own. Needs root. About 10 minutes, "
    "--quick about 3.",
    page=PAGE,
    measure=_measure,
    quick="few samples, in about 3 minutes",
    ports="default: 0,10000,100000; with --quick: 0,10000; above 20000 only what needs no ovn-northd"
    " is measured",
    lab="the lab",
)
