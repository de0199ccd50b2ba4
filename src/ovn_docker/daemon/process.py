"""How a daemon of the Open vSwitch family lives: detached, with a locked pidfile, watched by a monitor.

Owns processes, the pidfile and the words to the service manager; knows nothing of what the daemon does.
The behaviour is that of ovs-vswitchd(8) "Daemon Options", but for what makes the monitor start the daemon
again: there it is a signal that means a bug, and a bug of Python ends in an exit status.

With --detach and --monitor three processes take part. The launcher, which the shell waits for, leaves when it
is told that the daemon is ready. The monitor waits for the daemon, and starts it again when it fails.
Each learns of its child's readiness by one byte through a pipe, or of its death by the end of the pipe.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from ovn_docker.errors import ConfigError
from ovn_docker.settings import DaemonOptions

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What stops the daemon because somebody wants it to."""


NO_OTHERS = 0o027
"""umask: files 0640, directories 0750."""

_log = logging.getLogger(__name__)


class Ready:
    """To be called, once, when the daemon answers: the launcher leaves, and so does the terminal."""

    def __init__(self, options: DaemonOptions, pipe: int | None) -> None:
        self._options = options
        self._pipe = pipe

    def __call__(self) -> None:
        """Tell the launcher, the monitor and systemd; then, if detached, let go of terminal and directory."""
        if self._options.detach:
            _leave_terminal(chdir=self._options.chdir)
        if self._pipe is not None:
            _tell(self._pipe)
            self._pipe = None
        sd_notify("READY=1")

    def stopping(self) -> None:
        """Tell systemd that the daemon is about to stop."""
        sd_notify("STOPPING=1")


def daemonize(options: DaemonOptions) -> Ready:
    """Become the daemon that the options ask for; to be called before any event loop, thread or socket.

    Whatever it writes from then on is not for others, and not for its group to change: who could write the
    plugin file would be asked by Docker in the driver's place.

    Returns in the daemon's process only. The launcher and the monitor end inside, by SystemExit, with the
    daemon's exit status.

    Raises:
        ConfigError: the pidfile is held by a process that lives, or cannot be written.
    """
    os.umask(os.umask(NO_OTHERS) | NO_OTHERS)
    pipe = None
    if options.detach:
        pipe = _detach()
    if options.monitor:
        pipe = _Monitor(options, pipe).run()
    if options.pidfile is not None:
        _claim_pidfile(options.pidfile.absolute(), overwrite=options.overwrite_pidfile)
    return Ready(options, pipe)


def _detach() -> int:
    """Fork; in the child return the pipe on which the launcher waits."""
    pid, pipe = _fork()
    if pid == 0:
        os.setsid()
        return pipe
    if _is_ready(pipe):
        sys.exit(0)
    sys.exit(_exit_status(_wait(pid)) or 1)


def _fork() -> tuple[int, int]:
    """Fork; (0, the pipe's writing end) in the child, (its pid, the reading end) in the parent."""
    read_end, write_end = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or the child would write it again
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        return 0, write_end
    os.close(write_end)
    return pid, read_end


def _is_ready(pipe: int) -> bool:
    """Wait until the child says that it is ready, or is no more."""
    try:
        return os.read(pipe, 1) != b""
    finally:
        os.close(pipe)


def _tell(pipe: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # who waited was killed; the daemon's work goes on
        os.write(pipe, b"0")
    os.close(pipe)


def _wait(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _exit_status(status: int) -> int:
    """A waitpid status as a shell would give it; a death by signal is said on standard error."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    sys.stderr.write(f"the daemon {_end_of(status)}\n")
    return 128 - code


def _leave_terminal(*, chdir: bool) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    if chdir:
        os.chdir("/")


class _Monitor:
    """The process that waits for the daemon, passes signals on to it, and starts it again when it failed.

    A daemon that was never ready is not started again: what it was told is wrong, and its error is shown.
    """

    def __init__(self, options: DaemonOptions, pipe: int | None) -> None:
        self._options = options
        self._pipe = pipe  # on which the launcher waits, until the first daemon is ready
        self._child = 0
        self._stopping = False
        self._handlers = {number: signal.getsignal(number) for number in PASSED_ON}

    def run(self) -> int:
        """Return in each daemon process, with the pipe on which the monitor waits."""
        restarted, was_ready = float("-inf"), False
        while True:
            pipe = self._start()
            if self._child == 0:
                return pipe
            if _is_ready(pipe):
                was_ready = True
                self._daemon_is_ready()
            status = _wait(self._child)
            self._child = 0
            if self._stopping or not was_ready or not _has_failed(status):
                sys.exit(_exit_status(status))
            restarted = self._pause(status, restarted)

    def _start(self) -> int:
        """Fork the daemon, with signals held back until its pid is known."""
        signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            self._child, pipe = _fork()
            for number in PASSED_ON:
                signal.signal(number, self._pass_on if self._child else self._handlers[number])
            if self._child == 0 and self._pipe is not None:
                os.close(self._pipe)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        return pipe

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        self._stopping = True
        if self._child == 0:
            sys.exit(0)  # there is no daemon just now
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(self._child, number)

    def _daemon_is_ready(self) -> None:
        if self._options.detach:
            _leave_terminal(chdir=self._options.chdir)
        if self._pipe is not None:
            _tell(self._pipe)
            self._pipe = None

    def _pause(self, status: int, restarted: float) -> float:
        """Wait until the next restart is due; return the time of it."""
        if os.WCOREDUMP(status):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core is enough to find the bug
        wait = max(0.0, restarted + self._options.restart_interval - time.monotonic())
        _log.error("the daemon %s, starting it again in %.1f s", _end_of(status), wait)
        time.sleep(wait)
        return time.monotonic()


def _has_failed(status: int) -> bool:
    """Whether a waitpid status is that of a daemon that nobody stopped."""
    code = os.waitstatus_to_exitcode(status)
    return code != 0 and -code not in PASSED_ON


def _end_of(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"ended with status {code}" if code > 0 else f"was killed by {signal.Signals(-code).name}"


def _claim_pidfile(path: Path, *, overwrite: bool) -> None:
    """Write this process's id, under a lock that lasts as long as the process.

    As OVS does: the file is complete and locked before it gets its name, so that a reader never sees half of
    it, and a file that nobody has locked is left over from a crash.
    """
    temporary = path.with_name(f"{path.name}.tmp{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        os.write(descriptor, b"%d\n" % os.getpid())
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if overwrite:
            temporary.rename(path)
        else:
            _link(temporary, path)
    except OSError as error:
        raise ConfigError(f"--pidfile {path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    atexit.register(_remove_pidfile, path, os.getpid(), os.fstat(descriptor).st_ino)


def _link(temporary: Path, path: Path) -> None:
    while True:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            _remove_stale_pidfile(path)
        else:
            return


def _remove_stale_pidfile(path: Path) -> None:
    """Remove the pidfile of a process that is gone.

    Raises:
        ConfigError: the process lives.
    """
    try:
        stale = path.open("r+b")
    except FileNotFoundError:
        return
    with stale:
        try:
            fcntl.lockf(stale, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = stale.read(32).decode(errors="replace").strip()
            raise ConfigError(
                f"--pidfile {path}: already running as pid {pid}; stop it or give --overwrite-pidfile"
            ) from error
        # Another starter may have replaced the file before we had the lock.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(stale.fileno()).st_ino == path.stat().st_ino:
                path.unlink()


def _remove_pidfile(path: Path, pid: int, inode: int) -> None:
    """Remove the pidfile, unless this is a forked child or the file is another's by now."""
    with contextlib.suppress(OSError):
        if os.getpid() == pid and path.stat().st_ino == inode:
            path.unlink()


def sd_notify(state: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3)); an @ stands for an abstract socket's NUL."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
    ):
        out.sendto(state.encode(), address)
