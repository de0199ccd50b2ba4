"""Counts of what was done and how it went, and their text; does no I/O."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from chaos.oracle import STALE, Difference

OK, FAILED, TIMEOUT = "ok", "failed", "timeout"


@dataclass(slots=True)
class Stats:
    """Counts of a run, which many threads add to.

    Attributes:
        commands: how often each verb had each outcome.
        calm_failures: how many commands failed while no part was down.
        faults: how often each kind of fault was survived.
        rounds: how many were finished.
        checks: how often everything was compared.
        compared: what the last check saw: containers, networks, pairs that had to reach each other.
        slowest: the longest time in seconds that a part took to start again, and which.
        settled: the longest time in seconds from the repair of everything to the end of a check.
    """

    commands: Counter[tuple[str, str]] = field(default_factory=Counter)
    calm_failures: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    checks: int = 0
    compared: dict[str, int] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")
    settled: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_command(self, verb: str, outcome: str, *, calm: bool) -> None:
        """Count a command; calm: no part was down meanwhile."""
        with self._lock:
            self.commands[verb, outcome] += 1
            self.calm_failures += calm and outcome != OK

    def add_fault(self, title: str, seconds: float) -> None:
        """Count a fault that is repaired; seconds: how long the repair took."""
        with self._lock:
            self.faults[title] += 1
            self.slowest = max(self.slowest, (round(seconds, 1), title))

    def add_check(self, seconds: float) -> None:
        """Count a check and how long it waited for everything to be right."""
        with self._lock:
            self.checks += 1
            self.settled = max(self.settled, round(seconds, 1))

    def line(self) -> str:
        """How it stands, in one line."""
        with self._lock:
            outcomes = Counter[str]()
            for (_, outcome), count in self.commands.items():
                outcomes[outcome] += count
            return (
                f"round {self.rounds + 1}: {outcomes.total()} commands ({outcomes[OK]} ok, "
                f"{outcomes[FAILED]} failed, {outcomes[TIMEOUT]} timed out), {self.faults.total()} faults, "
                f"{self.checks} checks"
            )


class Result(msgspec.Struct, kw_only=True):
    """A run, as it is written with --json."""

    command: str
    seed: int
    hosts: int
    seconds: float
    rounds: int
    commands: Mapping[str, Mapping[str, int]]
    failed_without_fault: int
    faults: Mapping[str, int]
    slowest_repair: tuple[float, str]
    checks: int
    slowest_settling: float
    compared: Mapping[str, int]
    lost: int
    stale: int
    differences: Sequence[str]

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nothing stale."""
        return not self.differences


def result(command: str, seed: int, hosts: int, seconds: float, stats: Stats) -> Result:
    """The result of a run in which no difference was found so far."""
    commands: dict[str, dict[str, int]] = {}
    for (verb, outcome), count in sorted(stats.commands.items()):
        commands.setdefault(verb, {})[outcome] = count
    return Result(
        command=command,
        seed=seed,
        hosts=hosts,
        seconds=round(seconds, 1),
        rounds=stats.rounds,
        commands=commands,
        failed_without_fault=stats.calm_failures,
        faults=dict(sorted(stats.faults.items())),
        slowest_repair=stats.slowest,
        checks=stats.checks,
        slowest_settling=stats.settled,
        compared=stats.compared,
        lost=0,
        stale=0,
        differences=(),
    )


def with_differences(result: Result, differences: Sequence[Difference]) -> Result:
    """The same result with what was found in the end."""
    stale = sum(difference.verdict == STALE for difference in differences)
    return msgspec.structs.replace(
        result,
        lost=len(differences) - stale,
        stale=stale,
        differences=tuple(map(str, differences)),
    )


def text(result: Result, log: str) -> str:
    """A result for people; log: where the steps are."""
    lines = [f"seed {result.seed}, {result.hosts} hosts, {result.seconds:.0f} s, {result.rounds} rounds", ""]
    lines += _table("commands", {verb: _outcomes(counts) for verb, counts in result.commands.items()})
    lines += [f"  {result.failed_without_fault} of them failed while no part was down", ""]
    lines += _table("faults survived", {kind: str(count) for kind, count in result.faults.items()})
    seconds, what = result.slowest_repair
    lines += [f"  the slowest was back after {seconds:.1f} s: {what}"] if what else []
    seen = ", ".join(f"{count} {what}" for what, count in result.compared.items())
    times = f"checked {result.checks} times, after at most {result.slowest_settling:.1f} s"
    lines += ["", f"{times}, the last time {seen}"]
    lines += [f"{result.lost} lost, {result.stale} stale"]
    if result.differences:
        more = len(result.differences) - 1
        lines += ["", f"first difference: {result.differences[0]}", f"and {more} more in {log}"]
        lines += [f"to repeat it: {result.command}"]
    return "\n".join(lines) + "\n"


def _outcomes(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items())


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    return [title, *(f"  {name:24} {value}" for name, value in rows.items())]
