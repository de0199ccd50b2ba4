"""What is done follows from the seed; who has to reach whom; what a run says of itself."""

from itertools import islice
from pathlib import Path

import pytest

from chaos.cli import command_line, main, parser
from chaos.connectivity import peers, verdict
from chaos.faults import CENTRAL, CENTRAL_PARTS, CUT, HOST_PARTS, KILL, REBOOT, RESTART
from chaos.oracle import LOST, STALE, Difference
from chaos.plan import WEIGHTS, Round, rounds
from chaos.stats import FAILED, OK, TIMEOUT, Stats, result, text, with_differences
from tests.unit.chaos import world

PAGE = Path(__file__).parents[3] / "docs/reference/chaos.md"
ADDRESSES = """\
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
12: eth0    inet 10.90.1.2/24 brd 10.90.1.255 scope global eth0\\       valid_lft forever
"""


def plan(seed: int, count: int = 300) -> list[Round]:
    return list(islice(rounds(seed, 3), count))


def test_a_plan_follows_from_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(7) == plan(7)
    assert plan(7, 3) != plan(8, 3)
    assert main(["--seed", "3", "--plan", "2"]) == 0
    assert capsys.readouterr().out.startswith("round 1\n  h1: docker network create")


def test_every_verb_and_every_fault_has_its_turn() -> None:
    whole = plan(1)
    commands = [command for one in whole for host in one.commands for command in host]
    assert {command.verb for command in commands} == set(WEIGHTS)
    faults = [fault for one in whole for fault in one.faults]
    parts = {f"{kind} {part}" for kind in (KILL, RESTART) for part in (*HOST_PARTS, *CENTRAL_PARTS)}
    assert {fault.title for fault in faults} == parts | {f"{CUT} host", f"{CUT} central", f"{REBOOT} host"}
    assert {fault.machine for fault in faults} == {"h1", "h2", "h3", CENTRAL}


def test_the_command_that_repeats_a_run_means_the_same_run() -> None:
    requested = parser().parse_args(["--seed", "5", "--minutes", "0.5", "--hosts", "2", "--no-health-check"])
    program, *words = command_line(requested).split()
    assert program == "scripts/chaos"
    assert parser().parse_args(words) == requested


def test_every_flag_is_in_the_reference() -> None:
    page = PAGE.read_text()
    flags = {action.option_strings[-1] for action in parser()._actions} - {"--help"}
    assert [flag for flag in flags if f"| `{flag}" not in page] == []


def test_containers_of_a_shared_network_reach_each_other_over_hosts() -> None:
    assert peers(world.hosts()) == {
        ("h1", "c1"): {"10.90.1.3": "c2 on h2"},
        ("h2", "c2"): {"10.90.1.2": "c1 on h1"},
    }


@pytest.mark.parametrize(
    ("said", "own", "lost"),
    [
        (ADDRESSES, ["10.90.1.2"], []),
        (f"ping 10.90.1.3\ntcp 10.90.1.3\n{ADDRESSES}", ["10.90.1.2"], ["ping", "tcp"]),
        (ADDRESSES, ["10.90.1.2", "10.101.1.2"], ["address"]),
    ],
)
def test_what_a_container_says_is_understood(said: str, own: list[str], lost: list[str]) -> None:
    found = verdict(said, "c1", "h1", own, {"10.90.1.3": "c2 on h2"})
    assert [(difference.verdict, difference.what) for difference in found] == [(LOST, what) for what in lost]


def test_a_run_says_what_was_done_and_what_is_different() -> None:
    stats = Stats()
    stats.add_command("run", OK, calm=True)
    stats.add_command("run", FAILED, calm=False)
    stats.add_command("stop", TIMEOUT, calm=True)
    stats.add_fault("kill dockerd", 2.04)
    stats.add_check(12.04)
    stats.compared = {"containers run": 5}
    assert stats.line() == "round 1: 3 commands (1 ok, 1 failed, 1 timed out), 1 faults, 1 checks"
    clean = result("scripts/chaos --seed 7", 7, 3, 180.0, stats)
    assert clean.clean
    said = text(clean, "chaos.log")
    assert "1 of them failed while no part was down" in said
    assert "2.0 s: kill dockerd" in said
    assert said.endswith("after at most 12.0 s, the last time 5 containers run\n0 lost, 0 stale\n")
    lost, stale = Difference(LOST, "link", "eth", "h1"), Difference(STALE, "lease", "10.9.0.1", "central")
    found = with_differences(clean, [lost, stale])
    assert not found.clean
    said = text(found, "chaos.log")
    assert "1 lost, 1 stale" in said
    assert "first difference: lost: link eth at h1" in said
    assert said.endswith("to repeat it: scripts/chaos --seed 7\n")
