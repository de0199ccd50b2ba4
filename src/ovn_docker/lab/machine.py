"""One machine of a lab: run commands in its namespaces, start and stop its daemons.

Knows nothing of the order in which a lab comes up; that is bringup.py's.
"""

import subprocess
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from ovn_docker.errors import ConflictError, HostError, NotFoundError
from ovn_docker.lab.daemons import (
    Daemon,
    central_daemons,
    daemon_named,
    host_daemons,
    underlay_device,
)
from ovn_docker.lab.plan import (
    CENTRAL,
    MachinePaths,
    Settings,
    northbound_remote,
    southbound_remote,
    underlay_address,
)
from ovn_docker.lab.probe import answers
from ovn_docker.lab.processes import alive, read_process, send, spawn, wait_until, write_process
from ovn_docker.lab.requirements import DRIVER, environment, find_driver

KEEPER = "keeper"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0
LOG_TAIL = 15


class Machine:
    """A host or the central of a lab.

    Attributes:
        name: "h1", "h2", ... or "central"; also its host name and, on a host, its system-id.
        paths: its files as seen from outside.
        settings: what the lab was asked to be.
    """

    def __init__(self, paths: MachinePaths, settings: Settings) -> None:
        self.name = paths.machine
        self.paths = paths
        self.settings = settings

    @property
    def address(self) -> IPv4Address:
        """Address in the network that joins the machines of the lab."""
        return underlay_address(self.name).ip

    @property
    def daemons(self) -> Mapping[str, Daemon]:
        """Daemons by name, in the order of their start."""
        if self.name == CENTRAL:
            return central_daemons(self.paths)
        daemons = dict(host_daemons(self.paths, find_driver() or DRIVER))
        if not self.settings.docker:
            del daemons["dockerd"]
        if not self.settings.driver:
            del daemons["driver"]
        return daemons

    # Commands

    def enter(self, command: Sequence[str]) -> list[str]:
        """Command line that runs another one inside this machine.

        Raises:
            HostError: the machine's namespaces are gone.
        """
        keeper = read_process(self.paths.pid(KEEPER))
        if keeper is None or not alive(keeper):
            raise HostError(
                f"{self.name} of lab {self.paths.lab} does not run: take the lab down and up again"
            )
        return ["nsenter", f"--target={keeper.pid}", "--net", "--mount", "--uts", "--", *command]

    def environment(self) -> dict[str, str]:
        """Environment variables inside this machine, which point docker and ovn-nbctl at the lab."""
        return environment(
            DOCKER_HOST="unix:///run/docker.sock",
            OVN_NB_DB=northbound_remote(),
            OVN_SB_DB=southbound_remote(),
        )

    def run(
        self, command: Sequence[str], *, timeout: float = 30, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside this machine, without a shell, and return its output as text.

        Args:
            command: program and arguments.
            timeout: limit in seconds.
            check: a status other than 0 is an error.
            stdin: what the command reads.

        Raises:
            HostError: the command failed, took too long, or the machine is gone.
        """
        entered = self.enter(command)
        try:
            done = subprocess.run(
                entered,
                env=self.environment(),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HostError(f"'{_line(command)}' on {self.name} took longer than {timeout:g} s") from error
        if check and done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-1000:]
            raise HostError(f"'{_line(command)}' on {self.name} failed with {done.returncode}: {said}")
        return done

    def docker(
        self, *arguments: str, timeout: float = 60, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run docker on this host; the rest is as for run().

        Raises:
            HostError: as run(), or the lab was made without Docker.
        """
        return self.run(self.docker_command(arguments), timeout=timeout, check=check, stdin=stdin)

    def docker_command(self, arguments: Sequence[str]) -> list[str]:
        """Command line of docker on this host.

        Raises:
            HostError: there is no dockerd.
        """
        if not self.settings.docker or self.name == CENTRAL:
            raise HostError(f"{self.name} of lab {self.paths.lab} has no Docker: use a host of a lab with it")
        return ["docker", *arguments]

    # Daemons

    def start(self, daemon: str, extra_arguments: Sequence[str] = ()) -> None:
        """Start a daemon and wait until it answers.

        Args:
            daemon: its name, see daemons.
            extra_arguments: appended to its usual command line.

        Raises:
            NotFoundError: the machine has no such daemon.
            ConflictError: it runs already.
            HostError: it ended or did not answer in time; the end of its log is in the notes of the error.
        """
        one = daemon_named(self.daemons, daemon, self.name)
        if self.running(daemon):
            raise ConflictError(f"{daemon} on {self.name} runs already: stop it first")
        self._make_database(one)
        command = self.enter([*one.command, *extra_arguments])
        process = spawn(command, self.paths.log(daemon), self.environment())
        write_process(self.paths.pid(daemon), process)
        ready = Path(one.socket.format(pid=process.pid))
        answered = wait_until(lambda: not alive(process) or answers(daemon, ready), START_TIMEOUT)
        if not alive(process):
            raise self.failed(daemon, "ended as soon as it was started")
        if not answered:
            raise self.failed(daemon, f"did not answer within {START_TIMEOUT:g} s")
        if daemon == "ovs-vswitchd":
            self.address_underlay()

    def start_driver(self, extra_arguments: Sequence[str] = ()) -> None:
        """Start the overlay driver, with further flags; the rest is as for start()."""
        self.start("driver", extra_arguments)

    def stop(self, daemon: str) -> None:
        """Ask a daemon to end (SIGTERM) and wait until it has; nothing when it does not run.

        Raises:
            NotFoundError: the machine has no such daemon.
            HostError: it did not end in time.
        """
        self._end(daemon, SIGTERM)

    def kill(self, daemon: str) -> None:
        """End a daemon at once (SIGKILL); the rest is as for stop()."""
        self._end(daemon, SIGKILL)

    def running(self, daemon: str) -> bool:
        """Tell whether a daemon that this lab started runs."""
        return self.pid(daemon) is not None

    def pid(self, daemon: str) -> int | None:
        """Process id of a daemon, None when it does not run."""
        process = read_process(self.paths.pid(daemon))
        return process.pid if process is not None and alive(process) else None

    def log(self, daemon: str) -> str:
        """All that a daemon has logged so far."""
        file = self.paths.log(daemon)
        return file.read_text(errors="replace") if file.exists() else ""

    def failed(self, daemon: str, what: str) -> HostError:
        """Error about a daemon that has the end of its log as a note."""
        error = HostError(f"{daemon} on {self.name} {what}: see the end of its log")
        error.add_note("\n".join(self.log(daemon).splitlines()[-LOG_TAIL:]))
        return error

    def _end(self, daemon: str, number: Signals) -> None:
        daemon_named(self.daemons, daemon, self.name)
        process = read_process(self.paths.pid(daemon))
        if process is None:
            return
        send(process, number)
        if not wait_until(lambda: not alive(process), STOP_TIMEOUT):
            raise self.failed(daemon, f"did not end within {STOP_TIMEOUT:g} s after {number.name}")

    def _make_database(self, daemon: Daemon) -> None:
        if daemon.database is not None and not daemon.database.file.exists():
            self.run(["ovsdb-tool", "create", str(daemon.database.file), str(daemon.database.schema)])

    # Namespaces and underlay

    def address_underlay(self) -> None:
        """Give the underlay address to the link that carries it, once that link exists.

        A bridge of the userspace datapath is gone, address and all, whenever ovs-vswitchd ends.

        Raises:
            HostError: the link did not appear in time.
        """
        device = underlay_device(self.name, self.settings)
        batch = f"addr replace {underlay_address(self.name)} dev {device}\nlink set {device} up\n"
        if not wait_until(lambda: self._ip_batch(batch), START_TIMEOUT):
            raise self.failed("ovs-vswitchd", f"did not make the link {device}")
        # A checksum left to the NIC stays unfinished in the userspace datapath: ping works, TCP does not.
        self.run(["ethtool", "-K", device, "tx", "off"])

    def _ip_batch(self, batch: str) -> bool:
        return self.run(["ip", "-batch", "-"], stdin=batch, check=False).returncode == 0


def machine_of(lab: str, name: str, settings: Settings, base: Path) -> Machine:
    """Machine of a lab by its name.

    Raises:
        NotFoundError: the lab has no such machine.
    """
    number = int(name[1:]) if name[:1] == "h" and name[1:].isdecimal() else 0
    if name != CENTRAL and (not 1 <= number <= settings.hosts or name != f"h{number}"):
        raise NotFoundError(f"lab {lab} has no host {name!r}: it has h1 to h{settings.hosts} and {CENTRAL}")
    return Machine(MachinePaths(lab, name, base), settings)


def _line(command: Sequence[str]) -> str:
    return " ".join(command)
