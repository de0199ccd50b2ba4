"""The command scripts/chaos."""

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

from chaos.plan import rounds
from chaos.run import Choices, Log, Run
from chaos.stats import Result, Stats, result, text, with_differences
from chaos.testbed import ChaosTestbed
from ovn_docker.errors import OvnDockerError

_DESCRIPTION = """\
Use Docker at random on several emulated hosts while parts of them are killed, restarted and cut off, then
check that nothing is lost and nothing stale. Needs root. What is done follows from the seed.
"""
_REPORT_EVERY = 10.0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = argparse.ArgumentParser(prog="scripts/chaos", description=_DESCRIPTION)
    made.add_argument(
        "--minutes", type=float, default=3.0, metavar="M", help="how long parts fail (default: %(default)g)"
    )
    made.add_argument(
        "--seed", type=int, metavar="S", help="the same seed does the same (default: a random one)"
    )
    made.add_argument(
        "--hosts", type=int, default=3, metavar="N", help="how many hosts (default: %(default)s)"
    )
    made.add_argument(
        "--judge-every",
        type=float,
        default=3.0,
        metavar="M",
        help="minutes after which everything is repaired and checked, then it goes on (default: %(default)g)",
    )
    made.add_argument(
        "--log",
        type=Path,
        default=Path("chaos.log"),
        metavar="FILE",
        help="where each step goes (default: %(default)s)",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="where the result goes as JSON")
    made.add_argument(
        "--plan", type=int, metavar="N", help="print the first N rounds of the plan and do nothing"
    )
    made.add_argument(
        "--no-health-check",
        action="store_true",
        help="run the drivers without their health check",
    )
    made.add_argument("--keep", action="store_true", help="leave the lab up at the end, to look at it")
    made.add_argument(
        "--name", default=f"chaos{os.getpid() % 10000}", help="name of the lab (default: a new one)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 0 when nothing is lost or stale, 1 otherwise, 130 after Ctrl-C."""
    arguments = parser().parse_args(argv)
    if arguments.seed is None:
        arguments.seed = random.randrange(1_000_000)
    if arguments.plan is not None:
        sys.stdout.write(show_plan(arguments.seed, arguments.hosts, arguments.plan))
        return 0
    try:
        ended = _run(arguments)
    except (OvnDockerError, OSError) as error:
        sys.stderr.write(f"scripts/chaos: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("scripts/chaos: interrupted\n")
        return 130
    sys.stdout.write(text(ended, str(arguments.log)))
    return 0 if ended.clean else 1


def show_plan(seed: int, hosts: int, count: int) -> str:
    """The first rounds of a plan, a line for each command and each fault."""
    lines = []
    for one in islice(rounds(seed, hosts), count):
        lines.append(f"round {one.number}")
        for commands in one.commands:
            lines += [f"  h{command.host}: docker {' '.join(command.words)}" for command in commands]
        lines += [f"  after {fault.delay} s for {fault.hold} s: {fault}" for fault in one.faults]
    return "\n".join(lines) + "\n"


def command_line(arguments: argparse.Namespace) -> str:
    """The command that repeats a run."""
    return (
        f"scripts/chaos --seed {arguments.seed} --minutes {arguments.minutes:g}"
        f" --hosts {arguments.hosts} --judge-every {arguments.judge_every:g}"
        f"{' --no-health-check' if arguments.no_health_check else ''}"
    )


def _run(arguments: argparse.Namespace) -> Result:
    # What runs in the lab must not find this clone's modules.
    os.environ.pop("PYTHONPATH", None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    choices = Choices(arguments.seed, arguments.minutes, arguments.judge_every)
    stats, started = Stats(), time.monotonic()
    _report(f"seed {arguments.seed}")
    with ExitStack() as stack:
        log = Log(stack.enter_context(arguments.log.open("w")))
        log.write(command_line(arguments))
        health_check = not arguments.no_health_check
        testbed = ChaosTestbed(
            arguments.name, arguments.hosts, _report, keep=arguments.keep, health_check=health_check
        )
        stack.enter_context(testbed)
        threading.Thread(target=_report_progress, args=(testbed, stats), daemon=True).start()
        differences = Run(testbed, log, stats).run(choices)
    seconds = time.monotonic() - started
    ended = result(command_line(arguments), arguments.seed, arguments.hosts, seconds, stats)
    ended = with_differences(ended, differences)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(ended)) + b"\n")
    return ended


def _report_progress(testbed: ChaosTestbed, stats: Stats) -> None:
    while not testbed.stop.wait(_REPORT_EVERY):
        _report(stats.line())


def _report(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
