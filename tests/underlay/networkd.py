"""A machine whose network is the real systemd-networkd's, with an address of the real Neutron's DHCP."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from signal import SIGTERM

from ovn_docker_lab.processes import alive, send, spawn
from tests.polling import eventually
from tests.underlay.machines import BRIDGE, LINK, VirtualMachine

RUN, ETC = "/run/systemd", "/etc/systemd/network"
TOLD = f"[Match]\nName={LINK}\n[Network]\nDHCP=ipv4\n[DHCPv4]\nUseMTU=yes\n"
OTHERS = f"[Match]\nName=!{LINK} {BRIDGE}\n[Link]\nUnmanaged=yes\n"


@contextlib.contextmanager
def managed(machine: VirtualMachine) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A machine without the bridge and without an address, and what runs systemd-networkd on it.

    Afterwards it has both again.
    """
    there = machine.host
    there.run(["mkdir", "-p", RUN])
    for each in (RUN, ETC):
        there.run(["mount", "-t", "tmpfs", "tmpfs", each])
    there.run(["mount", "-o", "remount,ro", "/sys"])  # no udev: systemd-networkd need not wait for it
    machine.take_off_bridge()
    there.run(["ip", "addr", "flush", "dev", LINK])
    there.run(["mkdir", "-p", f"{RUN}/network", f"{RUN}/netif/links", f"{RUN}/netif/leases"])
    for name, text in (("10-netplan-x", TOLD), ("01-others", OTHERS)):
        there.run(["sh", "-c", f'printf %s "$0" > {RUN}/network/{name}.network', text])
    there.run(["chown", "-R", "systemd-network:systemd-network", f"{RUN}/netif"])
    try:
        yield lambda: _running(machine)
    finally:
        for each in (RUN, ETC):
            there.run(["umount", each])
        there.run(["mount", "-o", "remount,rw", "/sys"])
        machine.take_off_bridge()
        there.run(["ip", "addr", "flush", "dev", LINK])
        there.run(["ip", "addr", "add", f"{machine.address}/24", "dev", LINK])
        machine.put_on_bridge()


@contextlib.contextmanager
def _running(machine: VirtualMachine) -> Iterator[None]:
    command = machine.host.enter(["/usr/lib/systemd/systemd-networkd"])
    process = spawn(command, machine.host.paths.log("networkd"), machine.host.environment())
    try:
        yield
    finally:
        send(process, SIGTERM)
        eventually(lambda: not alive(process), 10, "systemd-networkd has ended")


def has_address(machine: VirtualMachine, link: str) -> bool:
    """Whether a link of the machine has the address that Neutron has for it."""
    return f" {machine.address}/24 " in machine.host.run(["ip", "-4", "addr", "show", link]).stdout
