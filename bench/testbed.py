"""Where the contest runs: a lab of one host with both drivers on it."""

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.drivers import Driver, Incumbent, Ours
from bench.figures import INCUMBENT, OURS, Machine
from bench.fill import clear, fill
from bench.ovsdb import Database, InterfaceWatch
from bench.run import this_machine
from ovn_docker.errors import HostError, OvnDockerError
from ovn_docker.ovsdb.operations import delete
from ovn_docker_lab import Lab
from ovn_docker_lab.requirements import environment

Report = Callable[[str], None]

SETTLE_TIMEOUT = 600


class Site(ABC):
    """A host on which drivers are measured, with its Docker.

    Attributes:
        report: takes a line about what is being done.
        plugin_name: what Docker calls this project's driver.
        incumbent: the other driver, or None when it is not installed.
        swarm: whether the host is in a swarm, so that Docker's own overlay is measured too.
        watch: tells when an endpoint's flows are installed.
        ports: how many ports of others are in Northbound.
        failures: what could not be measured and why, one line each.
    """

    plugin_name: str
    incumbent: Driver | None = None
    swarm = False
    watch: InterfaceWatch

    def __init__(self, report: Report, docker_socket: Path) -> None:
        self.report = report
        self.ports = 0
        self.failures: list[str] = []
        self._docker_socket = docker_socket

    @property
    @abstractmethod
    def log(self) -> str:
        """What this project's driver has logged."""

    @abstractmethod
    def nbctl(self, *arguments: str, timeout: float = 30) -> None:
        """Run ovn-nbctl on the Northbound database."""

    def attempt(self, what: str, work: Callable[[], object]) -> bool:
        """Do something at which one contestant may fail without ending the contest; did it work?"""
        try:
            work()
        except (OvnDockerError, OSError) as error:
            failure = " ".join(f"{what}: {error}".split())
            self.failures.append(failure)
            self.report(f"  FAILED {failure}")
            return False
        return True

    def add_router(self, network_id: str, gateway: str) -> None:
        """Attach an OVN router to a switch.

        Args:
            network_id: name of the switch.
            gateway: the router's address there, as "10.1.0.1/24".
        """
        router, port = f"router-{network_id[:12]}", f"port-{network_id[:12]}"
        switch_port = f"to-{router}"
        self.nbctl(
            *("lr-add", router, "--", "lrp-add", router, port, "02:00:00:00:00:01", gateway),
            *("--", "lsp-add", network_id, switch_port, "--", "lsp-set-type", switch_port, "router"),
            *("--", "lsp-set-addresses", switch_port, "router"),
            *("--", "lsp-set-options", switch_port, f"router-port={port}"),
        )

    def remove_router(self, network_id: str) -> None:
        """Undo add_router()."""
        router = f"router-{network_id[:12]}"
        self.nbctl("--if-exists", "lsp-del", f"to-{router}", "--", "--if-exists", "lr-del", router)

    def settle(self) -> None:
        """Wait until northd and ovn-controller have processed all that is in Northbound.

        Source: ovn-nbctl(8), "--wait=hv".
        """
        self.nbctl("--wait=hv", "sync", timeout=SETTLE_TIMEOUT)

    def docker(self, *arguments: str, timeout: float = 60, check: bool = True) -> tuple[float, str]:
        """Run the docker command against the host's dockerd.

        Returns:
            How long it took in milliseconds, and what it printed.
        """
        return self.finish(arguments, self.begin(*arguments), timeout, check=check)

    def begin(self, *arguments: str) -> tuple[float, subprocess.Popen[str]]:
        """Start a docker command and return the moment and its process."""
        variables = environment(DOCKER_HOST=f"unix://{self._docker_socket}")
        started = time.perf_counter()
        process = subprocess.Popen(
            ["docker", *arguments],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        return started, process

    def finish(
        self,
        arguments: tuple[str, ...],
        running: tuple[float, subprocess.Popen[str]],
        timeout: float = 60,
        *,
        check: bool = True,
    ) -> tuple[float, str]:
        """Wait for what begin() started; the rest is as for docker()."""
        started, process = running
        line = f"docker {' '.join(arguments)}"
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise HostError(f"'{line}' took longer than {timeout:g} s") from None
        took = (time.perf_counter() - started) * 1000
        if check and process.returncode != 0:
            raise HostError(f"'{line}' failed: {errors.strip()[-500:]}")
        return took, output.strip()


class ContestTestbed(Site):
    """A lab of one host, up for as long as this context lasts.

    Attributes:
        lab: the lab.
        host: its only host.
        ours: this project's driver.
        northbound: a connection to the Northbound database.
    """

    def __init__(self, name: str, report: Report) -> None:
        """Make the lab and start the drivers."""
        self.lab = Lab.up(name, 1, driver=False, report=report)
        try:
            self.host = self.lab.hosts[0]
            super().__init__(report, self.host.paths.docker_socket)
            self.ours = Ours(OURS, self.host)
            self.plugin_name = self.ours.plugin_name
            self.incumbent = self._incumbent()
            self.ours.start()
            socket = self.lab.central.paths.run / "ovn" / "ovnnb_db.sock"
            self.northbound = Database(socket, "OVN_Northbound")
            self.watch = InterfaceWatch(self.host.paths.run / "openvswitch" / "db.sock")
        except BaseException:
            self.lab.down()
            raise

    def _incumbent(self) -> Driver | None:
        incumbent = Incumbent(INCUMBENT, self.host)
        if not incumbent.installed():
            self.failures.append("incumbent: the package ovn-docker is not installed")
            return None
        return incumbent if self.attempt(INCUMBENT, incumbent.start) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lab.down()

    @property
    def drivers(self) -> tuple[Driver, ...]:
        """Those that are installed."""
        return (self.ours, self.incumbent) if self.incumbent else (self.ours,)

    def start_missing(self) -> None:
        """Start the drivers that ended meanwhile; an incumbent that cannot start is left out from now on."""
        if not self.ours.running:
            self.ours.start()
        if (
            self.incumbent
            and not self.incumbent.running
            and not self.attempt(INCUMBENT, self.incumbent.start)
        ):
            self.incumbent = None

    @property
    def log(self) -> str:
        """What this project's driver has logged."""
        return self.ours.log.read_text(errors="replace")

    def nbctl(self, *arguments: str, timeout: float = 30) -> None:
        """Run ovn-nbctl on the central."""
        command = ["ovn-nbctl", "--db=unix:/run/ovn/ovnnb_db.sock", f"--timeout={timeout:g}", *arguments]
        self.lab.central.run(command, timeout=timeout + 10)

    def pause_northd(self) -> None:
        """Stop northd: what is written to Northbound then has no consequences."""
        self.lab.central.stop("northd")

    def resume_northd(self) -> None:
        """Start northd and wait until all is processed."""
        if not self.lab.central.running("northd"):
            self.lab.central.start("northd")
        self.settle()

    def fill(self, ports: int, switches: int) -> None:
        """Have that many ports of others in Northbound, while northd is paused."""
        if ports == self.ports:
            return
        clear(self.northbound)
        self.ports = 0
        self.report(f"adding {ports:,} ports to Northbound")
        fill(self.northbound, ports, switches)
        self.ports = ports

    def remove_switch(self, name: str) -> None:
        """Remove a logical switch with all ports on it."""
        self.northbound.transact([delete("Logical_Switch", [("name", "==", name)])])

    def machine(self) -> Machine:
        """What kind of machine this is."""
        versions = {
            "dockerd": self._version("docker", "version", "--format", "{{.Server.Version}}"),
            "OVN": self._version("ovn-controller", "--version"),
            "Open vSwitch": self._version("ovs-vswitchd", "--version"),
            "incumbent": self._version("dpkg-query", "-W", "-f", "ovn-docker ${Version}", "ovn-docker"),
        }
        return this_machine(versions, datapath=self.lab.settings.datapath)

    def _version(self, *command: str) -> str:
        done = self.host.run(command, check=False)
        words = done.stdout.splitlines()[0].split() if done.returncode == 0 and done.stdout else ["none"]
        return words[-1]
