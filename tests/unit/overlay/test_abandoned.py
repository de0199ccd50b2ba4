"""When an endpoint of this host has no container any more."""

import pytest

from ovn_docker.overlay.ipam.allocator import JOINING, is_gone

NOW, LATER = 1.0, JOINING + 1


@pytest.mark.parametrize(
    ("plugged", "linked", "waiting", "age", "gone"),
    [
        (True, True, False, NOW, False),
        (True, True, False, LATER, False),
        (True, False, False, NOW, True),
        (False, False, False, NOW, False),
        (False, False, False, LATER, True),
        (True, True, True, NOW, False),
        (False, True, False, LATER, False),
        (True, True, True, LATER, True),
    ],
    ids=[
        "it runs",
        "it runs since long",
        "its link went with it",
        "it is being made",
        "it was never plugged in",
        "it is plugged in before its Join",
        "it is being plugged in",
        "its Join never came",
    ],
)
def test_a_container_is_gone_when_its_link_is_or_when_its_join_did_not_come(
    *, plugged: bool, linked: bool, waiting: bool, age: float, gone: bool
) -> None:
    assert is_gone(plugged=plugged, linked=linked, waiting=waiting, age=age) is gone
