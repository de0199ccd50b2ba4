"""A driver process that is killed at a chosen step: as it sends its Nth transaction, or as the answer comes.

Between two transactions a driver that is killed leaves what the earlier one left, so these are all the steps
that differ outside of it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovn_docker.ovsdb.jsonrpc import Message
from tests.functional.servers import Proxy
from tests.polling import eventually

PROGRAM = Path(sys.executable).with_name("ovn-docker-overlay-driver")
BEFORE, AFTER = "before", "after"
"""Whether the server still got the transaction that the driver died of."""


@dataclass
class Fuse:
    """Counts the transactions that a driver sends, to any database, and kills it at one of them.

    Attributes:
        kill: what kills it; it is dead when this returns.
        step: the number of the deadly transaction, from 1; 0 for none.
        moment: BEFORE or AFTER.
        count: of transactions since it was set.
        blown: whether it has killed.
    """

    kill: Callable[[], None] = lambda: None
    step: int = 0
    moment: str = BEFORE
    count: int = 0
    blown: bool = False
    fatal: set[tuple[int, Any]] = field(default_factory=set)

    def set(self, step: int, moment: str) -> None:
        """Kill at that step from now on."""
        self.step, self.moment, self.count, self.blown = step, moment, 0, False
        self.fatal.clear()

    def sent(self, connection: int, number: Any) -> bool:  # noqa: ANN401  (an id of JSON-RPC)
        """Take note of a transaction; False when the driver has died of it."""
        self.count += 1
        if self.count != self.step:
            return True
        if self.moment == AFTER:
            self.fatal.add((connection, number))
            return True
        self._blow()
        return False

    def answered(self, connection: int, number: Any) -> bool:  # noqa: ANN401
        """Take note of an answer; False when the driver has died before it."""
        if (connection, number) not in self.fatal:
            return True
        self._blow()
        return False

    def _blow(self) -> None:
        self.kill()
        self.blown = True


class FusedProxy(Proxy):
    """Stands between the driver and one database."""

    def __init__(self, path: Path, target: Path, fuse: Fuse) -> None:
        super().__init__(path, target)
        self._fuse = fuse

    def _watch_request(self, message: Message) -> bool:
        if message.get("method") == "transact":
            return self._fuse.sent(id(self), message["id"])
        return True

    def _watch_reply(self, message: Message) -> bool:
        return "result" not in message or self._fuse.answered(id(self), message.get("id"))


class DriverProcess:
    """A real driver process on a unix socket, which can be killed and started again."""

    def __init__(self, directory: Path, ovsdb: str, *flags: str, apart: bool = False) -> None:
        """Know how to start it; `apart` is in a network namespace of its own, whose links end with it."""
        self.socket = directory / "driver.sock"
        self.state_file = directory / "state" / "state.json"
        self.log = directory / "driver.log"
        self._command = [
            *(("unshare", "--net") if apart and os.geteuid() == 0 else ()),
            str(PROGRAM),
            *("--unix-socket", str(self.socket), "--plugin-dir", str(directory / "plugins")),
            *("--state-file", str(self.state_file), "--ovsdb", ovsdb, *flags),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._accepts, 20, f"{self.socket} accepts connections")

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def lines(self, level: str = "") -> list[str]:
        """What it logged, or those lines of a level."""
        return [line for line in self.log.read_text().splitlines() if f"|{level}" in line]


@contextlib.contextmanager
def driver_process(directory: Path, ovsdb: str, *flags: str, apart: bool = False) -> Iterator[DriverProcess]:
    """A driver process that runs, and is ended with its test."""
    driver = DriverProcess(directory, ovsdb, *flags, apart=apart)
    driver.start()
    try:
        yield driver
    finally:
        driver.kill()
