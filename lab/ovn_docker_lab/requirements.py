"""What a lab needs of this machine: root, programs and, where there is one, the kernel's datapath."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from ovn_docker.errors import ConfigError, HostError

DRIVER = "ovn-docker-overlay-driver"

_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = {
    "ip": "iproute2",
    "ethtool": "ethtool",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "hostname": "hostname",
    "ovsdb-server": "openvswitch-common",
    "ovsdb-tool": "openvswitch-common",
    "ovs-vswitchd": "openvswitch-switch",
    "ovn-northd": "ovn-central",
    "ovn-controller": "ovn-host",
}
_DOCKER_PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker-cli",
    "iptables": "iptables",
    "nft": "nftables",
    "busybox": "busybox-static",
}
_FOREIGN_SETTINGS = ("DOCKER_", "OVS_", "OVN_")


def environment(**settings: str) -> dict[str, str]:
    """Environment variables for processes of a lab: the caller's, without those for another Docker or OVN."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN_SETTINGS)}
    return kept | {"PATH": f"{kept.get('PATH', '')}:{_SEARCH_PATH}"} | settings


def find_program(name: str) -> str | None:
    """Path of a program, also when the caller's PATH lacks the directories for root."""
    return shutil.which(name, path=environment()["PATH"])


def missing_packages(find: Callable[[str], str | None], *, docker: bool) -> tuple[str, ...]:
    """Debian packages that a lab needs, with `docker` for a dockerd too, and that are missing, sorted."""
    needed = _PACKAGES | (_DOCKER_PACKAGES if docker else {})
    return tuple(sorted({package for program, package in needed.items() if find(program) is None}))


def check_root() -> None:
    """Check that this process may make namespaces."""
    if os.geteuid() != 0:
        raise ConfigError("a lab needs root, because it makes network namespaces: run it with sudo")


def check_packages(*, docker: bool) -> None:
    """Check that all programs are there; the error names the missing packages and how to install them."""
    if packages := missing_packages(find_program, docker=docker):
        raise _not_installed(packages)
    if docker and not _is_static(Path(find_program("busybox") or "")):
        raise _not_installed(("busybox-static",))


def _not_installed(packages: Iterable[str]) -> ConfigError:
    names = " ".join(packages)
    return ConfigError(f"a lab needs packages that are not installed: run 'apt-get install {names}'")


def _is_static(program: Path) -> bool:
    # A program that needs shared libraries names its loader in its first page.
    with program.open("rb") as file:
        return b"/ld-" not in file.read(4096)


def find_driver() -> str | None:
    """Path of the overlay driver that belongs to this Python environment, None when it is not installed."""
    beside = Path(sys.executable).parent / DRIVER
    return str(beside) if beside.exists() else shutil.which(DRIVER)


def check_driver() -> None:
    """Check that the overlay driver is installed."""
    if find_driver() is None:
        raise ConfigError(f"{DRIVER} is not installed: install ovn-docker with pip, or use --no-driver")


def choose_datapath(wanted: str | None) -> str:
    """OVS datapath type, "system" (the kernel's) or "netdev" (userspace).

    Without `wanted`, the kernel's where it has or can load openvswitch and geneve; ConfigError where that is
    wanted and missing.
    """
    if wanted == "netdev":
        return wanted
    if all(_has_module(name) for name in ("openvswitch", "geneve")):
        return "system"
    if wanted == "system":
        raise ConfigError("this kernel has no module openvswitch or geneve: use --datapath netdev")
    return "netdev"


def _has_module(name: str) -> bool:
    if Path(f"/sys/module/{name}").exists():
        return True
    modprobe = find_program("modprobe")
    if modprobe is None:
        return False
    return (
        subprocess.run([modprobe, "-q", name], capture_output=True, check=False, timeout=30).returncode == 0
    )


def check_image_source() -> Path:
    """Path of the static busybox that becomes the image."""
    program = find_program("busybox")
    if program is None:
        raise HostError("there is no busybox to make an image of: run 'apt-get install busybox-static'")
    return Path(program)
