"""One machine of a lab: start, stop and kill its daemons, cut it off, switch it off and on."""

import contextlib
import http.client
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals

from ovn_docker.errors import ConfigError, ConflictError, HostError, NotFoundError
from ovn_docker_lab.daemons import (
    BOOT_ORDER,
    UNDERLAY_BRIDGE,
    Daemon,
    central_daemons,
    daemon_named,
    host_daemons,
    outside_daemons,
    underlay_device,
)
from ovn_docker_lab.namespaces import START_TIMEOUT, Namespaces
from ovn_docker_lab.plan import CENTRAL, OUTSIDE, LabSettings, MachinePaths
from ovn_docker_lab.processes import alive, read_process, send, spawn, start_time, wait_until, write_process
from ovn_docker_lab.requirements import DRIVER, find_driver
from ovn_docker_lab.teardown import end_processes, lab_processes, remove_cgroups

STOP_TIMEOUT = 20.0
DOCKERD_TIMEOUT = 120.0
"""Seconds; dockerd answers only after it has started the containers that restart with it."""


class Machine(Namespaces):
    """A host of a lab, its central, or the machine outside."""

    @property
    def daemons(self) -> Mapping[str, Daemon]:
        """Daemons by name, in the order of their start."""
        if self.name == CENTRAL:
            return central_daemons(self.paths)
        if self.name == OUTSIDE:
            return outside_daemons(self.paths)
        daemons = dict(host_daemons(self.paths, find_driver() or DRIVER))
        if not self.settings.docker:
            del daemons["dockerd"]
        if not self.settings.driver:
            del daemons["driver"]
        return daemons

    # Daemons

    def start(self, daemon: str, extra_arguments: Sequence[str] = ()) -> None:
        """Start a daemon, with extra arguments after its usual ones, and wait until it answers.

        Raises:
            NotFoundError: the machine has no such daemon.
            ConflictError: it runs already.
            HostError: it ended or did not answer in time; the end of its log is in the error's notes.
        """
        wanted = daemon_named(self.daemons, daemon, self.name)
        if self.running(daemon):
            raise ConflictError(f"{daemon} on {self.name} runs already: stop it first")
        self._make_ready(wanted)
        self.paths.arguments(daemon).write_text("\0".join(extra_arguments))
        process = spawn(
            self.enter([*wanted.command, *extra_arguments]), self.paths.log(daemon), self.environment()
        )
        write_process(self.paths.pid(daemon), process)
        ready = Path(wanted.socket.format(pid=process.pid))
        limit = DOCKERD_TIMEOUT if daemon == "dockerd" else START_TIMEOUT
        answered = wait_until(lambda: not alive(process) or _answers(daemon, ready), limit)
        if not alive(process):
            raise self.failed(daemon, "ended as soon as it was started")
        if not answered:
            raise self.failed(daemon, f"did not answer within {limit:g} s")
        if daemon == "ovs-vswitchd":
            self._await_configuration(process.pid)
            self.address_underlay()

    def _await_configuration(self, pid: int) -> None:
        """Wait until ovs-vswitchd has set up the bridge of the underlay, where that is one of its own.

        Until then it writes the flags of a link as it read them before it made or opened it (Open vSwitch
        lib/netdev-linux.c, update_flags): a bridge that is set up meanwhile is down again, without a route,
        and a link that shall not answer ARP answers again. ovs-vsctl waits for a change only, so each start
        of ovs-vswitchd makes one, with its `pid`.
        """
        if underlay_device(self.name, self.settings) != UNDERLAY_BRIDGE:
            return
        change = ["--if-exists", "set", "Bridge", UNDERLAY_BRIDGE, f"external_ids:lab-started={pid}"]
        command = ["ovs-vsctl", f"--timeout={START_TIMEOUT:.0f}", *change]
        if self.run(command, timeout=START_TIMEOUT + 5, check=False).returncode != 0:
            raise self.failed("ovs-vswitchd", f"did not configure {UNDERLAY_BRIDGE}")

    def start_driver(self, extra_arguments: Sequence[str] = ()) -> None:
        """Start the overlay driver as start() does."""
        self.start("driver", extra_arguments)

    def start_again(self, daemon: str) -> None:
        """Start a daemon as start() does, with the extra arguments of its last start."""
        file = self.paths.arguments(daemon)
        arguments = file.read_text().split("\0") if file.exists() and file.stat().st_size else ()
        self.start(daemon, arguments)

    def stop(self, daemon: str) -> None:
        """Ask a daemon to end (SIGTERM) and wait until it has; does nothing when it does not run."""
        self._end(daemon, SIGTERM)

    def kill(self, daemon: str) -> None:
        """End a daemon at once (SIGKILL); a dockerd's containers live on in processes of their own."""
        self._end(daemon, SIGKILL)

    def running(self, daemon: str) -> bool:
        return self.pid(daemon) is not None

    def pid(self, daemon: str) -> int | None:
        """Process id of a daemon, None when it does not run."""
        process = read_process(self.paths.pid(daemon))
        return process.pid if process is not None and alive(process) else None

    def _end(self, daemon: str, number: Signals) -> None:
        daemon_named(self.daemons, daemon, self.name)
        process = read_process(self.paths.pid(daemon))
        if process is None:
            return
        send(process, number)
        if not wait_until(lambda: not alive(process), STOP_TIMEOUT):
            raise self.failed(daemon, f"did not end within {STOP_TIMEOUT:g} s after {number.name}")

    def _make_ready(self, daemon: Daemon) -> None:
        if daemon.name == "dockerd":
            self._forget_dead("docker.pid")
            self._forget_dead("docker/containerd/containerd.pid")
        if daemon.database is not None and not daemon.database.file.exists():
            self.run(["ovsdb-tool", "create", str(daemon.database.file), str(daemon.database.schema)])

    def _forget_dead(self, pidfile: str) -> None:
        """Remove a pidfile that dockerd would believe.

        A killed process is a zombie until its parent waits for it. dockerd takes it for another running
        dockerd, and waits 10 s for a containerd that has died with it.
        """
        file = self.paths.run / pidfile
        with contextlib.suppress(OSError, ValueError):
            pid = int(file.read_text())
            if wait_until(lambda: start_time(pid) is None, STOP_TIMEOUT):
                file.unlink()

    # The machine as a whole

    def reboot(self) -> None:
        """Cut this machine's power and boot it; see power_off() and power_on()."""
        self.power_off()
        self.power_on()

    def power_off(self) -> None:
        """End every process of this machine at once, its containers' too; its links and /run go with them.

        What is on disk stays: Open vSwitch's database, Docker's data, /etc and /var/lib/ovn-docker.

        Raises:
            ConfigError: it is the central, on which the underlay depends.
            HostError: a process does not end.
        """
        self._check_is_not_central()
        end_processes(self.paths.directory)
        if left := lab_processes(self.paths.directory):
            pids = ", ".join(str(process.pid) for process in left)
            raise HostError(f"processes {pids} of {self.name} did not end within 30 s of SIGKILL")
        remove_cgroups(self.paths.cgroup)
        self.paths.ready.unlink(missing_ok=True)
        for name in ("run", "marker", "cgroup"):
            shutil.rmtree(self.paths.directory / name, ignore_errors=True)

    def power_on(self) -> None:
        """Boot this machine after power_off(): new namespaces, a link to the underlay, then all daemons.

        They start in BOOT_ORDER, each with the arguments of its last start; ConflictError when it is on.
        """
        self._check_is_not_central()
        if self.paths.ready.exists():
            raise ConflictError(f"{self.name} of lab {self.paths.lab} is on: power it off first")
        self.make()
        central = self._central()
        # The kernel removes the old link some time after the namespace that its other end was in.
        central.run(["ip", "link", "delete", self.name], check=False)
        self.plug_into(central)
        if self.name == OUTSIDE:
            self.address_underlay()
        self._start_missing()

    def cut_off(self) -> None:
        """Unplug the machine from the underlay: the other machines of the lab do not reach it, nor it them.

        The central loses its address instead, for the bridge that joins the hosts is in it.
        """
        if self.name == CENTRAL:
            self._ip_batch(f"addr flush dev {underlay_device(self.name, self.settings)}\n")
        else:
            self._central()._ip_batch(f"link set {self.name} down\n")  # noqa: SLF001 - of the same class

    def reconnect(self) -> None:
        """Undo cut_off()."""
        if self.name == CENTRAL:
            self.address_underlay()
        else:
            self._central()._ip_batch(f"link set {self.name} up\n")  # noqa: SLF001 - of the same class

    def _central(self) -> "Machine":
        return Machine(MachinePaths(self.paths.lab, CENTRAL, self.paths.base), self.settings)

    def repair(self) -> None:
        """Undo every fault: boot a host that is off, reconnect the machine, start each dead daemon."""
        if self.name != CENTRAL and not self.paths.ready.exists():
            self.power_on()
        self.reconnect()
        self._start_missing()

    def _start_missing(self) -> None:
        for daemon in BOOT_ORDER if self.is_host else self.daemons:
            if daemon in self.daemons and not self.running(daemon):
                self.start_again(daemon)

    def _check_is_not_central(self) -> None:
        if self.name == CENTRAL:
            raise ConfigError(
                f"the central of lab {self.paths.lab} cannot be switched off, for the underlay is in it: "
                "kill its daemons, or cut it off"
            )


def machine_of(lab: str, name: str, settings: LabSettings, base: Path) -> Machine:
    """Machine of a lab by its name, or NotFoundError."""
    number = int(name[1:]) if name[:1] == "h" and name[1:].isdecimal() else 0
    if name not in (CENTRAL, OUTSIDE) and (not 1 <= number <= settings.hosts or name != f"h{number}"):
        raise NotFoundError(
            f"lab {lab} has no host {name!r}: it has h1 to h{settings.hosts}, {CENTRAL} and {OUTSIDE}"
        )
    return Machine(MachinePaths(lab, name, base), settings)


def _answers(daemon: str, path: Path) -> bool:
    """Whether a daemon accepts a connection on its Unix socket and, if it is dockerd, serves requests."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return daemon != "dockerd" or _is_pinged(connection)


def _is_pinged(connection: socket.socket) -> bool:
    # dockerd listens before it can serve (Docker Engine API, GET /_ping).
    try:
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
    except (OSError, http.client.HTTPException):
        return False
    with response:
        return response.status == http.client.OK
