"""Daemon options on real processes: sample_daemon.py detaches, fails and stops."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.daemon.process import sd_notify

pytestmark = pytest.mark.functional

PROGRAM = Path(__file__).with_name("sample_daemon.py")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, ten seconds at most."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not come about within 10 s"
        time.sleep(0.005)


class Daemons:
    """Starts sample daemons that all work in one directory, and ends those that a test leaves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pidfile = directory / "run" / "sample.pid"
        self._started: list[subprocess.Popen[str]] = []

    def start(self, behaviour: str = "serve", **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401 - JSON
        command = [
            sys.executable,
            str(PROGRAM),
            str(self.directory),
            behaviour,
            json.dumps(options, default=str),
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._started.append(process)
        return process

    def run(self, behaviour: str = "serve", **options: Any) -> tuple[int, str]:  # noqa: ANN401 - JSON
        """Start a daemon and wait for the launcher; its exit status and standard error."""
        process = self.start(behaviour, **options)
        error = process.communicate(timeout=10)[1]
        return process.returncode, error

    def lines(self, file: str) -> list[str]:
        path = self.directory / file
        return path.read_text().split("\n")[:-1] if path.exists() else []

    def pids(self) -> list[int]:
        return [int(line) for line in self.lines("pids")]

    def end(self) -> None:
        for pid in self.pids():
            if is_alive(pid) and str(self.directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Daemons]:
    daemons = Daemons(tmp_path)
    yield daemons
    daemons.end()


def test_the_launcher_returns_when_the_daemon_is_ready_and_detached(daemons: Daemons) -> None:
    code, error = daemons.run(detach=True, pidfile=daemons.pidfile)
    assert (code, error) == (0, "")
    (pid,) = daemons.pids()
    assert daemons.pidfile.read_text() == f"{pid}\n"
    until(lambda: daemons.lines("events") == ["ready in /"])
    assert {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)} == {"/dev/null"}
    assert os.getsid(pid) == pid


def test_no_chdir_keeps_the_directory(daemons: Daemons) -> None:
    assert daemons.run(detach=True, chdir=False)[0] == 0
    until(lambda: daemons.lines("events") == [f"ready in {Path.cwd()}"])


def test_a_daemon_that_fails_before_it_is_ready_shows_error_and_status(daemons: Daemons) -> None:
    code, error = daemons.run("fail", detach=True, pidfile=daemons.pidfile)
    assert (code, error) == (3, "the port is in use\n")
    assert len(daemons.pids()) == 1
    assert not daemons.pidfile.exists()


def test_a_daemon_that_crashes_before_it_is_ready_is_reported(daemons: Daemons) -> None:
    code, error = daemons.run("abort", detach=True)
    assert code == 128 + signal.SIGABRT
    assert error == "the daemon was killed by SIGABRT\n"
    assert len(daemons.pids()) == 1


def test_the_pidfile_is_removed_at_a_clean_stop(daemons: Daemons) -> None:
    daemons.run(detach=True, pidfile=daemons.pidfile)
    (pid,) = daemons.pids()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not is_alive(pid))
    assert list(daemons.pidfile.parent.iterdir()) == []


def test_the_pidfile_works_in_the_foreground_too(daemons: Daemons) -> None:
    process = daemons.start(pidfile=daemons.pidfile)
    until(lambda: bool(daemons.lines("events")))
    assert daemons.pidfile.read_text() == f"{process.pid}\n"
    process.terminate()
    assert process.wait(10) == 0
    assert not daemons.pidfile.exists()


def test_a_second_daemon_is_refused_while_the_first_lives(daemons: Daemons) -> None:
    daemons.run(detach=True, pidfile=daemons.pidfile)
    (pid,) = daemons.pids()
    code, error = daemons.run(detach=True, pidfile=daemons.pidfile)
    assert code == 1
    assert f"already running as pid {pid}" in error
    assert error.count("\n") == 1
    assert daemons.pids() == [pid]
    assert daemons.pidfile.read_text() == f"{pid}\n"
    assert list(daemons.pidfile.parent.iterdir()) == [daemons.pidfile]


def test_overwrite_pidfile_takes_it_and_the_first_daemon_leaves_it(daemons: Daemons) -> None:
    daemons.run(detach=True, pidfile=daemons.pidfile)
    assert daemons.run(detach=True, pidfile=daemons.pidfile, overwrite_pidfile=True)[0] == 0
    first, second = daemons.pids()
    os.kill(first, signal.SIGTERM)
    until(lambda: not is_alive(first))
    assert daemons.pidfile.read_text() == f"{second}\n"


def test_the_pidfile_of_a_killed_daemon_is_replaced(daemons: Daemons) -> None:
    daemons.run(detach=True, pidfile=daemons.pidfile)
    (first,) = daemons.pids()
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_alive(first))
    assert daemons.pidfile.read_text() == f"{first}\n"
    assert daemons.run(detach=True, pidfile=daemons.pidfile)[0] == 0
    assert daemons.pidfile.read_text() == f"{daemons.pids()[1]}\n"


def test_of_daemons_started_at_once_one_gets_the_pidfile(daemons: Daemons) -> None:
    started = [daemons.start(detach=True, pidfile=daemons.pidfile) for _ in range(4)]
    codes = []
    for process in started:
        process.communicate(timeout=20)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 1, 1, 1]
    assert [f"{pid}\n" for pid in daemons.pids()] == [daemons.pidfile.read_text()]


def test_a_pidfile_that_cannot_be_written_is_one_clear_error(daemons: Daemons) -> None:
    (daemons.directory / "run").write_text("a file")
    code, error = daemons.run(detach=True, pidfile=daemons.pidfile)
    assert code == 1
    assert error == f"--pidfile {daemons.pidfile}: cannot be written: File exists\n"


def test_monitor_is_accepted_with_a_warning_and_starts_nothing_again(daemons: Daemons) -> None:
    process = daemons.start(monitor=True)
    until(lambda: bool(daemons.lines("events")))
    assert daemons.pids() == [process.pid]
    [warning] = daemons.lines("log")
    assert "--monitor has no effect" in warning
    process.send_signal(signal.SIGSEGV)
    assert process.wait(10) == -signal.SIGSEGV
    assert len(daemons.pids()) == 1


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_notified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    name = f"ovn-docker-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(5)
        manager.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        sd_notify("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_service_manager_that_is_gone_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "absent"))
    sd_notify("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    sd_notify("READY=1")


def test_a_daemon_notifies_the_service_manager_of_start_and_stop(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = daemons.start()
        assert manager.recv(100) == b"READY=1"
        process.terminate()
        assert manager.recv(100) == b"STOPPING=1"
        assert process.wait(10) == 0
