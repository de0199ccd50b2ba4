"""The command scripts/bench vm, without machines."""

from pathlib import Path

import pytest

from bench.containers import RUN
from bench.figures import BRIDGE, MACHINES, OURS, OVERLAY, Figure, Machine, Results
from bench.run import write
from bench.tables import text
from bench.vm.cli import main
from bench.vm.inside import rotated
from bench.vm.netperf import ROUND_TRIP, TCP, UDP
from bench.vm.page import ONE, PAGE, TWO
from ovn_docker.errors import HostError

MACHINE = Machine(
    cores=1,
    memory_gb=3,
    kernel="6.12.1",
    datapath="kernel",
    virtual="each of two machines (uml)",
    versions={},
)


def figure(section: str, item: str, contestant: str, p50: float, samples: int = 5) -> Figure:
    return Figure(
        section=section, item=item, contestant=contestant, unit="Mbit/s", samples=samples, p50=p50, p99=p50
    )


def results(*figures: Figure) -> Results:
    return Results(
        command="scripts/bench vm", date="d", machine=MACHINE, figures=list(figures), complete=True
    )


def test_netperf_is_asked_for_one_figure_which_is_found() -> None:
    assert TCP.command("10.0.0.2", 1.5)[-2:] == ["-k", "THROUGHPUT"]
    assert TCP.figure("THROUGHPUT=11159.11\n") == 11159.11
    assert UDP.figure("REMOTE_RECV_THROUGHPUT=313.94\n") == 313.94
    assert ROUND_TRIP.figure("RT_LATENCY=61.033\n") == 61.033


@pytest.mark.parametrize(
    "said", ["", "establish_control could not establish the control connection", "THROUGHPUT=\n"]
)
def test_netperf_without_a_figure_is_quoted(said: str) -> None:
    with pytest.raises(HostError, match=f"gave no THROUGHPUT; it said: {said.strip() or 'nothing'}"):
        TCP.figure(said)


def test_who_begins_changes_from_round_to_round() -> None:
    rounds = [rotated(["a", "b", "c"], turn) for turn in range(4)]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


def test_between_machines_a_figure_shows_its_ratio_to_the_overlay_and_to_the_machines() -> None:
    mine, overlay = figure(TWO, TCP.item, OURS, 1500), figure(TWO, TCP.item, OVERLAY, 1000)
    shown = text(results(mine, overlay, figure(TWO, TCP.item, MACHINES, 2000)), PAGE)
    assert "1500 (1.50 / 0.75)" in shown
    assert "2000 (2.00 / 1.00)" in shown
    assert "1500 (1.50 / -)" in text(results(mine, overlay), PAGE)


def test_titles_tell_how_many_samples_a_figure_has() -> None:
    one = figure(ONE, TCP.item, OURS, 10)
    assert f"{PAGE.sections[ONE]}, n = 5\n" in text(results(one), PAGE)
    fewer = figure(ONE, TCP.item, BRIDGE, 10, samples=4)
    assert f"{PAGE.sections[ONE]}, n = 4 to 5\n" in text(results(one, fewer), PAGE)


def test_earlier_results_are_put_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = results(figure("docker", RUN, OURS, 1200), figure("docker", RUN, BRIDGE, 1000))
    write(run, tmp_path / "results.json")
    page = tmp_path / "page.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*PAGE.marks))
    arguments = ["--from", str(tmp_path / "results.json"), "--document", str(page), "--markdown"]
    assert main(arguments) == 0
    assert f"| {RUN}, Mbit/s | 1200 (1.20) | 1000 (1.00) |" in page.read_text()
    assert "kernel datapath, each of two machines (uml)" in capsys.readouterr().out
