"""scripts/matrix with a release of busybox alone: what it prints, and that nothing of a run stays."""

import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.polling import eventually

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes namespaces and mounts"),
]

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts" / "matrix")
APPLETS = ("sh", "env", "sleep", "umount", "touch", "cat", "sed")
DIRECTORIES = ("bin", "usr/bin", "usr/sbin", "etc/apt/apt.conf.d", "proc", "sys", "dev", "run", "tmp", "mnt")

# In place of bash: what a part does is told from outside.
BASH = """#!/bin/sh
case $1 in scripts/*) . /part ;; esac
exec sh "$@"
"""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The script with a cache of its own, where it finds a base for bookworm."""

    cache: Path
    pids: list[int] = field(default_factory=list)

    def make_base(self, part: str) -> None:
        """Pack a release in which a part of the checks is this shell command."""
        tree = self.cache / "tree"
        for directory in DIRECTORIES:
            (tree / directory).mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox
        shutil.copy(busybox, tree / "bin" / "busybox")
        for applet in APPLETS:
            (tree / "bin" / applet).symlink_to("busybox")
        (tree / "usr" / "bin" / "env").symlink_to("/bin/busybox")
        (tree / "part").write_text(f"{part}\n")
        for path, text in (("bin/bash", BASH), ("usr/sbin/update-ca-certificates", "#!/bin/sh\n")):
            (tree / path).write_text(text)
            (tree / path).chmod(0o755)
        with tarfile.open(self.cache / "bookworm.tar.gz", "w:gz") as packed:
            packed.add(tree, ".")
        shutil.rmtree(tree)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"OVN_DOCKER_MATRIX": str(self.cache)}
        heeding = ["env", "--default-signal=INT"]  # what a shell starts in the background ignores it
        running = subprocess.Popen(
            [*heeding, SCRIPT, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.pids.append(running.pid)
        return running

    def left(self) -> list[str]:
        """What of its runs is still on this machine."""
        files = {path.name for path in self.cache.iterdir()} - {"bookworm.tar.gz", "log"}
        groups = {str(path) for path in Path("/sys/fs/cgroup").rglob("ovn-docker-matrix.*")}
        return sorted(files | {group for group in groups if int(group.rpartition(".")[2]) in self.pids})


@pytest.fixture
def matrix(tmp_path: Path) -> Iterator[Matrix]:
    made = Matrix(tmp_path)
    yield made
    assert made.left() == []


def descendants(pid: int) -> set[int]:
    """A process's children and theirs, as they are now."""
    found = set[int]()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def runs(pid: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def test_a_part_that_ends_well_is_one_line_and_so_is_the_end(matrix: Matrix) -> None:
    matrix.make_base(
        "echo '== 5 passed, 2 skipped in 1.0s =='; echo 'SKIPPED [2] a.py:1: no such thing'; exit 0"
    )
    said, _ = matrix.start("bookworm", "unit").communicate(timeout=50)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[0].startswith("bookworm base ok ")
    assert lines[1].startswith("bookworm unit ok ")
    assert lines[1].endswith(" 5 passed, 2 skipped")
    assert lines[2] == "skipped (2): a.py:1: no such thing"
    assert lines[-1].startswith("matrix: all passed: unit on bookworm (")


def test_a_part_that_fails_is_shown_and_the_next_is_run(matrix: Matrix) -> None:
    matrix.make_base("echo out of order; exit 3")
    running = matrix.start("bookworm", "unit", "functional")
    said, _ = running.communicate(timeout=50)
    assert running.returncode == 1
    assert said.count("    out of order\n") == 2
    assert f"all of it: {matrix.cache}/log/bookworm-unit.log\n" in said
    assert said.splitlines()[-1].startswith("matrix: FAILED: bookworm unit, bookworm functional, after ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_and_no_file_stays_of_a_run_that_is_interrupted(matrix: Matrix, number: int) -> None:
    matrix.make_base("echo reached; sleep 1000")
    running = matrix.start("bookworm", "unit")
    log = matrix.cache / "log" / "bookworm-unit.log"
    eventually(lambda: log.exists() and "reached" in log.read_text(), 40, "the part runs")
    inside = descendants(running.pid)
    assert len(inside) >= 4, "the part, its namespaces' first process and who made it, the network"
    running.send_signal(number)
    running.communicate(timeout=40)
    eventually(lambda: not [pid for pid in inside if runs(pid)], 10, "its processes are gone")
    if number == signal.SIGKILL:  # the next run removes its files
        matrix.make_base("exit 0")
        matrix.start("bookworm", "unit").communicate(timeout=50)
