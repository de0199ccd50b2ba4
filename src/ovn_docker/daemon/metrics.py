"""The series that Prometheus reads of a driver; the only door to prometheus_client.

Knows no verb, database or kind of finding by name: the caller that counts names it.

Source: Prometheus "Metric and label naming" and "Exposition formats" (text format 0.0.4).
"""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds: from a lookup in memory to the deadline of a verb."""


class Metrics:
    """The numbers of one driver process, in a registry of their own."""

    def __init__(
        self,
        version: str,
        databases: Mapping[str, Callable[[], bool]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at zero.

        Args:
            version: of the driver.
            databases: by its name in OVSDB, whether a database answers just now; called at each reading.
            now: seconds, by a clock that is never set back.
        """
        # Or each counter has a twin that says when it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._now = now
        self._last_good_pass: float | None = None
        self._registry = registry = CollectorRegistry()
        self._verbs = Histogram(
            "ovn_docker_verb_duration_seconds",
            "Time that a request of Docker's took, from its head to its reply.",
            ("verb", "outcome"),
            registry=registry,
            buckets=BUCKETS,
        )
        self._in_flight = Gauge(
            "ovn_docker_requests_in_flight",
            "Requests that have begun and have no reply yet.",
            registry=registry,
        )
        self._findings = Gauge(
            "ovn_docker_findings",
            "Discrepancies that the last pass of the health check found.",
            ("kind",),
            registry=registry,
        )
        self._repairs = Counter(
            "ovn_docker_repairs", "Repairs that the health check made.", ("kind",), registry=registry
        )
        self._passes = Counter(
            "ovn_docker_passes", "Passes of the health check.", ("outcome",), registry=registry
        )
        self._round_trips, self._reconnects = _of_databases(registry)
        self._connected: set[str] = set()
        registry.register(_AtReading(databases, self.last_good_pass_age))
        ProcessCollector(registry=registry)
        build = Gauge("ovn_docker_build_info", "Always 1.", ("version", "python"), registry=registry)
        build.labels(version, platform.python_version()).set(1)

    def in_flight(self) -> AbstractContextManager[object]:
        """Count a request as one in flight while the context is entered."""
        return self._in_flight.track_inprogress()

    def verb_done(self, verb: str, outcome: str, seconds: float) -> None:
        """Count a request.

        Args:
            verb: the path without the slash; one that is served, never a client's text.
            outcome: ``ok``, ``refused``, ``failed`` or ``overdue``.
            seconds: from the request's head to its reply.
        """
        self._verbs.labels(verb, outcome).observe(seconds)

    def pass_done(self, findings: Mapping[str, int], repairs: Mapping[str, int], *, good: bool) -> None:
        """Count a pass of the health check.

        Args:
            findings: their number by kind; a kind of an earlier pass that is missing goes to 0.
            repairs: the number of those that succeeded in this pass, by kind.
            good: whether everything could be read and no repair failed.
        """
        kinds = {sample.labels["kind"] for family in self._findings.collect() for sample in family.samples}
        for kind in kinds | findings.keys():
            self._findings.labels(kind).set(findings.get(kind, 0))
        for kind, number in repairs.items():
            self._repairs.labels(kind).inc(number)
        self._passes.labels("good" if good else "failed").inc()
        if good:
            self._last_good_pass = self._now()

    def nb_round_trip(self, seconds: float) -> None:
        """Count a transaction with OVN Northbound."""
        self._round_trips.observe(seconds)

    def connected(self, database: str) -> None:
        """Note that a database is connected, or connected again."""
        counter = self._reconnects.labels(database)
        if database in self._connected:
            counter.inc()
        self._connected.add(database)

    def last_good_pass_age(self) -> float | None:
        """Seconds since the last good pass ended; None before the first."""
        return None if self._last_good_pass is None else self._now() - self._last_good_pass

    def exposition(self) -> bytes:
        """All series in Prometheus's text format, UTF-8."""
        return generate_latest(self._registry)


def _of_databases(registry: CollectorRegistry) -> tuple[Histogram, Counter]:
    """How long Northbound takes, and how often a database is reconnected."""
    return Histogram(
        "ovn_docker_nb_round_trip_seconds",
        "Time from a transaction with OVN Northbound to its reply.",
        registry=registry,
        buckets=BUCKETS,
    ), Counter(
        "ovn_docker_database_reconnects",
        "Times that a database was connected again.",
        ("database",),
        registry=registry,
    )


class _AtReading(Collector):
    """What is not counted but looked up at each reading."""

    def __init__(
        self, databases: Mapping[str, Callable[[], bool]], pass_age: Callable[[], float | None]
    ) -> None:
        self._databases = databases
        self._pass_age = pass_age

    def collect(self) -> Iterator[GaugeMetricFamily]:
        connected = GaugeMetricFamily(
            "ovn_docker_database_connected",
            "1 while the database is connected and answers.",
            labels=("database",),
        )
        for name, answers in self._databases.items():
            connected.add_metric((name,), float(answers()))
        yield connected
        age = GaugeMetricFamily(
            "ovn_docker_last_good_pass_age_seconds", "Time since the health check last found out everything."
        )
        seconds = self._pass_age()
        if seconds is not None:
            age.add_metric((), seconds)
        yield age
