"""How a daemon of the Open vSwitch family runs: detached, with a locked pidfile, watched by systemd.

The behaviour is that of ovs-vswitchd(8), "Daemon Options", without a monitor. With --detach the shell waits
for the launcher, which ends when a byte through a pipe says that the daemon is ready, or the pipe is closed.
"""

import atexit
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from ovn_docker.errors import ConfigError
from ovn_docker.settings import DaemonOptions

NO_OTHERS = 0o027
"""umask: files 0640, directories 0750."""

_log = logging.getLogger(__name__)


class Ready:
    """To be called, once, when the daemon answers: the launcher ends, and the terminal is free."""

    def __init__(self, options: DaemonOptions, pipe: int | None) -> None:
        self._options = options
        self._pipe = pipe

    def __call__(self) -> None:
        if self._options.detach:
            _leave_terminal(chdir=self._options.chdir)
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # the launcher was killed; the daemon goes on
                os.write(self._pipe, b"0")
            os.close(self._pipe)
            self._pipe = None
        sd_notify("READY=1")

    def stopping(self) -> None:
        sd_notify("STOPPING=1")


def daemonize(options: DaemonOptions) -> Ready:
    """Become the daemon that the options describe; to be called before any event loop, thread or socket.

    From then on its files are not writable by the group nor readable by others: whoever could write the
    plugin file would receive Docker's requests in the driver's place.

    Returns in the daemon's process only. The launcher ends here, by SystemExit, with the exit status of a
    daemon that ended before it was ready.

    Raises:
        ConfigError: the pidfile is held by a running process, or cannot be written.
    """
    os.umask(os.umask(NO_OTHERS) | NO_OTHERS)
    if options.monitor:
        _log.warning("--monitor has no effect: systemd (Restart=) or dockerd restarts the driver")
    pipe = _detach() if options.detach else None
    if options.pidfile is not None:
        _claim_pidfile(options.pidfile.absolute(), overwrite=options.overwrite_pidfile)
    return Ready(options, pipe)


def _detach() -> int:
    """Fork; in the child return the pipe on which the launcher waits."""
    read_end, write_end = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or the child would write it again
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        os.setsid()
        return write_end
    os.close(write_end)
    if os.read(read_end, 1):
        sys.exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        sys.stderr.write(f"the daemon was killed by {signal.Signals(-code).name}\n")
        code = 128 - code  # as a shell has it
    sys.exit(code or 1)


def _leave_terminal(*, chdir: bool) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    if chdir:
        os.chdir("/")


def _claim_pidfile(path: Path, *, overwrite: bool) -> None:
    """Write this process's id, under a lock that lasts as long as the process.

    As in OVS, the file is complete and locked before it gets its name: a reader never sees half of it, and a
    file that nobody has locked is left over from a crash.
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
    """Remove the pidfile of a process that is gone, or raise ConfigError if it runs."""
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
    """Remove the pidfile, unless this is a forked child or the file is another process's by now."""
    with contextlib.suppress(OSError):
        if os.getpid() == pid and path.stat().st_ino == inode:
            path.unlink()


def sd_notify(state: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3)); @ stands for an abstract socket's NUL."""
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
