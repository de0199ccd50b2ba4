"""A second driver beside the usual one of a host."""

import os
import signal
from dataclasses import dataclass

from ovn_docker_lab import Machine
from ovn_docker_lab.processes import start_time
from ovn_docker_lab.requirements import find_driver
from tests.integration.tenant import Result
from tests.polling import eventually


@dataclass(frozen=True, slots=True)
class Driver:
    """A second driver on a host, under a name of its own: dockerd asks a driver only once what it is."""

    host: Machine
    name: str

    @property
    def pidfile(self) -> str:
        return f"/run/{self.name}.pid"

    @property
    def spec(self) -> str:
        """Where Docker reads how to reach it."""
        return f"/etc/docker/plugins/{self.name}.spec"

    @property
    def json(self) -> str:
        """The same with TLS."""
        return f"/etc/docker/plugins/{self.name}.json"

    @property
    def docker_option(self) -> str:
        """What makes a network its own."""
        return f"--driver={self.name}"

    def launch(self, *flags: str) -> Result:
        """Run its program; with --detach this returns when the driver answers, or has failed."""
        program = find_driver()
        assert program is not None
        own = (f"--driver-name={self.name}", "--docker-driver-scope=local")
        command = ["env", "--chdir=/tmp", program, *own, *flags]
        return self.host.run(command, check=False, timeout=20)

    def start(self, *flags: str) -> int:
        """Start it in the background and return its process id."""
        done = self.launch("--detach", f"--pidfile={self.pidfile}", *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        return self.pid()

    def pid(self) -> int:
        """Its process id, from its pidfile; 0 without one."""
        text = self.read(self.pidfile)
        return int(text) if text else 0

    def read(self, path: str) -> str:
        """A file of its host, "" when there is none."""
        return self.host.run(["cat", path], check=False).stdout

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait until it has ended."""
        pid = self.pid()
        os.kill(pid, number)
        eventually(lambda: start_time(pid) is None, 15, "the second driver has ended")

    def listening(self) -> set[str]:
        """TCP addresses on which it listens."""
        lines = self.host.run(["ss", "-Hltnp"]).stdout.splitlines()
        return {line.split()[3] for line in lines if f"pid={self.pid()}," in line}

    def fetch(self, url: str, *options: str) -> str:
        """What a URL gives on its host."""
        return self.host.run(["timeout", "5", "busybox", "wget", "-qO-", *options, url], check=False).stdout
