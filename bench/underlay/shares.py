"""Whose time a verb takes: Neutron's, the driver's, or that of a port which is not ACTIVE yet. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STATUS_ONLY = "fields=status"
"""In the address of a look whether a port is ACTIVE (underlay/neutron_ports.py wait_active)."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to Neutron and its answer, as seen between the two.

    Attributes:
        line: the request's first line.
        began: when its first byte passed, in seconds.
        ended: when the last byte of the answer passed.
        connection: the number of the connection that it was on.
    """

    line: str
    began: float
    ended: float
    connection: int


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of a verb's time, in milliseconds.

    Attributes:
        neutron: at least one request was with Neutron.
        waiting: the driver paused before it looked again whether the port is ACTIVE.
        driver: all else.
    """

    neutron: float
    waiting: float
    driver: float


def shares(began: float, ended: float, exchanges: Sequence[Exchange], pauses: Iterator[float]) -> Shares:
    """Divide a verb's time.

    Args:
        began: of the verb, in seconds.
        ended: of the verb.
        exchanges: those of this time.
        pauses: how long the driver waits before each look at a port's status, in seconds.
    """
    neutron = waiting = 0.0
    busy_until = began
    for exchange in sorted(exchanges, key=lambda exchange: exchange.began):
        gap = max(0.0, exchange.began - busy_until)
        if STATUS_ONLY in exchange.line:
            waiting += min(gap, next(pauses))
        neutron += max(0.0, min(exchange.ended, ended) - max(exchange.began, busy_until))
        busy_until = max(busy_until, exchange.ended)
    total = ended - began
    return Shares(neutron * 1000, waiting * 1000, (total - neutron - waiting) * 1000)


def pauses(first: float, longest: float) -> Iterator[float]:
    """Pauses that double up to the longest."""
    pause = first
    while True:
        yield pause
        pause = min(pause * 2, longest)


def at_once(exchanges: Sequence[Exchange]) -> int:
    """How many exchanges there were at the same time, at most."""
    running = (sum(other.began <= one.began < other.ended for other in exchanges) for one in exchanges)
    return max(running, default=0)
