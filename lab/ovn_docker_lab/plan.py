"""Names, files and addresses of a lab; does no I/O."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

from ovn_docker.errors import ConfigError, NotFoundError

BASE = Path("/var/lib/ovn-docker-lab")
DEFAULT_NAME = "lab"
CENTRAL = "central"
OUTSIDE = "outside"
# Outside the ranges that Docker takes subnets from by itself (RFC 6890: for benchmarks of network devices).
UNDERLAY = IPv4Network("198.18.0.0/24")
UNDERLAY6 = IPv6Network("2001:2::/64")
WORLD = (IPv4Address("203.0.113.1"), IPv6Address("2001:db8:203::1"))
"""Addresses of the machine outside that are on no link of the hosts (RFC 5737 and 3849: for documents)."""
NB_PORT = 6641
SB_PORT = 6642
MOST_HOSTS = 50

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_FIRST_HOST = 10
_OTHER_MACHINES = {CENTRAL: 1, OUTSIDE: 2}


def check_name(name: str) -> str:
    """Check the name of a lab: 1 to 15 of a-z, 0-9 and inner hyphens.

    It is part of the paths of Unix sockets, which have at most 107 characters (unix(7)).
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid lab name: use 1 to 15 of a-z, 0-9 and '-', no '-' at the ends"
        )
    return name


def host_names(count: int) -> tuple[str, ...]:
    """Names of the hosts of a lab: h1, h2, ..., at most MOST_HOSTS."""
    if not 1 <= count <= MOST_HOSTS:
        raise ConfigError(f"a lab cannot have {count} hosts: use 1 to {MOST_HOSTS}")
    return tuple(f"h{number}" for number in range(1, count + 1))


def underlay_address(machine: str) -> IPv4Interface:
    """Address of a machine in the network that joins the machines.

    The central has .1, the machine outside .2 and host N .(10 + N).
    """
    return IPv4Interface(f"{UNDERLAY[_number(machine)]}/{UNDERLAY.prefixlen}")


def underlay_address6(machine: str) -> IPv6Interface:
    """IPv6 address of a machine in the same network, which ends in the digits of its IPv4 address."""
    return IPv6Interface(f"{UNDERLAY6.network_address}{_number(machine)}/{UNDERLAY6.prefixlen}")


def _number(machine: str) -> int:
    if machine in _OTHER_MACHINES:
        return _OTHER_MACHINES[machine]
    if not re.fullmatch(r"h[1-9][0-9]?", machine):
        raise NotFoundError(f"a lab has no host {machine!r}: hosts are h1, h2, ..., {CENTRAL} and {OUTSIDE}")
    return _FIRST_HOST + int(machine[1:])


def northbound_remote() -> str:
    """OVSDB remote of the central's Northbound database, as ovn-nbctl --db takes it."""
    return f"tcp:{underlay_address(CENTRAL).ip}:{NB_PORT}"


def southbound_remote() -> str:
    """OVSDB remote of the central's Southbound database."""
    return f"tcp:{underlay_address(CENTRAL).ip}:{SB_PORT}"


@dataclass(frozen=True, slots=True)
class LabSettings:
    """The hosts of a lab.

    Attributes:
        hosts: how many.
        docker: each has a dockerd.
        driver: each has the overlay driver.
        datapath: their OVS datapath type, "system" (the kernel's) or "netdev" (userspace).
        forwarding: their kernels forward packets before Docker makes them; Docker then leaves the policy of
            the chain FORWARD alone, and otherwise sets it to DROP.
    """

    hosts: int
    docker: bool
    driver: bool
    datapath: str
    forwarding: bool = False


@dataclass(frozen=True, slots=True)
class MachinePaths:
    """Where one machine of a lab keeps its files, as seen from outside its namespaces."""

    lab: str
    machine: str
    base: Path = BASE

    @property
    def lab_directory(self) -> Path:
        return self.base / self.lab

    @property
    def directory(self) -> Path:
        return self.lab_directory / self.machine

    @property
    def run(self) -> Path:
        """What the machine sees as /run, so that its sockets can be reached from outside too."""
        return self.directory / "run"

    @property
    def etc(self) -> Path:
        """What the machine sees as /etc/docker, /etc/openvswitch, /etc/ovn and /etc/resolv.conf."""
        return self.directory / "etc"

    @property
    def resolv_conf(self) -> Path:
        return self.etc / "resolv.conf"

    @property
    def outside_socket(self) -> Path:
        """Where the services of the machine outside show that they are up."""
        return self.run / "services.sock"

    @property
    def state(self) -> Path:
        """What the machine sees as /var/lib/ovn-docker."""
        return self.directory / "state"

    @property
    def docker_data(self) -> Path:
        return self.directory / "docker"

    @property
    def cgroup(self) -> str:
        """Parent cgroup of the machine's containers, in every hierarchy."""
        return f"/{self.base.name}/{self.lab}/{self.machine}"

    @property
    def ready(self) -> Path:
        """Exists once the machine's namespaces are set up."""
        return self.directory / "ready"

    @property
    def holder_script(self) -> Path:
        """The shell script whose process holds the machine's namespaces."""
        return self.directory / "namespace-holder.sh"

    @property
    def docker_socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def plugin_socket(self) -> Path:
        return self.run / "docker" / "plugins" / "openvswitch.sock"

    def log(self, daemon: str) -> Path:
        return self.directory / "log" / f"{daemon}.log"

    def pid(self, daemon: str) -> Path:
        """File with the process id and start time of a daemon."""
        return self.directory / "pids" / daemon

    def arguments(self, daemon: str) -> Path:
        """File with the extra arguments that a daemon had when it was started last."""
        return self.directory / "pids" / f"{daemon}.arguments"
