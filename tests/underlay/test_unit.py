"""The driver does its whole work as the user and with the rights that its systemd unit gives it."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.plugin import Plugin
from tests.integration.test_least_privilege import (
    DOCKER_GROUP,
    NO_NEW_EXECUTABLE_MEMORY,
    OVN_GROUP,
    PACKAGING,
    PYTHON,
    RUN,
    USER,
    reachable_python,
)
from tests.polling import eventually
from tests.underlay.clouds import Cloud
from tests.underlay.conftest import leftovers, wipe
from tests.underlay.machines import VirtualMachine, installed
from tests.unit.test_systemd import UNDERLAY, unit

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(180)]

STATE = "/var/lib/ovn-docker-guarded"
NAME = "guarded"  # for dockerd goes on looking for a driver where it was once
SPEC = f"/etc/docker/plugins/{NAME}.spec"


def sandbox() -> list[str]:
    """A program that runs the driver as systemd would run the unit: its user, capabilities and mounts."""
    service = unit(UNDERLAY)["Service"]
    assert service["CapabilityBoundingSet"] == service["AmbientCapabilities"] == "CAP_NET_ADMIN"
    python = str(installed("python"))
    rights = [
        *("setpriv", f"--reuid={USER}", f"--regid={OVN_GROUP}", f"--groups={OVN_GROUP},{DOCKER_GROUP}"),
        *("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"),
        *("--no-new-privs", python, "-c", NO_NEW_EXECUTABLE_MEMORY, str(installed())),
    ]
    shell = (
        f"{reachable_python()}mount --bind {RUN} {RUN}; mount --bind {STATE} {STATE}; "
        "mount -o remount,bind,ro /; mount -t proc -o ro,subset=pid,hidepid=invisible proc /proc; "
        f'umask {service["UMask"]}; exec {shlex.join(rights)} "$@"'
    )
    return ["unshare", "--mount", "--propagation=private", "sh", "-ec", shell, "sh"]


def socket(machine: VirtualMachine) -> Path:
    return machine.host.paths.run / "ovn-docker" / f"{NAME}.sock"


@pytest.fixture
def guarded(cloud: Cloud) -> Iterator[VirtualMachine]:
    """A machine whose driver runs so."""
    machine = cloud.machines[0]
    for path in (RUN, STATE):
        machine.host.run(["install", "-d", "-m", "700", "-o", str(USER), "-g", str(OVN_GROUP), path])
    for group, path in ((OVN_GROUP, "/run/openvswitch/db.sock"), (DOCKER_GROUP, "/run/docker.sock")):
        machine.host.run(["chgrp", str(group), path])
        machine.host.run(["chmod", "g+rw", path])
    machine.host.run(["mkdir", "-p", "/etc/docker/plugins"])
    spec = (PACKAGING / "docker" / "openvswitch.spec").read_text()
    machine.host.run(["tee", SPEC], stdin=spec.replace("openvswitch", NAME))
    words = shlex.split(unit(UNDERLAY)["Service"]["ExecStart"])[1:-1]
    flags = [word.replace("openvswitch", NAME) for word in words]
    flags += [f"--driver-name={NAME}", f"--log-file={STATE}/log", f"--state-file={STATE}/state.json"]
    health = ["--health-check-on", "--health-check-interval=1"]
    machine.start_driver(*flags, *health, wait=False, program=sandbox())
    eventually(socket(machine).exists, 30, "the driver listens")
    try:
        yield machine
    finally:
        machine.clear()
        machine.host.docker("network", "rm", NAME, check=False)
        left = leftovers(cloud)
        machine.stop_driver()
        wipe(cloud)
        machine.host.run(["rm", "-rf", SPEC, RUN, STATE, PYTHON])
    assert left == []


def test_it_does_its_whole_work(cloud: Cloud, guarded: VirtualMachine) -> None:
    guarded.host.docker("network", "create", "-d", NAME, "--subnet=10.66.0.0/24", NAME)
    one, _ = guarded.start("one", NAME), guarded.start("two", NAME)
    one.reaches("10.66.0.3", 20)
    plugin = Plugin(socket(guarded))
    eventually(lambda: plugin.call("Database").body["docker_last_synched"], 30, "a pass succeeds")
    eventually(
        lambda: {port["name"] for port in cloud.demo.list("ports")} >= {"one", "two"},
        30,
        "the ports are named for their containers",
    )
