"""The guide's chapter on this mode, run as it stands, in a machine whose address is Neutron's by DHCP."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_docs import DOCS, Shells, steps
from tests.underlay.clouds import Cloud
from tests.underlay.conftest import wipe
from tests.underlay.identity import Project
from tests.underlay.machines import PROGRAM, VirtualMachine, installed
from tests.underlay.networkd import managed, restart, stop_process
from tests.underlay.real_openstack import PYTHON

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(600)]

CHAPTER = "how-to/underlay.md"


@pytest.fixture
def fresh(cloud: Cloud, tmp_path: Path) -> Iterator[VirtualMachine]:
    """A machine as its image left it: systemd-networkd has asked Neutron for an address. It has no trunk."""
    machine = cloud.machines[0]
    _forget_drivers(machine)
    machine.findings(verb="repair")  # the rules that Open vSwitch's userspace datapath needs
    for trunk in cloud.demo.list("trunks", port_id=machine.vif["id"]):
        cloud.demo.delete("trunks", trunk["id"])
    with managed(machine, networkd_pidfile(tmp_path)):
        yield machine
    _forget_drivers(machine)
    wipe(cloud)


def networkd_pidfile(directory: Path) -> Path:
    return directory / "networkd.pid"


def _forget_drivers(machine: VirtualMachine) -> None:
    """Start Docker anew: it keeps the address at which it found a driver first."""
    machine.host.stop("dockerd")
    machine.host.start_again("dockerd")


@pytest.fixture
def public(cloud: Cloud) -> Iterator[None]:
    """The operator's network to the outside."""
    network = cloud.operator.create("networks", name="public", **{"router:external": True})
    cloud.operator.create("subnets", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4)
    yield
    _remove_way_out(cloud.demo)
    cloud.operator.delete("networks", network["id"])


def _remove_way_out(demo: Project) -> None:
    for floatingip in demo.list("floatingips"):
        demo.delete("floatingips", floatingip["id"])
    for router in demo.list("routers"):
        for port in demo.list("ports", device_id=router["id"]):
            body = {"port_id": port["id"]}
            demo.call("network", "PUT", f"/v2.0/routers/{router['id']}/remove_router_interface", body)
        demo.delete("routers", router["id"])
    for network in demo.list("networks", name="shop"):
        for port in demo.list("ports", network_id=network["id"]):
            demo.delete("ports", port["id"])
        demo.delete("networks", network["id"])
    for group in demo.list("security-groups", name="web"):
        demo.delete("security-groups", group["id"])


def programs(directory: Path, pidfile: Path, datapath: str) -> str:
    """A PATH with this package's programs and the client of OpenStack.

    The emulated machine's kernel has no datapath of Open vSwitch, and its daemon has to be found again.
    """
    directory.mkdir()
    scripts = {
        "ovn-docker": f'exec {installed("ovn-docker")} "$@"',
        "ovs-vsctl": f'[ "$1" != add-br ] || set -- "$@" -- set bridge "$2" datapath_type={datapath}\n'
        f'exec {shutil.which("ovs-vsctl")} "$@"',
        "networkctl": restart(networkd_pidfile(directory.parent)),
        PROGRAM: f'exec {installed()} --pidfile={pidfile} "$@"',
        "openstack": f'exec {PYTHON.with_name("openstack")} "$@"',
    }
    for name, text in scripts.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def openrc(cloud: Cloud) -> str:
    """The file that the chapter shows, for this cloud, with its password."""
    found = re.search(r"^```sh\n(.*?)^```$", (DOCS / CHAPTER).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    text = re.sub(r"OS_AUTH_URL=\S+", f"OS_AUTH_URL={cloud.openstack.auth_url}", found[1])
    assert cloud.openstack.auth_url in text
    return f"{text}export OS_PASSWORD={cloud.demo.password}\n"


@pytest.mark.usefixtures("public")
def test_the_chapter_is_true(cloud: Cloud, fresh: VirtualMachine, tmp_path: Path) -> None:
    home, pidfile = tmp_path / "home", tmp_path / "driver.pid"
    home.mkdir()
    (home / "openrc.sh").write_text(openrc(cloud))
    variables = {
        "PATH": programs(tmp_path / "bin", pidfile, fresh.host.settings.datapath),
        "SERVER": fresh.host.name,
        "LC_ALL": "C.UTF-8",
    }
    (tmp_path / "h3.sh").write_text(f'declare -x PWD="{home}"\n')
    assert fresh.host.name == "h3"
    try:
        Shells(tmp_path, {"h3": variables}).play(CHAPTER, cloud.lab, fresh.host.settings.datapath)
    finally:
        stop_process(pidfile)
        fresh.clear()


def test_every_command_of_the_chapter_is_run_but_the_installation() -> None:
    text = (DOCS / CHAPTER).read_text()
    run = [step.command for step in steps(text)]
    shown = re.findall(r"^ *\$ (.*)$", text, re.MULTILINE)
    left = [line for line in shown if not any(line in command for command in run)]
    programs_of_the_installation = ["apt-get", "git", "python3", "pip", "pip", "ln"]
    of_the_unit = ["install-unit", "umask", "systemctl", "systemctl"]  # which test_unit.py stands for
    assert [line.split()[0].rpartition("/")[2] for line in left] == programs_of_the_installation + of_the_unit
    assert len(run) > 30
