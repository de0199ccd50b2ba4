"""The drivers under test, running side by side on a host of a lab."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

from bench.plugin import Dial, Plugin, dial_tcp, dial_unix
from ovn_docker.errors import HostError
from ovn_docker_lab import Machine
from ovn_docker_lab.processes import Process, alive, send, spawn, wait_until
from ovn_docker_lab.requirements import find_driver

INCUMBENT_PROGRAM = Path("/usr/bin/ovn-docker-overlay-driver")
"""Where Debian's package ovn-docker puts it."""

OUR_PORT, INCUMBENT_PORT = 5001, 5000
START_TIMEOUT = 20.0

# Its pipes give bytes, which it takes for text: with Python 3 it fails on the first call, but for this.
_INCUMBENT = f"""\
import functools, runpy, subprocess
subprocess.Popen = functools.partial(subprocess.Popen, universal_newlines=True)
runpy.run_path({str(INCUMBENT_PROGRAM)!r}, run_name="__main__")
"""


def resident_mb(pid: int) -> float:
    """Memory that a process holds now, in MB of 10^6 bytes (proc_pid_statm(5), resident)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Driver:
    """One daemon that can be started, stopped and called.

    Attributes:
        title: the contestant.
        plugin_name: what `docker network create -d` calls it.
        log: what it says.
    """

    def __init__(self, title: str, plugin_name: str, machine: Machine, command: list[str]) -> None:
        self.title = title
        self.plugin_name = plugin_name
        self.log = machine.paths.log(plugin_name)
        self._machine = machine
        self._command = command
        self._process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and alive(self._process)

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None or not alive(self._process):
            lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
            raise HostError(f"{self.title} does not run: {' '.join(filter(None, lines[-3:]))}")
        return self._process.pid

    @property
    def dial(self) -> Dial:
        """How Docker reaches it."""
        raise NotImplementedError

    def start(self) -> float:
        """Start it and return how long it took until Plugin.Activate was answered, in seconds."""
        started = time.perf_counter()
        command = self._machine.enter(self._command)
        self._process = spawn(command, self.log, self._machine.environment())
        while time.perf_counter() - started < START_TIMEOUT:
            if self._answers():
                return time.perf_counter() - started
            time.sleep(0.002)
        raise HostError(f"{self.title} did not answer within {START_TIMEOUT:g} s, see {self.log}")

    def stop(self) -> None:
        """Ask it to end and wait until it has."""
        process = self._process
        if process is None:
            return
        send(process, SIGTERM)
        if not wait_until(lambda: not alive(process), START_TIMEOUT):
            raise HostError(f"{self.title} did not end within {START_TIMEOUT:g} s of SIGTERM")

    def resident_mb(self) -> float:
        """Memory that it holds now, in MB of 10^6 bytes (proc_pid_statm(5), resident)."""
        return resident_mb(self.pid)

    def cpu_seconds(self) -> float:
        """Processor time that it and its ended children used so far (proc_pid_stat(5), utime to cstime)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def _answers(self) -> bool:
        try:
            plugin = Plugin(self.dial)
            plugin.call("Plugin.Activate")
        except OSError:
            return False
        plugin.close()
        return True


class Ours(Driver):
    """This project's overlay driver, on a Unix socket and on TCP."""

    def __init__(self, title: str, machine: Machine) -> None:
        self._socket = machine.paths.run / "docker" / "plugins" / "ovndocker.sock"
        listen = (f"--unix-socket=/run/docker/plugins/{self._socket.name}", f"--bind-port={OUR_PORT}")
        command = [find_driver() or "", "--driver-name=ovndocker", *listen, "--bind-ip=127.0.0.1"]
        super().__init__(title, "ovndocker", machine, command)

    @property
    def dial(self) -> Dial:
        """Over the Unix socket."""
        return dial_unix(self._socket)

    @property
    def dial_tcp(self) -> Dial:
        """Over TCP, as the incumbent is reached."""
        return dial_tcp(OUR_PORT, self.pid)


class Incumbent(Driver):
    """The driver of Debian's package ovn-docker, run in place."""

    def __init__(self, title: str, machine: Machine) -> None:
        super().__init__(title, "openvswitch", machine, ["/usr/bin/python3", "-c", _INCUMBENT])

    @property
    def dial(self) -> Dial:
        """Over TCP: it has no other way."""
        return dial_tcp(INCUMBENT_PORT, self.pid)

    @staticmethod
    def installed(exists: Callable[[Path], bool] = Path.exists) -> bool:
        """Whether the package is there."""
        return exists(INCUMBENT_PROGRAM)
