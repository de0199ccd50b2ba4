"""How much is measured, and which host has which containers. Pure."""

import ipaddress
from dataclasses import dataclass

from bench.ipam.servers import PROBE
from ovn_docker.addressing import IPNetwork
from ovn_docker.settings import HEALTH_CHECK_INTERVAL

STANDALONE, CLUSTER, SOUTHBOUND = "standalone", "cluster", "southbound"
SECTIONS = (STANDALONE, CLUSTER, SOUTHBOUND)
"""What ``--only`` names; each needs the rows that are written first."""

MOST_NETWORKS = 10
"""So many networks a host has at most; as many hosts are on a network."""

FIRST = int(ipaddress.ip_address("10.0.0.0"))
BITS = 24
"""Of 10.0.0.0/8, the bits that are free for networks and their hosts."""

CALLERS_SUBNET = "172.20.0.0/16"
CALLERS = (1, 16)

LIMIT = 1500.0
"""Seconds after which no further part begins, and none waits any more."""


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """The sizes of a run.

    Attributes:
        hosts: drivers that are connected at the same time, and as many networks.
        containers: of each host.
        processes: that the drivers are spread over.
        seconds: for which endpoints are made and removed, for each number of callers.
        idle_seconds: for which drivers are left alone.
        health_seconds: for which their health checks are watched.
        interval: seconds from one health check of a host to its next.
        probe: seconds of silence after which Northbound's servers and drivers probe each other.
        chassis: ovn-controllers.
        bound: networks of which each of them binds the first port, and a second one.
        limit: seconds for the whole run.
    """

    hosts: int = 1000
    containers: int = 100
    processes: int = 2
    seconds: float = 8
    idle_seconds: float = 20
    health_seconds: float = 60
    interval: float = HEALTH_CHECK_INTERVAL
    probe: float = PROBE
    chassis: int = 20
    bound: int = 4
    limit: float = LIMIT

    @property
    def ports(self) -> int:
        """Of all hosts."""
        return self.hosts * self.containers

    @property
    def spread(self) -> int:
        """Networks that each host has."""
        return min(MOST_NETWORKS, self.hosts, self.containers)

    @property
    def prefix(self) -> int:
        """Of each network: it has room for its containers, the gateway, and the two addresses at its ends."""
        on_it = self.spread * -(-self.containers // self.spread)
        return 32 - (on_it + 2).bit_length()

    def fits(self) -> bool:
        """Whether 10.0.0.0/8 has room for all networks."""
        return self.hosts << (32 - self.prefix) <= 1 << BITS

    def subnet(self, network: int) -> IPNetwork:
        """Of a network."""
        return ipaddress.ip_network((FIRST + (network << (32 - self.prefix)), self.prefix))

    def networks(self, host: int) -> list[int]:
        """The networks of a host; each network has as many hosts as a host has networks."""
        return [(host + number) % self.hosts for number in range(self.spread)]

    def network_of(self, host: int, container: int) -> int:
        """The network of a host's container: a host's containers take turns."""
        return (host + container % self.spread) % self.hosts


FULL = ScalePlan()
QUICK = ScalePlan(hosts=100, seconds=3, idle_seconds=6, health_seconds=20, chassis=5, bound=3)


def host_name(number: int) -> str:
    """The system-id of a host."""
    return f"host-{number:05d}"
