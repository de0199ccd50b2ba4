"""Which daemons of Open vSwitch and OVN run on this host, told by the sockets that they listen on.

The kernel lists the unix sockets of this network namespace, to everybody (proc(5), /proc/net/unix), and
forgets those of a process with it. Each daemon listens on ``NAME.PID.ctl`` (ovs-appctl(8)). ovs-vswitchd
listens on ``BRIDGE.mgmt`` for each bridge (ovs-vswitchd(8)), where ovn-controller is connected.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LISTENS, CONNECTED = "01", "03"
"""States of a socket (linux/net.h, SS_UNCONNECTED and SS_CONNECTED)."""

COLUMNS = 8
"""Of a line with a path: number, references, protocol, flags, type, state, inode, path."""

CONTROL = re.compile(r".*/([a-z-]+)\.\d+\.ctl")
BRIDGE = re.compile(r".*/([^/]+)\.mgmt")


@dataclass(frozen=True, slots=True)
class Daemons:
    """What runs.

    Attributes:
        running: names, as ``ovs-vswitchd``.
        controlled: how many connections there are to the OpenFlow socket of each bridge.
    """

    running: frozenset[str] = frozenset()
    controlled: Mapping[str, int] = field(default_factory=dict)


def read_daemons(lines: str) -> Daemons:
    """What the kernel's list of sockets shows."""
    running, controlled = set(), Counter[str]()
    for line in lines.splitlines()[1:]:
        columns = line.split(maxsplit=COLUMNS - 1)
        if len(columns) < COLUMNS:
            continue
        state, path = columns[5], columns[7]
        if state == LISTENS and (control := CONTROL.fullmatch(path)):
            running.add(control[1])
        elif state == CONNECTED and (bridge := BRIDGE.fullmatch(path)):
            controlled[bridge[1]] += 1
    return Daemons(frozenset(running), controlled)


def running_here() -> Daemons:
    """What runs on this host; nothing where the kernel does not tell."""
    try:
        return read_daemons(Path("/proc/self/net/unix").read_text(errors="replace"))
    except OSError:
        return Daemons()
