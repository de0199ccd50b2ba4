"""How much is measured. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Level:
    """How full the pool is.

    Attributes:
        title: for people.
        share: of the pool's addresses that are leased.
        scattered: whether these are a random choice; else they are the first ones in a row.
    """

    title: str
    share: float
    scattered: bool


EMPTY = Level("empty", 0, scattered=True)
HALF = Level("half full, at random", 0.5, scattered=True)
NINETY = Level("90 % full, at random", 0.9, scattered=True)
NINETY_NINE = Level("99 % full, at random", 0.99, scattered=True)
NINETY_ROW = Level("90 % full, in a row", 0.9, scattered=False)
NINETY_NINE_ROW = Level("99 % full, in a row", 0.99, scattered=False)

LEVELS = (EMPTY, HALF, NINETY, NINETY_NINE, NINETY_ROW, NINETY_NINE_ROW)
"""In the order in which they are measured: of one kind each adds to the one before it."""

CLIENTS = (1, 4, 16)
DRIVERS = 4


@dataclass(frozen=True, slots=True)
class IpamPlan:
    """The sizes of a run.

    Attributes:
        leases: in one round, of all clients together. One percent of the pool must be enough for them.
        rounds: for each level and number of clients.
        ports: numbers of other rows in Northbound: ports of others, ascending.
        switches: how many switches they are spread over.
    """

    leases: int = 240
    rounds: int = 4
    ports: tuple[int, ...] = (0, 100_000)
    switches: int = 50


FULL = IpamPlan()
QUICK = IpamPlan(leases=160, rounds=1, ports=(0,))
