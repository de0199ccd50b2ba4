"""Netlink in a process that sees no more of /proc than the systemd unit leaves it (ProcSubset=pid)."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a /proc of its own"),
]

OURS = "from ovn_docker.host.veth import load_pyroute2; load_pyroute2().IPRoute().close()"
LATER = f"{OURS}; logging.getLogger('pyroute2.netlink.rtnl.tcmsg.common').warning('later')"


def said(code: str) -> str:
    """What Python code logs with such a /proc."""
    code = f"import logging; logging.basicConfig(format='%(message)s'); {code}"
    inside = 'mount -t proc -o subset=pid proc /proc && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", inside, sys.executable, code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_pyroute2_alone_warns_of_traffic_control() -> None:
    assert "/proc/net/psched" in said("import pyroute2")


def test_loading_it_here_warns_of_nothing() -> None:
    assert said(OURS) == ""


def test_what_pyroute2_warns_of_later_is_shown() -> None:
    assert said(LATER) == "later\n"
