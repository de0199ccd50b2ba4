"""The pass: one reading, its findings, the repair of what is confirmed; and when the next one is due."""

import asyncio
import contextlib
import itertools
import logging
import math
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ovn_docker.docker.engine import Engine
from ovn_docker.errors import OvnDockerError, UnreachableError
from ovn_docker.health.checks import check, global_refused
from ovn_docker.health.findings import KINDS, Finding, Sightings
from ovn_docker.health.reader import Reader
from ovn_docker.health.repairs import Repairs
from ovn_docker.health.snapshot import Snapshot

LOG = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0
"""Seconds to the next pass when a reading failed; doubled each time."""

REPAIR_TIMEOUT = 15.0
"""Seconds for one repair."""

AT_ONCE = 8
"""How many containers are started at the same time."""

LONG_ID = re.compile(r"\b[0-9a-f]{64}\b")
"""An id of Docker's: of an endpoint, which has a new one at each attempt."""

QUIET_KINDS = frozenset({"names-changed"})
"""Kinds whose cause is nothing worse than a missed event of Docker's."""

JITTER = 0.1
"""Part of the interval by which passes differ, so that the hosts of a cluster do not all read at once."""

SPREAD = 60.0
"""Seconds within which all hosts read when what they share is back; a thousand readings take seconds."""

SCOPE_INTERVAL, SCOPE_RETRY_INTERVAL = 300.0, 5.0
"""Seconds until Docker is asked about its scope again: after an answer, and without one."""


def random_moment(interval: float) -> float:
    """Seconds until a host reads what all hosts want to read now."""
    return random.uniform(0, min(interval, SPREAD))  # noqa: S311  (to spread load)


@dataclass(frozen=True, slots=True)
class Report:
    """What a pass found and did.

    Attributes:
        findings: all that are confirmed.
        failed: findings whose repair failed, with the reason.
        error: why nothing could be read, or "".
    """

    findings: tuple[Finding, ...] = ()
    repaired: tuple[Finding, ...] = ()
    failed: tuple[tuple[Finding, str], ...] = ()
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether everything was read, and no repair failed."""
        return not self.error and not self.failed


class Reconciler:
    """Compares and repairs, again and again."""

    def __init__(
        self,
        reader: Reader,
        repairs: Repairs,
        interval: float,
        done: Callable[[Report], None],
        outage: Callable[[], str] = str,
    ) -> None:
        """Take `interval` in seconds; `outage` says why the database that all hosts share is away, or ""."""
        self._outage = outage
        self._reader = reader
        self._repairs = repairs
        self._interval = interval
        self._done = done
        self._sightings = Sightings()
        self._changed = asyncio.Event()
        self._wanted = math.inf
        self._passed = False
        self._retry = FIRST_RETRY
        self._logged: dict[Finding, str] = {}
        self._error = ""

    def hurry(self) -> None:
        """Request a pass at once: something of this host has come back."""
        self._want(0)

    def want(self) -> None:
        """Request a pass: something has come back that all hosts share.

        It comes at a random moment of the next minute, or of the interval where that is shorter. All hosts
        notice at the same time. If all read at once, what has just come back would do nothing else.
        """
        self._want(random_moment(self._interval))

    def _want(self, after: float) -> None:
        self._sightings.hurry()
        self._wanted = min(self._wanted, time.monotonic() + after)
        self._changed.set()

    async def run(self) -> None:
        """Pass until cancelled."""
        while True:
            self._wanted = math.inf
            report = await self.one_pass()
            due = time.monotonic() + self._pause(report)
            while (left := min(due, self._wanted) - time.monotonic()) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._changed.wait()

    def _pause(self, report: Report) -> float:
        if report.error and not self._outage():
            self._retry, pause = min(self._retry * 2, LONGEST_RETRY), self._retry
            return min(pause, self._interval)
        self._retry = FIRST_RETRY
        spread = 1 + JITTER * (random.random() - 0.5)  # noqa: S311  (to spread load)
        look = self._sightings.next_look(time.monotonic())
        return self._interval * spread if look is None else min(look, self._interval)

    async def one_pass(self) -> Report:
        """Read, compare, repair what is confirmed. Nothing is raised but a cancellation."""
        began = time.monotonic()
        try:
            report = await self._repair(check(await self._read()), began)
        except OvnDockerError as error:
            report = Report(error=str(error))
        except Exception as error:
            LOG.exception("the health check failed")
            report = Report(error=f"the health check failed: {type(error).__name__}: {error}")
        self._passed = True
        self._log(report)
        self._done(report)
        return report

    async def _read(self) -> Snapshot:
        """One reading. The first waits for a database that is away; later ones need not, as its return
        requests a pass.
        """
        outage = self._outage()
        if self._passed and outage:
            raise UnreachableError(f"{outage}; nothing was compared")
        return await self._reader.read()

    async def _repair(self, findings: list[Finding], began: float) -> Report:
        repaired: list[Finding] = []
        confirmed = self._sightings.confirmed(findings, began)
        waiting = {finding: self._sightings.waiting(finding, began) for finding in confirmed}
        failed = [(finding, reason) for finding, reason in waiting.items() if reason]
        due = [finding for finding, reason in waiting.items() if not reason]
        for finding, reason in await repair_all(self._repairs, due):
            if reason:
                failed.append((finding, reason))
                self._sightings.failed(finding, reason, time.monotonic())
            else:
                repaired.append(finding)
                self._sightings.forget(finding)
        return Report(tuple(confirmed), tuple(repaired), tuple(failed))

    def _log(self, report: Report) -> None:
        """Log what was done, and each thing that stays wrong once."""
        if report.error != self._error and report.error:
            LOG.warning("health check: %s", report.error)
        elif self._error and not report.error:
            LOG.info("health check: everything can be read again")
        self._error = report.error
        for finding in report.repaired:
            level = logging.INFO if finding.kind in QUIET_KINDS else logging.WARNING
            LOG.log(level, "health check: %s: %s (repaired: %s)", finding.kind, finding.line, finding.repair)
        stays = {finding: LONG_ID.sub("...", reason) for finding, reason in report.failed}
        stays |= {finding: "" for finding in report.findings if not finding.repair}
        for finding, reason in stays.items():
            if self._logged.get(finding) != reason:
                end = f"; {reason}" if reason else ""
                LOG.warning("health check: %s: %s%s", finding.kind, finding.line, end)
        if not report.error:
            self._logged = stays


async def repair_all(repairs: Repairs, findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Repair what has a repair; each with the reason why it could not be repaired, or "".

    One after the other in their order, except that containers of one kind are started at the same time, as
    dockerd does it, and that all names are written in one transaction.
    """
    few = asyncio.Semaphore(AT_ONCE)

    async def start(finding: Finding) -> list[tuple[Finding, str]]:
        async with few:
            return await _repair_within(None, repairs, [finding])  # the engine limits its time

    results: list[tuple[Finding, str]] = []
    with_repair = (finding for finding in findings if finding.repair)
    for name, group in itertools.groupby(with_repair, lambda finding: finding.kind):
        if KINDS[name].starts:
            results += itertools.chain(*await asyncio.gather(*map(start, group)))
            continue
        for batch in [list(group)] if KINDS[name].together else [[finding] for finding in group]:
            results += await _repair_within(REPAIR_TIMEOUT, repairs, batch)
    return results


async def _repair_within(
    limit: float | None, repairs: Repairs, findings: Sequence[Finding]
) -> list[tuple[Finding, str]]:
    """Repair findings of one kind; whatever goes wrong, the others are repaired."""
    try:
        async with asyncio.timeout(limit) as clock:
            return list(zip(findings, await repairs.repair(findings), strict=True))
    except Exception as error:
        reason = f"the repair failed: {type(error).__name__}: {error}"
        if clock.expired():
            reason = f"the repair timed out after {REPAIR_TIMEOUT:.0f} s"
        LOG.debug("the repair of %s failed", findings[0].kind, exc_info=error)
    return [(finding, reason) for finding in findings]


async def watch_scope(engine: Engine, driver_name: str) -> None:
    """Warn once, until cancelled, while Docker will not make the networks of a driver of global scope.

    Without a health check too. Docker refuses them after the driver has made them, in words about swarm: no
    request shows it.
    """
    logged = ""
    while True:
        try:
            version = await engine.refuses_global()
        except OvnDockerError as error:
            LOG.debug("whether Docker makes global networks is not known: %s", error)
            await asyncio.sleep(SCOPE_RETRY_INTERVAL)
            continue
        if version and version != logged:
            LOG.warning("%s", global_refused(driver_name, version))
        logged = version
        await asyncio.sleep(SCOPE_INTERVAL)
