"""An image that looks up names with both C libraries, asks by TCP and UDP, and tells everybody who asks."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ovn_docker_lab import Machine
from ovn_docker_lab.image import write_image
from ovn_docker_lab.requirements import check_image_source

PROBE_IMAGE = "probe"
SOURCE = Path(__file__).with_name("probe.c")

MUSL, GLIBC = "probe lookup", "getent ahosts"
"""Commands in it that look up a name and print an address a line: by musl, as on Alpine, and by glibc."""


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
