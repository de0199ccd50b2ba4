"""The namespaces of one machine of a lab: make them, join them to the underlay, run commands in them."""

import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from ovn_docker.errors import HostError
from ovn_docker_lab.daemons import UNDERLAY_BRIDGE, UNDERLAY_LINK, underlay_device
from ovn_docker_lab.namespace_holder import (
    PRIVATE_ETC,
    RUN_DIRECTORIES,
    holder_command,
    holder_script,
    resolv_conf,
)
from ovn_docker_lab.plan import (
    CENTRAL,
    OUTSIDE,
    WORLD,
    LabSettings,
    MachinePaths,
    northbound_remote,
    southbound_remote,
    underlay_address,
    underlay_address6,
)
from ovn_docker_lab.processes import Process, alive, read_process, spawn, wait_until, write_process
from ovn_docker_lab.requirements import environment

HOLDER = "namespace-holder"
START_TIMEOUT = 30.0
LOG_TAIL = 15


class Namespaces:
    """Network, mount and UTS namespace of a machine.

    Attributes:
        name: "h1", "h2", ..., "central" or "outside"; also its host name and, on a host, its system-id.
        paths: its files as seen from outside.
    """

    def __init__(self, paths: MachinePaths, settings: LabSettings) -> None:
        self.name = paths.machine
        self.paths = paths
        self.settings = settings

    @property
    def address(self) -> IPv4Address:
        """Address in the network that joins the machines of the lab."""
        return underlay_address(self.name).ip

    @property
    def address6(self) -> IPv6Address:
        """IPv6 address in that network."""
        return underlay_address6(self.name).ip

    @property
    def is_host(self) -> bool:
        return self.name not in (CENTRAL, OUTSIDE)

    # Commands

    def enter(self, command: Sequence[str]) -> list[str]:
        """Command line that runs another one inside this machine.

        Raises:
            HostError: the machine's namespaces are gone.
        """
        return ["nsenter", f"--target={self._holder().pid}", "--net", "--mount", "--uts", "--", *command]

    def _holder(self) -> Process:
        holder = read_process(self.paths.pid(HOLDER))
        if holder is None or not alive(holder):
            raise HostError(
                f"{self.name} of lab {self.paths.lab} does not run: take the lab down and up again"
            )
        return holder

    def environment(self) -> dict[str, str]:
        """Environment variables inside this machine, which point docker and ovn-nbctl at the lab."""
        return environment(
            DOCKER_HOST="unix:///run/docker.sock",
            OVN_NB_DB=northbound_remote(),
            OVN_SB_DB=southbound_remote(),
        )

    def run(
        self, command: Sequence[str], *, timeout: float = 30, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside this machine, without a shell, and return its output as text.

        Raises:
            HostError: it took longer than `timeout` seconds, it failed (if `check`), or the machine is gone.
        """
        entered = self.enter(command)
        try:
            done = subprocess.run(
                entered,
                env=self.environment(),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HostError(f"'{_line(command)}' on {self.name} took longer than {timeout:g} s") from error
        if check and done.returncode != 0:
            output = (done.stderr.strip() or done.stdout.strip())[-1000:]
            raise HostError(f"'{_line(command)}' on {self.name} failed with {done.returncode}: {output}")
        return done

    def docker(
        self, *arguments: str, timeout: float = 60, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run docker on this host as run() does; HostError also where the lab has no Docker."""
        return self.run(self.docker_command(arguments), timeout=timeout, check=check, stdin=stdin)

    def docker_command(self, arguments: Sequence[str]) -> list[str]:
        """Command line of docker on this host; HostError where there is no dockerd."""
        if not self.settings.docker or not self.is_host:
            raise HostError(f"{self.name} of lab {self.paths.lab} has no Docker: use a host of a lab with it")
        return ["docker", *arguments]

    # Logs

    def log(self, daemon: str) -> str:
        """All that a daemon has logged so far."""
        file = self.paths.log(daemon)
        return file.read_text(errors="replace") if file.exists() else ""

    def failed(self, daemon: str, what: str) -> HostError:
        """An error about a daemon with the end of its log as a note."""
        error = HostError(f"{daemon} on {self.name} {what}: see the end of its log")
        error.add_note("\n".join(self.log(daemon).splitlines()[-LOG_TAIL:]))
        return error

    # Namespaces

    def make(self) -> None:
        """Make the machine's directories and namespaces, and start the process that holds them.

        Raises:
            HostError: a mount failed; the error's notes have the reason.
        """
        self._make_directories()
        self.paths.resolv_conf.write_text(resolv_conf())
        script = holder_script(self.paths, forwarding=self.settings.forwarding and self.is_host)
        self.paths.holder_script.write_text(script)
        process = spawn(list(holder_command(self.paths)), self.paths.log(HOLDER), self.environment())
        write_process(self.paths.pid(HOLDER), process)
        wait_until(lambda: not alive(process) or self.paths.ready.exists(), START_TIMEOUT)
        if not self.paths.ready.exists() or not alive(process):
            raise self.failed(HOLDER, "could not set up the namespaces")

    def _make_directories(self) -> None:
        etc = (self.paths.etc / name for name in PRIVATE_ETC)
        run = (self.paths.run / name for name in RUN_DIRECTORIES)
        files = self.paths.log(HOLDER).parent, self.paths.pid(HOLDER).parent, self.paths.state
        for directory in (*files, *etc, *run):
            directory.mkdir(parents=True, exist_ok=True)

    # Underlay

    def make_underlay(self) -> None:
        """Make the bridge that joins the machines, in the central's namespace."""
        self._ip_batch(f"link add {underlay_device(self.name, self.settings)} type bridge\n")
        self.address_underlay()
        # With bridge-netfilter the frames between hosts would pass the IP firewall.
        self.run(["sh", "-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 > $f"])

    def plug_into(self, central: "Namespaces") -> None:
        """Join this machine to the central's bridge by a veth that has the machine's name there."""
        inside = ["name", UNDERLAY_LINK, "netns", str(self._holder().pid)]
        peer = ["name", self.name, "netns", str(central._holder().pid)]  # noqa: SLF001 - of the same class
        command = ["ip", "link", "add", *inside, "type", "veth", "peer", *peer]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        if done.returncode != 0:
            raise HostError(f"cannot join {self.name} to the underlay: {done.stderr.strip()}")
        bridge = underlay_device(central.name, central.settings)
        central._ip_batch(f"link set {self.name} master {bridge} up\n")  # noqa: SLF001
        self._ip_batch(f"link set {UNDERLAY_LINK} up\n")
        central.run(["ethtool", "-K", self.name, "tx", "off"])
        self.run(["ethtool", "-K", UNDERLAY_LINK, "tx", "off"])

    def address_underlay(self) -> None:
        """Give the underlay addresses and a default route to the link that carries them, once it exists.

        A bridge of the userspace datapath and its address go whenever ovs-vswitchd ends. The link beneath it
        does not answer ARP: its MAC address is not the bridge's, and a tunnel that a neighbour sends there
        would end in the kernel, which has none.
        """
        device = underlay_device(self.name, self.settings)
        batch = f"addr replace {underlay_address(self.name)} dev {device}\nlink set {device} up\n"
        batch += f"addr replace {underlay_address6(self.name)} dev {device} nodad\n"
        if self.is_host:
            batch += f"route replace default via {underlay_address(OUTSIDE).ip} dev {device}\n"
            batch += f"route replace default via {underlay_address6(OUTSIDE).ip} dev {device}\n"
        if self.name == OUTSIDE:
            batch += "".join(f"addr replace {address} dev lo\n" for address in WORLD)
        if device == UNDERLAY_BRIDGE:
            batch += f"link set {UNDERLAY_LINK} arp off\n"
        if not wait_until(lambda: self._try_ip_batch(batch), START_TIMEOUT):
            raise self.failed("ovs-vswitchd", f"did not make the link {device}")
        # A checksum left to the NIC stays unfinished in the userspace datapath: ping works, TCP does not.
        self.run(["ethtool", "-K", device, "tx", "off"])

    def _try_ip_batch(self, batch: str) -> bool:
        return self.run(["ip", "-batch", "-"], stdin=batch, check=False).returncode == 0

    def _ip_batch(self, batch: str) -> None:
        self.run(["ip", "-batch", "-"], stdin=batch)


def _line(command: Sequence[str]) -> str:
    return " ".join(command)
