"""The command scripts/bench."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench import tables
from bench.figures import Results
from bench.place import Place
from bench.plan import FULL, QUICK, Plan
from bench.run import read, run
from ovn_docker.errors import OvnDockerError

_DESCRIPTION = """\
Compare this driver, the incumbent (Debian's package ovn-docker, run in place) and Docker's
bridge, in one run on an emulated host of its own. Needs root. About 15 minutes, --quick about 3.
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
    made.add_argument(
        "--json",
        type=Path,
        default=Path("bench-results.json"),
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
    made.add_argument(
        "--name", default=f"bench{os.getpid() % 10000}", help="name of the lab (default: a new one)"
    )
    return made


def _ports(text: str) -> tuple[int, ...]:
    numbers = {int(word.replace("_", "")) for word in text.split(",")}
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError("no number of ports is negative")
    return tuple(sorted(numbers | {0}))


def plan(arguments: argparse.Namespace) -> Plan:
    """What the flags ask for; 0 other ports are always measured, as others are compared with that."""
    chosen = QUICK if arguments.quick else FULL
    return replace(chosen, ports=arguments.ports) if arguments.ports else chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    try:
        results = read(arguments.source) if arguments.source else _measure(arguments, words)
        _show(arguments, results)
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
    # An end by SIGTERM takes the lab down too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    load, _, _ = os.getloadavg()
    if load > tables.BUSY:
        _progress(f"this machine is busy (load average {load:.1f}): figures will be higher than they should")
    with Place(arguments.name, _progress) as place:
        results = Results(
            command=" ".join(["sudo scripts/bench", *words]),
            date=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=place.machine(),
            load=round(load, 1),
            failures=place.failures,
        )
        try:
            run(place, plan(arguments), results, arguments.json)
        except KeyboardInterrupt:
            results.failures.append("interrupted")
    return results


def _progress(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


def _show(arguments: argparse.Namespace, results: Results) -> None:
    sys.stdout.write(tables.markdown(results) if arguments.markdown else tables.text(results))
    if arguments.document:
        arguments.document.write_text(tables.put_into(arguments.document.read_text(), results))
