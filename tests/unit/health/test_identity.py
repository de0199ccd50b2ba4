"""Whose the name of a host is: what two machines with one name are told, and what a changed one is."""

import pytest

from ovn_docker.health.host_identity import REGAIN, SETTLE, Evidence, Standing, judge, taken
from ovn_docker.ovn.hosts import NOBODY, HostIdentity

OWN = HostIdentity("number", "alpha", "10.0.0.1", "now")
EARLIER = HostIdentity("number", "alpha", "10.0.0.1", "before")
STRANGER = HostIdentity("other", "beta", "10.0.0.2", "theirs")


def evidence(
    row: HostIdentity | None,
    *,
    held: bool,
    local: bool = False,
    refused: float | None = None,
    since: float = 0.0,
) -> Evidence:
    return Evidence(row, OWN, local, held, refused, since)


@pytest.mark.parametrize("row", [None, NOBODY, EARLIER])
def test_a_name_that_nobody_uses_or_this_machine_did_is_taken_at_once(row: HostIdentity | None) -> None:
    verdict = judge(evidence(row, held=True))
    assert (verdict.standing, verdict.take) == (Standing.OWN, True)


@pytest.mark.parametrize(
    "row",
    [
        HostIdentity("lost", "alpha", "10.0.0.1"),
        HostIdentity("number", "renamed", "10.0.0.1"),
        HostIdentity("number", "alpha", "10.0.0.9"),
    ],
)
def test_a_machine_that_was_installed_anew_or_renamed_or_moved_is_the_same(row: HostIdentity) -> None:
    assert judge(evidence(row, held=True)).standing is Standing.OWN


@pytest.mark.parametrize(
    "row", [STRANGER, HostIdentity("number", "beta", "10.0.0.2"), HostIdentity("x", "alpha")]
)
@pytest.mark.parametrize("held", [False, True])
def test_the_name_of_another_machine_is_not_taken_even_if_that_is_away(row: HostIdentity, held: bool) -> None:  # noqa: FBT001
    verdict = judge(evidence(row, held=held, since=3600.0))
    assert (verdict.standing, verdict.take) == (Standing.TAKEN, False)
    assert (verdict.other, verdict.connected) == (row, not held)
    assert verdict.hopeless


@pytest.mark.parametrize("held", [False, True])
def test_another_process_of_this_host_is_no_other_machine(held: bool) -> None:  # noqa: FBT001
    verdict = judge(evidence(STRANGER, held=held, local=True, refused=3600.0))
    assert (verdict.standing, verdict.take) == (Standing.OWN, False)


def test_a_row_of_this_session_is_written_again_when_the_machine_has_changed() -> None:
    moved = HostIdentity("number", "alpha", "10.0.0.9", "now")
    assert judge(evidence(moved, held=True, local=True)).take
    assert not judge(evidence(OWN, held=True, local=True)).take


def test_a_connection_that_was_cut_off_is_waited_for_and_then_told() -> None:
    assert judge(evidence(EARLIER, held=False, refused=SETTLE - 1)).standing is Standing.UNSETTLED
    late = judge(evidence(EARLIER, held=False, refused=SETTLE))
    assert (late.standing, late.connected, late.hopeless) == (Standing.TAKEN, True, False)


def test_a_name_that_was_refused_is_taken_only_after_a_while() -> None:
    early = judge(evidence(EARLIER, held=True, refused=100.0, since=REGAIN - 1))
    assert (early.standing, early.take) == (Standing.UNSETTLED, False)
    assert judge(evidence(EARLIER, held=True, refused=100.0, since=REGAIN)).take


def test_two_hosts_without_a_tunnel_address_are_not_taken_for_one() -> None:
    one, other = HostIdentity("", "alpha", ""), HostIdentity("", "alpha", "")
    assert judge(Evidence(other, one, local=False, held=True)).standing is Standing.TAKEN


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (False, ("its driver is connected", "give this host a name of its own with 'ovs-vsctl set")),
        (True, ("its driver is away", "'ovn-docker repair --take-over'", "restart ovn-controller")),
    ],
)
def test_the_text_names_the_other_machine_and_what_to_type(held: bool, words: tuple[str, ...]) -> None:  # noqa: FBT001
    text = taken("h1", judge(evidence(STRANGER, held=held)))
    assert text.startswith("beta (tunnel address 10.0.0.2) has the name h1 (external_ids:system-id) in OVN")
    assert [word for word in words if word not in text] == []
