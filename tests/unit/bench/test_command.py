from pathlib import Path

import pytest

from bench import cli
from bench.containers import durations
from bench.figures import Machine, Results
from bench.plan import FULL, QUICK
from bench.run import write

LINE = (
    "2026-01-01T00:00:00.605Z|{}|server|INFO|NetworkDriver.Join network_id=b4 endpoint_id=20"
    " duration_ms={} outcome=ok\n"
)


def test_nothing_else_in_northbound_is_always_measured() -> None:
    arguments = cli.parser().parse_args(["--ports", "100_000"])
    assert cli.plan(arguments).ports == (0, 100_000)


def test_only_few_enough_ports_are_measured_with_the_whole_of_ovn() -> None:
    arguments = cli.parser().parse_args(["--ports", "10000,100000"])
    assert cli.plan(arguments).live == (0, 10_000)


def test_quick_takes_fewer_samples() -> None:
    assert cli.plan(cli.parser().parse_args([])) == FULL
    assert cli.plan(cli.parser().parse_args(["--quick"])) == QUICK


def test_a_negative_number_of_ports_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--ports=-1"])
    assert "no number of ports is negative" in capsys.readouterr().err


def test_earlier_results_that_are_not_there_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--from", str(tmp_path / "absent.json")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("failures", "complete", "status"), [([], True, 0), (["calls to it: refused"], True, 1), ([], False, 1)]
)
def test_what_could_not_be_measured_ends_with_status_1(
    tmp_path: Path,
    failures: list[str],
    complete: bool,  # noqa: FBT001  (a parameter of the test)
    status: int,
) -> None:
    machine = Machine(cores=2, memory_gb=4, kernel="6.12", versions={})
    results = Results(command="x", date="", machine=machine, failures=failures, complete=complete)
    write(results, tmp_path / "results.json")
    assert cli.main(["--from", str(tmp_path / "results.json")]) == status


def test_a_call_that_is_logged_twice_counts_once() -> None:
    log = LINE.format("00013", "9.5") * 2 + LINE.format("00014", "1.5")
    assert durations(log, "b4") == [("Join", 9.5), ("Join", 1.5)]


def test_calls_about_other_networks_do_not_count() -> None:
    assert durations(LINE.format("00013", "9.5"), "b") == []
