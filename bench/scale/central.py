"""A Southbound with an ovn-northd that fills it from a Northbound."""

import time
from collections.abc import Sequence
from pathlib import Path

from bench.ipam.servers import SOUTHBOUND, Server, stop
from bench.scale.clock import Clock
from ovn_docker.errors import HostError
from ovn_docker.ovsdb.operations import Operation, select, update
from ovn_docker_lab.processes import Process, spawn
from ovn_docker_lab.requirements import environment, find_program

MOST_MEMORY = 14 << 30
"""Bytes of address space for ovn-northd: with 100,000 ports it needs a quarter of that."""

_LOOK = 0.05


class Central:
    """The two processes, up until `stop`.

    Attributes:
        southbound: the server.
    """

    def __init__(self, directory: Path, clock: Clock, northbound: Server) -> None:
        """Start them.

        Args:
            directory: for their files; a new one.
            clock: says how long one may wait for them.
            northbound: the server that is read, over its Unix socket, on which nobody is probed.
        """
        self._clock = clock
        self._northbound = northbound.connect()
        self._tries = 0
        self._process: Process | None = None
        self.southbound = Server(directory, SOUTHBOUND)
        try:
            self.southbound.create()
            self.southbound.start()
            self._process = _northd(directory, northbound, self.southbound)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """Of ovn-northd."""
        assert self._process is not None
        return self._process.pid

    def transact(self, operations: Sequence[Operation]) -> None:
        """Change Northbound."""
        self._northbound.transact(operations)

    def catch_up(self, seconds: float) -> float:
        """Wait until Southbound has what Northbound has now; seconds that it took."""
        self._tries += 1
        began = time.monotonic()
        end = began + self._clock.left(seconds)
        while self._written() != self._tries:
            if time.monotonic() > end:
                raise HostError(f"ovn-northd has not written Southbound after {seconds:.0f} s")
            time.sleep(_LOOK)
        return time.monotonic() - began

    def _written(self) -> int:
        """The last try that Southbound has; as ovn-northd makes the row, each look asks anew."""
        requested = {"nb_cfg": self._tries}
        ahead = [("nb_cfg", "!=", self._tries)]
        rows = self._northbound.transact(
            [update("NB_Global", ahead, requested), select("NB_Global", [], ["sb_cfg"])]
        )[1]["rows"]
        return rows[0]["sb_cfg"] if rows else 0

    def stop(self) -> None:
        """End both."""
        stop(self._process)
        self.southbound.stop()
        self._northbound.close()


def _northd(directory: Path, northbound: Server, southbound: Server) -> Process:
    program = find_program("ovn-northd") or "ovn-northd"
    command = [
        *(find_program("prlimit") or "prlimit", f"--as={MOST_MEMORY}"),
        *(program, "-vconsole:warn", f"--unixctl={directory / 'northd'}"),
        *(f"--ovnnb-db=unix:{northbound.socket}", f"--ovnsb-db=unix:{southbound.socket}"),
    ]
    return spawn(command, directory / "northd.log", environment(OVN_RUNDIR=str(directory)))
