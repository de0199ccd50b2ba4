"""The command scripts/bench."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench import tables
from bench.figures import Machine, Results
from bench.place import Place
from bench.plan import FULL, QUICK, Plan
from bench.run import contest, read, run
from ovn_docker.errors import OvnDockerError

_DESCRIPTION = """\
Compare this driver, the incumbent (Debian's package ovn-docker, run in place) and Docker's
bridge, in one run on an emulated host of its own. Needs root. About 10 minutes, --quick about 3.

scripts/bench ipam measures how fast addresses are leased instead, scripts/bench health what a reading of
the health check costs, scripts/bench scale what 1,000 hosts do to OVN's databases, scripts/bench ip-lookup
what IP lookups do, scripts/bench underlay the underlay driver on a real Neutron, scripts/bench vm the
kernel's datapath beside Docker's own overlay; each has a --help.
"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scripts/bench", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="few samples, in about 3 minutes")
    made.add_argument(
        "--ports",
        type=_ports,
        metavar="N,...",
        help="numbers of other ports in Northbound (default: 0,10000,100000; with --quick: 0,10000). With"
        " more than 20000 only what needs no ovn-northd is measured",
    )
    add_output_arguments(made, Path("bench-results.json"))
    made.add_argument(
        "--name", default=f"bench{os.getpid() % 10000}", help="name of the lab (default: a new one)"
    )
    return made


def add_output_arguments(made: argparse.ArgumentParser, file: Path) -> None:
    """Add the flags that say where results go; `file` is where they are written by default."""
    made.add_argument(
        "--json",
        type=Path,
        default=file,
        metavar="FILE",
        help="where to write the results (default: %(default)s)",
    )
    made.add_argument(
        "--from", type=Path, metavar="FILE", dest="source", help="show earlier results, measure nothing"
    )
    made.add_argument("--markdown", action="store_true", help="print Markdown")
    made.add_argument(
        "--document", type=Path, metavar="FILE", help="put the tables between this file's marks too"
    )


def _ports(text: str) -> tuple[int, ...]:
    return tuple(sorted({0, *number_list(text)}))


def number_list(text: str) -> tuple[int, ...]:
    """Numbers of ports, as "0,100_000", ascending.

    Raises:
        argparse.ArgumentTypeError: one is negative.
        ValueError: one is no number.
    """
    numbers = {int(word.replace("_", "")) for word in text.split(",")}
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError("no number of ports is negative")
    return tuple(sorted(numbers))


def plan(arguments: argparse.Namespace) -> Plan:
    """What the flags ask for; 0 other ports are always measured, as others are compared with that."""
    chosen = QUICK if arguments.quick else FULL
    return replace(chosen, ports=arguments.ports) if arguments.ports else chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return carry_out(arguments, lambda: _measure(arguments, words), tables.CONTEST)


def carry_out(arguments: argparse.Namespace, measure: Callable[[], Results], page: tables.Page) -> int:
    """Measure, or read what was measured earlier, and show it; returns the exit status."""
    try:
        results = read(arguments.source) if arguments.source else measure()
        _show(arguments, results, page)
    except (OvnDockerError, OSError, ValueError, msgspec.DecodeError) as error:
        sys.stderr.write(f"scripts/bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("scripts/bench: interrupted\n")
        return 130
    return 1 if results.failures or not results.complete else 0


def _measure(arguments: argparse.Namespace, words: Sequence[str]) -> Results:
    # What runs in the lab must not find this clone's modules.
    os.environ.pop("PYTHONPATH", None)
    load = begin()
    with Place(arguments.name, progress) as place:
        results = new_results("scripts/bench", words, place.machine(), load)
        results.failures = place.failures
        run(contest(place, plan(arguments)), results, arguments.json, place.report)
    return results


def begin() -> float:
    """Get ready to measure: an end by SIGTERM takes everything down too. Returns the load average."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load, _, _ = os.getloadavg()
    if load > tables.BUSY:
        progress(f"this machine is busy (load average {load:.1f}): figures will be higher than they should")
    return round(load, 1)


def new_results(program: str, words: Sequence[str], machine: Machine, load: float) -> Results:
    """Results of a run that begins now, without figures."""
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Results(command=" ".join([program, *words]), date=date, machine=machine, load=load)


def progress(line: str) -> None:
    """Say on standard error what is being done."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


def _show(arguments: argparse.Namespace, results: Results, page: tables.Page) -> None:
    sys.stdout.write(tables.markdown(results, page) if arguments.markdown else tables.text(results, page))
    if arguments.document:
        document = arguments.document.read_text()
        arguments.document.write_text(tables.put_into(document, results, page))
