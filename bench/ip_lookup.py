"""What --ip-lookup costs with 10,000 entries in table 200.

A Join and a DeleteEndpoint with the flag and without, and a packet's way through the lookup beside OVN's own.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import plugin
from bench.figures import OURS, Figure, Results, Samples
from bench.run import Bench, Part, Run, progress, this_machine, version
from bench.tables import Page, Target, find
from ovn_docker.errors import HostError
from ovn_docker.overlay.vtep.openflow import COOKIE, COOKIE_MASK
from ovn_docker_lab import Lab, Machine

JOIN, DELETE = "Join", "DeleteEndpoint, at once after Leave"
LESS = "with --ip-lookup, less without"
TUNNEL, LOOKUP, SHARE = "OVN's own tunnel", "the lookup", "the lookup, in the same round"
CALLS, PACKETS, SHARES = "lookup calls", "lookup packets", "lookup share"

PAGE = Page(
    sections={
        CALLS: "Calls to the driver, 10,000 entries (median / 99th percentile)",
        PACKETS: "Packets one way to one container through (median)",
        SHARES: "Of OVN's own tunnel (median)",
    },
    columns=(OURS,),
    with_p99=frozenset({CALLS}),
    targets=(
        Target(f"{JOIN} {LESS}, ms", 1, find(CALLS, f"{JOIN} {LESS}")),
        Target(
            "packets through the lookup, of those through OVN's own tunnel, %",
            90,
            find(SHARES, SHARE),
            at_least=True,
        ),
    ),
    marks=("<!-- bench ip-lookup: begin -->", "<!-- bench ip-lookup: end -->"),
)

ADDRESSES = 5000
"""Of one container, so that few containers have many entries: two for each address."""

ROUNDS, JOINS, SECONDS = 6, 15, 3.0

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


def _measure(run: Run) -> Results:
    lab = Lab.up(run.arguments.name, 3, report=progress)
    try:
        versions = {"OVN": version("ovn-controller"), "Open vSwitch": version("ovs-vswitchd")}
        results = run.results(this_machine(versions, datapath=lab.settings.datapath))
        return run.measure(_parts(lab), results)
    finally:
        lab.down()


def _parts(lab: Lab) -> Iterator[Part]:
    host, other, vtep = lab.hosts
    yield "two hosts and a VTEP, 10,000 entries", lambda: _set_up(host, other, vtep)
    yield "packets", lambda: _packets(host, other, vtep)
    yield "calls to the driver", lambda: _calls(host)


def _set_up(host: Machine, other: Machine, vtep: Machine) -> list[Figure]:
    for machine in (host, other):
        _restart(machine, lookup=machine is host)
        _network(machine, "net", SUBNET)
        machine.docker("run", "-d", "--net", "net", "--name", "box", "busybox", "sleep", "3600")
    program = str(Path(sys.executable).with_name("ovn-docker"))
    host.docker("network", "create", "-d", "openvswitch", "--subnet", "10.65.0.0/16", "lone")
    for vni, name in ((VNI, "net"), (VNI + 1, "lone")):
        add = ["--remote-ip", str(vtep.address), "--vni", str(vni), "--network", name, "--mode", "lookup"]
        host.run([program, "vtep", "add", *add])
    _site(vtep, host)
    _fill(host)
    return []


def _network(host: Machine, name: str, subnet: str) -> None:
    options = ("-d", "openvswitch", "--ipam-driver", "openvswitch")
    host.docker("network", "create", *options, "--subnet", subnet, name)


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
    _settle(host, lookup=True)


def _entries(host: Machine) -> int:
    what = f"cookie={COOKIE:#x}/{COOKIE_MASK:#x}"
    output = host.run(["ovs-ofctl", "-O", "OpenFlow15", "dump-aggregate", "br-int", what], check=False).stdout
    return int(output.partition("flow_count=")[2].split()[0] or 0) if "flow_count=" in output else 0


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


def _packets(host: Machine, other: Machine, vtep: Machine) -> list[Figure]:
    """One-way packets per second to the same container, by either way in turn."""
    target = json.loads(host.docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", "box").stdout)
    address = target["net"]["IPAddress"]
    into = host.enter(["nsenter", f"--target={_pid(host)}", "--net", "--"])
    tunnel = other.enter(["nsenter", f"--target={_pid(other)}", "--net", "--"])
    lookup = vtep.enter(["nsenter", "--net=/run/netns/site", "--"])
    rates, shares = Samples(PACKETS), Samples(SHARES)
    for turn in range(2 * ROUNDS):
        ways = [(TUNNEL, tunnel), (LOOKUP, lookup)]
        found = {way: _rate(into, enter, address) for way, enter in (ways if turn % 2 else ways[::-1])}
        for way, rate in found.items():
            rates.add(OURS, way, rate)
        shares.add(OURS, SHARE, 100 * found[LOOKUP] / found[TUNNEL])
    return [*rates.figures("packets a second"), *shares.figures("%")]


def _rate(receiver: Sequence[str], sender: Sequence[str], address: str) -> float:
    count = [*receiver, "/usr/bin/python3", "-c", COUNT, str(PORT), str(SECONDS)]
    send = [*sender, "/usr/bin/python3", "-c", SEND, address, str(PORT), str(SECONDS + 1)]
    with subprocess.Popen(count, stdout=subprocess.PIPE, text=True) as counting:
        if counting.stdout is not None:
            counting.stdout.readline()
        subprocess.run(send, check=False, timeout=30)
        output, _ = counting.communicate(timeout=30)
    return float(output or 0)


def _pid(host: Machine) -> str:
    return host.docker("inspect", "-f", "{{.State.Pid}}", "box").stdout.strip()


def _calls(host: Machine) -> list[Figure]:
    """The same calls with the flag and without: with, without, without, with, and so on."""
    samples = Samples(CALLS)
    network = host.docker("network", "inspect", "-f", "{{.Id}}", "lone").stdout.strip()
    numbers, present = itertools.count(1), True
    for turn in range(ROUNDS):
        medians: dict[bool, list[float]] = {}
        for lookup in (True, False) if turn % 2 == 0 else (False, True):
            if lookup is not present:
                _restart(host, lookup=lookup)
                _settle(host, lookup=lookup)
            present = lookup
            found = [_call(host, network, next(numbers)) for _ in range(JOINS)]
            mode = "with --ip-lookup" if lookup else "without"
            for verb, values in zip((JOIN, DELETE), zip(*found, strict=True), strict=True):
                for value in values:
                    samples.add(OURS, f"{verb}, {mode}", value)
                medians.setdefault(lookup, []).append(statistics.median(values))
        for verb, with_it, without in zip((JOIN, DELETE), medians[True], medians[False], strict=True):
            samples.add(OURS, f"{verb} {LESS}", with_it - without)
    return samples.figures()


def _settle(host: Machine, *, lookup: bool) -> None:
    deadline = time.monotonic() + 30
    while (_entries(host) > 2 * ADDRESSES) is not lookup:
        if time.monotonic() > deadline:
            raise HostError(f"the switch of {host.name} has {_entries(host)} flows of IP lookups")
        time.sleep(0.2)


def _call(host: Machine, network: str, number: int) -> tuple[float, float]:
    """Milliseconds of a Join and of a DeleteEndpoint."""
    endpoint = f"{number:08x}" * 8
    driver = plugin.Plugin(plugin.dial_unix(host.paths.plugin_socket))
    address = f"10.65.{8 + number // 250}.{number % 250 + 1}/16"
    driver.call("CreateEndpoint", plugin.endpoint(network, endpoint, address))
    time.sleep(PAUSE)
    join = driver.call("Join", plugin.join(network, endpoint))
    time.sleep(PAUSE)
    driver.call("Leave", plugin.endpoint(network, endpoint))
    delete = driver.call("DeleteEndpoint", plugin.endpoint(network, endpoint))
    driver.close()
    return join, delete


BENCH = Bench(
    name="ip-lookup",
    summary="what IP lookups cost",
    description="Measure what --ip-lookup costs with 10,000 entries in table 200: a Join, a DeleteEndpoint,"
    " and a packet's way through the lookup beside OVN's own tunnel. In a lab of its own: two "
    "hosts and a VTEP. Needs root. 5 minutes.",
    page=PAGE,
    measure=_measure,
    lab="the lab",
)
