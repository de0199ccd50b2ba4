"""The tables and targets of `scripts/bench scale`. Pure."""

from collections.abc import Sequence

from bench.figures import Figure, median, percentile
from bench.ipam.page import CLUSTER, STANDALONE
from bench.scale.driver import CREATE
from bench.scale.plan import CALLERS
from bench.tables import Find, Page, Target, find

SIZES, SESSIONS, RATES, TIMES, HEALTH, BINDING, NORTHD, MEMORY = (
    "sizes",
    "sessions",
    "rates",
    "times",
    "health",
    "binding",
    "northd",
    "memory",
)

EMPTY = "standalone, empty"
FILLED = STANDALONE
CROWDED = "standalone, beside idle drivers"
CLUSTER_CROWDED = "3-node cluster, beside idle drivers"
MEASURED = "measured"

HOSTS, NETWORKS, PORTS, CHASSIS = "hosts", "networks", "ports, and as many leases", "ovn-controllers"
FILL = "endpoints made, with their leases, while it was filled"
CONNECT, CONNECT_HALF, SERVING = (
    "all connect at once: the last is connected",
    "half of them are connected",
    "the last would serve Docker",
)
CONNECT_COST = "Northbound's processor meanwhile, for each driver"
BACK, BACK_HALF = "all are back after kill -9 of the server, or of the leader", "half of them are back"
IDLE, WITH_CHECKS, CHECKS = (
    "Northbound, all drivers idle, without health checks",
    "Northbound, with their health checks",
    "the difference: health checks at their interval",
)
A_PASS, TROUBLES = "Northbound's processor for one health check", "discrepancies that they found"
FIRST, KNOWN = "first port of a network on its chassis", "port of a network that the chassis knows"
NORTHD_START, NORTHD_COST, NETWORK_MADE, NETWORK_GONE, PORT_MADE, PORT_GONE = (
    "ovn-northd starts: until Southbound is written",
    "its processor time for that",
    "its processor time for a network that is made",
    "for a network that is removed",
    "for a port that is made",
    "for a port that is removed",
)
STANDALONE_MB, MEMBER_MB, DRIVER_MB = (
    "Northbound, standalone",
    "Northbound, leader of the 3-node cluster",
    "a driver's part towards Northbound, in a process with others",
)
SOUTHBOUND_MB, NORTHD_MB, CONTROLLER_MB, SWITCH_MB = (
    "Southbound",
    "ovn-northd",
    "an ovn-controller",
    "ovs-vswitchd and its database, of all chassis",
)

PAGE_SECTIONS = {
    SIZES: "What was there",
    SESSIONS: "All drivers at once",
    RATES: "Endpoint lives per second",
    TIMES: "Calls of an endpoint's life (median / 99th percentile)",
    HEALTH: "Northbound while nothing is asked of it",
    BINDING: "From a port in Open vSwitch to `ovn-installed` (median / 99th percentile)",
    NORTHD: "ovn-northd",
    MEMORY: "Resident memory",
}


def figure(section: str, item: str, values: Sequence[float], unit: str, column: str = MEASURED) -> Figure:
    """One cell of a table."""
    return Figure(
        section=section,
        item=item,
        contestant=column,
        unit=unit,
        samples=len(values),
        p50=median(values),
        p99=percentile(values, 99),
    )


def callers(count: int) -> str:
    """The row of a number of callers."""
    return f"{count} caller" if count == 1 else f"{count} callers"


def call(verb: str, count: int) -> str:
    """The row of a verb."""
    return f"{verb}, {callers(count)}"


def _rate(column: str, count: int) -> Find:
    return find(RATES, callers(count), column)


TARGETS = (
    Target("all drivers connect at once, s", 5, find(SESSIONS, CONNECT, STANDALONE)),
    Target("the same, 3-node cluster, s", 5, find(SESSIONS, CONNECT, CLUSTER)),
    Target("all back after kill -9 of the server, s", 8, find(SESSIONS, BACK, STANDALONE)),
    Target("all back after kill -9 of the leader, s", 7, find(SESSIONS, BACK, CLUSTER)),
    Target("health checks, % of a core of Northbound's", 5, find(HEALTH, CHECKS, MEASURED)),
    *(
        Target(
            f"lives/s beside idle drivers / without, {callers(count)}, {title}",
            0.5,
            _rate(crowded, count),
            _rate(alone, count),
            at_least=True,
        )
        for title, crowded, alone in (
            (STANDALONE, CROWDED, FILLED),
            (CLUSTER, CLUSTER_CROWDED, CLUSTER),
        )
        for count in CALLERS
    ),
    Target(
        "CreateEndpoint with all ports / on an empty database, 1 caller",
        1.2,
        find(TIMES, call(CREATE, 1), FILLED),
        find(TIMES, call(CREATE, 1), EMPTY),
    ),
    Target("discrepancies that the health checks found", 0, find(HEALTH, TROUBLES, MEASURED)),
)

PAGE = Page(
    sections=PAGE_SECTIONS,
    columns=(EMPTY, FILLED, CROWDED, CLUSTER, CLUSTER_CROWDED, MEASURED),
    with_p99=frozenset({TIMES, BINDING}),
    targets=TARGETS,
    marks=("<!-- bench scale: begin -->", "<!-- bench scale: end -->"),
)
