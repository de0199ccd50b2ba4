"""Two machines of scripts/vm with this tree installed, on one OVN and in one swarm."""

import os
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.contest import SECTIONS
from bench.figures import BRIDGE, CONTESTANTS, MACHINES, OURS, OVERLAY, Results
from bench.run import Bench, Run, progress, write
from bench.tables import Page
from bench.vm.inside import FAR, ONE, SPANNING, TWO, output
from ovn_docker.errors import HostError

ROOT = Path(__file__).parents[2]
TREE = "/root/ovn-docker"
BOOT_TIMEOUT, INSTALL_TIMEOUT, MEASURE_TIMEOUT = 2700.0, 900.0, 5400.0
"""Seconds; the first boot ever makes a kernel and an image."""

_INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends netperf openvswitch-switch ovn-host"""
_OPEN = "ovn-nbctl set-connection ptcp:6641 && ovn-sbctl set-connection ptcp:6642"
_SETTINGS = """
hostname >/etc/openvswitch/system-id.conf
ovs-vsctl set Open_vSwitch . external_ids:system-id=$(hostname) \
  external_ids:ovn-remote=tcp:{central}:6642 external_ids:ovn-nb=tcp:{central}:6641 \
  external_ids:ovn-encap-ip={own} external_ids:ovn-encap-type=geneve
echo 'OVN_DOCKER_OPTS="--docker-driver-scope local"' >/etc/default/ovn-docker-overlay-driver
"""
"""No health check: it would remove the networks that the bench asks for without Docker."""
# quickstart takes the OVN that is set; its demo makes way for what is measured.
_DRIVER = f"""
{TREE}/scripts/quickstart
docker tag ovn-docker-demo/busybox busybox
docker rm -f demo-a demo-b && docker network rm demo
"""
_OURS = (
    f"docker network create -d openvswitch --ipam-driver openvswitch --subnet 10.210.0.0/24 {SPANNING[OURS]}"
)
_OVERLAY = f"docker network create -d overlay --attachable --subnet 10.211.0.0/24 {SPANNING[OVERLAY]}"
_FAR = """
id=$(docker run -d --net {network} --ip {address} busybox sleep 1000000)
nsenter --target="$(docker inspect -f '{{{{.State.Pid}}}}' "$id")" --net -- netserver
"""

PAGE = Page(
    sections={
        **{name: SECTIONS[name] for name in ("docker", "shares", "verbs", "join")},
        ONE: "Between containers of one machine (median, ratio to bridge)",
        TWO: "Between two machines (median, ratio to Docker's overlay / to the machines themselves)",
    },
    columns=(*CONTESTANTS, MACHINES),
    with_p99=frozenset({"verbs", "join"}),
    targets=(),
    marks=("<!-- bench vm: begin -->", "<!-- bench vm: end -->"),
    bases={"docker": (BRIDGE,), ONE: (BRIDGE,), TWO: (OVERLAY, MACHINES)},
    counted=True,
)


@dataclass(frozen=True, slots=True)
class Vm:
    """One machine of a lab of scripts/vm.

    Attributes:
        lab: the lab's name.
        number: 1 or 2.
    """

    lab: str
    number: int

    @property
    def address(self) -> str:
        """Where the other machine reaches it."""
        return f"10.0.2.{10 + self.number}"

    def call(self, verb: str, *arguments: str) -> list[str]:
        """The words of a command that carries out a verb on it."""
        return [verb, "--lab", self.lab, "-n", str(self.number), *arguments]

    def script(self, text: str) -> list[str]:
        """The words of a command that runs a script of a shell in it, up to the first command that fails."""
        return self.call("ssh", "--", f"set -eu\n{text}")

    def run(self, text: str, timeout: float = 120, *, show: bool = False) -> str:
        """Run a script of a shell in it; the rest is as for scripts_vm()."""
        return scripts_vm([self.script(text)], timeout, show=show)[0]


def scripts_vm(calls: Sequence[Sequence[str]], timeout: float, *, show: bool = False) -> list[str]:
    """Run scripts/vm, several at once.

    Args:
        calls: the words of each.
        timeout: in seconds, for all of them.
        show: let what they say on standard error pass, and return the rest.

    Returns:
        What each printed.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as undo:
        running = [_start(undo, words, show=show) for words in calls]
        return [_finish(words, process, deadline) for words, process in zip(calls, running, strict=True)]


def _start(undo: ExitStack, words: Sequence[str], *, show: bool) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [str(ROOT / "scripts" / "vm"), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    undo.callback(_end, process)
    return process


def _finish(words: Sequence[str], process: subprocess.Popen[str], deadline: float) -> str:
    line = " ".join(f"scripts/vm {' '.join(words)}".split())[:200]
    try:
        output, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise HostError(f"'{line}' did not end in time") from None
    if process.returncode != 0:
        raise HostError(f"'{line}' ended with status {process.returncode}: {output.strip()[-500:]}")
    return output


def _end(process: subprocess.Popen[str]) -> None:
    """End it with what it has started; a machine is none of that, it has a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def pair(lab: str) -> Iterator[tuple[Vm, Vm]]:
    """Two machines as the tutorial for two hosts makes them, in a swarm; gone afterwards."""
    first, second = both = Vm(lab, 1), Vm(lab, 2)
    try:
        progress("two machines")
        for machine in both:
            scripts_vm([machine.call("up")], BOOT_TIMEOUT)
        _install(first, second)
        _connect(first, second)
        yield both
    finally:
        scripts_vm([["rm", "--all", "--lab", lab]], 120)


def _install(first: Vm, second: Vm) -> None:
    progress("  packages")
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory, "tree.tar.gz")
        listed = output(["git", "-C", str(ROOT), "ls-files"])
        with tarfile.open(archive, "w:gz", compresslevel=1) as file:
            for name in listed.splitlines():
                file.add(ROOT / name, name)
        scripts_vm(
            [machine.call("put", str(archive), "/root/tree.tar.gz") for machine in (first, second)], 60
        )
    unpack = f"mkdir {TREE}\ntar -xzf /root/tree.tar.gz -C {TREE} --no-same-owner"
    packages = {first: f"{_INSTALL} ovn-central >/dev/null\n{_OPEN}", second: f"{_INSTALL} >/dev/null"}
    scripts_vm([machine.script(f"{unpack}\n{what}") for machine, what in packages.items()], INSTALL_TIMEOUT)
    progress("  scripts/quickstart on both, with one OVN")
    settings = [_SETTINGS.format(central=first.address, own=machine.address) for machine in (first, second)]
    calls = [machine.script(text + _DRIVER) for machine, text in zip((first, second), settings, strict=True)]
    scripts_vm(calls, INSTALL_TIMEOUT)


def _connect(first: Vm, second: Vm) -> None:
    """A swarm of both, and the networks that span them; containers with a netserver on the second machine."""
    progress("  a swarm, and networks that span both")
    first.run(f"docker swarm init --advertise-addr {first.address}\n{_OVERLAY}\n{_OURS}")
    token = first.run("docker swarm join-token --quiet worker").strip()
    second.run(f"docker swarm join --token {token} {first.address}:2377\n{_OURS}")
    second.run("netserver")
    for title, address in FAR.items():
        second.run(_FAR.format(network=SPANNING[title], address=address))


def _measure(run: Run) -> Results:
    started = time.monotonic()
    file = "/root/results.json"
    flags = "--quick" if run.arguments.quick else ""
    with pair(run.arguments.name) as (first, second):
        # quickstart installs no lab, and the bench needs its modules.
        python = f"cd {TREE}\nPYTHONPATH=lab /opt/ovn-docker/bin/python -m bench.vm.inside"
        first.run(f"{python} --json {file} --other {second.address} {flags}", MEASURE_TIMEOUT, show=True)
        results = msgspec.json.decode(first.run(f"cat {file}"), type=Results)
    results.command, results.load = run.command, run.load
    results.seconds = round(time.monotonic() - started, 1)
    write(results, run.arguments.json)
    return results


BENCH = Bench(
    name="vm",
    summary="the kernel's datapath beside Docker's own overlay",
    description="Measure this driver beside Docker's bridge and Docker's own overlay, with the kernel's "
    "datapath, on two machines that scripts/vm makes and that are gone afterwards. Needs root. "
    "About 30 minutes, --quick about 10; longer where scripts/vm has no kernel and no image "
    "yet.",
    page=PAGE,
    measure=_measure,
    quick="few samples, in about 10 minutes",
    lab="the machines' lab",
)
