"""Emulated virtual machines: hosts of a lab whose second interface is a port on another host's br-int.

h1 and h2 are hypervisors, h3 and h4 the machines on them. A machine has Open vSwitch and Docker of its own,
and no OVN: what it knows of the cloud is the id of its port and a login.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import Any

from ovn_docker_lab import Machine
from ovn_docker_lab.processes import Process, alive, send, spawn
from tests.integration.plugin import Plugin
from tests.integration.tenant import Container
from tests.polling import eventually
from tests.underlay.identity import Project
from tests.underlay.real_openstack import OpenStack

BRIDGE, LINK = "breth0", "ens3"
PROGRAM = "ovn-docker-underlay-driver"


class VirtualMachine:
    """A machine of an OpenStack tenant.

    Attributes:
        host: the lab's host that plays it.
        hypervisor: the one that it runs on.
        vif: its Neutron port.
    """

    def __init__(
        self, host: Machine, hypervisor: Machine, vif: Mapping[str, Any], openstack: OpenStack
    ) -> None:
        self.host = host
        self.hypervisor = hypervisor
        self.vif = vif
        self._openstack = openstack
        self._driver: Process | None = None

    @property
    def address(self) -> str:
        """Of its own interface."""
        return str(self.vif["fixed_ips"][0]["ip_address"])

    @property
    def plugin(self) -> Plugin:
        """The driver, as Docker speaks to it."""
        return Plugin(self.host.paths.plugin_socket)

    def boot(self, mtu: int) -> None:
        """What nova and the tenant do once: plug the interface in, and put it on a bridge."""
        self.plug_in(mtu)
        self.host.run(["ip", "addr", "add", f"{self.address}/24", "dev", LINK])
        self.put_on_bridge()

    def plug_in(self, mtu: int) -> None:
        """What nova does: the machine gets its interface."""
        tap = f"tap-{self.host.name}"
        inside, outside = _namespace(self.host), _namespace(self.hypervisor)
        link = [
            "ip",
            "link",
            "add",
            LINK,
            "netns",
            inside,
            "address",
            self.vif["mac_address"],
            "mtu",
            str(mtu),
        ]
        subprocess.run([*link, "type", "veth", "peer", "name", tap, "netns", outside], check=True, timeout=10)
        for machine, name in ((self.host, LINK), (self.hypervisor, tap)):
            machine.run(["ethtool", "-K", name, "tx", "off"])
            machine.run(["ip", "link", "set", name, "up"])
        iface = f"external_ids:iface-id={self.vif['id']}"
        self.hypervisor.run(["ovs-vsctl", "add-port", "br-int", tap, "--", "set", "Interface", tap, iface])

    # --- The bridge, and ovn-docker -------------------------------------------------------------------------

    def put_on_bridge(self) -> None:
        """The chapter's second step: the bridge, with the interface on it and its address."""
        bridge, mac = f"datapath_type={self.host.settings.datapath}", self.vif["mac_address"]
        mtu = self.host.run(["cat", f"/sys/class/net/{LINK}/mtu"]).stdout.strip()
        words = ["--may-exist", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, bridge]
        words += [f'other-config:hwaddr="{mac}"', "--", "set", "interface", BRIDGE, f"mtu_request={mtu}"]
        self.host.run(["ovs-vsctl", *words, "--", "--may-exist", "add-port", BRIDGE, LINK])
        self.host.run(["ethtool", "-K", BRIDGE, "tx", "off"])
        self.host.run(["ip", "addr", "flush", "dev", LINK])
        self.host.run(["ip", "addr", "replace", f"{self.address}/24", "dev", BRIDGE])
        self.host.run(["ip", "link", "set", BRIDGE, "up"])

    def take_off_bridge(self) -> None:
        """Remove the bridge; the interface has no address then."""
        self.host.run(["ovs-vsctl", "--if-exists", "del-br", BRIDGE])

    def command(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """``ovn-docker`` on the machine, with the tenant's login."""
        variables = self.environment(self._openstack.demo()) | environment
        return subprocess.run(
            self.host.enter([str(installed("ovn-docker")), *arguments]),
            env=self.host.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def findings(self, *flags: str, verb: str = "check", **environment: str) -> list[dict[str, Any]]:
        """What the health check finds, but that Neutron says that this machine's port is DOWN.

        Under load it takes that back half a minute late.
        """
        found = self.all_findings(*flags, verb=verb, **environment)
        return [finding for finding in found if finding["kind"] != "vif-down"]

    def all_findings(self, *flags: str, verb: str = "check", **environment: str) -> list[dict[str, Any]]:
        """What the health check finds."""
        done = self.command(verb, "--underlay", "--json", *flags, **environment)
        assert done.returncode in {0, 1}, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        assert (done.returncode == 0) is said["good"]
        found: list[dict[str, Any]] = said["findings"]
        return found

    def kinds(self, *flags: str, **environment: str) -> list[str]:
        """The kinds of what the health check finds."""
        return [finding["kind"] for finding in self.findings(*flags, **environment)]

    # --- The driver -----------------------------------------------------------------------------------------

    def environment(self, project: Project, **more: str) -> dict[str, str]:
        """What the guide's openrc file sets, with its old names."""
        return {
            "OS_AUTH_URL": self._openstack.auth_url.replace("/v3", "/v2.0"),
            "OS_TENANT_NAME": project.name,
            "OS_USERNAME": project.user,
            "OS_PASSWORD": project.password,
            "OS_VIF_ID": self.vif["id"],
            **more,
        }

    def start_driver(
        self,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
        program: Sequence[str] = (),
    ) -> Process:
        """Start the driver, or what stands for it, and wait until it listens."""
        project = self._openstack.demo()
        variables = self.host.environment() | dict(environment or self.environment(project))
        command = [
            *(program or (str(installed()),)),
            f"--bridge={BRIDGE}",
            "--unix-socket=/run/docker/plugins/openvswitch.sock",
            "--docker-driver-scope=local",
            f"--log-file={self.log}",
            "-vconsole:off",
            *flags,
        ]
        self._driver = process = spawn(self.host.enter(command), self.log, variables)
        if wait:
            eventually(lambda: not alive(process) or self._listens(), 20, "the driver listens")
            assert alive(process), self.log.read_text()[-2000:]
        return process

    @property
    def log(self) -> Path:
        """The driver's log file."""
        return self.host.paths.log("underlay-driver")

    def _listens(self) -> bool:
        try:
            return self.plugin.call("Plugin.Activate").ok
        except OSError:
            return False

    def stop_driver(self, *, kill: bool = False) -> None:
        """End the driver."""
        process, self._driver = self._driver, None
        if process is not None:
            send(process, SIGKILL if kill else SIGTERM)
            eventually(lambda: not alive(process), 20, "the driver has ended")

    @property
    def driver(self) -> Process:
        """The process of the driver."""
        assert self._driver is not None
        return self._driver

    # --- Docker ---------------------------------------------------------------------------------------------

    def create_network(self, name: str, *arguments: str, check: bool = True) -> str:
        """``docker network create``; its id, or what Docker said instead."""
        done = self.host.docker("network", "create", "-d", "openvswitch", *arguments, name, check=check)
        return (done.stdout or done.stderr).strip()

    def start(self, name: str, network: str, *arguments: str) -> Container:
        """Start a container that waits."""
        words = ("run", "-d", "--name", name, "--network", network, *arguments, "busybox", "sleep", "3600")
        self.host.docker(*words)
        return Container(self.host, name)

    def refused(self, *arguments: str) -> str:
        """What Docker says to a command that it must refuse."""
        done = self.host.docker(*arguments, check=False)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def clear(self) -> None:
        """Remove all containers and networks of the driver."""
        listed = self.host.docker("ps", "-aq").stdout.split()
        if listed:
            self.host.docker("rm", "-f", *listed, timeout=120)
        networks = self.host.docker("network", "ls", "-q", "--filter", "driver=openvswitch").stdout.split()
        for network in networks:
            self.host.docker("network", "rm", network, check=False)

    # --- What is on the machine -----------------------------------------------------------------------------

    def interfaces(self) -> list[str]:
        """The names of containers' interfaces on the bridge."""
        return [
            word for word in self.host.run(["ovs-vsctl", "list-ports", BRIDGE]).stdout.split() if word != LINK
        ]

    def vlans(self) -> dict[str, int]:
        """The VLAN of each container's interface on the bridge."""
        shown = self.host.run(["ovs-vsctl", "--format=json", "--columns=name,tag", "list", "Port"]).stdout
        return {name: tag for name, tag in json.loads(shown)["data"] if isinstance(tag, int)}


def plug_server(hypervisor: Machine, port: Mapping[str, Any], name: str) -> None:
    """A virtual machine without Docker: an interface in a namespace of a hypervisor, with its address."""
    fixed = port["fixed_ips"][0]["ip_address"]
    commands: Sequence[Sequence[str]] = (
        ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-i"],
        ["ip", "link", "set", f"{name}-i", "address", port["mac_address"], "mtu", "1442"],
        ["ethtool", "-K", f"{name}-i", "tx", "off"],
        ["ip", "link", "set", name, "up"],
        ["unshare", "--net=/run/" + name, "true"],
    )
    hypervisor.run(["touch", f"/run/{name}"])
    for command in commands:
        hypervisor.run(command)
    hypervisor.run(["ip", "link", "set", f"{name}-i", "netns", f"/run/{name}"])
    inside = ["nsenter", f"--net=/run/{name}"]
    for words in (["link", "set", "lo", "up"], ["link", "set", f"{name}-i", "up"]):
        hypervisor.run([*inside, "ip", *words])
    hypervisor.run([*inside, "ip", "addr", "add", f"{fixed}/24", "dev", f"{name}-i"])
    iface = f"external_ids:iface-id={port['id']}"
    hypervisor.run(["ovs-vsctl", "add-port", "br-int", name, "--", "set", "Interface", name, iface])


def unplug_server(hypervisor: Machine, name: str) -> None:
    """Remove it."""
    hypervisor.run(["ovs-vsctl", "--if-exists", "del-port", name])
    hypervisor.run(["ip", "link", "delete", name], check=False)
    hypervisor.run(["umount", f"/run/{name}"], check=False)


def _namespace(machine: Machine) -> str:
    return machine.enter([])[1].partition("=")[2]


def installed(name: str = PROGRAM) -> Path:
    """A program of this environment."""
    return Path(sys.executable).with_name(name)
