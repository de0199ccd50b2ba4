"""When a finding may be acted on: it was seen twice, and at each look for long enough."""

from hypothesis import given
from hypothesis import strategies as st

from ovn_docker.health.findings import (
    FIRST_PAUSE,
    GRACE,
    KINDS,
    LONGEST_PAUSE,
    SECOND_LOOK,
    Finding,
    Sightings,
)

MISSING = Finding("endpoint-missing", "e1", "it is missing", evidence=1)
STALE = Finding("endpoint-stale", "e2", "it is stale", evidence=1)
DOWN = Finding("container-down", "c1", "it is down", cause="no network")
HOPELESS = Finding("interface-lost", "e3", "it is lost")


def test_a_finding_is_the_same_whatever_its_repair_needs_to_know() -> None:
    assert Finding("endpoint-missing", "e1", "it is missing", evidence=2) == MISSING
    assert hash(Finding("endpoint-missing", "e1", "it is missing", evidence=[])) == hash(MISSING)
    assert Finding("endpoint-missing", "e2", "it is missing") != MISSING
    assert Finding("container-down", "c1", "it is down", cause="another endpoint's") == DOWN


def test_what_is_missing_is_repaired_when_it_is_missing_at_a_second_look() -> None:
    seen = Sightings()
    assert seen.confirmed([MISSING], 100) == []
    assert seen.confirmed([MISSING], 100 + SECOND_LOOK - 0.1) == []
    assert seen.confirmed([MISSING], 100 + SECOND_LOOK) == [MISSING]


def test_what_is_stale_is_removed_only_when_no_verb_can_be_under_way() -> None:
    seen = Sightings()
    assert seen.confirmed([MISSING, STALE], 100) == []
    assert seen.confirmed([MISSING, STALE], 100 + GRACE - 0.1) == [MISSING]
    assert seen.confirmed([MISSING, STALE], 100 + GRACE) == [MISSING, STALE]


def test_an_interruption_begins_anew() -> None:
    seen = Sightings()
    seen.confirmed([STALE], 100)
    seen.confirmed([], 105)
    assert seen.confirmed([STALE], 100 + GRACE) == []
    assert seen.confirmed([STALE], 100 + 2 * GRACE - 0.1) == []
    assert seen.confirmed([STALE], 100 + 2 * GRACE) == [STALE]


def test_what_was_repaired_has_to_be_seen_twice_again() -> None:
    seen = Sightings()
    seen.confirmed([MISSING], 100)
    assert seen.confirmed([MISSING], 102) == [MISSING]
    seen.forget(MISSING)
    assert seen.confirmed([MISSING], 103) == []
    assert seen.confirmed([MISSING], 103 + SECOND_LOOK) == [MISSING]
    seen.forget(HOPELESS)  # never seen


def test_the_next_look_is_when_something_may_be_confirmed() -> None:
    seen = Sightings()
    assert seen.next_look(100) is None
    seen.confirmed([STALE], 100)
    assert seen.next_look(103) == GRACE - 3
    seen.confirmed([STALE, MISSING], 104)
    assert seen.next_look(104) == SECOND_LOOK
    seen.confirmed([STALE], 106)
    assert seen.next_look(100 + GRACE + 5) == SECOND_LOOK, "never at once, however late it is"


def test_nothing_looks_sooner_for_what_cannot_be_repaired() -> None:
    seen = Sightings()
    seen.confirmed([MISSING], 100)
    seen.confirmed([MISSING], 102)
    assert seen.next_look(102) is None
    assert seen.confirmed([MISSING], 300) == [MISSING], "it is tried again with the next pass"


def test_a_start_that_failed_is_tried_again_soon_and_ever_later() -> None:
    seen, now, pauses = Sightings(), 100.0, list[float]()
    seen.confirmed([DOWN], now)
    for _ in range(8):
        now += SECOND_LOOK
        assert seen.confirmed([DOWN], now) == [DOWN]
        assert seen.waiting(DOWN, now) == ""
        seen.failed(DOWN, "no flows", now)
        assert seen.waiting(DOWN, now + FIRST_PAUSE / 2) == "no flows"
        pause = seen.next_look(now)
        assert pause is not None
        pauses.append(pause)
        now += pause
    assert pauses == [FIRST_PAUSE * 2**n for n in range(5)] + [LONGEST_PAUSE] * 3


def test_a_start_is_tried_at_once_when_something_has_come_back() -> None:
    seen = Sightings()
    for now in (100, 102, 104):
        seen.confirmed([DOWN], now)
        seen.failed(DOWN, "no flows", now)
    seen.hurry()
    assert seen.waiting(DOWN, 104) == ""
    seen.failed(DOWN, "no flows", 104)
    seen.confirmed([], 105)
    assert seen.waiting(DOWN, 105) == ""
    assert seen.next_look(105) is None


def test_another_repair_that_failed_waits_for_the_next_pass() -> None:
    seen = Sightings()
    seen.confirmed([MISSING], 100)
    seen.confirmed([MISSING], 102)
    seen.failed(MISSING, "no", 102)
    assert seen.waiting(MISSING, 102) == ""
    assert seen.next_look(102) is None


def test_a_server_that_is_busy_is_not_asked_again_sooner_for_that() -> None:
    seen, slow = Sightings(), Finding("central-slow", "OVN Northbound", "OVN Northbound answers slowly")
    assert seen.confirmed([slow], 100) == []
    assert seen.next_look(100) is None
    assert seen.confirmed([slow], 280) == [slow]


@given(st.lists(st.tuples(st.floats(0.1, 8), st.sets(st.sampled_from([MISSING, STALE]))), max_size=20))
def test_what_is_removed_was_seen_at_every_look_during_a_verbs_deadline(
    looks: list[tuple[float, set[Finding]]],
) -> None:
    seen, now, history = Sightings(), 0.0, list[tuple[float, set[Finding]]]()
    for pause, found in looks:
        now += pause
        history.append((now, found))
        if STALE in seen.confirmed(found, now):
            since = [when for when, had in history if STALE not in had]
            assert next(when for when, _ in history if when > max(since, default=0)) <= now - GRACE


def test_a_finding_whose_text_counts_is_the_same_when_the_number_has_changed() -> None:
    seen = Sightings()
    few, more = (Finding("lookup-missing", "ip-lookup", f"{number} flows") for number in (2, 3))
    assert seen.confirmed([few], 100) == []
    [confirmed] = seen.confirmed([more], 100 + SECOND_LOOK)
    assert confirmed.text == "3 flows"


def test_each_kind_that_removes_says_so() -> None:
    removing = {kind for kind, what in KINDS.items() if what.removes}
    assert removing == {kind for kind in KINDS if kind.endswith("-stale")}
    assert {kind for kind, what in KINDS.items() if not what.repair} == {
        "central-slow",
        "northd-behind",
        "central-relay",
        "interface-dead",
        "interface-lost",
        "interface-alive",
        "address-taken",
        "egress-closed",
        "dns-bypassed",
        "dns-down",
        "lookup-off",
        "vtep-down",
        "name-taken",
        # what keeps OVN from serving the host
        "driver-down",
        "vswitchd-down",
        "controller-down",
        "setting-missing",
        "encap-foreign",
        "datapath-lacks",
        "tunnel-down",
        "peer-down",
        "tunnel-blocked",
        "southbound-down",
        "northd-down",
        "switch-twice",
        "plugin-disabled",
        "plugin-legacy",
        "plugin-missing",
        "scope-global",
        # what would cut an OpenStack machine off, or is another's to repair
        "cloud-lacks",
        "vif-missing",
        "vif-foreign",
        "vif-disabled",
        "vif-down",
        "vif-elsewhere",
        "trunk-down",
        "bridge-missing",
        "bridge-secure",
        "bridge-mac",
        "uplink-missing",
        "uplink-dead",
        "uplink-vlan",
        "mtu-small",
        "mtu-large",
        "network-mtu",
    }
