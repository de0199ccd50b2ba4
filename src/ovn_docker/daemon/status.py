"""Whether the driver can do its work just now, as /healthz tells it. Pure: values in, lines out."""

from collections.abc import Iterable
from dataclasses import dataclass

PATIENCE = 3
"""Intervals of the health check without a good pass before that is told."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How the health check fares.

    Attributes:
        interval: seconds from one pass to the next.
        silence: seconds since the last good pass; before the first, since the start.
    """

    interval: float
    silence: float


def problems(outages: Iterable[str], health_check: HealthCheck | None = None) -> list[str]:
    """What is wrong, one line for each.

    Args:
        outages: of each database why it cannot be used, or "", and of other parts.
        health_check: None where it is off.
    """
    found = [outage for outage in outages if outage]
    if health_check is not None and health_check.silence > PATIENCE * health_check.interval:
        found.append(
            f"the health check has had no good pass for {health_check.silence:.0f} s, at an interval of"
            f" {health_check.interval:g} s: see the log"
        )
    return found
