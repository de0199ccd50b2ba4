"""The command line of scripts/bench, without measuring."""

from pathlib import Path

import pytest

from bench import contest
from bench.cli import BENCHES, main, parser
from bench.figures import BRIDGE, OURS, Figure, Machine, Results
from bench.ipam import measure as ipam
from bench.run import Run, write
from bench.scale import measure as scale
from bench.scale import plan
from ovn_docker.errors import ConfigError

MACHINE = Machine(
    cores=2, memory_gb=8, kernel="6.12.1", datapath="kernel", virtual="uml", versions={"OVN": "25"}
)


def results(*figures: Figure, failures: list[str] | None = None, complete: bool = True) -> Results:
    return Results(
        command="c",
        date="d",
        machine=MACHINE,
        figures=list(figures),
        failures=failures or [],
        complete=complete,
    )


def run(bench: str, *words: str) -> Run:
    return Run(parser(BENCHES[bench]).parse_args(words), "c", 0)


@pytest.mark.parametrize("name", BENCHES)
def test_earlier_results_are_put_into_a_document(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = BENCHES[name].page
    section, column = next(iter(page.sections)), page.columns[0]
    figure = Figure(section=section, item="thing", contestant=column, p50=4.0, p99=8.0)
    write(results(figure), tmp_path / "results.json")
    document = tmp_path / "page.md"
    document.write_text("before\n{}\nold\n{}\nafter\n".format(*page.marks))
    words = ["--from", str(tmp_path / "results.json"), "--document", str(document)]
    for _ in range(2):  # what is there is replaced
        assert main([name, *words]) == 0
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    shown = "4.00 / 8.00" if section in page.with_p99 else "4.00"
    assert text.count(f"| thing, ms | {shown} |") == 1
    assert "kernel datapath, uml" in capsys.readouterr().out


def test_a_document_without_marks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(results(), tmp_path / "results.json")
    (tmp_path / "page.md").write_text("no marks")
    words = ["--from", str(tmp_path / "results.json"), "--document", str(tmp_path / "page.md")]
    assert main(words) == 1
    assert "lacks the lines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (results(), 0),
        (results(failures=["calls to it: refused"]), 1),
        (results(complete=False), 1),
        (None, 1),
    ],
)
def test_what_could_not_be_measured_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], found: Results | None, status: int
) -> None:
    if found is not None:
        write(found, tmp_path / "results.json")
    assert main(["--from", str(tmp_path / "results.json")]) == status
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == (found is None)
    assert all(f"failed: {failure}" in said.out for failure in (found.failures if found else ()))


def test_ratios_targets_and_missing_cells_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = results(
        Figure(section="docker", item="docker run -d", contestant=OURS, p50=300, p99=300),
        Figure(section="docker", item="docker run -d", contestant=BRIDGE, p50=200, p99=200),
        Figure(section="docker", item="docker rm -f", contestant=BRIDGE, p50=90, p99=90),
        Figure(section="verbs", item="CreateEndpoint", contestant=OURS, p50=3, p99=9),
        Figure(section="first packet", item="new", contestant=OURS, unit="of 30", p50=30, p99=30),
    )
    write(found, tmp_path / "results.json")
    main(["--markdown", "--from", str(tmp_path / "results.json")])
    text = capsys.readouterr().out
    assert "| docker run -d, ms | 300 (1.50) | 200 (1.00) |" in text
    assert "| docker rm -f, ms | - | 90.0 (1.00) |" in text
    assert "| new | 30 of 30 |" in text
    assert "| docker run -d / bridge | ≤ 1.05 | 1.50 | not reached |" in text
    assert "| CreateEndpoint, p50, ms | ≤ 3 | 3.00 | reached |" in text
    assert "| Leave, p50, ms | ≤ 22 | - | not measured |" in text


def test_flags_choose_and_change_the_sizes() -> None:
    assert contest.plan(run("contest")) == contest.FULL
    assert contest.plan(run("contest", "--quick")) == contest.QUICK
    assert contest.plan(run("contest", "--ports=10000,100_000")).ports == (0, 10_000, 100_000)
    assert ipam.plan(run("ipam", "--ports=100_000")).ports == (100_000,)
    assert scale.sizes(run("scale")) == plan.FULL
    chosen = scale.sizes(run("scale", "--quick", "--hosts=5", "--seconds=0.5"))
    assert (chosen.hosts, chosen.chassis) == (5, plan.QUICK.chassis)
    assert (chosen.seconds, chosen.health_seconds) == (0.5, 0.5)


@pytest.mark.parametrize(
    "words",
    [
        ["--ports=-1"],
        ["ipam", "--ports=x"],
        ["scale", "--hosts=0"],
        ["scale", "--seconds=0"],
        ["scale", "--only=x"],
    ],
)
def test_a_size_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)


def test_scale_refuses_what_the_machine_cannot_do() -> None:
    with pytest.raises(ConfigError, match="no room for so many networks"):
        scale.sizes(run("scale", "--hosts=100000", "--containers=1000"))
    with pytest.raises(ConfigError, match="load average"):
        scale.check_load(9.0, busy=False)
    scale.check_load(9.0, busy=True)
    with pytest.raises(ConfigError, match="1000 hosts need 1200"):
        scale.check_files(1024, plan.FULL)
