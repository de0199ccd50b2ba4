"""What the driver is meant to reach, and whether it did. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.containers import RUN
from bench.costs import MEMORY, START
from bench.figures import BRIDGE, INTERNAL, OURS, OWN_BRIDGE, ROUTED, Figure, Results
from bench.verbs import JOIN_INSTALLED

MOST_PORTS = 100_000

Find = Callable[[Results], Figure | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a figure, or for its ratio to another.

    Attributes:
        text: what is to be reached.
        limit: in the figure's unit, or a ratio.
        figure: finds what is judged.
        base: finds what it is divided by, or None.
        at_least: whether more is better; else less is.
    """

    text: str
    limit: float
    figure: Find
    base: Find | None = None
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what was measured and whether that is enough; None and None when it was not measured."""

    target: Target
    measured: float | None
    reached: bool | None


def find(section: str, item: str, contestant: str = OURS, ports: int = 0) -> Find:
    """What looks up the figure of one cell."""
    return lambda results: results.find(section, item, contestant, ports)


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


def judge(results: Results, targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """One verdict per target, in their order."""
    return [_judge(target, results) for target in targets]


def _judge(target: Target, results: Results) -> Verdict:
    figure = target.figure(results)
    base = target.base(results) if target.base else None
    if figure is None or (target.base is not None and (base is None or not base.p50)):
        return Verdict(target, None, None)
    measured = figure.p50 / base.p50 if base else figure.p50
    reached = measured >= target.limit if target.at_least else measured <= target.limit
    return Verdict(target, measured, reached)
