"""How much is measured. Pure."""

from dataclasses import dataclass

LIVE_PORTS = 20_000
"""More than this keep ovn-northd busy for minutes on a small machine: then Northbound is measured alone."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run.

    Attributes:
        calls: lifecycles of an endpoint per contestant, with nothing else in Northbound.
        crowded_calls: likewise with ports of others.
        slow_calls: of the incumbent, where a call takes seconds.
        runs: rounds of `docker run` and `docker rm` with nothing else in Northbound.
        crowded_runs: likewise with ports of others.
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


FULL = Plan()
QUICK = Plan(
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
