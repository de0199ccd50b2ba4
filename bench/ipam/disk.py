"""What the databases are written to: a lease on a standalone Northbound waits for it."""

import os
import time
from pathlib import Path

from bench.figures import median

_WRITES = 50
_CONTENT = b"\0" * 1024
MEMORY = frozenset({"tmpfs", "ramfs"})


def filesystem(directory: Path, mounts: str) -> str:
    """The type of the file system of a directory.

    Args:
        directory: absolute and resolved.
        mounts: /proc/mounts (proc_pid_mounts(5)).
    """
    fields = [line.split() for line in mounts.splitlines()]
    found = [(len(each[1]), each[2]) for each in fields if directory.is_relative_to(each[1])]
    return max(found)[1] if found else "unknown"


def sync_ms(directory: Path) -> float:
    """How long an append of 1 kB and its fdatasync(2) take there, in milliseconds (median)."""
    took = []
    path = directory / "sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for _ in range(_WRITES):
            started = time.perf_counter()
            os.write(descriptor, _CONTENT)
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    return median(took)
