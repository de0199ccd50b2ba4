"""Why a server's unix socket cannot be opened: whose it is, and what to do."""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

REMEDIES = {
    errno.ENOENT: "see whether its ovsdb-server runs{start} and uses this path",
    errno.ECONNREFUSED: "see whether its ovsdb-server runs{start}",
    errno.ECONNRESET: "see whether the database behind it runs{start}",
    errno.EPIPE: "see whether the database behind it runs{start}",
}
"""The last two come of a proxy that has no server. {start} is the command that starts it, or ""."""


def explain(path: str, error: OSError, service: str = "") -> str:
    """The system's reason and what to do about it, as one line; "" where the socket is not to blame.

    Args:
        path: of the socket.
        error: why it cannot be opened.
        service: that systemd starts the server with, or "" where that is not known.
    """
    if error.errno is None:
        return ""
    text = os.strerror(error.errno)
    if error.errno == errno.EACCES:
        return (
            f"{text}: {_whose(Path(path))}, and this runs as {_user(os.geteuid())}:"
            " run it as root, or the driver by its systemd unit (scripts/install-unit)"
        )
    remedy = REMEDIES.get(error.errno, "")
    start = f" ('systemctl start {service}')" if service else ""
    return f"{text}: {remedy.format(start=start)}" if remedy else ""


def _whose(socket: Path) -> str:
    """The owner and mode of what is in the way: the socket, or a directory that may not be entered."""
    for place in (socket, *socket.parents):
        try:
            found = place.stat()
        except OSError:  # what is in the way stands before it
            continue
        what = "the socket" if place == socket else f"directory {place}"
        mode = stat.S_IMODE(found.st_mode)
        return f"{what} belongs to {_user(found.st_uid)}:{_group(found.st_gid)} with mode {mode:04o}"
    return "its directory cannot be read"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
