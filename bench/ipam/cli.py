"""The command scripts/bench ipam."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli import add_output_arguments, begin, carry_out, new_results, number_list, progress
from bench.figures import Machine, Results
from bench.ipam import disk
from bench.ipam.measure import parts
from bench.ipam.page import PAGE
from bench.ipam.plan import FULL, QUICK, Plan
from bench.run import run
from ovn_docker_lab.requirements import find_program

_DESCRIPTION = """\
Measure how fast addresses are leased: RequestAddress over HTTP from driver processes on a private
Northbound. It touches nothing of this machine's OVN. Below 10 minutes, --quick below 2.
"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scripts/bench ipam",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="few samples and no other ports, below 2 minutes")
    made.add_argument(
        "--ports",
        type=number_list,
        metavar="N,...",
        help="numbers of other ports in Northbound (default: 0,100000; with --quick: 0)",
    )
    made.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108 (tmpfile: on a disk, unlike /tmp; the directory in it is private)
        metavar="DIR",
        help="where the databases are, for the time of the run; on a disk, as a lease is on disk before it is"
        " answered (default: %(default)s)",
    )
    add_output_arguments(made, Path("bench-ipam-results.json"))
    return made


def plan(arguments: argparse.Namespace) -> Plan:
    """What the flags ask for."""
    chosen = QUICK if arguments.quick else FULL
    return replace(chosen, ports=arguments.ports) if arguments.ports else chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return carry_out(arguments, lambda: _measure(arguments, words), PAGE)


def _measure(arguments: argparse.Namespace, words: Sequence[str]) -> Results:
    load = begin()
    with tempfile.TemporaryDirectory(prefix="ovn-docker-bench-", dir=arguments.directory) as name:
        directory = Path(name).resolve()
        results = new_results("scripts/bench ipam", words, _machine(directory), load)
        kind = disk.filesystem(directory, Path("/proc/mounts").read_text())
        if kind in disk.MEMORY:
            results.failures.append(f"{arguments.directory} is in memory: name a disk with --directory")
        run(parts(directory, plan(arguments), results, progress), results, arguments.json, progress)
    return results


def _machine(directory: Path) -> Machine:
    kind = disk.filesystem(directory, Path("/proc/mounts").read_text())
    return machine_with(f"databases on {kind}, where 1 kB is on disk after {disk.sync_ms(directory):.2f} ms")


def machine_with(disk: str) -> Machine:
    """This machine, on which database servers and Python run; `disk` as in Machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=os.cpu_count() or 0,
        memory_gb=round(memory / 1e9, 1),
        kernel=os.uname().release,
        disk=disk,
        versions={"ovsdb-server": version("ovsdb-server"), "Python": sys.version.split()[0]},
    )


def version(program: str) -> str:
    """What a program says of its version, or "none"."""
    command = [find_program(program) or program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.splitlines()[0].split()[-1] if done.stdout else "none"
