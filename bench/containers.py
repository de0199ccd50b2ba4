"""What a user of Docker sees: containers started and removed, alone and at once, and their first packet."""

import re
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bench.figures import BRIDGE, INCUMBENT, INTERNAL, NONE, OURS, OWN_BRIDGE, Figure, Samples
from bench.place import Place

IMAGE = "busybox"
RUN, REMOVE = "docker run -d", "docker rm -f"
GATEWAY_BRIDGE = "docker_gwbridge, in docker run -d"
PEER_ADDRESS, FIRST_ADDRESS = 2, 10

_DURATION = re.compile(r"\|(\d+)\|.*NetworkDriver\.(\w+) .*duration_ms=([\d.]+)")


def _networks(place: Place) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """Docker networks by contestant: name and the arguments that make it."""
    found = {
        OURS: ("ours", ("--driver=ovndocker", "--subnet=10.201.0.0/24")),
        INTERNAL: ("internal", ("--driver=ovndocker", "--internal", "--subnet=10.202.0.0/24")),
        OWN_BRIDGE: ("own-bridge", ("--driver=bridge", "--subnet=10.204.0.0/24")),
    }
    if place.incumbent:
        found[INCUMBENT] = ("incumbent", ("--driver=openvswitch", "--subnet=10.203.0.0/24"))
    return found


@contextmanager
def networks(place: Place) -> Iterator[Mapping[str, str]]:
    """Make a Docker network per contestant; gives names of networks by contestant."""
    made = _networks(place)
    try:
        for name, arguments in made.values():
            place.docker("network", "create", *arguments, name)
        yield {title: name for title, (name, _) in made.items()} | {BRIDGE: "bridge", NONE: "none"}
    finally:
        _remove_containers(place)
        place.docker("network", "rm", *(name for name, _ in made.values()), check=False)


def _remove_containers(place: Place) -> None:
    _, listed = place.docker("ps", "--all", "--quiet")
    if listed:
        place.docker("rm", "--force", *listed.split(), timeout=120, check=False)


def measure_runs(place: Place, rounds: int) -> list[Figure]:
    """Time `docker run -d` and `docker rm -f`, one container at a time, contestants in turn."""
    samples = Samples("docker", place.ports)
    with networks(place) as names:
        for name in names.values():
            _run_one(place, name)  # the first container makes what the later ones find, docker_gwbridge too
        logged = len(_log(place))
        for _ in range(rounds):
            for title, name in names.items():
                took, removed = _run_one(place, name)
                samples.add(title, RUN, took)
                samples.add(title, REMOVE, removed)
                place.settle()
        shares = _shares(place, samples, _log(place)[logged:])
    return [*samples.figures(), *shares]


def _run_one(place: Place, network: str) -> tuple[float, float]:
    took, container = place.docker("run", "--detach", f"--network={network}", IMAGE, "sleep", "1000")
    removed, _ = place.docker("rm", "--force", container)
    return took, removed


def _log(place: Place) -> str:
    return place.ours.log.read_text(errors="replace")


def _shares(place: Place, samples: Samples, log: str) -> list[Figure]:
    """Parts of a `docker run`: our driver's time by its log, Docker's gateway bridge by the difference."""
    shares = Samples("shares", place.ports)
    for verb, duration in durations(log):
        shares.add(OURS, f"{verb}, by the driver's log", duration)
    for whole, without in zip(samples.of(OURS, RUN), samples.of(INTERNAL, RUN), strict=True):
        shares.add(OURS, GATEWAY_BRIDGE, whole - without)
    for mine, bare in zip(samples.of(INTERNAL, RUN), samples.of(NONE, RUN), strict=True):
        shares.add(INTERNAL, "more than --net none, in docker run -d", mine - bare)
    for mine, bare in zip(samples.of(OWN_BRIDGE, RUN), samples.of(NONE, RUN), strict=True):
        shares.add(OWN_BRIDGE, "more than --net none, in docker run -d", mine - bare)
    return shares.figures()


def durations(log: str) -> list[tuple[str, float]]:
    """Verbs and their milliseconds from the driver's log, a line that is there twice counted once."""
    found = {(number, verb): float(took) for number, verb, took in _DURATION.findall(log)}
    return [(verb, took) for (_, verb), took in found.items()]


def measure_bursts(place: Place, bursts: int, size: int) -> list[Figure]:
    """Time from the first of many `docker run -d` at once until all containers answer ping."""
    samples = Samples("burst", place.ports)
    with networks(place) as names:
        for _ in range(bursts):
            for title in (OURS, INTERNAL, INCUMBENT, OWN_BRIDGE):
                if title in names:
                    _burst(place, samples, title, (names[title], size))
    return samples.figures(unit="s")


def _burst(place: Place, samples: Samples, title: str, network_and_size: tuple[str, int]) -> None:
    network, size = network_and_size
    peer = _peer(place, network)
    prefix = _prefix(place, network)
    addresses = [f"{prefix}.{FIRST_ADDRESS + number}" for number in range(size)]
    started = time.perf_counter()
    commands = [_detached(network, address) for address in addresses]
    pending = deque((command, place.begin(*command)) for command in commands)
    containers = [place.finish(command, running, 120)[1] for command, running in pending]
    running_after = time.perf_counter() - started
    place.docker("exec", peer, "sh", "-c", _ping_all(addresses), timeout=60)
    samples.add(title, f"{size} containers run", running_after)
    samples.add(title, f"{size} containers answer ping", time.perf_counter() - started)
    removed, _ = place.docker("rm", "--force", *containers, peer, timeout=120)
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


def _prefix(place: Place, network: str) -> str:
    arguments = ("network", "inspect", "--format={{(index .IPAM.Config 0).Subnet}}", network)
    _, subnet = place.docker(*arguments)
    return subnet.rpartition(".")[0]


def _peer(place: Place, network: str) -> str:
    """A container that is there to ping and be pinged."""
    address = f"{_prefix(place, network)}.{PEER_ADDRESS}"
    _, peer = place.docker(*_detached(network, address))
    return peer


def measure_first_packets(place: Place, count: int) -> list[Figure]:
    """Count the containers whose very first packet, a ping to an older container, is answered.

    Once each has an address that nobody had before, so only the switch's flows matter. Once each takes over
    the address of the one before it, as Docker gives addresses: then the older container's ARP cache has the
    MAC address of the former holder.
    """
    figures = []
    with networks(place) as names:
        for title in (OURS, INCUMBENT, OWN_BRIDGE):
            if title not in names:
                continue
            for item, reuse in (("new address", False), ("address of the container before it", True)):
                answered = _first_packets(place, names[title], count, reuse=reuse)
                figures.append(_count(title, item, answered, count))
    return figures


def _count(title: str, item: str, answered: int, count: int) -> Figure:
    unit = f"of {count}"
    return Figure(section="first packet", item=item, contestant=title, unit=unit, p50=answered, p99=answered)


def _first_packets(place: Place, network: str, count: int, *, reuse: bool) -> int:
    peer = _peer(place, network)
    prefix = _prefix(place, network)
    answered = 0
    for number in range(count):
        address = f"{prefix}.{FIRST_ADDRESS + (0 if reuse else 1 + number)}"
        answered += _first_packet(place, network, address, f"{prefix}.{PEER_ADDRESS}")
    place.docker("rm", "--force", peer)
    return answered


def _first_packet(place: Place, network: str, address: str, to: str) -> bool:
    where = ("--rm", f"--network={network}", f"--ip={address}")
    ping = ("ping", "-c", "1", "-W", "1", to)
    _, output = place.docker("run", *where, IMAGE, *ping, check=False)
    return "1 packets received" in output
