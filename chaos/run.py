"""A run: rounds of commands and faults, and a check every few minutes and at the end."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from chaos.faults import Fault
from chaos.oracle import LOST, Difference
from chaos.plan import Command, Round, rounds
from chaos.stats import FAILED, OK, TIMEOUT, Stats
from chaos.testbed import ChaosTestbed
from ovn_docker.errors import OvnDockerError

COMMAND_TIMEOUT = 60.0
AT_ONCE = 2
"""Commands on one host at the same time."""


class Log:
    """Takes a line for each step; threads may write at the same time."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, line: str) -> None:
        """Write a line with the time before it."""
        with self._lock:
            self._file.write(f"{datetime.now(UTC):%H:%M:%S.%f} {' '.join(line.split())}\n")
            self._file.flush()


@dataclass(frozen=True, slots=True)
class Choices:
    """What the run was asked to do.

    Attributes:
        seed: of the plan.
        minutes: how long things are broken; the last check comes on top.
        every: minutes between two checks.
    """

    seed: int
    minutes: float
    every: float


@dataclass(slots=True)
class Run:
    """One run in a lab."""

    testbed: ChaosTestbed
    log: Log
    stats: Stats
    _down: set[str] = field(default_factory=set)
    _broken: list[Difference] = field(default_factory=list)

    def run(self, choices: Choices) -> list[Difference]:
        """Carry out the plan until the time is up or something is wrong.

        Returns:
            What the last check found.
        """
        started = time.monotonic()
        check_at = started + 60 * min(choices.every, choices.minutes)
        end = started + 60 * choices.minutes
        machines = len(self.testbed.machines)
        with ThreadPoolExecutor(max_workers=AT_ONCE * machines + machines) as pool:
            for one in rounds(choices.seed, len(self.testbed.lab.hosts)):
                self._round(pool, one)
                if time.monotonic() >= check_at:
                    if (found := self.check()) or time.monotonic() >= end:
                        return found
                    check_at = min(end, time.monotonic() + 60 * choices.every)
        raise AssertionError("the plan has no end")

    def check(self) -> list[Difference]:
        """Repair everything, let it settle, and compare."""
        self.log.write("check: repairing all parts")
        found = self._broken + self.testbed.repair_all()
        started = time.monotonic()
        self.stats.compared, differences = self.testbed.check(
            lambda difference: self.log.write(f"not yet: {difference}")
        )
        self.stats.add_check(time.monotonic() - started)
        found += differences
        self.log.write(f"check: {len(found)} differences, {self.stats.compared}")
        for difference in found:
            self.log.write(f"check: {difference}")
        return found

    def _round(self, pool: ThreadPoolExecutor, one: Round) -> None:
        self.log.write(f"round {one.number}")
        works: list[Future[None]] = [
            pool.submit(self._commands, commands[first::AT_ONCE])
            for commands in one.commands
            for first in range(AT_ONCE)
        ]
        works += [pool.submit(self._fault, fault) for fault in one.faults]
        for work in works:
            work.result()
        self.stats.rounds += 1

    def _commands(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.testbed.pause(command.pause)
            if self.testbed.stop.is_set():
                return
            self._command(command)

    def _command(self, command: Command) -> None:
        host = self.testbed.lab.hosts[command.host - 1]
        down, started = set(self._down), time.monotonic()
        outcome, message = OK, ""
        try:
            done = host.docker(*command.words, timeout=COMMAND_TIMEOUT, check=False)
            if done.returncode != 0:
                outcome, message = FAILED, done.stderr[-400:]
        except OvnDockerError as error:
            outcome, message = (TIMEOUT if "took longer" in str(error) else FAILED), str(error)[-400:]
        down |= self._down
        self.stats.add_command(command.verb, outcome, calm=not down)
        during = f" during {', '.join(sorted(down))}" if down else ""
        seconds = time.monotonic() - started
        words = " ".join(command.words)
        self.log.write(f"{host.name}: {words}: {outcome} in {seconds:.1f} s{during} {message}")

    def _fault(self, fault: Fault) -> None:
        self.testbed.pause(fault.delay)
        if self.testbed.stop.is_set():
            return
        self._down.add(str(fault))
        self.log.write(f"fault: {fault} for {fault.hold} s")
        try:
            seconds = self.testbed.break_and_repair(fault)
        except OvnDockerError as error:
            if not self.testbed.stop.is_set():
                notes = " ".join(getattr(error, "__notes__", ()))
                self.log.write(f"fault: {fault} cannot be repaired: {error} {notes}")
                self._broken.append(Difference(LOST, "daemon", str(fault), fault.machine, str(error)))
        else:
            self.stats.add_fault(fault.title, seconds)
            self.log.write(f"fault: {fault} is repaired, which took {seconds:.1f} s")
        finally:
            self._down.discard(str(fault))
