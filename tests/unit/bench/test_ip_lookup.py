"""The command scripts/bench ip-lookup, without measuring."""

from pathlib import Path

import pytest

from bench.figures import OURS, Figure, Machine, Results
from bench.ip_lookup import CALLS, JOIN, LESS, PAGE, SHARE, SHARES, main
from bench.run import write

MACHINE = Machine(cores=2, memory_gb=8, kernel="6.1.0", versions={})


def test_earlier_results_are_put_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = [
        Figure(section=CALLS, item=f"{JOIN} {LESS}", contestant=OURS, p50=0.3, p99=1.5),
        Figure(section=SHARES, item=SHARE, contestant=OURS, unit="%", p50=85.0, p99=99.0),
    ]
    results = Results(
        command="scripts/bench ip-lookup", date="d", machine=MACHINE, figures=figures, complete=True
    )
    write(results, tmp_path / "results.json")
    page = tmp_path / "page.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*PAGE.marks))
    arguments = ["--from", str(tmp_path / "results.json"), "--document", str(page), "--markdown"]
    assert main(arguments) == 0
    assert "| Join with --ip-lookup, less without, ms | 0.30 / 1.50 |" in page.read_text()
    said = capsys.readouterr().out
    assert "≤ 1 | 0.30 | reached" in said
    assert "≥ 90 | 85.0 | not reached" in said
