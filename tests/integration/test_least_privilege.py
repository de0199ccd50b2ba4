"""The driver does its whole work as the user and with the rights that its systemd unit gives it."""

import configparser
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, Machine
from ovn_docker_lab.requirements import find_driver
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.second_driver import Driver
from tests.integration.tenant import Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PACKAGING = Path(__file__).parents[2] / "packaging"
NAME = "guarded"
USER, OVN_GROUP, DOCKER_GROUP = 64998, 64998, 64999
"""Numbers that nobody has, in place of the names that sysusers makes."""
RUN, STATE = "/run/ovn-docker", "/var/lib/ovn-docker-guarded"
PYTHON, IN_ROOTS_HOME = "/run/ovn-docker-python", sys.base_prefix.startswith("/root/")
NO_NEW_EXECUTABLE_MEMORY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, linux/prctl.h
    sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def service() -> configparser.SectionProxy:
    """The unit's section Service."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((PACKAGING / "systemd" / "ovn-docker-overlay-driver.service").read_text())
    return unit["Service"]


def reachable_python() -> str:
    """Shell commands that let others reach the Python of the tests where it is in somebody's home."""
    base, home = sys.base_prefix, "/".join(sys.base_prefix.split("/")[: 2 if IN_ROOTS_HOME else 3])
    if not IN_ROOTS_HOME and not base.startswith("/home/"):
        return ""
    return (
        f"mkdir -p {PYTHON}; mount --bind {base} {PYTHON}; mount -t tmpfs -o mode=755 tmpfs {home}; "
        f"mkdir -p {base}; mount --bind {PYTHON} {base}; "
    )


def guarded(host: Machine, command: Sequence[str]) -> list[str]:
    """A command line that runs another as systemd would run the unit's: its user, capabilities and mounts."""
    unit = service()
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == "CAP_NET_ADMIN"
    rights = [
        *("setpriv", f"--reuid={USER}", f"--regid={OVN_GROUP}", f"--groups={OVN_GROUP},{DOCKER_GROUP}"),
        *("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"),
        *(["--no-new-privs"] if unit["NoNewPrivileges"] == "yes" else []),
    ]
    writable = "".join(f"mount --bind {path} {path}; " for path in (RUN, STATE))
    sandbox = (
        f"{reachable_python()}"
        f"{writable}mount -o remount,bind,ro /; "  # ProtectSystem=strict
        "mount -t proc -o ro,subset=pid,hidepid=invisible proc /proc; "
        f"umask {unit['UMask']}; "
    )
    memory = (
        [sys.executable, "-c", NO_NEW_EXECUTABLE_MEMORY] if unit["MemoryDenyWriteExecute"] == "yes" else []
    )
    inner = shlex.join([*rights, *memory, *command])
    return host.enter(["unshare", "--mount", "--propagation=private", "sh", "-ec", f"{sandbox} exec {inner}"])


@pytest.fixture
def driver(lab: Lab) -> Iterator[Driver]:
    """A driver that runs as the unit's user."""
    host = lab.hosts[0]
    one = Driver(host, NAME)
    for path in (RUN, STATE):
        host.run(["install", "-d", "-m", "700", "-o", str(USER), "-g", str(OVN_GROUP), path])
    host.run(["chgrp", str(OVN_GROUP), "/run/openvswitch/db.sock"])
    host.run(["chmod", "g+rw", "/run/openvswitch/db.sock"])
    host.run(["chgrp", str(DOCKER_GROUP), "/run/docker.sock"])
    host.run(["chmod", "660", "/run/docker.sock"])
    spec = (PACKAGING / "docker" / "openvswitch.spec").read_text().replace("openvswitch", NAME)
    host.run(["mkdir", "-p", "/etc/docker/plugins"])
    host.run(["tee", one.spec], stdin=spec)
    yield one
    host.run(["rm", "-rf", one.spec, RUN, STATE, PYTHON])


@pytest.fixture
def running(driver: Driver) -> Iterator[Driver]:
    """... and it answers."""
    program = find_driver()
    assert program is not None
    words = [word.replace("openvswitch", NAME) for word in shlex.split(service()["ExecStart"])[1:-1]]
    flags = [
        *(f"--driver-name={NAME}", f"--state-file={STATE}/state.json", f"--log-file={STATE}/log"),
        *(f"--pidfile={RUN}/pid", "--detach", "--docker-socket=unix:///run/docker.sock"),
        *("--docker-driver-scope=local", "--health-check-on", "--health-check-interval=1"),
    ]
    command = guarded(driver.host, [program, *words, *flags])
    done = _run(command)
    assert done == "", done
    yield driver
    pid = int(driver.read(f"{RUN}/pid") or 0)
    driver.host.run(["kill", str(pid)])
    eventually(lambda: driver.host.run(["kill", "-0", str(pid)], check=False).returncode, 15, "it ends")


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if done.returncode == 0 else f"{done.returncode}: {done.stderr}"


def database(driver: Driver) -> dict[str, object]:
    """NetworkDriver.Database of the driver."""
    socket = driver.host.paths.run / "ovn-docker" / f"{NAME}.sock"
    return Plugin(socket).call("NetworkDriver.Database").body


def names_at_ports(central: Machine) -> set[str]:
    ports = map(records.marks, records.rows(central, records.PORT))
    return {port.get("ovn-docker-name", "") for port in ports}


def test_it_does_its_whole_work(running: Driver, tenant: Tenant, lab: Lab) -> None:
    pid = running.read(f"{RUN}/pid").strip()
    status = running.read(f"/proc/{pid}/status")
    assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}" in status
    assert "CapEff:\t0000000000001000" in status
    network = tenant.network("10.66.0.0/24", running.docker_option, "--ipam-driver", NAME)
    one, two = tenant.container(network), tenant.container(network, "--label=a=b", "-p", "8066:80")
    one.reaches(two.address(network))
    since = time.time()
    eventually(
        lambda: float(str(database(running)["docker_last_synched"] or 0)) > since, 30, "a pass succeeds"
    )
    eventually(lambda: names_at_ports(lab.central) == {one.name, two.name}, 15, "their names are written")
    modes = running.host.run(["stat", "-c", "%a %n", f"{STATE}/state.json", f"{STATE}/log", f"{RUN}/pid"])
    assert {line.split()[0] for line in modes.stdout.splitlines()} <= {"600", "640"}
    tenant.clear()
    assert records.left(lab) == []
    log = running.read(f"{STATE}/log")
    assert [line for line in log.splitlines() if "Traceback" in line or "not permitted" in line] == []


def test_it_can_do_no_more_than_that(driver: Driver) -> None:
    def may(*command: str) -> bool:
        return _run(guarded(driver.host, command)) == ""

    assert may("touch", f"{STATE}/here")
    assert may("ip", "link", "add", "probe0", "type", "veth")
    driver.host.run(["ip", "link", "delete", "probe0"])
    assert not may("touch", "/etc/docker/plugins/other.spec")
    assert not may("cat", "/etc/shadow")
    assert not may("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    assert not may("kill", "-0", "1")
    assert not may("mount", "-t", "tmpfs", "tmpfs", STATE)
    assert not may("nsenter", "--target=1", "--mount", "true")
