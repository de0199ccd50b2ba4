"""Processes that outlive the caller: start them, ask whether they live, end them by id."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ovn_docker.errors import HostError

POLL_INTERVAL = 0.02

_LEADS_NO_PROCESS = {errno.ESRCH, errno.EINVAL, errno.ENOENT}
"""Errors of pidfd_open(2) for an id whose process is gone: ESRCH, or EINVAL (seen with Linux 6.12) or ENOENT
(6.18) while the process is being reaped."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process and its start time, which distinguishes it from a later one of the same id.

    `started` is in clock ticks since boot (proc_pid_stat(5), field 22).
    """

    pid: int
    started: int


def spawn(command: list[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a daemon in a session of its own, with its output appended to a log file."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # Python ignores SIGPIPE; a daemon must not inherit that.
    defaults = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM)
    try:
        pid = os.posix_spawnp(
            command[0], command, environment, file_actions=actions, setsid=True, setsigdef=defaults
        )
    except OSError as error:
        raise HostError(f"cannot start {command[0]}: {error.strerror}") from error
    return Process(pid, start_time(pid) or 0)


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None when it has ended.

    A zombie has ended, unless threads of it have not: they still hold its files, and their locks.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    return None if state in "ZX" and threads <= 1 else started


def alive(process: Process) -> bool:
    """Whether this very process runs."""
    return start_time(process.pid) == process.started


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing when it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in _LEADS_NO_PROCESS:
            return
        raise
    try:
        # The descriptor pins the id, so the check cannot be about another process than the signal.
        if alive(process):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def write_process(file: Path, process: Process) -> None:
    """Keep a process in a file for later invocations."""
    file.write_text(f"{process.pid} {process.started}\n")


def read_process(file: Path) -> Process | None:
    """Read what write_process wrote; None when the file is absent or unreadable."""
    try:
        pid, started = file.read_text().split()
        return Process(int(pid), int(started))
    except (OSError, ValueError):
        return None


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll a condition until it holds, for at most `timeout` seconds; returns whether it does."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True
