"""When a daemon of the lab has ended."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ovn_docker.lab.processes import Process, alive, start_time, wait_until

pytestmark = pytest.mark.functional

LEADERLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_has_ended_when_its_last_thread_has() -> None:
    """ovs-vswitchd that is killed holds the lock of its pidfile until then."""
    child = subprocess.Popen([sys.executable, "-c", LEADERLESS])
    try:
        process = Process(child.pid, start_time(child.pid) or 0)
        stat = Path(f"/proc/{child.pid}/stat")
        assert wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", 10)
        assert alive(process)
    finally:
        child.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not alive(process), 10)
    child.wait()
