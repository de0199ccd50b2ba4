"""The numbers that Prometheus reads: what is counted, what is looked up, and what is not there yet."""

import asyncio
import contextlib

from ovn_docker.daemon.metrics import Metrics
from tests.exposition import read, value


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def metrics(now: Clock | None = None) -> Metrics:
    return Metrics("1.2.3", {}, now or Clock())


def test_a_verb_is_counted_by_its_outcome_and_its_time() -> None:
    counted = metrics()
    counted.verb_done("NetworkDriver.Join", "ok", 0.02)
    counted.verb_done("NetworkDriver.Join", "ok", 0.2)
    counted.verb_done("NetworkDriver.Join", "overdue", 9.5)
    shown = read(counted.exposition())
    series = "ovn_docker_verb_duration_seconds"
    ok, overdue = ({"verb": "NetworkDriver.Join", "outcome": outcome} for outcome in ("ok", "overdue"))
    assert value(shown, f"{series}_count", **ok) == 2
    assert value(shown, f"{series}_sum", **ok) == 0.22
    assert value(shown, f"{series}_bucket", le="0.025", **ok) == 1
    assert value(shown, f"{series}_bucket", le="5.0", **overdue) == 0
    assert value(shown, f"{series}_bucket", le="10.0", **overdue) == 1


def test_a_request_is_in_flight_until_its_reply_even_if_it_is_cancelled() -> None:
    counted = metrics()
    name = "ovn_docker_requests_in_flight"
    with contextlib.suppress(asyncio.CancelledError), counted.in_flight():
        with counted.in_flight():
            assert value(read(counted.exposition()), name) == 2
        assert value(read(counted.exposition()), name) == 1
        raise asyncio.CancelledError
    assert value(read(counted.exposition()), name) == 0


def test_round_trips_and_reconnects_are_counted_but_not_the_first_connection() -> None:
    counted = metrics()
    for seconds in (0.002, 4.1):
        counted.nb_round_trip(seconds)
    for database in ("OVN_Northbound", "Open_vSwitch", "OVN_Northbound", "OVN_Northbound"):
        counted.connected(database)
    shown = read(counted.exposition())
    assert value(shown, "ovn_docker_nb_round_trip_seconds_count") == 2
    assert value(shown, "ovn_docker_nb_round_trip_seconds_bucket", le="0.0025") == 1
    assert value(shown, "ovn_docker_database_reconnects_total", database="OVN_Northbound") == 2
    assert value(shown, "ovn_docker_database_reconnects_total", database="Open_vSwitch") == 0


def test_two_registries_know_nothing_of_each_other() -> None:
    metrics().verb_done("NetworkDriver.Join", "ok", 1)
    assert b"NetworkDriver" not in metrics().exposition()


def test_repairs_add_up_and_findings_are_those_of_the_last_pass() -> None:
    counted = metrics()
    counted.pass_done({"stale-port": 2, "stale-lease": 1}, {"stale-port": 2}, good=True)
    counted.pass_done({"stale-port": 1}, {"stale-port": 1}, good=False)
    shown = read(counted.exposition())
    assert value(shown, "ovn_docker_findings", kind="stale-port") == 1
    assert value(shown, "ovn_docker_findings", kind="stale-lease") == 0
    assert value(shown, "ovn_docker_repairs_total", kind="stale-port") == 3
    assert value(shown, "ovn_docker_passes_total", outcome="good") == 1
    assert value(shown, "ovn_docker_passes_total", outcome="failed") == 1


def test_the_age_of_the_last_good_pass_grows_whatever_fails_meanwhile() -> None:
    clock = Clock()
    counted = metrics(clock)
    name = "ovn_docker_last_good_pass_age_seconds"
    counted.pass_done({}, {}, good=False)
    assert (value(read(counted.exposition()), name), counted.last_good_pass_age()) == (None, None)
    counted.pass_done({}, {}, good=True)
    clock.now += 60
    counted.pass_done({}, {}, good=False)
    clock.now += 5
    assert (value(read(counted.exposition()), name), counted.last_good_pass_age()) == (65, 65)


def test_a_database_is_asked_at_each_reading() -> None:
    up = {"OVN_Northbound": True, "Open_vSwitch": False}
    counted = Metrics("1.2.3", {name: lambda name=name: up[name] for name in up})  # type: ignore[misc]
    name = "ovn_docker_database_connected"
    shown = read(counted.exposition())
    assert [value(shown, name, database=database) for database in up] == [1, 0]
    up["OVN_Northbound"] = False
    assert value(read(counted.exposition()), name, database="OVN_Northbound") == 0


def test_the_version_is_shown_and_no_series_has_a_creation_time() -> None:
    counted = metrics()
    counted.verb_done("NetworkDriver.Join", "ok", 1)
    counted.pass_done({}, {"stale-port": 1}, good=True)
    shown = read(counted.exposition())
    [build] = [labels for name, labels, _ in shown if name == "ovn_docker_build_info"]
    assert build["version"] == "1.2.3"
    assert [name for name, _, _ in shown if name.endswith("_created")] == []


def test_every_series_has_the_prefix_of_the_driver_or_of_a_process() -> None:
    prefixes = ("ovn_docker_", "process_")
    assert [name for name, _, _ in read(metrics().exposition()) if not name.startswith(prefixes)] == []
