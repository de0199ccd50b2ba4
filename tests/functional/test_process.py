"""Daemon options on real processes: sample_daemon.py forks, detaches, crashes and stops."""

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
        for pid in map(int, [*self.lines("monitors"), *self.lines("pids")]):
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


def test_the_launcher_returns_when_the_daemon_is_ready_and_holds_no_terminal(daemons: Daemons) -> None:
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


@pytest.mark.parametrize("monitor", [False, True])
def test_a_daemon_that_fails_before_it_is_ready_shows_its_error_and_status(
    daemons: Daemons, *, monitor: bool
) -> None:
    code, error = daemons.run("fail", detach=True, monitor=monitor, pidfile=daemons.pidfile)
    assert (code, error) == (3, "the port is in use\n")
    assert len(daemons.pids()) == 1
    assert not daemons.pidfile.exists()


@pytest.mark.parametrize("monitor", [False, True])
def test_a_daemon_that_crashes_before_it_is_ready_is_told_and_not_started_again(
    daemons: Daemons, *, monitor: bool
) -> None:
    code, error = daemons.run("abort", detach=True, monitor=monitor)
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


def test_overwrite_pidfile_takes_it_and_the_first_daemon_then_leaves_it(daemons: Daemons) -> None:
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


@pytest.mark.parametrize("detach", [False, True])
def test_the_monitor_starts_a_crashed_daemon_again(daemons: Daemons, *, detach: bool) -> None:
    daemons.start(detach=detach, monitor=True, pidfile=daemons.pidfile, restart_interval=0.2)
    for crashes, number in enumerate((signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS), start=1):
        until(lambda: len(daemons.lines("events")) == crashes)  # noqa: B023 - called at once
        os.kill(daemons.pids()[-1], number)
    until(lambda: len(daemons.lines("events")) == 4)
    assert daemons.pidfile.read_text() == f"{daemons.pids()[-1]}\n"
    assert len(set(daemons.lines("monitors"))) == 1
    log = (daemons.directory / "log").read_text()
    assert "the daemon was killed by SIGSEGV, starting it again in 0.0 s" in log
    assert "SIGBUS, starting it again in 0." in log


def test_restarts_are_throttled(daemons: Daemons) -> None:
    daemons.start(monitor=True, restart_interval=1.0)
    until(lambda: len(daemons.lines("events")) == 1)
    os.kill(daemons.pids()[0], signal.SIGSEGV)
    until(lambda: len(daemons.lines("events")) == 2)
    crashed = time.monotonic()
    os.kill(daemons.pids()[1], signal.SIGSEGV)
    until(lambda: len(daemons.lines("events")) == 3)
    assert time.monotonic() - crashed > 0.5


@pytest.mark.parametrize("detach", [False, True])
def test_the_monitor_passes_a_stop_on_and_ends_with_the_daemon(daemons: Daemons, *, detach: bool) -> None:
    process = daemons.start(detach=detach, monitor=True, pidfile=daemons.pidfile)
    until(lambda: len(daemons.lines("events")) == 1)
    (daemon,) = daemons.pids()
    (monitor,) = map(int, daemons.lines("monitors"))
    os.kill(monitor, signal.SIGTERM)
    until(lambda: not is_alive(daemon) and not is_alive(monitor))
    assert process.wait(10) == 0
    assert daemons.lines("events")[1:] == ["stopped"]
    assert not daemons.pidfile.exists()


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGUSR1, "ended with status 1"), (signal.SIGKILL, "was killed by SIGKILL")],
    ids=["an error of Python", "out of memory"],
)
def test_the_monitor_starts_a_daemon_again_whatever_it_failed_of(
    daemons: Daemons, number: signal.Signals, how: str
) -> None:
    daemons.start(monitor=True, pidfile=daemons.pidfile, restart_interval=0.2)
    for failures in (1, 2):
        until(lambda: daemons.lines("events").count(f"ready in {Path.cwd()}") == failures)  # noqa: B023
        os.kill(daemons.pids()[-1], number)
    until(lambda: len(daemons.pids()) == 3)
    log = (daemons.directory / "log").read_text()
    assert f"the daemon {how}, starting it again in 0.0 s" in log
    assert f"the daemon {how}, starting it again in 0.1 s" in log or "again in 0.2 s" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_monitor_ends_when_the_daemon_was_stopped(daemons: Daemons, number: signal.Signals) -> None:
    """SIGHUP is not caught by it."""
    process = daemons.start(monitor=True)
    until(lambda: len(daemons.lines("events")) == 1)
    os.kill(daemons.pids()[0], number)
    assert process.wait(10) == (0 if number == signal.SIGTERM else 128 + number)
    assert len(daemons.pids()) == 1


def test_a_daemon_that_fails_while_it_is_stopped_is_not_started_again(daemons: Daemons) -> None:
    process = daemons.start("fail at the stop", monitor=True)
    until(lambda: len(daemons.lines("events")) == 1)
    process.terminate()
    assert process.wait(10) == 1
    assert len(daemons.pids()) == 1


@pytest.mark.parametrize("behaviour", ["fail", "abort"])
def test_a_daemon_that_was_never_ready_is_not_started_again_in_the_foreground(
    daemons: Daemons, behaviour: str
) -> None:
    code, _ = daemons.run(behaviour, monitor=True)
    assert code == {"fail": 3, "abort": 128 + signal.SIGABRT}[behaviour]
    assert len(daemons.pids()) == 1


def test_a_stop_while_the_monitor_waits_to_restart_ends_it(daemons: Daemons) -> None:
    process = daemons.start(monitor=True, restart_interval=60)
    for crashes in (1, 2):
        until(lambda: len(daemons.lines("events")) == crashes)  # noqa: B023 - called at once
        os.kill(daemons.pids()[-1], signal.SIGSEGV)
    until(lambda: (daemons.directory / "log").read_text().count("starting it again") == 2)
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(
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


def test_a_daemon_tells_the_service_manager_when_it_is_ready_and_when_it_stops(
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
