"""A run: rounds of commands and faults, and a judgement every few minutes and in the end."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from chaos.judge import LOST, Difference
from chaos.place import Place
from chaos.plan import Command, Round, rounds
from chaos.tally import FAILED, OK, TIMEOUT, Tally
from chaos.weather import Fault
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
    """What the run was asked to be.

    Attributes:
        seed: of the plan.
        minutes: how long things are broken; the last judgement comes on top.
        every: minutes between two judgements.
    """

    seed: int
    minutes: float
    every: float


@dataclass(slots=True)
class Run:
    """One run in a lab."""

    place: Place
    log: Log
    tally: Tally
    _down: set[str] = field(default_factory=set)
    _broken: list[Difference] = field(default_factory=list)

    def run(self, choices: Choices) -> list[Difference]:
        """Carry out the plan until the time is up or something is wrong.

        Returns:
            What the last judgement found.
        """
        started = time.monotonic()
        judge_at = started + 60 * min(choices.every, choices.minutes)
        end = started + 60 * choices.minutes
        machines = len(self.place.machines)
        with ThreadPoolExecutor(max_workers=AT_ONCE * machines + machines) as pool:
            for one in rounds(choices.seed, len(self.place.lab.hosts)):
                self._round(pool, one)
                if time.monotonic() >= judge_at:
                    if (found := self.judge()) or time.monotonic() >= end:
                        return found
                    judge_at = min(end, time.monotonic() + 60 * choices.every)
        raise AssertionError("the plan has no end")

    def judge(self) -> list[Difference]:
        """Repair everything, let it settle, and compare."""
        self.log.write("judge: repairing all parts")
        found = self._broken + self.place.repair_all()
        started = time.monotonic()
        self.tally.judged, differences = self.place.judge(lambda each: self.log.write(f"not yet: {each}"))
        self.tally.add_judgement(time.monotonic() - started)
        found += differences
        self.log.write(f"judge: {len(found)} differences, {self.tally.judged}")
        for each in found:
            self.log.write(f"judge: {each}")
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
        self.tally.rounds += 1

    def _commands(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.place.pause(command.pause)
            if self.place.stop.is_set():
                return
            self._command(command)

    def _command(self, command: Command) -> None:
        host = self.place.lab.hosts[command.host - 1]
        down, started = set(self._down), time.monotonic()
        outcome, said = OK, ""
        try:
            done = host.docker(*command.words, timeout=COMMAND_TIMEOUT, check=False)
            if done.returncode != 0:
                outcome, said = FAILED, done.stderr[-400:]
        except OvnDockerError as error:
            outcome, said = (TIMEOUT if "took longer" in str(error) else FAILED), str(error)[-400:]
        down |= self._down
        self.tally.add_command(command.verb, outcome, calm=not down)
        during = f" during {', '.join(sorted(down))}" if down else ""
        seconds = time.monotonic() - started
        words = " ".join(command.words)
        self.log.write(f"{host.name}: {words}: {outcome} in {seconds:.1f} s{during} {said}")

    def _fault(self, fault: Fault) -> None:
        self.place.pause(fault.delay)
        if self.place.stop.is_set():
            return
        self._down.add(str(fault))
        self.log.write(f"fault: {fault} for {fault.hold} s")
        try:
            seconds = self.place.break_and_repair(fault)
        except OvnDockerError as error:
            if not self.place.stop.is_set():
                notes = " ".join(getattr(error, "__notes__", ()))
                self.log.write(f"fault: {fault} cannot be repaired: {error} {notes}")
                self._broken.append(Difference(LOST, "daemon", str(fault), fault.machine, str(error)))
        else:
            self.tally.add_fault(fault.title, seconds)
            self.log.write(f"fault: {fault} is repaired, which took {seconds:.1f} s")
        finally:
            self._down.discard(str(fault))
