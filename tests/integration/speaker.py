"""A VTEP that is no chassis: plain VXLAN out of a bridge of its own, with hosts behind it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ovn_docker_lab import Machine
from tests.integration.tenant import Result

ECHO, PYTHON = Path(__file__).with_name("echo.py"), "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Site:
    """A host behind the VTEP, in a namespace of its own."""

    machine: Machine
    vni: int

    def run(self, *command: str, check: bool = True, timeout: float = 30) -> Result:
        """Run a command there."""
        return self.machine.run(self.enter(command), check=check, timeout=timeout)

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command line that does."""
        return ["nsenter", f"--net=/run/netns/site{self.vni}", "--", *command]

    def mac(self) -> str:
        """Its MAC address."""
        [link] = json.loads(self.run("ip", "-j", "link", "show", "eth0").stdout)
        return str(link["address"])

    def pings(self, address: str) -> bool:
        """Tell whether one packet is answered."""
        return self.run("busybox", "ping", "-c1", "-W1", address, check=False).returncode == 0

    def fetches(self, address: str, port: int) -> str:
        """What a web server answers, or "" if it does not."""
        url = f"http://{address}:{port}/who"
        return self.run("timeout", "2", "busybox", "wget", "-q", "-O", "-", url, check=False).stdout.strip()

    def sends(self, address: str, port: int, text: str) -> str:
        """What comes back over UDP, or "" if nothing does."""
        return self.run(PYTHON, str(ECHO), "ask", address, str(port), text, check=False).stdout.strip()


class Speaker:
    """A machine of the lab that has left OVN."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        [control] = Path(machine.paths.run, "ovn").glob("ovn-controller.*.ctl")
        machine.run(["ovn-appctl", "-t", f"/run/ovn/{control.name}", "exit"])  # takes its chassis along

    @property
    def address(self) -> str:
        """Its tunnel endpoint."""
        return str(self.machine.address)

    def site(self, vni: int, addresses: Sequence[str], hosts: Sequence[Machine]) -> Site:
        """Make a site that is flooded to and from these hosts, as a VTEP without a control plane is."""
        site, bridge, link = Site(self.machine, vni), f"vx{vni}", f"site{vni}"
        kind = self.machine.settings.datapath
        add = [
            "add-br",
            bridge,
            "--",
            "set",
            "bridge",
            bridge,
            f"datapath_type={kind}",
            "fail_mode=standalone",
        ]
        for number, host in enumerate(hosts):
            port = f"{bridge}-{number}"
            add += ["--", "add-port", bridge, port, "--", "set", "interface", port, "type=vxlan"]
            add += [f"options:remote_ip={host.address}", f"options:key={vni}"]
        commands = [
            f"ip netns add {link}",
            f"ip link add {link} type veth peer name eth0 netns {link}",
            f"ip link set {link} up",
            f"ip -n {link} link set eth0 up mtu 1400",
            *(f"ip -n {link} addr add {address} dev eth0 nodad" for address in addresses),
            f"ethtool -K {link} tx off",  # the userspace datapath sends no packet whose checksum is partial
            f"nsenter --net=/run/netns/{link} ethtool -K eth0 tx off",
        ]
        self.machine.run(["sh", "-ec", "\n".join(commands)])
        self.machine.run(["ovs-vsctl", *add, "--", "add-port", bridge, link])
        return site
