"""When /healthz says that something is wrong."""

import pytest

from ovn_docker.daemon.serve import HealthCheckState, problems


def test_nothing_is_wrong_while_both_databases_answer() -> None:
    assert problems(["", ""]) == []


def test_each_outage_is_a_line() -> None:
    assert problems(["OVN Northbound cannot be reached", "", "Open vSwitch too"]) == [
        "OVN Northbound cannot be reached",
        "Open vSwitch too",
    ]


@pytest.mark.parametrize(("silence", "lines"), [(0, 0), (540, 0), (541, 1)])
def test_a_good_pass_may_be_three_intervals_old(silence: float, lines: int) -> None:
    found = problems([], HealthCheckState(interval=180, silence=silence))
    assert (
        found
        == ["the health check has had no good pass for 541 s, at an interval of 180 s: see the log"][:lines]
    )
