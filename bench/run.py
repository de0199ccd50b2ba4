"""What every bench has: its flags, the file of its results, and its parts one after the other."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bench.figures import Figure, Machine, Results
from bench.tables import Page
from ovn_docker_lab.requirements import find_program

Part = tuple[str, Callable[[], list[Figure]]]

_Plan = TypeVar("_Plan", bound=Any)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a bench.

    Attributes:
        arguments: the flags.
        command: what was typed.
        load: load average of the last minute before the start.
    """

    arguments: argparse.Namespace
    command: str
    load: float

    def plan(self, full: _Plan, quick: _Plan, *flags: str) -> _Plan:
        """The sizes of a full or a quick run, changed by those flags that have the names of fields."""
        given = {name: getattr(self.arguments, name) for name in flags}
        chosen = quick if self.arguments.quick else full
        return replace(chosen, **{name: value for name, value in given.items() if value is not None})

    def results(self, machine: Machine) -> Results:
        """Results of a run that begins now, without figures."""
        return new_results(self.command, machine, self.load)

    def measure(self, parts: Iterable[Part], results: Results) -> Results:
        """Measure everything into `results`, and write them to the file that the flags name."""
        return measure(parts, results, self.arguments.json)


def _no_flags(_parser: argparse.ArgumentParser) -> None:
    """Add no flags."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench of `scripts/bench`.

    Attributes:
        name: the word that chooses it.
        summary: what it measures, a line of the list of benches.
        description: of its --help.
        page: how its results are shown.
        measure: carries out a run.
        quick: what --quick does; empty where the bench has no such flag, as of the next three.
        ports: the defaults of --ports.
        directory: what --directory is for.
        lab: what --name names.
        add_flags: adds its own flags.
    """

    name: str
    summary: str
    description: str
    page: Page
    measure: Callable[[Run], Results]
    quick: str = ""
    ports: str = ""
    directory: str = ""
    lab: str = ""
    add_flags: Callable[[argparse.ArgumentParser], None] = _no_flags


def measure(parts: Iterable[Part], results: Results, file: Path) -> Results:
    """Measure part after part and write what there is after each; an interrupt ends it with a failure.

    A part that fails does not take the others with it.
    """
    try:
        _in_turn(parts, results, file)
    except KeyboardInterrupt:
        results.failures.append("interrupted")
    return results


def _in_turn(parts: Iterable[Part], results: Results, file: Path) -> None:
    started = time.monotonic()
    for name, work in parts:
        progress(name)
        try:
            results.figures += work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other parts shall have their turn
            failure = " ".join(f"{name.strip()}: {type(error).__name__}: {error}".split())
            results.failures.append(failure)
            progress(f"  FAILED {failure}")
        results.seconds = round(time.monotonic() - started, 1)
        write(results, file)
    results.complete = True
    write(results, file)


def new_results(command: str, machine: Machine, load: float) -> Results:
    """Results of a run that begins now, without figures."""
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Results(command=command, date=date, machine=machine, load=load)


def this_machine(
    versions: Mapping[str, str], *, datapath: str = "", disk: str = "", virtual: str = ""
) -> Machine:
    """The machine that this runs on; `datapath` is OVS's type, "system" or "netdev", or empty."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=os.cpu_count() or 0,
        memory_gb=round(memory / 1e9, 1),
        kernel=os.uname().release,
        datapath={"": "", "netdev": "userspace"}.get(datapath, "kernel"),
        disk=disk,
        virtual=virtual,
        versions=dict(versions),
    )


def version(program: str) -> str:
    """What a program says of its version, or "none"."""
    command = [find_program(program) or program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.splitlines()[0].split()[-1] if done.stdout else "none"


def progress(line: str) -> None:
    """Say on standard error what is being done."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


def write(results: Results, file: Path) -> None:
    """Write results as JSON, whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    new.replace(file)


def read(file: Path) -> Results:
    """Read what write() wrote."""
    return msgspec.json.decode(file.read_bytes(), type=Results)
