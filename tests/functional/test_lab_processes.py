"""When a daemon of the lab has ended."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ovn_docker_lab.processes import Process, alive, send, start_time, wait_until

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


def test_an_id_that_leads_no_process_is_sent_nothing() -> None:
    """A process that is being reaped has one for a moment; a thread has one for as long as a test needs."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=[60])
    thread.start()
    try:
        assert thread.native_id is not None
        send(Process(thread.native_id, start_time(thread.native_id) or 0), signal.SIGKILL)
        assert thread.is_alive()
    finally:
        end.set()
        thread.join()
