"""The order in which the machines of a lab come up."""

import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ovn_docker.errors import HostError
from ovn_docker.lab.daemons import (
    NB_SOCKET,
    SB_SOCKET,
    UNDERLAY_LINK,
    external_ids,
    underlay_bridge,
    underlay_device,
)
from ovn_docker.lab.image import IMAGE
from ovn_docker.lab.keeper import PRIVATE_ETC, RUN_DIRECTORIES, keeper_command, keeper_script
from ovn_docker.lab.machine import KEEPER, START_TIMEOUT, Machine
from ovn_docker.lab.plan import NB_PORT, SB_PORT
from ovn_docker.lab.processes import Process, alive, spawn, wait_until, write_process

Report = Callable[[str], None]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def bring_up(central: Machine, hosts: Sequence[Machine], image: Path, report: Report) -> None:
    """Make the namespaces of a lab, join them and start all daemons.

    Args:
        central: machine of the databases.
        hosts: the other machines.
        image: tar file that each dockerd imports.
        report: takes one line of progress.

    Raises:
        HostError: a step failed; the end of the log of the daemon that failed is in the notes of the error.
    """
    machines = (central, *hosts)
    report(f"making namespaces for {', '.join(machine.name for machine in machines)}")
    keepers = _in_parallel(start_keeper, machines)
    join_underlay(central, hosts, keepers)
    on_host = "Open vSwitch and Docker" if central.settings.docker else "Open vSwitch"
    report(f"starting the databases and northd on the central, {on_host} on every host")
    _in_parallel(lambda machine: _start_first(machine, is_central=machine is central, image=image), machines)
    report(f"starting ovn-controller{' and the driver' if central.settings.driver else ''} on every host")
    _in_parallel(_start_controller, hosts)


def _in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Sequence[_Result]:
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        return list(pool.map(function, items))


def start_keeper(machine: Machine) -> Process:
    """Make the machine's directories and namespaces and return the process that keeps them.

    Raises:
        HostError: a mount failed; the notes of the error have the reason.
    """
    _make_directories(machine)
    machine.paths.keeper_script.write_text(keeper_script(machine.paths))
    process = spawn(list(keeper_command(machine.paths)), machine.paths.log(KEEPER), machine.environment())
    write_process(machine.paths.pid(KEEPER), process)
    wait_until(lambda: not alive(process) or machine.paths.ready.exists(), START_TIMEOUT)
    if not machine.paths.ready.exists() or not alive(process):
        raise machine.failed(KEEPER, "could not furnish the namespaces")
    return process


def _make_directories(machine: Machine) -> None:
    etc = (machine.paths.etc / name for name in PRIVATE_ETC)
    run = (machine.paths.run / name for name in RUN_DIRECTORIES)
    files = machine.paths.log(KEEPER).parent, machine.paths.pid(KEEPER).parent, machine.paths.state
    for directory in (*files, *etc, *run):
        directory.mkdir(parents=True, exist_ok=True)


def join_underlay(central: Machine, hosts: Sequence[Machine], keepers: Sequence[Process]) -> None:
    """Join the machines by a Linux bridge in the central's namespace: this machine has no link of a lab.

    Args:
        central: machine that gets the bridge.
        hosts: each gets a veth to it.
        keepers: processes in the namespaces, the central's first, then one per host.
    """
    bridge = underlay_device(central.name, central.settings)
    _ip_batch(central, f"link add {bridge} type bridge\n")
    central.address_underlay()
    # With bridge-netfilter the frames between hosts would pass the IP firewall.
    central.run(["sh", "-c", "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 0 > $f"])
    for host, keeper in zip(hosts, keepers[1:], strict=True):
        _add_veth(host.name, keeper, keepers[0])
        _ip_batch(central, f"link set {host.name} master {bridge} up\n")
        _ip_batch(host, f"link set {UNDERLAY_LINK} up\n")
        central.run(["ethtool", "-K", host.name, "tx", "off"])
        host.run(["ethtool", "-K", UNDERLAY_LINK, "tx", "off"])


def _add_veth(host: str, host_keeper: Process, central_keeper: Process) -> None:
    inside = ["name", UNDERLAY_LINK, "netns", str(host_keeper.pid)]
    peer = ["name", host, "netns", str(central_keeper.pid)]
    command = ["ip", "link", "add", *inside, "type", "veth", "peer", *peer]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode != 0:
        raise HostError(f"cannot join {host} to the underlay: {done.stderr.strip()}")


def _ip_batch(machine: Machine, batch: str) -> None:
    machine.run(["ip", "-batch", "-"], stdin=batch)


def _start_first(machine: Machine, *, is_central: bool, image: Path) -> None:
    if is_central:
        _start_central(machine)
        return
    _start_switch(machine)
    if machine.settings.docker:
        machine.start("dockerd")
        machine.docker("import", '--change=CMD ["sh"]', str(image), IMAGE)


def _start_central(central: Machine) -> None:
    central.start("nb")
    central.start("sb")
    central.run(["ovn-nbctl", f"--db=unix:{NB_SOCKET}", "set-connection", f"ptcp:{NB_PORT}"])
    central.run(["ovn-sbctl", f"--db=unix:{SB_SOCKET}", "set-connection", f"ptcp:{SB_PORT}"])
    central.start("northd")


def _start_switch(host: Machine) -> None:
    host.start("ovsdb-server")
    settings = ("set", "Open_vSwitch", ".", *external_ids(host.name, host.settings))
    bridge = underlay_bridge(host.settings)
    host.run(["ovs-vsctl", "--no-wait", "init", "--", *settings, *bridge])
    host.start("ovs-vswitchd")


def _start_controller(host: Machine) -> None:
    host.start("ovn-controller")
    if host.settings.driver:
        host.start_driver()
    if not wait_until(lambda: _is_connected(host), START_TIMEOUT):
        raise host.failed("ovn-controller", "did not connect to the Southbound database")


def _is_connected(host: Machine) -> bool:
    status = host.run(["ovn-appctl", "-t", "ovn-controller", "connection-status"], check=False)
    return status.stdout.strip() == "connected"
