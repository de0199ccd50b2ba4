"""What a user of Docker sees: containers started and removed, alone and at once, and their first packet."""

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.figures import (
    BRIDGE,
    BRIDGED,
    INCUMBENT,
    INTERNAL,
    NONE,
    OURS,
    OVERLAY,
    OWN_BRIDGE,
    ROUTED,
    Figure,
    Samples,
)
from bench.testbed import Site

IMAGE = "busybox"
RUN, REMOVE = "docker run -d", "docker rm -f"
GATEWAY_BRIDGE = "docker_gwbridge, in docker run -d"
PEER_ADDRESS, FIRST_ADDRESS = 2, 10
_ROUTED = "routed"

_DURATION = re.compile(r"\|(\d+)\|.*NetworkDriver\.(\w+) .*duration_ms=([\d.]+)")


def _networks(site: Site) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Docker networks by contestant: name and the arguments that make it."""
    ours = f"--driver={site.plugin_name}"
    found = {
        OURS: ("ours", (ours, "--subnet=10.201.0.0/24")),
        BRIDGED: ("bridged", (ours, "-o", "egress=docker", "--subnet=10.207.0.0/24")),
        INTERNAL: ("internal", (ours, "--internal", "--subnet=10.202.0.0/24")),
        ROUTED: (_ROUTED, (ours, "--subnet=10.205.0.0/24")),
        OWN_BRIDGE: ("own-bridge", ("--driver=bridge", "--subnet=10.204.0.0/24")),
    }
    if site.incumbent:
        found[INCUMBENT] = ("incumbent", ("--driver=openvswitch", "--subnet=10.203.0.0/24"))
    if site.swarm:
        found[OVERLAY] = ("overlay", ("--driver=overlay", "--attachable", "--subnet=10.206.0.0/24"))
    return found


@contextmanager
def networks(site: Site) -> Iterator[dict[str, str]]:
    """Make a Docker network per contestant; gives the names of those that could be made, by contestant."""
    wanted = _networks(site)
    made: dict[str, str] = {}
    with ExitStack() as undo:
        for title, (name, arguments) in wanted.items():
            if site.attempt(f"docker network create for {title}", partial(_make, site, name, arguments)):
                made[title] = name
                undo.callback(site.attempt, f"docker network rm for {title}", partial(_remove, site, name))
        undo.callback(_remove_containers, site)
        site.settle()
        yield made | {BRIDGE: "bridge", NONE: "none"}


def _make(site: Site, name: str, arguments: Sequence[str]) -> None:
    _, network_id = site.docker("network", "create", *arguments, name)
    if name == _ROUTED:
        site.add_router(network_id, "10.205.0.1/24")


def _remove(site: Site, name: str) -> None:
    if name == _ROUTED:
        site.remove_router(_network_id(site, name))
    site.docker("network", "rm", name)


def _network_id(site: Site, name: str) -> str:
    return site.docker("network", "inspect", "--format={{.Id}}", name)[1]


def _remove_containers(site: Site) -> None:
    _, listed = site.docker("ps", "--all", "--quiet")
    if listed:
        site.docker("rm", "--force", *listed.split(), timeout=120, check=False)


def measure_runs(site: Site, rounds: int) -> list[Figure]:
    """Time `docker run -d` and `docker rm -f`, one container at a time, contestants in turn."""
    samples = Samples("docker", site.ports)
    with networks(site) as names:
        for turn in range(rounds + 1):
            if turn <= 1:
                logged = len(site.log)
            for title, name in list(names.items()):
                into = samples if turn else Samples("warming up")  # the first makes docker_gwbridge too
                if not site.attempt(f"containers of {title}", partial(_run_one, site, into, title, name)):
                    del names[title]
                site.settle()
        shares = Samples("shares", site.ports)
        for title in [name for name in (OURS, BRIDGED, INTERNAL, ROUTED) if name in names]:
            network_id = _network_id(site, names[title])
            for verb, duration in durations(site.log[logged:], network_id):
                shares.add(title, f"{verb}, by the driver's log", duration)
        _add_differences(samples, shares)
    return [*samples.figures(), *shares.figures()]


def _run_one(site: Site, samples: Samples, title: str, network: str) -> None:
    took, container = site.docker("run", "--detach", f"--network={network}", IMAGE, "sleep", "1000")
    removed, _ = site.docker("rm", "--force", container)
    samples.add(title, RUN, took)
    samples.add(title, REMOVE, removed)


def _add_differences(samples: Samples, shares: Samples) -> None:
    """Docker's gateway bridge, and a network at all: differences between containers of the same round."""
    for whole, without in zip(samples.of(BRIDGED, RUN), samples.of(OURS, RUN), strict=False):
        shares.add(BRIDGED, GATEWAY_BRIDGE, whole - without)
    for title in (OURS, BRIDGED, INTERNAL, ROUTED, INCUMBENT, BRIDGE, OWN_BRIDGE, OVERLAY):
        for mine, bare in zip(samples.of(title, RUN), samples.of(NONE, RUN), strict=False):
            shares.add(title, "more than --net none, in docker run -d", mine - bare)


def durations(log: str, network_id: str) -> list[tuple[str, float]]:
    """Verbs about one network and their milliseconds, from the driver's log; a doubled line counts once."""
    lines = [line for line in log.splitlines() if f"network_id={network_id} " in line]
    found = {(number, verb): float(took) for number, verb, took in _DURATION.findall("\n".join(lines))}
    return [(verb, took) for (_, verb), took in found.items()]


def measure_bursts(site: Site, bursts: int, size: int) -> list[Figure]:
    """Time from the first of many `docker run -d` at once until all containers answer ping."""
    samples = Samples("burst", site.ports)
    with networks(site) as names:
        for _ in range(bursts):
            for title in (OURS, BRIDGED, INTERNAL, INCUMBENT, OWN_BRIDGE):
                if title in names:
                    work = partial(_burst, site, samples, title, (names[title], size))
                    site.attempt(f"{size} containers of {title}", work)
                    _remove_containers(site)
    return samples.figures(unit="s")


def _burst(site: Site, samples: Samples, title: str, network_and_size: tuple[str, int]) -> None:
    network, size = network_and_size
    peer = _peer(site, network)
    prefix = _prefix(site, network)
    addresses = [f"{prefix}.{FIRST_ADDRESS + number}" for number in range(size)]
    started = time.perf_counter()
    commands = [_detached(network, address) for address in addresses]
    pending = deque((command, site.begin(*command)) for command in commands)
    containers = [site.finish(command, running, 120)[1] for command, running in pending]
    running_after = time.perf_counter() - started
    site.docker("exec", peer, "sh", "-c", _ping_all(addresses), timeout=60)
    samples.add(title, f"{size} containers run", running_after)
    samples.add(title, f"{size} containers answer ping", time.perf_counter() - started)
    removed, _ = site.docker("rm", "--force", *containers, peer, timeout=120)
    samples.add(title, f"{size} containers removed by one docker rm -f", removed / 1000)


def _detached(network: str, address: str) -> tuple[str, ...]:
    return ("run", "--detach", f"--network={network}", f"--ip={address}", IMAGE, "sleep", "1000")


def _ping_all(addresses: Sequence[str]) -> str:
    """A script that ends when each address has answered, or after 30 s for one that does not."""
    words = " ".join(addresses)
    return (
        f"for address in {words}; do tries=0;"
        " until ping -c 1 -W 1 $address >/dev/null; do"
        " tries=$((tries + 1)); [ $tries -lt 30 ] || exit 1; done; done"
    )


def _prefix(site: Site, network: str) -> str:
    arguments = ("network", "inspect", "--format={{(index .IPAM.Config 0).Subnet}}", network)
    _, subnet = site.docker(*arguments)
    return subnet.rpartition(".")[0]


def _peer(site: Site, network: str) -> str:
    """A container to ping and to be pinged."""
    address = f"{_prefix(site, network)}.{PEER_ADDRESS}"
    _, peer = site.docker(*_detached(network, address))
    return peer


def measure_first_packets(site: Site, count: int) -> list[Figure]:
    """Count the containers whose very first packet, a ping to an older container, is answered.

    First each gets a new address, so only the switch's flows matter. Then each takes over the address of the
    one before it, as Docker assigns addresses: the older container's ARP cache has the MAC address of the
    former holder.
    """
    figures = []
    with networks(site) as names:
        for title in (OURS, INCUMBENT, OWN_BRIDGE):
            if title not in names:
                continue
            for item, reuse in (("new address", False), ("address of the container before it", True)):
                answered = _first_packets(site, names[title], count, reuse=reuse)
                figures.append(_count(title, item, answered, count))
    return figures


def _count(title: str, item: str, answered: int, count: int) -> Figure:
    unit = f"of {count}"
    return Figure(section="first packet", item=item, contestant=title, unit=unit, p50=answered, p99=answered)


def _first_packets(site: Site, network: str, count: int, *, reuse: bool) -> int:
    peer = _peer(site, network)
    prefix = _prefix(site, network)
    answered = 0
    for number in range(count):
        address = f"{prefix}.{FIRST_ADDRESS + (0 if reuse else 1 + number)}"
        answered += _first_packet(site, network, address, f"{prefix}.{PEER_ADDRESS}")
    site.docker("rm", "--force", peer)
    return answered


def _first_packet(site: Site, network: str, address: str, to: str) -> bool:
    where = ("--rm", f"--network={network}", f"--ip={address}")
    ping = ("ping", "-c", "1", "-W", "1", to)
    _, output = site.docker("run", *where, IMAGE, *ping, check=False)
    return "1 packets received" in output
