"""When a host was seen last, as people read it."""

import pytest

from ovn_docker.ovn import hosts
from ovn_docker.ovn.hosts import LastSeen
from ovn_docker.ovsdb.operations import to_map

MOMENT = "2026-11-27T14:50:31Z"


def row(**ids: str) -> list[dict[str, object]]:
    return [{"external_ids": to_map({key.replace("_", "-"): value for key, value in ids.items()})}]


def test_a_host_that_was_seen_is_away_since_about_then() -> None:
    found = hosts.read_seen(row(ovn_docker_seen=MOMENT))
    assert found == LastSeen(MOMENT)
    assert str(found) == "about 2026-11-27 14:50 UTC"


def test_one_that_was_stopped_is_away_since_then() -> None:
    found = hosts.read_seen(row(ovn_docker_seen=MOMENT, ovn_docker_stopped="true"))
    assert str(found) == "2026-11-27 14:50 UTC"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-27", MOMENT + "\nroot", "2026-13-27T14:50:31Z"])
def test_what_is_not_a_time_is_not_told(text: str) -> None:
    assert hosts.read_seen(row(ovn_docker_seen=text)) == LastSeen()
    assert str(LastSeen()) == ""


def test_a_host_without_a_row_was_never_seen() -> None:
    assert hosts.read_seen([]) == LastSeen()
