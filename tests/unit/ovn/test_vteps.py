"""Operations on, and readers of, VTEPs in Northbound."""

from uuid import UUID

import pytest

from ovn_docker.ovn import vteps
from ovn_docker.ovn.vteps import Entry, Keys
from ovn_docker.ovsdb.operations import mapping, to_map

SWITCH = UUID("11111111-2222-3333-4444-555555555555")
REMOTE = "192.0.2.1"


def keys(requested: str = "", pinned: str = "") -> Keys:
    return Keys("red", own=True, config={vteps.KEY: requested} if requested else {}, pinned=pinned, vteps={})


@pytest.mark.parametrize(
    ("entry", "text"), [(Entry(5001), "5001"), (Entry(5001, vteps.VTEP_PORT), "5001 ramp")], ids=str
)
def test_a_vtep_is_a_key_of_its_switch_and_a_mark_by_which_hosts_find_it(entry: Entry, text: str) -> None:
    gone, new = vteps.ls_vtep_add(SWITCH, REMOTE, entry)["mutations"]
    assert gone == ("external_ids", "delete", ["set", ["ovn-docker-vtep:192.0.2.1"]])
    assert mapping(new[2]) == {"ovn-docker-vtep:192.0.2.1": text, "ovn-docker-vteps": "true"}
    assert vteps.read_vteps({"external_ids": new[2]}) == {REMOTE: entry}


@pytest.mark.parametrize(("last", "count"), [(False, 1), (True, 2)])
def test_the_mark_goes_with_the_last_vtep(last: bool, count: int) -> None:  # noqa: FBT001
    [(_, _, deleted)] = vteps.ls_vtep_del(SWITCH, REMOTE, last=last)["mutations"]
    assert len(deleted[1]) == count


@pytest.mark.parametrize("text", ["x", "", "5001 other", "-1", "5001 ramp more"])
def test_what_nobody_has_written_is_nobodys(text: str) -> None:
    assert vteps.read_vteps({"external_ids": to_map({"ovn-docker-vtep:192.0.2.1": text})}) == {}


def test_a_key_that_is_requested_is_not_requested_again() -> None:
    assert vteps.ls_pin_key(SWITCH, keys("5001"), 5001) == []
    assert vteps.ls_unpin_key(SWITCH, keys("5001")) == []


def test_a_pinned_key_goes_only_if_it_is_still_ours() -> None:
    [operation] = vteps.ls_unpin_key(SWITCH, keys("7", pinned="5001"))
    assert ("other_config", "delete", to_map({"requested-tnl-key": "5001"})) in operation["mutations"]


def test_a_vtep_port_is_up_when_ovn_says_so() -> None:
    mark = to_map({"ovn-docker-vtep": REMOTE})
    rows = [
        {"name": "a", "up": True, "external_ids": mark},
        {"name": "b", "external_ids": mark},
        {"name": "foreign", "up": True},
    ]
    assert vteps.vtep_ports_up(rows) == {"a": True, "b": False}


def test_both_words_for_the_mode_are_understood() -> None:
    assert vteps.mode_of("ramp") == vteps.mode_of("vtep") == vteps.VTEP_PORT
    assert vteps.mode_of("lookup") == vteps.LOOKUP
