"""The busybox image of a lab, made from the distribution's static busybox: a lab reaches no registry."""

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ovn_docker.errors import HostError

IMAGE = "busybox"
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
}


def write_image(busybox: Path, tar: Path, programs: Mapping[str, Path] = MappingProxyType({})) -> None:
    """Write a tar file for `docker import`: a root file system with a static busybox and a link per applet.

    Args:
        busybox: the program.
        tar: what is written.
        programs: further programs and libraries, by their path in the image without a leading slash.

    Raises:
        HostError: busybox does not run.
    """
    applets = _applets(busybox)
    with tarfile.open(tar, "w") as archive:
        for directory in ("bin", "etc", "root", "tmp"):
            archive.addfile(_entry(directory, tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755))
        for name, text in _FILES.items():
            _add_bytes(archive, _entry(name, tarfile.REGTYPE, 0o644), text.encode())
        _add_bytes(archive, _entry("bin/busybox", tarfile.REGTYPE, 0o755), busybox.read_bytes())
        for applet in applets:
            archive.addfile(_entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777, linkname="busybox"))
        for name, file in programs.items():
            _add_bytes(archive, _entry(name, tarfile.REGTYPE, 0o755), file.read_bytes())


def _applets(busybox: Path) -> list[str]:
    try:
        listing = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"cannot list the applets of {busybox}: {error}") from error
    # A link of busybox to itself would replace the program.
    return sorted(set(listing.stdout.split()) - {"busybox"})


def _entry(name: str, kind: bytes, mode: int, linkname: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, linkname
    return entry


def _add_bytes(archive: tarfile.TarFile, entry: tarfile.TarInfo, content: bytes) -> None:
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
