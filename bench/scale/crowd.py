"""The processes with the hosts' drivers, as the measuring process sees them."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.drivers import resident_mb
from bench.scale.clock import Clock
from bench.scale.plan import ScalePlan
from ovn_docker.errors import HostError
from ovn_docker_lab.requirements import environment

_END = 3.0
"""Seconds for a process to end after its standard input is closed."""

_MANY = 1 << 16


class Crowd:
    """Hosts, spread over processes."""

    def __init__(
        self, directory: Path, clock: Clock, hosts: Sequence[Sequence[int]], plan: ScalePlan
    ) -> None:
        """Start a process for each group of hosts; no driver runs yet.

        Args:
            directory: for their files; a new one.
            clock: says how long one may wait for them.
            hosts: their numbers, by process.
            plan: which containers they have.
        """
        directory.mkdir()
        self._clock = clock
        # This machine's OVN must not be found: the variables with its directories name an empty one.
        nowhere = directory / "nowhere"
        nowhere.mkdir()
        settings = environment(OVS_RUNDIR=str(nowhere), OVN_SYSCONFDIR=str(nowhere))
        settings["PYTHONPATH"] = str(Path(__file__).parents[2])
        self._processes: list[subprocess.Popen[bytes]] = []
        self._asked = 0
        try:
            for number, _ in enumerate(hosts):
                with (directory / f"log{number}").open("wb") as log:
                    self._processes.append(_spawn(settings, log.fileno()))
            for process, numbers in zip(self._processes, hosts, strict=True):
                command = {"directory": str(directory), "hosts": numbers, "plan": asdict(plan)}
                _tell(process, {"do": "make", "number": self._asked, **command})
            self._answers(60)
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, timeout: float = 60, **arguments: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        """Give all processes the same command; an answer of each.

        Args:
            do: a method of `worker.Worker`.
            timeout: seconds to wait for the last answer.
            arguments: of the method.
        """
        self._asked += 1
        for process in self._processes:
            _tell(process, {"do": do, "number": self._asked, **arguments})
        return self._answers(timeout)

    def memory(self) -> float:
        """Of all processes, in MB of 10^6 bytes."""
        return sum(resident_mb(process.pid) for process in self._processes)

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _answers(self, seconds: float) -> list[dict[str, Any]]:
        deadline = time.monotonic() + self._clock.left(seconds)
        return [_answer(process, self._asked, deadline) for process in self._processes]


def _spawn(settings: dict[str, str], log: int) -> "subprocess.Popen[bytes]":
    # In a session of its own: an interrupt at the terminal is this process's to act on.
    return subprocess.Popen(
        [sys.executable, "-m", "bench.scale.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=settings,
        start_new_session=True,
        bufsize=0,
    )


def _tell(process: "subprocess.Popen[bytes]", command: dict[str, Any]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(command).encode() + b"\n")


def _answer(process: "subprocess.Popen[bytes]", number: int, deadline: float) -> dict[str, Any]:
    """The answer to the command of a number; earlier ones that nobody waited for are dropped."""
    answer: dict[str, Any] = {}
    while answer.get("number") != number:
        answer = json.loads(b"".join(_pieces(process, deadline)))
    if "error" in answer:
        raise HostError(f"a process with drivers failed: {answer['error']}")
    return answer


def _pieces(process: "subprocess.Popen[bytes]", deadline: float) -> Iterator[bytes]:
    """A line; there is at most one, for each process is asked one thing at a time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise HostError("a process with drivers does not answer in time")
            piece = os.read(process.stdout.fileno(), _MANY)
            if not piece:
                raise HostError("a process with drivers has ended")
            yield piece
            if piece.endswith(b"\n"):
                return
