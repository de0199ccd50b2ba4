"""``ovn-docker check`` and ``ovn-docker repair``: the health check by hand, without a driver."""

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
from ovn_docker.cli.target import REACH_TIMEOUT
from ovn_docker.daemon.components import Components, running
from ovn_docker.errors import ConfigError, OvnDockerError, UnreachableError
from ovn_docker.health.checks import check
from ovn_docker.health.findings import GRACE, SECOND_LOOK, Sightings
from ovn_docker.health.presence import Presence
from ovn_docker.health.reconciler import QUIET_KINDS, Report, repair_all
from ovn_docker.ovn.vteps import mode_of
from ovn_docker.ovsdb.client import Client
from ovn_docker.settings import SCOPE_FLAG, SCOPES

NOTHING_WRONG, SOMETHING_WRONG, BAD_USAGE, NOT_READ = 0, 1, 2, 3

MAX_FINDINGS_SHOWN = 5
"""Findings of one kind that are shown one by one."""

EXIT_STATUS = """exit status:
  0  nothing is wrong, or everything has been repaired
  1  something is still wrong
  2  bad usage
  3  not everything could be read, so nothing was compared"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    for name, text in (
        ("check", "compare what Docker has with this host and OVN, and report the differences"),
        ("repair", "compare the same, and repair what can be repaired"),
    ):
        parser = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=EXIT_STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--json", action="store_true", help="print JSON, for a program")
        parser.add_argument(
            "--deep",
            action="store_true",
            help="go through all tables of OVN Northbound, for what this host's index does not name",
        )
        if name == "repair":
            parser.add_argument("--dry-run", action="store_true", help="only print what would be done")
            parser.add_argument(
                "--take-over",
                action="store_true",
                help="take this host's name in OVN over from a machine that is away for good",
            )
        parser.add_argument(
            SCOPE_FLAG, choices=SCOPES, default="", help="as the driver has it: see whether Docker takes it"
        )
        target.add_arguments(parser)
        parser.set_defaults(run=run, repair=name == "repair", dry_run=False, take_over=False)


def run(arguments: argparse.Namespace) -> int:
    """Compare twice, for what Docker is about to do differs for a moment; and repair."""
    try:
        result = asyncio.run(_inspect(target.assembler(arguments), arguments))
    except OvnDockerError as error:
        _print_error(str(error))
        return BAD_USAGE if isinstance(error, ConfigError) else NOT_READ
    return _print(result, arguments, done=arguments.repair and not arguments.dry_run)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a command has found.

    Attributes:
        report: the findings.
        vteps: with their modes, as NetworkDriver.Database has them.
        notes: for people: what was done besides, and what was not looked at.
        error: why not everything could be read, or "".
    """

    report: Report
    vteps: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    error: str = ""


async def _inspect(assemble: Callable[[], Components], arguments: argparse.Namespace) -> CheckResult:
    """Compare; where not everything can be read, report what is wrong with this host, which may be why.

    Raises:
        OvnDockerError: not everything could be read, and nothing is known to be wrong with this host.
    """
    parts = assemble()
    if parts.scan is not None:
        parts.scan(always=arguments.deep, note=arguments.repair and not arguments.dry_run)
    async with running(parts):
        try:
            return await _inspect_all(parts, arguments)
        except UnreachableError as error:
            if not (causes := await cluster_checks.causes(parts)):
                raise
            return CheckResult(Report(causes), (), error=str(error))


async def _inspect_all(parts: Components, arguments: argparse.Namespace) -> CheckResult:
    for client in (parts.ovs, parts.backend):
        if isinstance(client, Client):  # Neutron is reached by the reading
            await client.reached(REACH_TIMEOUT)
    repair, notes = arguments.repair and not arguments.dry_run, []
    if arguments.take_over and parts.presence:
        notes.append(await _take_over(parts.presence, repair=repair))
    report = await _compare(parts, repair=repair, wait=arguments.repair)
    more = await cluster_checks.look(parts, arguments.driver_name)
    report = replace(report, findings=(*report.findings, *more.findings))
    return CheckResult(report, parts.about().get("lookup", {}).get("vteps", []), (*notes, *more.notes))


async def _take_over(presence: Presence, *, repair: bool) -> str:
    """Take the host's name over, or see whether that can be done; what to say of it."""
    loser = await presence.take_over(dry_run=not repair)
    if loser is None:
        return "no other machine has this host's name: there is nothing to take over"
    if repair:
        return f"this host's name was taken over from {loser}, whose driver is away"
    return (
        f"this host's name would be taken over from {loser}, whose driver is away; differences are compared"
        " and repaired only after that, so they are not shown yet"
    )


async def _compare(parts: Components, *, repair: bool, wait: bool) -> Report:
    """What differs in two readings; with `wait` these are so far apart that a removal is confirmed."""
    sightings = Sightings()
    began = time.monotonic()
    first = check(await parts.reader.read())
    sightings.confirmed(first, began)
    if not first:
        return Report()
    await asyncio.sleep(GRACE if wait and any(finding.removes for finding in first) else SECOND_LOOK)
    began = time.monotonic()
    findings = [finding for finding in check(await parts.reader.read()) if finding in first]
    confirmed = sightings.confirmed(findings, began)
    if not repair:
        return Report(tuple(finding for finding in findings if finding.kind not in QUIET_KINDS))
    results = await repair_all(parts.repairs, confirmed)
    repaired = tuple(finding for finding, reason in results if not reason)
    return Report(
        tuple(findings), repaired, tuple((finding, reason) for finding, reason in results if reason)
    )


def _print(result: CheckResult, arguments: argparse.Namespace, *, done: bool) -> int:
    report = result.report
    left = [finding for finding in report.findings if finding not in report.repaired]
    if arguments.json:
        document = {
            "good": not left,
            "findings": _as_json(report),
            "vteps": result.vteps,
            "notes": result.notes,
            "error": result.error or None,
        }
        print(json.dumps(document, indent=2))
    else:
        vteps = [
            f"VTEP {row['remote_ip']} reaches {row['Logical_Switch']} as VNI {row['vni']}:"
            f" mode {mode_of(row['mode'])}"
            for row in result.vteps
        ]
        for line in [*_lines(report, done=done, underlay=arguments.underlay), *vteps, *result.notes]:
            print(logs.escape(line))
    if result.error:
        _print_error(result.error)
        return NOT_READ
    return SOMETHING_WRONG if left else NOTHING_WRONG


def _print_error(text: str) -> None:
    print(f"ovn-docker: {logs.escape(text)}", file=sys.stderr)


def _as_json(report: Report) -> list[dict[str, Any]]:
    failed = dict(report.failed)
    return [
        {
            "kind": finding.kind,
            "subject": finding.subject,
            "text": finding.line,
            "repair": finding.repair or None,
            "removes": finding.removes,
            "repaired": finding in report.repaired,
            "error": failed.get(finding) or None,
        }
        for finding in report.findings
    ]


def _lines(report: Report, *, done: bool, underlay: bool) -> Sequence[str]:
    """One line for each finding, up to a maximum for each kind; and what to type."""
    if not report.findings:
        return [f"OK: Docker, the host and {'Neutron' if underlay else 'OVN'} agree"]
    failed, groups = dict(report.failed), dict[tuple[str, str], list[str]]()
    for finding in report.findings:
        if finding in report.repaired:
            state = "repaired"
            what = f" (repair: {finding.repair})" if finding.repair else ""
        elif finding in failed:
            state, what = "failed", f": {failed[finding]}"
        else:  # without a repair the text says what to do
            state, what = finding.kind, f"; a repair would {finding.repair}" if finding.repair else ""
        groups.setdefault((state, finding.kind), []).append(f"{state}: {finding.line}{what}")
    lines = []
    for (state, kind), group in groups.items():
        lines += group[:MAX_FINDINGS_SHOWN]
        if more := group[MAX_FINDINGS_SHOWN:]:
            lines.append(f"{state}: and {len(more)} more of kind {kind}: see --json")
    return [*lines, _summary(report, done=done, underlay=underlay)]


def _summary(report: Report, *, done: bool, underlay: bool) -> str:
    """How many findings there are, how many of them only a person can repair, and the command to run."""
    by_hand = sum(not finding.repair for finding in report.findings)
    parts = [f"{len(report.findings)} finding(s)"]
    if done:
        parts.append(f"{len(report.repaired)} of them repaired")
    if by_hand and by_hand < len(report.findings):
        parts.append(f"{by_hand} of them only by hand, as their lines say")
    summary = ", ".join(parts)
    if done or by_hand == len(report.findings):
        return summary
    return f"{summary}: run 'ovn-docker repair{' --underlay' if underlay else ''}'"
