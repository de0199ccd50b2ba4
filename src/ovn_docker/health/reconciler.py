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
"""An id of Docker's: of an endpoint, for which there is a new one at each attempt."""

UNREMARKABLE = frozenset({"names-changed"})
"""Kinds that come of nothing worse than an event of Docker's that was missed."""

JITTER = 0.1
"""Part of the interval by which passes differ, so that the hosts of a cluster do not all read at once."""

SPREAD = 60.0
"""Seconds within which all hosts read when what they share is back; a thousand readings take seconds."""


def random_moment(interval: float) -> float:
    """In how many seconds a host reads what all hosts want to read now."""
    return random.uniform(0, min(interval, SPREAD))  # noqa: S311  (to spread load)


@dataclass(frozen=True, slots=True)
class Report:
    """What a pass found and did.

    Attributes:
        findings: all that were seen for long enough.
        repaired: those whose repair was done.
        failed: those whose repair was not, with the reason.
        error: why there was no reading, or "".
    """

    findings: tuple[Finding, ...] = ()
    repaired: tuple[Finding, ...] = ()
    failed: tuple[tuple[Finding, str], ...] = ()
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether everything was read, and nothing that was to be repaired could not be."""
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
        """Compare and repair.

        Args:
            reader: gives the readings.
            repairs: does what is to be done.
            interval: seconds from one pass to the next.
            done: told of each pass.
            outage: why the database that all hosts share cannot be used just now, or "".
        """
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
        self._told: dict[Finding, str] = {}
        self._error = ""

    def hurry(self) -> None:
        """Ask for a pass at once: something of this host has come back."""
        self._want(0)

    def want(self) -> None:
        """Ask for a pass: something has come back that all hosts share.

        It comes at a random moment of the next minute, or of the interval where that is shorter. All hosts
        are told at the same time. If all read at once, what has just come back would do nothing else.
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
        self._tell(report)
        self._done(report)
        return report

    async def _read(self) -> Snapshot:
        """One reading; the first waits for a database that is to come, later its return asks for one."""
        outage = self._outage()
        if self._passed and outage:
            raise UnreachableError(f"{outage}; nothing was compared")
        return await self._reader.read()

    async def _repair(self, findings: list[Finding], began: float) -> Report:
        repaired: list[Finding] = []
        failed: list[tuple[Finding, str]] = []
        confirmed = self._sightings.confirmed(findings, began)
        waiting = {each: self._sightings.waiting(each, began) for each in confirmed}
        failed += ((each, why) for each, why in waiting.items() if why)
        for finding, why in await repair_all(
            self._repairs, (each for each in confirmed if not waiting[each])
        ):
            if why:
                failed.append((finding, why))
                self._sightings.failed(finding, why, time.monotonic())
            else:
                repaired.append(finding)
                self._sightings.forget(finding)
        return Report(tuple(confirmed), tuple(repaired), tuple(failed))

    def _tell(self, report: Report) -> None:
        """Log what was done, and each thing that stays wrong once."""
        if report.error != self._error and report.error:
            LOG.warning("health check: %s", report.error)
        elif self._error and not report.error:
            LOG.info("health check: everything can be read again")
        self._error = report.error
        for finding in report.repaired:
            level = logging.INFO if finding.kind in UNREMARKABLE else logging.WARNING
            LOG.log(level, "health check: %s: %s (repaired: %s)", finding.kind, finding.line, finding.repair)
        stays = {each: LONG_ID.sub("...", why) for each, why in report.failed}
        stays |= {each: "" for each in report.findings if not each.repair}
        for finding, why in stays.items():
            if self._told.get(finding) != why:
                LOG.warning("health check: %s: %s%s", finding.kind, finding.line, why and f"; {why}")
        if not report.error:
            self._told = stays


async def repair_all(repairs: Repairs, findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """Repair what has a repair; each with the reason why it could not be repaired, or "".

    One after the other in their order, but containers of one kind at the same time, as dockerd does it, and
    names all in one.
    """
    few = asyncio.Semaphore(AT_ONCE)

    async def start(finding: Finding) -> tuple[Finding, str]:
        async with few:
            [result] = await _repair_within(repairs, [finding], None)  # it has a time of its own
            return result

    results = []
    for kind, group in itertools.groupby((each for each in findings if each.repair), lambda each: each.kind):
        if KINDS[kind].starts:
            results += await asyncio.gather(*map(start, group))
        elif KINDS[kind].together:
            results += await _repair_within(repairs, list(group), REPAIR_TIMEOUT)
        else:
            results += [
                each for one in group for each in await _repair_within(repairs, [one], REPAIR_TIMEOUT)
            ]
    return results


async def _repair_within(
    repairs: Repairs, findings: Sequence[Finding], limit: float | None
) -> list[tuple[Finding, str]]:
    """Repair one, or several in one act; whatever goes wrong, the others have their turn."""
    try:
        async with asyncio.timeout(limit) as clock:
            if len(findings) > 1:
                return list(zip(findings, await repairs.repair_together(findings), strict=True))
            return [(each, await repairs.repair(each)) for each in findings]
    except Exception as error:
        why = f"the repair failed: {type(error).__name__}: {error}"
        if clock.expired():
            why = f"it was not done within {REPAIR_TIMEOUT:.0f} s"
        LOG.debug("the repair of %s failed", findings[0].kind, exc_info=error)
    return [(each, why) for each in findings]


# --- Tells, without a health check too, that Docker will not make the networks of a driver of global scope. -
# Docker refuses them after the driver has made them, and in words about swarm: no request shows it.


PAUSE, AGAIN = 5.0, 300.0
"""Seconds until Docker is asked again: one that did not answer, and one that did."""


async def watch_scope(engine: Engine, driver_name: str) -> None:
    """Ask Docker until cancelled, and log what is wrong once."""
    told = ""
    while True:
        try:
            version = await engine.refuses_global()
        except OvnDockerError as error:
            LOG.debug("whether Docker makes global networks is not known: %s", error)
            await asyncio.sleep(PAUSE)
            continue
        if version and version != told:
            LOG.warning("%s", global_refused(driver_name, version))
        told = version
        await asyncio.sleep(AGAIN)
