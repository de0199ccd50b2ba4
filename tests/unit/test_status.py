"""When /healthz says that the health check is overdue."""

import pytest

from ovn_docker.daemon.serve import overdue


@pytest.mark.parametrize(("age", "is_overdue"), [(0, False), (540, False), (541, True)])
def test_a_good_pass_may_be_three_intervals_old(age: float, is_overdue: bool) -> None:  # noqa: FBT001
    text = overdue(age, interval=180)
    assert ("no good pass for 541 s, at an interval of 180 s" in text) is is_overdue
