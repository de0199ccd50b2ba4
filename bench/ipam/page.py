"""The tables and targets of `scripts/bench ipam`. Pure."""

from bench.ipam.plan import CLIENTS, EMPTY, HALF, NINETY, NINETY_ROW
from bench.tables import Find, Page, Target, find

STANDALONE, CLUSTER = "standalone", "3-node cluster"
MODES = (STANDALONE, CLUSTER)
TIME, RATE = "RequestAddress", "Leases per second"
SEARCH, DUPLICATES, DISK = "search", "duplicates", "disk"
LEASED_TWICE = "addresses leased twice"
MOST_PORTS = 100_000


def clients(count: int) -> str:
    """The column of a number of clients."""
    return f"{count} client" if count == 1 else f"{count} clients"


def section(kind: str, mode: str) -> str:
    """The section of times or rates on one kind of Northbound."""
    return f"{kind}, {mode}"


SECTIONS = {
    section(kind, mode): f"{kind} on a {mode} Northbound ({how})"
    for mode in MODES
    for kind, how in ((TIME, "median / 99th percentile"), (RATE, "median of the rounds"))
} | {
    SEARCH: "One lease by a driver that has to pass all taken addresses first (worst)",
    DUPLICATES: "Addresses that were answered twice, were another's, or are not in Northbound",
}


def _time(item: str, count: int = 1, mode: str = STANDALONE, ports: int = 0) -> Find:
    return find(section(TIME, mode), item, clients(count), ports)


def _rate(item: str, mode: str = STANDALONE, ports: int = 0) -> Find:
    return find(section(RATE, mode), item, clients(16), ports)


TARGETS = (
    Target("RequestAddress, 1 client, standalone, empty pool, p50, ms", 2, _time(EMPTY.title)),
    Target("the same, half full, p50, ms", 2, _time(HALF.title)),
    Target("the same, 90 % full at random, p50, ms", 2, _time(NINETY.title)),
    Target("90 % full at random / empty", 1.25, _time(NINETY.title), _time(EMPTY.title)),
    Target("90 % full in a row / empty", 1.25, _time(NINETY_ROW.title), _time(EMPTY.title)),
    Target(
        "90 % full at random, with 100,000 other ports, p50, ms", 2, _time(NINETY.title, ports=MOST_PORTS)
    ),
    Target("leases/s, 16 clients, standalone, empty pool", 1000, _rate(EMPTY.title), at_least=True),
    Target("leases/s, 16 clients, standalone, 90 % full at random", 1000, _rate(NINETY.title), at_least=True),
    Target(
        "leases/s, 16 clients, standalone, empty pool, 100,000 other ports",
        1000,
        _rate(EMPTY.title, ports=MOST_PORTS),
        at_least=True,
    ),
    *(Target(f"{LEASED_TWICE}, {mode}", 0, find(DUPLICATES, LEASED_TWICE, mode)) for mode in MODES),
    *(
        Target(
            f"{LEASED_TWICE}, {mode}, 100,000 other ports",
            0,
            find(DUPLICATES, LEASED_TWICE, mode, MOST_PORTS),
        )
        for mode in MODES
    ),
)

MARKS = ("<!-- bench ipam: begin -->", "<!-- bench ipam: end -->")

PAGE = Page(
    sections=SECTIONS,
    columns=(*map(clients, CLIENTS), *MODES),
    with_p99=frozenset(section(TIME, mode) for mode in MODES),
    targets=TARGETS,
    marks=MARKS,
)
