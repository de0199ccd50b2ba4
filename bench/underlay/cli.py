"""The command scripts/bench underlay: what the underlay driver adds to Neutron's own time."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli import add_output_arguments, begin, carry_out, new_results, progress
from bench.costs import MEMORY
from bench.figures import Machine, Results
from bench.run import Part, run
from bench.tables import Page
from bench.targets import Target, find
from bench.underlay import measure
from bench.underlay.measure import BURST, CONNECTIONS, COSTS, COUNTS, DRIVER, FIGURE, SINGLE, VERBS

if TYPE_CHECKING:
    from tests.underlay.clouds import Cloud

_DESCRIPTION = """\
Measure the calls to ovn-docker-underlay-driver on a real Keystone and Neutron in a lab of its own, and whose
time they take. Needs root and what "scripts/test underlay" installs. About 4 minutes, --quick about 2.
"""

ENDPOINTS, QUICK_ENDPOINTS, AT_ONCE = 100, 20, 8

PAGE = Page(
    sections={
        VERBS: "Calls to the underlay driver, and where their time goes (median / 99th percentile)",
        COUNTS: "Meanwhile (median)",
        BURST: "At the same time",
        COSTS: "The daemon itself",
    },
    columns=(measure.WHOLE, measure.NEUTRON, measure.WAITING, DRIVER, measure.PROCESSOR, SINGLE, FIGURE),
    with_p99=frozenset({VERBS}),
    targets=(
        Target("the driver's own time of CreateEndpoint, p50, ms", 10, find(VERBS, "CreateEndpoint", DRIVER)),
        Target("the driver's own time of Join, p50, ms", 10, find(VERBS, "Join", DRIVER)),
        Target(
            f"{CONNECTIONS} opened while one call follows another",
            0,
            find(COUNTS, f"{CONNECTIONS} opened meanwhile", FIGURE),
        ),
        Target("resident memory, MB", 100, find(COSTS, MEMORY, FIGURE)),
    ),
    marks=("<!-- bench underlay: begin -->", "<!-- bench underlay: end -->"),
)


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(
        prog="scripts/bench underlay",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="few samples, in about 2 minutes")
    add_output_arguments(made, Path("bench-underlay-results.json"))
    made.add_argument(
        "--name", default=f"bench{os.getpid() % 10000}", help="name of the lab (default: a new one)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run it and return the exit status: 1 when something could not be measured."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser().parse_args(words)
    return carry_out(arguments, lambda: _measure(arguments, words), PAGE)


def _measure(arguments: argparse.Namespace, words: Sequence[str]) -> Results:
    from tests.underlay.clouds import cloud  # noqa: PLC0415  (needs keystoneauth1, which --from does not)

    os.environ.pop("PYTHONPATH", None)
    load = begin()
    progress("a lab with Keystone and Neutron")
    with cloud(arguments.name) as made:
        machine = _machine(made.lab.settings.datapath)
        results = new_results("scripts/bench underlay", words, machine, load)
        endpoints = QUICK_ENDPOINTS if arguments.quick else ENDPOINTS
        run(_parts(made, endpoints), results, arguments.json, progress)
    return results


def _parts(cloud: "Cloud", endpoints: int) -> Iterator[Part]:
    with measure.place(cloud, FIGURE) as here:
        yield "one call after another", partial(measure.measure_calls, here, endpoints)
        yield "calls at the same time", partial(measure.measure_burst, here, AT_ONCE)
        yield "memory", partial(measure.measure_memory, here)
    with measure.place(cloud, SINGLE) as here:
        yield "with one connection: one call after another", partial(measure.measure_calls, here, endpoints)
        yield "  calls at the same time", partial(measure.measure_burst, here, AT_ONCE)


def _machine(datapath: str) -> Machine:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=os.cpu_count() or 0,
        memory_gb=round(memory / 1e9, 1),
        kernel=os.uname().release,
        datapath={"system": "kernel", "netdev": "userspace"}[datapath],
        versions={"Python": sys.version.split()[0], "keystoneauth1": version("keystoneauth1")},
    )
