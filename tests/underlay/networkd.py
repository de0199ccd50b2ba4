"""A machine whose network is the real systemd-networkd's, with an address of the real Neutron's DHCP."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

from tests.polling import eventually
from tests.underlay.machines import BRIDGE, LINK, VirtualMachine

NETWORKD = "/usr/lib/systemd/systemd-networkd"
RUN, ETC = "/run/systemd", "/etc/systemd/network"
TOLD = f"[Match]\nName={LINK}\n[Network]\nDHCP=ipv4\n[DHCPv4]\nUseMTU=yes\n"
OTHERS = f"[Match]\nName=!{LINK} {BRIDGE}\n[Link]\nUnmanaged=yes\n"


@contextlib.contextmanager
def managed(machine: VirtualMachine, pidfile: Path) -> Iterator[None]:
    """A machine without the bridge, whose interface has an address that systemd-networkd asked for.

    Afterwards it has the bridge again.
    """
    host = machine.host
    host.run(["mkdir", "-p", RUN])
    for directory in (RUN, ETC):
        host.run(["mount", "-t", "tmpfs", "tmpfs", directory])
    host.run(["mount", "-o", "remount,ro", "/sys"])  # no udev: systemd-networkd need not wait for it
    machine.take_off_bridge()
    host.run(["mkdir", "-p", f"{RUN}/network", f"{RUN}/netif/links", f"{RUN}/netif/leases"])
    for name, text in (("10-netplan-x", TOLD), ("01-others", OTHERS)):
        host.run(["sh", "-c", f'printf %s "$0" > {RUN}/network/{name}.network', text])
    host.run(["chown", "-R", "systemd-network:systemd-network", f"{RUN}/netif"])
    try:
        host.run(["sh", "-c", restart(pidfile)])
        eventually(lambda: has_address(machine, LINK), 30, "Neutron's address on the interface")
        yield
    finally:
        stop_process(pidfile)
        for directory in (RUN, ETC):
            host.run(["umount", directory])
        host.run(["mount", "-o", "remount,rw", "/sys"])
        machine.take_off_bridge()
        machine.put_on_bridge()


def restart(pidfile: Path) -> str:
    """What a shell of the machine does for ``networkctl reload``, which needs D-Bus."""
    return (
        f"[ ! -e {pidfile} ] || kill $(cat {pidfile}); setsid {NETWORKD} >{pidfile}.log 2>&1 </dev/null &"
        f" echo $! >{pidfile}"
    )


def stop_process(pidfile: Path) -> None:
    """End a process that has written its id, if there is one."""
    if pidfile.exists():
        pid = int(pidfile.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, SIGTERM)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), 20, f"process {pid} has ended")


def has_address(machine: VirtualMachine, link: str) -> bool:
    """Whether a link of the machine has the address that Neutron has for it."""
    return f" {machine.address}/24 " in machine.host.run(["ip", "-4", "addr", "show", link]).stdout
