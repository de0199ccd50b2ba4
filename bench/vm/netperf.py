"""The commands of netperf, and the figure in its answer. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ovn_docker.errors import HostError

DATAGRAM = 1400
"""Bytes that fit into one packet of every contestant."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of traffic from a client to a netserver.

    Attributes:
        item: what is measured, the row of a table.
        unit: of the figure.
        test: netperf's name for it.
        key: the figure's name in netperf's answer (netperf manual, "Omni Output Selectors").
        options: of the test.
    """

    item: str
    unit: str
    test: str
    key: str
    options: Sequence[str] = ()

    def command(self, address: str, seconds: float) -> list[str]:
        """The command of the client."""
        where = ["netperf", "-H", address, "-l", f"{seconds:g}", "-P", "0", "-t", self.test]
        return [*where, "--", *self.options, "-k", self.key]

    def figure(self, output: str) -> float:
        """The figure in what the command printed."""
        found = dict(line.strip().split("=", 1) for line in output.splitlines() if "=" in line)
        try:
            return float(found[self.key])
        except (KeyError, ValueError):
            said = " ".join(output.split())[-300:] or "nothing"
            raise HostError(f"netperf {self.test} gave no {self.key}; it said: {said}") from None


TCP = Probe("TCP, one stream", "Mbit/s", "TCP_STREAM", "THROUGHPUT")
UDP = Probe(
    f"UDP, datagrams of {DATAGRAM:,} bytes that arrive",
    "Mbit/s",
    "UDP_STREAM",
    "REMOTE_RECV_THROUGHPUT",
    # Without -R 1 netperf sends to neighbours only, past the routes.
    ("-R", "1", "-m", str(DATAGRAM)),
)
ROUND_TRIP = Probe("request and response of one byte, TCP", "µs", "TCP_RR", "RT_LATENCY")
PROBES = (TCP, UDP, ROUND_TRIP)
