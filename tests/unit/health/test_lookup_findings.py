"""What the health check says of the flows of IP lookups."""

import pytest

from ovn_docker.docker.models import DockerState
from ovn_docker.health.checks import check_lookups
from ovn_docker.health.findings import KINDS
from ovn_docker.health.snapshot import LookupState, Owned, Snapshot


def snapshot(lookups: LookupState) -> Snapshot:
    state, held = DockerState({}, {}), Owned({}, ())
    return Snapshot("openvswitch", state, held, (), frozenset(), lambda _, subnet: subnet, lookups)


@pytest.mark.parametrize(
    ("lookups", "kinds"),
    [
        (LookupState(), []),
        (LookupState(("a", "b")), ["lookup-missing"]),
        (LookupState((), ("a",)), ["lookup-surplus"]),
        (LookupState(("a",), ("b",), "off"), ["lookup-missing", "lookup-surplus", "lookup-off"]),
        (LookupState(down=(("a", "VTEP a is down"), ("b", "b is too"))), ["vtep-down", "vtep-down"]),
    ],
)
def test_each_difference_is_a_finding(lookups: LookupState, kinds: list[str]) -> None:
    found = list(check_lookups(snapshot(lookups)))
    assert [finding.kind for finding in found] == kinds
    assert set(kinds) <= set(KINDS)


def test_a_vtep_that_is_down_is_the_subject_whatever_the_text_says() -> None:
    found = check_lookups(snapshot(LookupState(down=(("192.0.2.9 one", "OVN has no tunnel to it"),))))
    assert [finding.subject for finding in found] == ["192.0.2.9 one"]


def test_a_finding_tells_how_many_and_one_of_them() -> None:
    [found] = check_lookups(snapshot(LookupState(("table=200", "table=40"))))
    assert found.text == "2 flow(s) of IP lookups are missing or wrong, such as table=200"
