"""The command scripts/bench health, without measuring."""

from pathlib import Path

import pytest

from bench.figures import OURS, Figure, Machine, Results
from bench.health import PAGE, READING, SECTION, WAIT, main, parser
from bench.run import write

MACHINE = Machine(cores=2, memory_gb=8, kernel="6.1.0", versions={})


def test_without_flags_it_is_measured_with_none_many_and_very_many_other_ports() -> None:
    assert parser().parse_args([]).ports == (0, 10_000, 100_000)
    assert parser().parse_args(["--ports", "5_000"]).ports == (5000,)


def test_earlier_results_are_put_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [
        Figure(section=SECTION, item=item, contestant=OURS, ports=10_000, p50=p50, p99=2 * p50)
        for item, p50 in ((READING, 30.0), (WAIT, 28.0))
    ]
    results = Results(
        command="scripts/bench health", date="d", machine=MACHINE, figures=figures, complete=True
    )
    write(results, tmp_path / "results.json")
    page = tmp_path / "page.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*PAGE.marks))
    arguments = ["--from", str(tmp_path / "results.json"), "--document", str(page), "--markdown"]
    assert main(arguments) == 0
    assert "| one reading, ms | 30.0 / 60.0 |" in page.read_text()
    assert "≤ 50 | 28.0 | reached" in capsys.readouterr().out
