"""``ovn-docker check`` and ``ovn-docker repair``: the health check by hand, with no driver needed."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ovn_docker import logs
from ovn_docker.cli import cluster_checks, target
from ovn_docker.cli.target import reach
from ovn_docker.daemon.components import Components, running
from ovn_docker.errors import ConfigError, OvnDockerError, UnreachableError
from ovn_docker.health.checks import check
from ovn_docker.health.findings import GRACE, SECOND_LOOK, Finding, Sightings
from ovn_docker.health.presence import Presence
from ovn_docker.health.reader import Reader
from ovn_docker.health.reconciler import QUIET_KINDS, Report, repair_all
from ovn_docker.ovn.vteps import mode_of
from ovn_docker.ovsdb.client import Client
from ovn_docker.settings import SCOPE_FLAG, SCOPES

NOTHING_WRONG, SOMETHING_WRONG, BAD_USAGE, NOT_READ = 0, 1, 2, 3

SHOWN = 5
"""How many findings of a kind are shown one by one."""

STATUS = """exit status:
  0  nothing is wrong, or everything has been repaired
  1  something is wrong still
  2  bad usage
  3  not everything could be read, so nothing was compared"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    for name, run, text in (
        ("check", run_check, "compare what Docker has with this host and OVN, and say what differs"),
        ("repair", run_repair, "look at the same, and repair what can be repaired"),
    ):
        parser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--json", action="store_true", help="print JSON, for a program")
        parser.add_argument(
            "--deep",
            action="store_true",
            help="go through all tables of OVN Northbound, for what this host's index does not name",
        )
        if name == "repair":
            parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do not")
            parser.add_argument(
                "--take-over",
                action="store_true",
                help="take this host's name in OVN over from a machine that is away for good",
            )
        parser.add_argument(
            SCOPE_FLAG, choices=SCOPES, default="", help="as the driver has it: see whether Docker takes it"
        )
        target.add_arguments(parser)
        parser.set_defaults(run=run)


def run_check(arguments: argparse.Namespace) -> int:
    """Say what differs in two looks, for what Docker is about to do differs for a moment."""
    return _run(arguments, repair=False, wait=False)


def run_repair(arguments: argparse.Namespace) -> int:
    """Repair what differs in two looks."""
    return _run(arguments, repair=not arguments.dry_run, wait=True)


def _run(arguments: argparse.Namespace, *, repair: bool, wait: bool) -> int:
    try:
        assemble = target.assembler(arguments)
        take_over = wait and arguments.take_over
        asked = CheckRequest(arguments.driver_name, repair, wait, take_over, arguments.deep)
        seen = asyncio.run(_inspect(assemble, asked))
    except OvnDockerError as error:
        _print_error(str(error))
        return BAD_USAGE if isinstance(error, ConfigError) else NOT_READ
    return _print(seen, arguments, done=repair)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What two looks have shown.

    Attributes:
        report: the findings.
        vteps: with their modes, as NetworkDriver.Database has them.
        notes: what was done besides, and what was not looked at, for people.
        error: why not everything could be read, or "".
    """

    report: Report
    vteps: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """What a command is to do.

    Attributes:
        driver_name: the driver, as Docker calls it.
        repair: whether to repair what is confirmed.
        wait: whether to wait for as long as it takes to confirm a removal.
        take_over: whether to take the host's name from a machine that is away.
        deep: whether to go through all tables, also where the host's index is whole.
    """

    driver_name: str
    repair: bool
    wait: bool
    take_over: bool
    deep: bool


async def _inspect(assemble: Callable[[], Components], asked: CheckRequest) -> CheckResult:
    """Look twice.

    Where not everything can be read, what is wrong with this host may be the reason, and is told.

    Raises:
        OvnDockerError: not everything could be read, and nothing is known to be wrong with this host.
    """
    parts = assemble()
    if parts.scan is not None:
        parts.scan(always=asked.deep, note=asked.repair)
    async with running(parts):
        try:
            return await _look_at_all(parts, asked)
        except UnreachableError as error:
            if not (causes := await cluster_checks.causes(parts)):
                raise
            return CheckResult(Report(causes), (), error=str(error))


async def _look_at_all(parts: Components, asked: CheckRequest) -> CheckResult:
    for client in (parts.ovs, parts.backend):
        if isinstance(client, Client):  # Neutron is reached by the reading
            await reach(client)
    notes = await _take_over(parts.presence, asked) if asked.take_over and parts.presence else []
    report = await _compare(parts, repair=asked.repair, wait=asked.wait)
    more = await cluster_checks.look(parts, asked.driver_name)
    report = replace(report, findings=(*report.findings, *more.findings))
    return CheckResult(report, parts.about().get("lookup", {}).get("vteps", []), (*notes, *more.notes))


async def _take_over(presence: Presence, asked: CheckRequest) -> list[str]:
    """Take the host's name over, or see whether that can be done; what to say of it."""
    loser = await presence.take_over(dry_run=not asked.repair)
    if loser is None:
        return ["no other machine has this host's name: there is nothing to take over"]
    if asked.repair:
        return [f"this host's name was taken over from {loser}, whose driver is away"]
    told = (
        f"this host's name would be taken over from {loser}, whose driver is away; what differs is compared"
        " and repaired only after that, so it is not shown yet"
    )
    return [told]


async def _compare(parts: Components, *, repair: bool, wait: bool) -> Report:
    sightings = Sightings()
    first = await _look(parts.reader, sightings)
    if not first:
        return Report()
    await asyncio.sleep(GRACE if wait and any(each.removes for each in first) else SECOND_LOOK)
    began = time.monotonic()
    findings = [each for each in check(await parts.reader.read()) if each in first]
    confirmed = sightings.confirmed(findings, began)
    if not repair:
        return Report(tuple(each for each in findings if each.kind not in QUIET_KINDS))
    results = await repair_all(parts.repairs, confirmed)
    repaired = tuple(each for each, why in results if not why)
    return Report(tuple(findings), repaired, tuple((each, why) for each, why in results if why))


async def _look(reader: Reader, sightings: Sightings) -> list[Finding]:
    began = time.monotonic()
    findings = check(await reader.read())
    sightings.confirmed(findings, began)
    return findings


def _print(seen: CheckResult, arguments: argparse.Namespace, *, done: bool) -> int:
    report = seen.report
    left = [each for each in report.findings if each not in report.repaired]
    if arguments.json:
        shown = {
            "good": not left,
            "findings": _as_json(report),
            "vteps": seen.vteps,
            "notes": seen.notes,
            "error": seen.error or None,
        }
        print(json.dumps(shown, indent=2))
    else:
        for line in [*_lines(report, arguments, done=done), *map(_vtep_line, seen.vteps), *seen.notes]:
            print(logs.escape(line))
    if seen.error:
        _print_error(seen.error)
        return NOT_READ
    return SOMETHING_WRONG if left else NOTHING_WRONG


def _print_error(text: str) -> None:
    print(f"ovn-docker: {logs.escape(text)}", file=sys.stderr)


def _as_json(report: Report) -> list[dict[str, Any]]:
    failed = dict(report.failed)
    return [
        {
            "kind": each.kind,
            "subject": each.subject,
            "text": each.line,
            "repair": each.repair or None,
            "removes": each.removes,
            "repaired": each in report.repaired,
            "error": failed.get(each) or None,
        }
        for each in report.findings
    ]


def _vtep_line(row: Mapping[str, Any]) -> str:
    mode = mode_of(row["mode"])
    return f"VTEP {row['remote_ip']} reaches {row['Logical_Switch']} as VNI {row['vni']}: mode {mode}"


def _lines(report: Report, arguments: argparse.Namespace, *, done: bool) -> Sequence[str]:
    """One line for each finding, of those that are alike for some; and what to type."""
    if not report.findings:
        return [f"OK: Docker, the host and {'Neutron' if arguments.underlay else 'OVN'} agree"]
    failed, alike = dict(report.failed), dict[str, list[str]]()
    for each in report.findings:
        state = "repaired" if each in report.repaired else "failed" if each in failed else each.kind
        alike.setdefault(f"{state} {each.kind}", []).append(
            f"{state}: {each.line}{_repair(each, failed, state)}"
        )
    lines = []
    for key, group in alike.items():
        lines += group[:SHOWN]
        if len(group) > SHOWN:
            lines.append(
                f"{key.split()[0]}: and {len(group) - SHOWN} more of kind {key.split()[1]}: see --json"
            )
    return [*lines, _summary(report, arguments, done=done)]


def _summary(report: Report, arguments: argparse.Namespace, *, done: bool) -> str:
    """How many there are, how many of them only a person can repair, and the command to run."""
    by_hand = sum(not each.repair for each in report.findings)
    parts = [f"{len(report.findings)} finding(s)"]
    if done:
        parts.append(f"{len(report.repaired)} of them repaired")
    if by_hand and by_hand < len(report.findings):
        parts.append(f"{by_hand} of them only by hand, as their lines say")
    typed = "ovn-docker repair --underlay" if arguments.underlay else "ovn-docker repair"
    can = not done and by_hand < len(report.findings)
    return ", ".join(parts) + (f": run '{typed}'" if can else "")


def _repair(finding: Finding, failed: Mapping[Finding, str], state: str) -> str:
    if finding in failed:
        return f": {failed[finding]}"
    if not finding.repair:
        return ""  # the text says what to do
    return f" (repair: {finding.repair})" if state == "repaired" else f"; a repair would {finding.repair}"
