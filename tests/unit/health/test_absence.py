"""Which hosts are dead for how long they have been missing."""

from collections.abc import Sequence

import pytest

from ovn_docker.health.host_liveness import Absences

HOSTS = ["here", "a", "b"]


def looks(*seen: tuple[float, Sequence[str]], hosts: Sequence[str] = HOSTS) -> Absences:
    """What is known after these looks: when, and which chassis there were."""
    absences = Absences()
    for now, chassis in seen:
        absences = absences.after(hosts, chassis, "here", now)
    return absences


def test_a_host_is_dead_when_it_was_missing_at_every_look_for_so_long() -> None:
    absences = looks((100, ["here", "a"]), (130, ["here", "a"]), (160, ["here", "a"]))
    assert absences.dead(159, 60) == []
    assert absences.dead(160, 60) == ["b"]


def test_a_host_that_was_seen_once_in_between_begins_anew() -> None:
    absences = looks((0, ["here"]), (50, ["here", "b"]), (60, ["here"]))
    assert absences.dead(60, 60) == ["a"]
    assert absences.dead(120, 60) == ["a", "b"]


@pytest.mark.parametrize("chassis", [[], ["a"], ["a", "b"]])
def test_a_southbound_that_does_not_know_this_host_is_not_believed(chassis: list[str]) -> None:
    assert looks((0, ["here"]), (1000, chassis)) == Absences()
    assert looks((0, ["here"]), (1000, chassis), (1001, ["here"])).dead(1050, 60) == []


def test_a_host_that_northbound_does_not_know_any_more_is_forgotten() -> None:
    before = looks((0, ["here"]))
    after = before.after(["here", "a"], ["here"], "here", 10)
    assert set(after.since) == {"a"}


def test_this_host_is_never_missing_nor_is_a_chassis_without_a_driver() -> None:
    assert looks((0, ["here", "other"]), hosts=["here"]).since == {}


def test_the_longest_missing_comes_first() -> None:
    assert looks((0, ["here", "a"]), (10, ["here"])).dead(100, 60) == ["b", "a"]
