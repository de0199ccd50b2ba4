"""What was measured: figures, how many samples become one, and the file that keeps them. Pure."""

import math
from collections.abc import Iterable, Sequence

import msgspec

OURS = "ovn-docker"
OURS_TCP = "ovn-docker over TCP"
BRIDGED = "ovn-docker, docker_gwbridge"
INTERNAL = "ovn-docker --internal"
ROUTED = "ovn-docker, OVN router"
INCUMBENT = "incumbent"
BRIDGE = "bridge"
OWN_BRIDGE = "user-defined bridge"
OVERLAY = "Docker's overlay"
NONE = "none"
MACHINES = "the machines"

CONTESTANTS = (OURS, OURS_TCP, BRIDGED, INTERNAL, ROUTED, INCUMBENT, BRIDGE, OWN_BRIDGE, OVERLAY, NONE)
"""In the order of a table's columns."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a table.

    Attributes:
        section: which table, a key of `tables.SECTIONS`.
        item: what was measured, the row.
        contestant: who was measured, the column.
        ports: logical switch ports of others in Northbound meanwhile.
        unit: "ms", "s", "MB", "of 30", ...
        samples: how many values it summarises.
        p50: their median, or the only value.
        p99: 99th percentile by nearest rank: the worst of fewer than 100.
    """

    section: str
    item: str
    contestant: str
    ports: int = 0
    unit: str = "ms"
    samples: int = 1
    p50: float
    p99: float


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where figures come from.

    Attributes:
        cores: of the processor.
        memory_gb: in GB of 10^9 bytes.
        kernel: as ``uname -r``.
        datapath: "kernel" or "userspace", or "" where no packet was forwarded.
        disk: what the databases were on and what it costs to write there, or "" where it was not looked at.
        virtual: what makes the machine, as ``systemd-detect-virt`` says, or "" where that is not known.
        versions: by program.
    """

    cores: int
    memory_gb: float
    kernel: str
    datapath: str = ""
    disk: str = ""
    virtual: str = ""
    versions: dict[str, str]


class Results(msgspec.Struct, kw_only=True):
    """A whole run.

    Attributes:
        command: what was typed.
        date: UTC, RFC 3339, of the start.
        seconds: how long it took so far.
        machine: where it ran.
        load: load average of the last minute before the start.
        figures: all of them.
        failures: why a part gave none, one line each.
        complete: whether every part had its turn.
    """

    command: str
    date: str
    machine: Machine
    load: float = 0
    seconds: float = 0
    complete: bool = False
    figures: list[Figure] = []
    failures: list[str] = []

    def find(self, section: str, item: str, contestant: str, ports: int = 0) -> Figure | None:
        """The figure of one cell, or None when there is none."""
        wanted = (section, item, contestant, ports)
        for figure in self.figures:
            if (figure.section, figure.item, figure.contestant, figure.ports) == wanted:
                return figure
        return None


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


class Samples:
    """Collects single measurements of one section and makes figures of them."""

    def __init__(self, section: str, ports: int = 0) -> None:
        self._section = section
        self._ports = ports
        self._values: dict[tuple[str, str], list[float]] = {}

    def add(self, contestant: str, item: str, value: float) -> None:
        """Take one measurement."""
        self._values.setdefault((item, contestant), []).append(value)

    def of(self, contestant: str, item: str) -> Sequence[float]:
        """All measurements of one cell, in the order in which they were taken."""
        return self._values.get((item, contestant), [])

    def figures(self, unit: str = "ms") -> list[Figure]:
        """One figure per cell."""
        return [
            Figure(
                section=self._section,
                item=item,
                contestant=contestant,
                ports=self._ports,
                unit=unit,
                samples=len(values),
                p50=median(values),
                p99=percentile(values, 99),
            )
            for (item, contestant), values in self._values.items()
        ]
