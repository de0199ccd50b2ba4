"""scripts/bench scale in its smallest size: real servers, three hosts, five containers each."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import run
from bench.figures import Results
from bench.scale import page
from tests.polling import eventually

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
SMALL = ["--hosts=3", "--containers=5", "--chassis=2", "--seconds=0.2", "--busy"]


@contextlib.contextmanager
def running(directory: Path, *words: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A run; one that goes on when the test is over is told to take everything down."""
    command = [sys.executable, "-m", "bench", "scale", *SMALL, *words]
    files = [f"--directory={directory}", f"--json={directory}/results.json"]
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen([*command, *files], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=said)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def measured(directory: Path, *words: str) -> Results:
    with running(directory, *words) as process:
        assert process.wait(120) == 0, (directory / "said").read_text()
    return run.read(directory / "results.json")


def left(directory: Path) -> Iterator[str]:
    """Command lines of processes that are of a run in this directory."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = (path.with_name("cmdline").read_bytes() + path.read_bytes()).decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words and path.parent.name != str(os.getpid()):
            yield words


@pytest.mark.slow
def test_every_section_without_ovn_northd_is_measured(short_path: Path) -> None:
    results = measured(short_path, "--only=standalone", "--only=cluster")
    assert (results.failures, results.complete) == ([], True)
    sections = {figure.section for figure in results.figures}
    assert sections == {page.SIZES, page.SESSIONS, page.RATES, page.TIMES, page.HEALTH, page.MEMORY}
    columns = {figure.contestant for figure in results.figures if figure.section == page.RATES}
    assert columns == set(page.PAGE.columns) - {page.MEASURED}
    backs = [figure for figure in results.figures if figure.item == page.BACK]
    assert len(backs) == 2
    assert all(0 < back.p50 < 60 for back in backs)
    assert not list(left(short_path))
    assert {path.name for path in short_path.iterdir()} == {"said", "results.json"}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ports_are_bound_by_real_ovn_controllers(short_path: Path) -> None:
    results = measured(short_path, "--only=southbound")
    assert results.failures == []
    bound = {figure.item: figure for figure in results.figures if figure.section == page.BINDING}
    assert bound.keys() == {page.FIRST, page.KNOWN}
    assert not list(left(short_path))


def test_an_end_in_the_middle_leaves_no_process_and_no_file(short_path: Path) -> None:
    with running(short_path, "--only=standalone") as process:
        eventually(lambda: "all connect" in (short_path / "said").read_text(), 60, "drivers connect")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1
    assert not list(left(short_path))
    assert not list(short_path.glob("ovn-docker-bench-*"))
