"""What is said of the servers that all hosts share."""

from dataclasses import replace

import pytest

from ovn_docker.health.checks import check
from ovn_docker.health.snapshot import Central
from ovn_docker.ovn.nb_global import read_behind
from tests.agreement import agreeing, docker

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("central", "lines"),
    [
        (None, []),
        (Central(0.002, None, relay=False), []),
        (Central(0.9, 4.9, relay=False), []),
        (
            Central(4.1, None, relay=False),
            ["OVN Northbound answers slowly: 4.1 s for a query of one row"],
        ),
        (
            Central(0.002, 12.4, relay=False),
            ["ovn-northd is behind OVN Northbound, so containers fail to start: by 12 s"],
        ),
    ],
)
def test_a_central_that_is_slow_or_late_is_told_with_the_seconds(
    central: Central | None, lines: list[str]
) -> None:
    assert [finding.line for finding in check(replace(agreeing(docker()), central=central))] == lines


def test_a_slow_central_is_the_same_finding_whatever_the_seconds_are() -> None:
    one, other = (
        check(replace(agreeing(docker()), central=Central(seconds, seconds, relay=True)))
        for seconds in (6.0, 7.0)
    )
    assert [part.kind for part in one] == ["central-slow", "northd-behind", "central-relay"]
    assert one == other


@pytest.mark.parametrize(
    ("nb", "began", "sb", "done", "behind"),
    [
        (7, NOW - 4, 7, NOW - 3, None),
        (8, NOW - 4, 7, NOW - 90, 4.0),
        (8, NOW - 90, 7, NOW - 80, 0.0),  # it has not begun with the eighth
        (8, NOW + 60, 7, NOW - 90, 0.0),  # its clock is ahead
        (0, 0, 0, 0, None),
    ],
)
def test_northd_is_behind_while_it_owes_southbound_a_change(
    nb: int, began: float, sb: int, done: float, behind: float | None
) -> None:
    row = {
        "nb_cfg": nb,
        "nb_cfg_timestamp": int(began * 1000),
        "sb_cfg": sb,
        "sb_cfg_timestamp": int(done * 1000),
    }
    assert read_behind([row], NOW) == behind
    assert read_behind([], NOW) is None
