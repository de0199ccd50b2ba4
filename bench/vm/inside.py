"""What runs on the first of the two machines: everything is measured from there.

The other machine has a container on each network, and a netserver in each container and on itself.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import containers, verbs
from bench.figures import BRIDGE, MACHINES, OURS, OVERLAY, OWN_BRIDGE, Figure, Machine, Samples
from bench.ovsdb import InterfaceWatch
from bench.plugin import Plugin, dial_unix
from bench.run import Part, measure, new_results, progress, this_machine, version
from bench.testbed import Report, Site
from bench.vm.netperf import PROBES, Probe
from ovn_docker.errors import HostError
from ovn_docker_lab.processes import wait_until

UNIT = "ovn-docker-overlay-driver"
SPANNING = {OURS: "spanning-ours", OVERLAY: "spanning-overlay"}
"""Networks that both machines have."""
FAR = {OURS: "10.210.0.9", OVERLAY: "10.211.0.9"}
"""Addresses of the containers on the other machine."""

ONE, TWO = "one machine", "two machines"
"""Sections."""

NETSERVER_PORT = 12865
_ADDRESS = '{{(index .NetworkSettings.Networks "%s").IPAddress}}'

Ask = Callable[[Probe, float], float]


class VmSite(Site):
    """This machine, with the driver as systemd runs it, and the central."""

    plugin_name = "openvswitch"
    swarm = True

    def __init__(self, report: Report) -> None:
        super().__init__(report, Path("/run/docker.sock"))
        self.watch = InterfaceWatch(Path("/run/openvswitch/db.sock"))

    @property
    def log(self) -> str:
        """What this project's driver has logged."""
        return output(["journalctl", "--quiet", "--output=cat", f"--unit={UNIT}"])

    def nbctl(self, *arguments: str, timeout: float = 30) -> None:
        output(["ovn-nbctl", f"--timeout={timeout:g}", *arguments], timeout + 10)


def output(command: Sequence[str], timeout: float = 60) -> str:
    """What a command prints on standard output."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"'{' '.join(command)}' took longer than {timeout:g} s") from None
    if done.returncode != 0:
        message = (done.stderr or done.stdout).strip()[-300:]
        raise HostError(f"'{' '.join(command)}' ended with status {done.returncode}: {message}")
    return done.stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Measure everything and write the results; failures are in the results, not in the exit status."""
    made = argparse.ArgumentParser(prog="python -m bench.vm.inside")
    made.add_argument("--quick", action="store_true")
    made.add_argument("--json", type=Path, required=True)
    made.add_argument("--other", required=True, help="address of the other machine")
    arguments = made.parse_args(argv)
    site = VmSite(progress)
    results = new_results("scripts/bench vm", _machine(site), 0)
    results.failures = site.failures
    measure(_parts(site, arguments.other, quick=arguments.quick), results, arguments.json)
    return 0


def _parts(site: VmSite, other: str, *, quick: bool) -> Iterator[Part]:
    rounds, calls, seconds = (5, 15, 1.0) if quick else (15, 100, 3.0)
    yield "docker run and docker rm", partial(containers.measure_runs, site, rounds)
    yield "calls to the driver", partial(_calls, site, calls)
    yield "traffic", partial(_traffic, site, other, rounds, seconds)


def _calls(site: VmSite, calls: int) -> list[Figure]:
    driver = Plugin(dial_unix(Path("/run/ovn-docker/openvswitch.sock")))
    return verbs.measure(site, [verbs.Caller(OURS, driver, calls)])


def _traffic(site: VmSite, other: str, rounds: int, seconds: float) -> list[Figure]:
    networks = {**SPANNING, BRIDGE: "bridge", OWN_BRIDGE: "near-bridge"}
    near: dict[str, Ask] = {}
    far: dict[str, Ask] = {MACHINES: partial(_ask, [], other)}
    with ExitStack() as undo:
        site.docker("network", "create", "--driver=bridge", networks[OWN_BRIDGE])
        undo.callback(site.docker, "network", "rm", networks[OWN_BRIDGE])
        for title, network in networks.items():
            client, server = (_container(site, undo, network) for _ in range(2))
            undo.enter_context(_netserver(site, server))
            address = site.docker("inspect", f"--format={_ADDRESS % network}", server)[1]
            near[title] = partial(_ask, _into(site, client), address)
            if title in FAR:
                far[title] = partial(_ask, _into(site, client), FAR[title])
        return [
            *in_turn(site, ONE, near, rounds, seconds),
            *in_turn(site, TWO, far, rounds, seconds),
        ]


def in_turn(site: VmSite, section: str, asks: Mapping[str, Ask], rounds: int, seconds: float) -> list[Figure]:
    """Each kind of traffic, contestants in turn, another first in each round; the first round warms up."""
    figures = []
    for probe in PROBES:
        samples = Samples(section)
        for turn in range(rounds + 1):
            into = samples if turn else Samples("warming up")
            for title in rotated(list(asks), turn):
                take = partial(_take, into, title, asks[title], probe, seconds)
                site.attempt(f"{probe.item}, {section}, {title}", take)
        figures += samples.figures(probe.unit)
    return figures


def _take(into: Samples, title: str, ask: Ask, probe: Probe, seconds: float) -> None:
    into.add(title, probe.item, ask(probe, seconds))


def rotated(titles: Sequence[str], turn: int) -> list[str]:
    """The same in the same order, beginning with another in each turn."""
    first = turn % len(titles)
    return [*titles[first:], *titles[:first]]


def _ask(into: Sequence[str], address: str, probe: Probe, seconds: float) -> float:
    return probe.figure(output([*into, *probe.command(address, seconds)], seconds + 30))


def _container(site: VmSite, undo: ExitStack, network: str) -> str:
    _, container = site.docker("run", "--detach", f"--network={network}", containers.IMAGE, "sleep", "100000")
    undo.callback(site.docker, "rm", "--force", container)
    return container


def _into(site: VmSite, container: str) -> list[str]:
    _, pid = site.docker("inspect", "--format={{.State.Pid}}", container)
    return ["nsenter", f"--target={pid}", "--net", "--"]


@contextmanager
def _netserver(site: VmSite, container: str) -> Iterator[None]:
    """A netserver in the network of a container, listening."""
    into = _into(site, container)
    with subprocess.Popen([*into, "netserver", "-D"], stdout=subprocess.DEVNULL) as server:
        try:
            listens = partial(output, [*into, "ss", "-Hltn", f"sport = :{NETSERVER_PORT}"])
            if not wait_until(lambda: bool(listens()), 20):
                raise HostError("netserver does not listen within 20 s")
            yield
        finally:
            server.terminate()


def _machine(site: VmSite) -> Machine:
    kind = output(["ovs-vsctl", "get", "Bridge", "br-int", "datapath_type"]).strip().strip('"')
    virtual = f"each of two machines ({output(['systemd-detect-virt']).strip()})"
    versions = {
        "dockerd": site.docker("version", "--format={{.Server.Version}}")[1],
        "OVN": version("ovn-controller"),
        "Open vSwitch": version("ovs-vswitchd"),
    }
    return this_machine(versions, datapath=kind or "system", virtual=virtual)


if __name__ == "__main__":
    sys.exit(main())
