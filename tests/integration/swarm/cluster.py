"""A swarm over a lab's hosts, each of which has the managed plugin."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ovn_docker.errors import HostError
from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.managed import DRIVER, NAME, Managed
from tests.integration.tenant import IMAGE, Container, in_parallel
from tests.polling import eventually

OURS = ("--ipam-driver", DRIVER)
"""What makes a network's addresses OVN's."""

SERVER = "trap 'sleep 1; exit 0' TERM; httpd -p 80 -h /etc; while :; do sleep 1 & wait $!; done"
"""Serves /etc/hostname; asked to end, it serves for a second more, for who has its address still."""

NOTICED = 60.0
"""Seconds for swarm to notice that a node is gone and to start its tasks elsewhere."""

SETTLED = 60.0


@dataclass(frozen=True, slots=True)
class Task:
    """A task that runs.

    Attributes:
        task_id: swarm's.
        name: of its container, by which others find it.
        host: where it runs.
    """

    task_id: str
    name: str
    host: Machine

    @property
    def container(self) -> Container:
        return Container(self.host, self.name)

    def address(self, network: str) -> str:
        """Its IPv4 address on a network."""
        form = "{{json .NetworkSettings.Networks}}"
        networks = json.loads(self.host.docker("inspect", "--format", form, self.name).stdout)
        return str(networks[network]["IPAddress"])


@dataclass
class Cluster:
    """The swarm, asked through one of its managers."""

    lab: Lab
    manager: Machine
    services: list[str] = field(default_factory=list)
    networks: list[str] = field(default_factory=list)

    def docker(self, *arguments: str, timeout: float = 90, check: bool = True) -> str:
        """Docker on the manager; what it printed."""
        return self.manager.docker(*arguments, timeout=timeout, check=check).stdout.strip()

    def network(self, name: str, subnet: str, *options: str) -> str:
        """Make a network and wait until swarm has allocated it; its id."""
        self.networks.append(name)
        self.docker("network", "create", "--driver", DRIVER, "--subnet", subnet, *options, name)
        form = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
        eventually(
            lambda: self.docker("network", "inspect", "--format", form, name), SETTLED, f"{name} is allocated"
        )
        return self.docker("network", "inspect", "--format", "{{.ID}}", name)

    def service(self, name: str, network: str, replicas: int, *options: str, command: str = SERVER) -> None:
        """Start a service and wait until its tasks run."""
        self.services.append(name)
        modes = ("--endpoint-mode", "dnsrr", "--no-resolve-image", "--restart-delay", "0s")
        what = ("--name", name, "--network", network, "--replicas", str(replicas))
        self.docker(
            *("service", "create", "--detach", "--quiet", *modes, *what, *options, IMAGE, "sh", "-c", command)
        )
        self.settle(name, replicas)

    def scale(self, name: str, replicas: int) -> list[Task]:
        """Give a service another number of tasks and wait until they run, and no others; these."""
        self.docker("service", "scale", "--detach", f"{name}={replicas}")
        return self.settle(name, replicas)

    def settle(self, name: str, replicas: int, limit: float = SETTLED) -> list[Task]:
        """Wait until a service has so many tasks that run, and no container of it is left besides; these."""
        found: list[Task] = []

        def settled() -> bool:
            found[:] = self.tasks(name)
            return len(found) == replicas and len(self._containers(name)) == replicas

        eventually(settled, limit, f"{name} has {replicas} tasks")
        return found

    def tasks(self, name: str) -> list[Task]:
        """The tasks of a service that run on nodes that are there."""
        hosts = {host.name: host for host in self.up()}
        form = "{{.ID}} {{.Name}} {{.Node}} {{.CurrentState}}"
        wanted = ("--filter", "desired-state=running", "--no-trunc", "--format", form)
        rows = [line.split() for line in self.docker("service", "ps", *wanted, name).splitlines()]
        return [
            Task(task_id, f"{slot}.{task_id}", hosts[node])
            for task_id, slot, node, state, *_ in rows
            if state == "Running" and node in hosts
        ]

    def _containers(self, name: str) -> list[str]:
        mine = ("--filter", f"label=com.docker.swarm.service.name={name}", "--format", "{{.Names}}")
        return [
            container for host in self.up() for container in host.docker("ps", "-a", *mine).stdout.split()
        ]

    def up(self) -> Sequence[Machine]:
        """The hosts whose Docker runs."""
        return [host for host in self.lab.hosts if host.running("dockerd")]

    def nodes(self) -> Mapping[str, str]:
        """Status and availability of each node, by host name."""
        listed = self.docker("node", "ls", "--format", "{{.Hostname}} {{.Status}} {{.Availability}}")
        return dict(line.split(" ", 1) for line in listed.splitlines())

    def leader(self) -> str:
        """Host name of the manager that leads; "" while there is none."""
        form = "{{.Hostname}} {{.ManagerStatus}}"
        try:
            listed = self.docker("node", "ls", "--format", form)
        except HostError:
            return ""
        return next((line.split()[0] for line in listed.splitlines() if line.endswith("Leader")), "")

    def role(self, node: str) -> str:
        """``Leader``, ``Reachable``, ``Unreachable``, or "" of a worker."""
        listed = self.docker("node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}", check=False)
        return dict(line.partition(" ")[::2] for line in listed.splitlines()).get(node, "")

    def remove_services(self) -> None:
        """Remove all services and wait until none of their containers is left."""
        for name in self.services:
            self.docker("service", "rm", name, check=False)
        for name in self.services:
            eventually(partial(self._is_gone, name), SETTLED, f"{name} is gone")
        self.services.clear()

    def remove_networks(self) -> None:
        """Remove all networks; swarm refuses while it remembers a task of one."""
        for name in self.networks:
            eventually(partial(self._removed, name), SETTLED, f"network {name} is removed")
        self.networks.clear()

    def _is_gone(self, name: str) -> bool:
        return not self._containers(name)

    def _removed(self, name: str) -> bool:
        done = self.manager.docker("network", "rm", name, check=False)
        return done.returncode == 0 or "not found" in done.stderr


def install(host: Machine, directory: Path) -> None:
    """Create and enable the plugin, with the health check."""
    plugin = Managed(host)
    plugin.plugin("create", NAME, str(directory))
    plugin.plugin("set", NAME, "HEALTH_CHECK_ON=true", "docker.source=/run/docker.sock")
    plugin.plugin("enable", NAME)


def join(lab: Lab, directory: Path) -> Cluster:
    """Install the plugin on each host and make a swarm: the first is its manager."""
    in_parallel(*(lambda host=host: install(host, directory) for host in lab.hosts))
    first, *others = lab.hosts
    first.docker("swarm", "init", "--advertise-addr", str(first.address))
    first.docker("swarm", "update", "--dispatcher-heartbeat", "2s", "--task-history-limit", "0")
    token = first.docker("swarm", "join-token", "--quiet", "worker").stdout.strip()
    for host in others:
        host.docker("swarm", "join", "--token", token, f"{first.address}:2377")
    return Cluster(lab, first)


def users(lab: Lab) -> dict[str, set[str]]:
    """The hosts that have something in Northbound, and of what kind: port, lease, claim."""
    found: dict[str, set[str]] = {}
    for table in (records.PORT, records.LEASE):
        for row in records.rows(lab.central, table):
            ids = records.marks(row)
            if ids.get("ovn-docker") != "host" and (host := ids.get("ovn-docker-host")):
                found.setdefault(host, set()).add(ids.get("ovn-docker", "port"))
    return found


def leases(lab: Lab) -> dict[str, Mapping[str, Any]]:
    """The marks of each leased address."""
    rows = records.rows(lab.central, records.LEASE)
    return {
        row["cidr"]: records.marks(row) for row in rows if records.marks(row).get("ovn-docker") == "lease"
    }
