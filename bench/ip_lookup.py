"""What --ip-lookup costs with 10,000 entries in table 200: a Join, and a packet's way through the lookup.

Run as root, on a machine that can hold a lab: ``python -m bench.ip_lookup``. Three minutes, a lab of its own.
It prints its figures and writes nothing.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import plugin
from ovn_docker.flows.text import COOKIE, COOKIE_MASK
from ovn_docker.lab import Lab, Machine

ADDRESSES = 5000
"""Of one container, so that few containers have many entries: two for each address."""

ROUNDS, JOINS, SECONDS = 4, 20, 3.0

PAUSE = 0.2
"""Seconds between two calls, so that each finds the flows of the one before in place."""
SUBNET, VNI, PORT = "10.64.0.0/16", 5001, 9000

COUNT = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", int(sys.argv[1])))
s.settimeout(10); print("ready", flush=True); s.recv(2000); end = time.monotonic() + float(sys.argv[2]); n = 0
while time.monotonic() < end:
    s.recv(2000); n += 1
print(n / float(sys.argv[2]))
"""
SEND = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], int(sys.argv[2])))
end = time.monotonic() + float(sys.argv[3]); data = b"x" * 64
try:
    while time.monotonic() < end:
        for _ in range(100):
            s.send(data)
except ConnectionRefusedError:  # the receiver has counted enough
    pass
"""


def main() -> int:
    """Measure, print, take the lab down."""
    lab = Lab.up("bench-lookup", 3)
    try:
        _measure(lab)
    finally:
        lab.down()
    return 0


def _measure(lab: Lab) -> None:
    host, other, vtep = lab.hosts
    for each in (host, other):
        _restart(each, lookup=each is host)
        network = [
            "network",
            "create",
            "-d",
            "openvswitch",
            "--subnet",
            SUBNET,
            "--ipam-driver",
            "openvswitch",
        ]
        each.docker(*network, "net")
        each.docker("run", "-d", "--net", "net", "--name", "box", "busybox", "sleep", "3600")
    program = str(Path(sys.executable).with_name("ovn-docker"))
    host.docker("network", "create", "-d", "openvswitch", "--subnet", "10.65.0.0/16", "lone")
    for vni, name in ((VNI, "net"), (VNI + 1, "lone")):
        add = ["vtep", "add", "--remote-ip", str(vtep.address), "--vni", str(vni), "--network", name]
        host.run([program, *add])
    _site(vtep, host)
    _fill(host)
    _say(f"{_entries(host)} flows of IP lookups")
    _packets(host, other, vtep)
    _joins(host)


def _fill(host: Machine) -> None:
    """Say that the container has thousands of addresses; OVN does not read this key."""
    find = [
        "ovs-vsctl",
        "--bare",
        "--columns=name",
        "find",
        "Interface",
        "external_ids:ovn-docker-network!=x",
    ]
    name = next(line for line in host.run(find).stdout.split() if line)
    own = json.loads(host.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "box").stdout)
    addresses = [
        own["net"]["IPAddress"],
        *(f"10.64.{16 + n // 250}.{n % 250 + 1}" for n in range(ADDRESSES - 1)),
    ]
    value = " ".join(addresses)
    host.run(["ovs-vsctl", "set", "Interface", name, f'external_ids:ovn-docker-addresses="{value}"'])
    deadline = time.monotonic() + 20
    while _entries(host) < 2 * ADDRESSES and time.monotonic() < deadline:
        time.sleep(0.2)


def _entries(host: Machine) -> int:
    what = f"cookie={COOKIE:#x}/{COOKIE_MASK:#x}"
    said = host.run(["ovs-ofctl", "-O", "OpenFlow15", "dump-aggregate", "br-int", what], check=False).stdout
    return int(said.partition("flow_count=")[2].split()[0] or 0) if "flow_count=" in said else 0


def _restart(host: Machine, *, lookup: bool) -> None:
    host.stop("driver")
    host.start_driver(["--docker-driver-scope=local", *(["--ip-lookup"] if lookup else [])])


def _site(vtep: Machine, host: Machine) -> None:
    """A host behind a VTEP that is no chassis."""
    [control] = Path(vtep.paths.run, "ovn").glob("ovn-controller.*.ctl")
    vtep.run(["ovn-appctl", "-t", f"/run/ovn/{control.name}", "exit"])
    kind, to = vtep.settings.datapath, f"options:remote_ip={host.address}"
    lines = [
        "ip netns add site; ip link add site type veth peer name eth0 netns site; ip link set site up",
        "ip -n site link set eth0 up mtu 1400; ip -n site addr add 10.64.255.1/16 dev eth0",
        "ethtool -K site tx off; nsenter --net=/run/netns/site ethtool -K eth0 tx off",
        f"ovs-vsctl add-br vx -- set bridge vx datapath_type={kind} fail_mode=standalone -- add-port vx site",
        f"ovs-vsctl add-port vx tun -- set interface tun type=vxlan options:key={VNI} {to}",
    ]
    vtep.run(["sh", "-ec", "\n".join(lines)])


def _packets(host: Machine, other: Machine, vtep: Machine) -> None:
    """One-way packets per second to the same container, by either way in turn."""
    target = json.loads(host.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "box").stdout)
    address = target["net"]["IPAddress"]
    into = ["nsenter", f"--target={_pid(host)}", "--net", "--"]
    ways = {
        "OVN's tunnel": other.enter(["nsenter", f"--target={_pid(other)}", "--net", "--"]),
        "the lookup": vtep.enter(["nsenter", "--net=/run/netns/site", "--"]),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, enter in ways.items():
            rates[way].append(_rate(host.enter(into), enter, address))
    for way, found in rates.items():
        _say(f"packets per second through {way}: median {statistics.median(found):.0f}, {_list(found, 0)}")
    ratio = statistics.median(rates["the lookup"]) / statistics.median(rates["OVN's tunnel"])
    _say(f"the lookup carries {ratio:.0%} of OVN's tunnel")


def _rate(receiver: Sequence[str], sender: Sequence[str], address: str) -> float:
    count = [*receiver, "/usr/bin/python3", "-c", COUNT, str(PORT), str(SECONDS)]
    send = [*sender, "/usr/bin/python3", "-c", SEND, address, str(PORT), str(SECONDS + 1)]
    with subprocess.Popen(count, stdout=subprocess.PIPE, text=True) as counting:
        if counting.stdout is not None:
            counting.stdout.readline()
        subprocess.run(send, check=False, timeout=30)
        said, _ = counting.communicate(timeout=30)
    return float(said or 0)


def _pid(host: Machine) -> str:
    return host.docker("inspect", "-f", "{{.State.Pid}}", "box").stdout.strip()


def _joins(host: Machine) -> None:
    """The same Joins with the flag and without, in turn."""
    times: dict[bool, list[float]] = {True: [], False: []}
    network = host.docker("network", "inspect", "-f", "{{.Id}}", "lone").stdout.strip()
    for turn in range(2 * ROUNDS):
        lookup = turn % 2 == 0
        _restart(host, lookup=lookup)
        deadline = time.monotonic() + 20
        while (_entries(host) > 2 * ADDRESSES) is not lookup and time.monotonic() < deadline:
            time.sleep(0.2)
        times[lookup] += [_join(host, network, f"{turn:02x}{each:02x}" * 16, each) for each in range(JOINS)]
    for lookup, found in times.items():
        with_it = "with" if lookup else "without"
        _say(f"Join {with_it} --ip-lookup: median {statistics.median(found):.2f} ms, of {len(found)}")
    _say(f"difference {statistics.median(times[True]) - statistics.median(times[False]):+.2f} ms")


def _join(host: Machine, network: str, endpoint: str, number: int) -> float:
    driver = plugin.Plugin(plugin.dial_unix(host.paths.plugin_socket))
    driver.call("CreateEndpoint", plugin.endpoint(network, endpoint, f"10.65.8.{number + 1}/16"))
    time.sleep(PAUSE)
    took = driver.call("Join", plugin.join(network, endpoint))
    time.sleep(PAUSE)
    for verb in ("Leave", "DeleteEndpoint"):
        driver.call(verb, plugin.endpoint(network, endpoint))
    driver.close()
    return took


def _list(values: Sequence[float], digits: int) -> str:
    return ", ".join(f"{each:.{digits}f}" for each in values)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
