"""An image that looks up names with both C libraries, asks by TCP and UDP, and tells everybody who asks."""

import contextlib
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovn_docker_lab import Machine
from ovn_docker_lab.image import write_image
from ovn_docker_lab.requirements import check_image_source
from tests.integration.tenant import Container

PROBE_IMAGE = "probe"
SOURCE = Path(__file__).with_name("probe.c")

MUSL, GLIBC = "probe lookup", "getent ahosts"
"""Commands in it that look up a name and print an address a line: by musl, as on Alpine, and by glibc."""

TCP, UDP = "tcp", "udp"
SERVE = "exec probe serve"
"""Followed by a name and ports: as a container's command it tells everybody who asks."""

REFUSED, SILENT = "Connection refused", "timed out"
UNREACHED = frozenset(
    {
        REFUSED,
        SILENT,
        "Operation timed out",
        "Host is unreachable",
        "Network unreachable",
        "Permission denied",
    }
)
"""What the probe says when nobody answers, in the words of musl."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The program and its image, which every dockerd of a lab has."""

    program: Path

    def run(self, where: Container | Machine, *words: str) -> str:
        """Run it in a container of its image or on a machine; what it prints, also when it fails."""
        if isinstance(where, Container):
            return where.run(" ".join(("probe", *words)), check=False).stdout.strip()
        return where.run([str(self.program), *words], check=False).stdout.strip()

    def asks(self, where: Container | Machine, kind: str, address: object, port: int) -> str:
        """What somebody hears from a server at an address: the first line, or why there is none."""
        heard = self.run(where, kind, str(address), str(port))
        return heard.partition("\n")[0].strip()


def build(directory: Path) -> Path:
    """Compile the probe; its path, at which every machine of a lab can run it, for it is static."""
    program = directory / "probe"
    flags = ("-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror")
    command = ["musl-gcc", *flags, "-o", str(program), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return program


def write_probe_image(program: Path) -> Path:
    """The image in a tar file, beside the program."""
    tar = program.with_name("probe.tar")
    files = {"bin/probe": program} | {str(file).lstrip("/"): file for file in _with_libraries("getent")}
    write_image(check_image_source(), tar, files)
    return tar


def _with_libraries(program: str) -> Iterator[Path]:
    """A program of this machine, its loader and the libraries that it is linked to (ldd(1))."""
    path = subprocess.run(["which", program], capture_output=True, text=True, check=True).stdout.strip()
    yield Path(path)
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True, timeout=10).stdout
    for found in re.findall(r"(?:^\s*|=> )(/\S+)", listed, re.MULTILINE):
        yield Path(found)


def import_probe(host: Machine, tar: Path) -> None:
    """Give a host's dockerd the image."""
    host.docker("import", '--change=CMD ["sh"]', str(tar), PROBE_IMAGE)


@contextlib.contextmanager
def forwarding_ipv6(hosts: Sequence[Machine]) -> Iterator[None]:
    """Let hosts forward IPv6, which Docker turns on with its own first IPv6 network and nobody else."""
    setting = "net.ipv6.conf.all.forwarding"
    for host in hosts:
        host.run(["sysctl", "-qw", f"{setting}=1"])
    try:
        yield
    finally:
        for host in hosts:
            host.run(["sysctl", "-qw", f"{setting}=0"])
