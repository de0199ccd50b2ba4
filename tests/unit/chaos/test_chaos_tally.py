"""What a run says of itself."""

import json

import msgspec

from chaos.judge import LOST, STALE, Difference
from chaos.tally import FAILED, OK, TIMEOUT, Result, Tally, result, text, with_differences

COMMAND = "scripts/chaos --seed 7 --minutes 3"


def ended() -> Result:
    tally = Tally()
    tally.add_command("run", OK, calm=True)
    tally.add_command("run", FAILED, calm=False)
    tally.add_command("stop", TIMEOUT, calm=True)
    tally.add_fault("kill dockerd", 2.04)
    tally.add_fault("kill dockerd", 1.0)
    tally.add_judgement(12.04)
    tally.judged = {"containers run": 5}
    return result(COMMAND, 7, 3, 180.0, tally)


def test_a_clean_run_counts_what_was_done_and_says_so() -> None:
    said = text(ended(), "chaos.log")
    assert "seed 7, 3 hosts, 180 s" in said
    assert "1 failed, 1 ok" in said
    assert "1 of them failed while no part was down" in said
    assert "kill dockerd             2" in said
    assert "2.0 s: kill dockerd" in said
    assert "judged 1 times, after at most 12.0 s, the last time 5 containers run" in said
    assert said.endswith("0 lost, 0 stale\n")
    assert ended().clean


def test_differences_are_counted_and_the_command_repeats_them() -> None:
    lost, stale = Difference(LOST, "link", "eth", "h1"), Difference(STALE, "lease", "10.9.0.1", "central")
    found = with_differences(ended(), [lost, stale])
    said = text(found, "chaos.log")
    assert "1 lost, 1 stale" in said
    assert "first difference: lost: link eth at h1" in said
    assert "and 1 more in chaos.log" in said
    assert said.endswith(f"to repeat it: {COMMAND}\n")
    assert not found.clean


def test_a_result_is_json() -> None:
    decoded = json.loads(msgspec.json.encode(ended()))
    assert decoded["commands"]["run"] == {"ok": 1, "failed": 1}
    assert decoded["faults"] == {"kill dockerd": 2}
    assert (decoded["lost"], decoded["stale"], decoded["seed"]) == (0, 0, 7)


def test_the_line_in_between_counts_outcomes() -> None:
    tally = Tally()
    tally.add_command("run", OK, calm=True)
    tally.add_command("rm", FAILED, calm=True)
    tally.add_fault("reboot host", 3.0)
    expected = "round 1: 2 commands (1 ok, 1 failed, 0 timed out), 1 faults, 0 times judged"
    assert tally.line() == expected
