"""The command scripts/bench vm."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.cli import add_output_arguments, begin, carry_out
from bench.figures import Results
from bench.run import write
from bench.vm.machines import TREE, pair
from bench.vm.page import PAGE

_DESCRIPTION = """\
Measure this driver beside Docker's bridge and Docker's own overlay, with the kernel's datapath, on two
machines that scripts/vm makes and that are gone afterwards. Needs root. About 30 minutes, --quick about 10;
longer where scripts/vm has no kernel and no image yet.
"""

MEASURE_TIMEOUT = 5400.0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scripts/bench vm",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="few samples, in about 10 minutes")
    add_output_arguments(made, Path("bench-vm-results.json"))
    made.add_argument(
        "--name", default=f"bench{os.getpid() % 10000}", help="name of the machines' lab (default: a new one)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return carry_out(arguments, lambda: _measure(arguments, words), PAGE)


def _measure(arguments: argparse.Namespace, words: Sequence[str]) -> Results:
    os.environ.pop("PYTHONPATH", None)
    load, started = begin(), time.monotonic()
    file = "/root/results.json"
    flags = "--quick" if arguments.quick else ""
    with pair(arguments.name) as (first, second):
        python = f"cd {TREE}\n/opt/ovn-docker/bin/python -m bench.vm.inside"
        measure = f"{python} --json {file} --other {second.address} {flags}"
        first.run(measure, MEASURE_TIMEOUT, show=True)
        results = msgspec.json.decode(first.run(f"cat {file}"), type=Results)
    results.command = " ".join(["scripts/bench vm", *words])
    results.load, results.seconds = load, round(time.monotonic() - started, 1)
    write(results, arguments.json)
    return results
