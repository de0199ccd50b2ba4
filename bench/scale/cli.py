"""The command scripts/bench scale."""

import argparse
import contextlib
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.cli import add_output_arguments, begin, carry_out, new_results, progress
from bench.figures import Results
from bench.ipam.cli import machine_with, version
from bench.run import run
from bench.scale.measure import parts
from bench.scale.page import PAGE
from bench.scale.place import running
from bench.scale.plan import FULL, QUICK, SECTIONS, Plan
from ovn_docker.errors import ConfigError

MOST_LOAD = 3.0
"""Above this load average figures tell more of the others than of this."""

OTHER_FILES = 200
"""Of a process, besides one for each driver."""

_DESCRIPTION = """\
Measure OVN with many hosts: 1,000 drivers' part towards Northbound, in a few processes, on a standalone
Northbound and on a 3-node cluster with 100,000 ports and leases; then ovn-northd, Southbound and 20
ovn-controllers. It touches nothing of this machine's OVN. About 15 minutes, --quick about 2.
"""


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scripts/bench scale",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="100 hosts and few samples, in about 2 minutes")
    made.add_argument("--hosts", type=_number, metavar="N", help="drivers (default: 1000)")
    made.add_argument("--containers", type=_number, metavar="N", help="of each host (default: 100)")
    made.add_argument("--chassis", type=_number, metavar="N", help="ovn-controllers (default: 20)")
    made.add_argument(
        "--seconds", type=_seconds, metavar="N", help="for which each thing is measured (default: 8 to 60)"
    )
    made.add_argument(
        "--probe",
        type=_seconds,
        metavar="SECONDS",
        help="of silence, after which Northbound and a driver probe each other (default: 5, as in both);"
        " another number needs Open vSwitch 3.3 or newer",
    )
    made.add_argument(
        "--only",
        action="append",
        choices=SECTIONS,
        help="measure this alone; may be repeated. With 100000 ports southbound needs 9 GB of memory",
    )
    made.add_argument("--busy", action="store_true", help="measure also above a load average of 3")
    made.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),  # noqa: S108 (tmpfile: on a disk, unlike /tmp; the directory in it is private)
        metavar="DIR",
        help="where the databases are, for the time of the run; on a disk (default: %(default)s)",
    )
    add_output_arguments(made, Path("bench-scale-results.json"))
    return made


def _number(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError("give more than 0")
    return seconds


def plan(arguments: argparse.Namespace) -> Plan:
    """What the flags ask for.

    Raises:
        ConfigError: there are not enough addresses for it.
    """
    names = ("hosts", "containers", "chassis", "seconds", "probe")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if "seconds" in given:
        given |= {"idle_seconds": given["seconds"], "health_seconds": given["seconds"]}
    chosen = replace(QUICK if arguments.quick else FULL, **given)
    if not chosen.fits():
        raise ConfigError("10.0.0.0/8 has no room for so many networks: lower --hosts or --containers")
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return carry_out(arguments, lambda: _measure(arguments, words), PAGE)


def _measure(arguments: argparse.Namespace, words: Sequence[str]) -> Results:
    sizes = plan(arguments)
    load = begin()
    check_load(load, busy=arguments.busy)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    check_files(most, sizes)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="ovn-docker-bench-", dir=arguments.directory) as name:
        machine = machine_with(disk="")
        machine.versions["OVN"] = version("ovn-northd")
        results = new_results("scripts/bench scale", words, machine, load)
        with (
            running(Path(name).resolve(), sizes) as place,
            contextlib.closing(parts(place, arguments.only or SECTIONS)) as steps,
        ):
            run(steps, results, arguments.json, progress)
    return results


def check_files(most: int, sizes: Plan) -> None:
    """See that a process may have a session of each driver, and some files besides.

    Raises:
        ConfigError: it may not.
    """
    if most < sizes.hosts + OTHER_FILES:
        raise ConfigError(
            f"a process may open {most} files, and {sizes.hosts} hosts need {sizes.hosts + OTHER_FILES}:"
            " raise 'ulimit -Hn' as root, or lower --hosts"
        )


def check_load(load: float, *, busy: bool) -> None:
    """See that the machine is quiet enough, and say how quiet it is.

    Raises:
        ConfigError: it is not, and nobody said that this is fine.
    """
    progress(f"load average {load:.1f}")
    if load > MOST_LOAD and not busy:
        raise ConfigError(f"the load average is {load:.1f}, above {MOST_LOAD:g}: wait, or give --busy")
