"""The command scripts/bench: one table of benches, and the flags that they share."""

import argparse
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import contest, health, ip_lookup, tables
from bench.figures import Results
from bench.ipam import measure as ipam
from bench.run import Bench, Run, progress, read
from bench.scale import measure as scale
from bench.underlay import measure as underlay
from bench.vm import machines as vm
from ovn_docker.errors import OvnDockerError

BENCHES = {
    module.BENCH.name: module.BENCH for module in (contest, ipam, health, ip_lookup, scale, underlay, vm)
}


def parser(bench: Bench) -> argparse.ArgumentParser:
    """The flags of one bench."""
    names = "".join(f"\n  {name:10} {other.summary}" for name, other in BENCHES.items())
    made = argparse.ArgumentParser(
        prog=_program(bench),
        description=textwrap.fill(bench.description, 79),
        epilog=f"scripts/bench NAME [OPTION...] runs another bench; each has a --help:{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if bench.quick:
        made.add_argument("--quick", action="store_true", help=bench.quick)
    if bench.ports:
        text = f"numbers of other ports in Northbound ({bench.ports})"
        made.add_argument("--ports", type=number_list, metavar="N,...", help=text)
    if bench.directory:
        disk = Path("/var/tmp")  # noqa: S108 (on a disk, unlike /tmp; the directory in it is private)
        text = f"{bench.directory} (default: %(default)s)"
        made.add_argument("--directory", type=Path, default=disk, metavar="DIR", help=text)
    if bench.lab:
        name = f"bench{os.getpid() % 10000}"
        made.add_argument("--name", default=name, help=f"name of {bench.lab} (default: a new one)")
    bench.add_flags(made)
    _add_output_flags(made, bench)
    return made


def _program(bench: Bench) -> str:
    return "scripts/bench" if bench is contest.BENCH else f"scripts/bench {bench.name}"


def _add_output_flags(made: argparse.ArgumentParser, bench: Bench) -> None:
    name = "bench-results.json" if bench is contest.BENCH else f"bench-{bench.name}-results.json"
    text = "where to write the results (default: %(default)s)"
    made.add_argument("--json", type=Path, default=Path(name), metavar="FILE", help=text)
    text = "show earlier results, measure nothing"
    made.add_argument("--from", type=Path, metavar="FILE", dest="source", help=text)
    made.add_argument("--markdown", action="store_true", help="print Markdown")
    text = "put the tables between this file's marks too"
    made.add_argument("--document", type=Path, metavar="FILE", help=text)


def number_list(text: str) -> tuple[int, ...]:
    """Numbers of ports, as "0,100_000", ascending."""
    numbers = {int(word.replace("_", "")) for word in text.split(",")}
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError("a number of ports cannot be negative")
    return tuple(sorted(numbers))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, or read what was measured earlier, and show it.

    Returns:
        The exit status: 1 when something could not be measured.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    bench = BENCHES[words.pop(0)] if words and words[0] in BENCHES else contest.BENCH
    arguments = parser(bench).parse_args(words)
    command = " ".join([_program(bench), *words])
    try:
        if arguments.source:
            results = read(arguments.source)
        else:
            results = bench.measure(_begin(bench, arguments, command))
        _show(arguments, results, bench.page)
    except (OvnDockerError, OSError, ValueError, msgspec.DecodeError) as error:
        sys.stderr.write(f"scripts/bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("scripts/bench: interrupted\n")
        return 130
    return 1 if results.failures or not results.complete else 0


def _begin(bench: Bench, arguments: argparse.Namespace, command: str) -> Run:
    # An end by SIGTERM takes everything down too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if bench.lab:  # what runs there must not find this clone's modules
        os.environ.pop("PYTHONPATH", None)
    load, _, _ = os.getloadavg()
    if load > tables.BUSY:
        progress(f"this machine is busy (load average {load:.1f}): figures will be too high")
    return Run(arguments, command, round(load, 1))


def _show(arguments: argparse.Namespace, results: Results, page: tables.Page) -> None:
    sys.stdout.write(tables.markdown(results, page) if arguments.markdown else tables.text(results, page))
    if arguments.document:
        document = arguments.document.read_text()
        arguments.document.write_text(tables.put_into(document, results, page))
