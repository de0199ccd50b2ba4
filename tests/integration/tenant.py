"""A user of one host of a lab: makes networks and containers, and takes them away again."""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovn_docker_lab import Machine
from tests.polling import eventually

DRIVER = "openvswitch"
IMAGE = "busybox"
OURS = ("--ipam-driver", DRIVER)
"""What makes a network's addresses OVN's."""

ONE_PING = "ping -c1 -W1"

Result = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Network:
    """A Docker network."""

    name: str
    id: str


@dataclass(frozen=True, slots=True)
class Container:
    """A running container."""

    host: Machine
    name: str

    def run(self, command: str, *, check: bool = True, timeout: float = 30) -> Result:
        """Run a shell command in it."""
        return self.host.docker("exec", self.name, "sh", "-c", command, check=check, timeout=timeout)

    def start(self, command: str) -> None:
        """Run a shell command in it in the background."""
        self.host.docker("exec", "-d", self.name, "sh", "-c", command)

    def endpoint(self, network: Network) -> Mapping[str, Any]:
        """What Docker says of its endpoint on a network."""
        form = "{{json .NetworkSettings.Networks}}"
        networks = json.loads(self.host.docker("inspect", "--format", form, self.name).stdout)
        found: Mapping[str, Any] = networks[network.name]
        return found

    def address(self, network: Network) -> str:
        """Its IPv4 address on a network."""
        return str(self.endpoint(network)["IPAddress"])

    def pings(self, address: str) -> bool:
        """Tell whether one packet is answered."""
        return self.run(f"{ONE_PING} {address}", check=False).returncode == 0

    def reaches(self, address: str, limit: float = 10) -> None:
        """Wait until a ping is answered."""
        eventually(lambda: self.pings(address), limit, f"{self.name} has an answer from {address}")

    def links(self) -> dict[str, str]:
        """What `ip` prints of each of its links but the loopback, by name."""
        lines = self.run("ip -o link; ip -o addr").stdout.splitlines()
        links: dict[str, str] = {}
        for line in lines:
            name = line.split()[1].rstrip(":").partition("@")[0]
            links[name] = links.get(name, "") + line + "\n"
        del links["lo"]
        return links

    def default_routes(self) -> list[str]:
        """Its default routes, IPv4."""
        return [
            line.strip() for line in self.run("ip route").stdout.splitlines() if line.startswith("default")
        ]


class Tenant:
    """Uses Docker on one host; what it made is gone after `clear`."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.docker = host.docker
        self._numbers = itertools.count(1)
        self._networks: list[str] = []
        self._containers: list[str] = []

    def network(self, subnet: str | None, *options: str, driver: str = DRIVER) -> Network:
        """Make a network."""
        name = f"net{next(self._numbers)}"
        pool = () if subnet is None else ("--subnet", subnet)
        made = self.docker("network", "create", "--driver", driver, *pool, *options, name)
        self._networks.append(name)
        return Network(name, made.stdout.strip())

    def name(self) -> str:
        """A name for a container that `clear` shall remove."""
        name = f"box{next(self._numbers)}"
        self._containers.append(name)
        return name

    def container(
        self,
        network: Network,
        *options: str,
        command: str = "sleep 3600",
        name: str = "",
        image: str = IMAGE,
    ) -> Container:
        """Start a container that runs a shell command."""
        name = name or self.name()
        if name not in self._containers:
            self._containers.append(name)
        self.docker("run", "-d", "--net", network.name, "--name", name, *options, image, "sh", "-c", command)
        return Container(self.host, name)

    def try_container(self, network: Network) -> str:
        """Start a container where that may fail; its name, or "" when it did."""
        name = self.name()
        command = ("run", "-d", "--net", network.name, "--name", name, IMAGE, "sleep", "3600")
        return name if self.docker(*command, check=False).returncode == 0 else ""

    def once(self, network: Network, command: str, *options: str) -> Result:
        """Run a shell command in a container of its own, which is removed then."""
        name = self.name()
        return self.docker(
            *("run", "--rm", "--net", network.name, "--name", name, *options, IMAGE, "sh", "-c", command),
            check=False,
        )

    def remove(self, *containers: Container) -> None:
        """Remove containers."""
        self.docker("rm", "--force", *(container.name for container in containers))

    def containers(self) -> tuple[str, ...]:
        """The names of all that `clear` would remove."""
        return tuple(self._containers)

    def remove_network(self, network: Network) -> None:
        """Remove a network."""
        self.docker("network", "rm", network.name)

    def clear(self) -> None:
        """Remove everything that is still there of what this tenant made."""
        if self._containers:
            self.docker("rm", "--force", *self._containers, check=False)
        for name in self._networks:
            self.docker("network", "rm", name, check=False)
        self._containers, self._networks = [], []


def ovn_docker(host: Machine, *words: str) -> Result:
    """`ovn-docker WORD...` on a host."""
    program = str(Path(sys.executable).with_name("ovn-docker"))
    return host.run([program, *words], check=False, timeout=60)


def in_parallel(*works: Any) -> list[Any]:  # noqa: ANN401
    """Call functions at the same time and return what they return, in order."""
    with ThreadPoolExecutor(max_workers=len(works)) as pool:
        futures = [pool.submit(work) for work in works]
        return [future.result() for future in futures]
