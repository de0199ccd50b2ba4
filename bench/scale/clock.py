"""How long a run may take, and what processes used of the processor meanwhile."""

import time
from pathlib import Path

from ovn_docker.errors import HostError


class Clock:
    """The time of a whole run."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._end = time.monotonic() + limit

    def left(self, seconds: float) -> float:
        """`seconds`, or what is left of the run; HostError when nothing is."""
        left = min(seconds, self._end - time.monotonic())
        if left <= 0:
            raise HostError(f"the time of the run is over: it has {self._limit / 60:.0f} minutes")
        return left


def processor_seconds(pid: int) -> float:
    """Processor time of all threads of a process so far (Linux, Documentation/scheduler/sched-stats.rst)."""
    spent = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            spent += int((thread / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
    return spent / 1e9
