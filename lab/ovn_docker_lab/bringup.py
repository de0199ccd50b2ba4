"""The order in which the machines of a lab come up."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ovn_docker_lab.daemons import NB_SOCKET, SB_SOCKET, SERVICES, external_ids, underlay_bridge
from ovn_docker_lab.image import IMAGE
from ovn_docker_lab.machine import Machine
from ovn_docker_lab.namespaces import START_TIMEOUT
from ovn_docker_lab.plan import CENTRAL, NB_PORT, OUTSIDE, SB_PORT
from ovn_docker_lab.processes import wait_until

Report = Callable[[str], None]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def bring_up(
    central: Machine, outside: Machine, hosts: Sequence[Machine], image: Path, report: Report
) -> None:
    """Make and join the namespaces of a lab and start all daemons; each dockerd imports the tar `image`.

    Raises:
        HostError: a step failed; the end of the failed daemon's log is in the error's notes.
    """
    machines = (central, outside, *hosts)
    report(f"making namespaces for {', '.join(machine.name for machine in machines)}")
    _in_parallel(Machine.make, machines)
    central.make_underlay()
    for machine in (outside, *hosts):
        machine.plug_into(central)
    on_host = "Open vSwitch and Docker" if central.settings.docker else "Open vSwitch"
    report(f"starting the databases and northd on the central, {on_host} on every host")
    _in_parallel(lambda machine: _start_first(machine, image), machines)
    report(f"starting ovn-controller{' and the driver' if central.settings.driver else ''} on every host")
    _in_parallel(_start_controller, hosts)


def _in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Sequence[_Result]:
    with ThreadPoolExecutor(max_workers=len(items)) as pool:
        return list(pool.map(function, items))


def _start_first(machine: Machine, image: Path) -> None:
    if machine.name == CENTRAL:
        _start_central(machine)
        return
    if machine.name == OUTSIDE:
        machine.address_underlay()
        machine.start(SERVICES)
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
