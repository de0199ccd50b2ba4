"""Take a lab down, whatever state it is in, and find what is left of it.

Everything is found in /proc, in the cgroups and on disk, so that an incomplete lab goes too.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ovn_docker.errors import HostError
from ovn_docker_lab.processes import Process, send, start_time, wait_until

_CGROUPS = Path("/sys/fs/cgroup")
_TIMEOUT = 30.0
_PLUGIN_ID = re.compile("[0-9a-f]{64}")


def take_down(directory: Path) -> bool:
    """End all processes of a lab and remove its mounts, cgroups and files; returns whether there were any.

    Its namespaces and the links in them go with their last process. The lab's directory need not exist.

    Raises:
        HostError: names what is still there after 30 s.
    """
    found = directory.exists()
    found |= end_processes(directory)
    found |= _unmount(directory)
    found |= remove_cgroups(_cgroup(directory))
    _remove_plugins_cgroups(directory)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()
    if left := leftovers(directory):
        raise HostError(f"lab {directory.name} is not down, there is still: {', '.join(left)}")
    return found


def leftovers(directory: Path) -> list[str]:
    """What is left of a lab, each thing in a few words."""
    left = [
        f"process {process.pid} ({_command_line(process.pid)[:60]})" for process in lab_processes(directory)
    ]
    left += [f"mount {mounted}" for mounted in _mounts(directory)]
    left += [f"cgroup {cgroup}" for cgroup in _cgroups(_cgroup(directory))]
    left += [f"directory {directory}"] if directory.exists() else []
    return left


def lab_processes(directory: Path) -> list[Process]:
    """Processes of a lab, or of one machine, by its directory, whoever started them.

    A process counts when it is in a cgroup of the lab's containers. It also counts when it is in another
    mount namespace than the caller and that holds a mount of the lab (a host's own mounts name the lab's
    directory, a container's root lies in it) or its command line names that directory. An editor or a `tail`
    on a file of the lab is in the caller's mount namespace and does not count.
    """
    own = _mount_namespace(os.getpid())
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    members = (pid for pid in pids if _is_member(pid, directory, own))
    return [Process(pid, started) for pid in members if (started := start_time(pid)) is not None]


def _is_member(pid: int, directory: Path, own_mount_namespace: str) -> bool:
    within = f"/{directory.parent.name}/{directory.name}/"
    if within in _read(pid, "cgroup"):
        return True
    if _mount_namespace(pid) in ("", own_mount_namespace):
        return False
    return within in _read(pid, "mountinfo") or f"{directory}/" in _command_line(pid)


def _mount_namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def _command_line(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:
        return ""


def end_processes(directory: Path) -> bool:
    """Kill all processes of a lab or of one machine and wait up to 30 s for their end; was there any?"""
    found = False

    def all_ended() -> bool:
        nonlocal found
        members = lab_processes(directory)
        found |= bool(members)
        for process in members:
            send(process, signal.SIGKILL)
        return not members

    wait_until(all_ended, _TIMEOUT)
    return found


def _mounts(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [line.split()[4] for line in lines]
    return [path for path in mounted if Path(path).is_relative_to(directory)]


def _unmount(directory: Path) -> bool:
    mounted = _mounts(directory)
    for path in reversed(mounted):
        subprocess.run(["umount", "-l", path], capture_output=True, check=False, timeout=10)
    return bool(mounted)


def _cgroup(directory: Path) -> str:
    return f"/{directory.parent.name}/{directory.name}"


def _cgroups(parent: str) -> Iterator[Path]:
    """A cgroup and those below it, children first, in every hierarchy of version 1 and 2."""
    hierarchies = (_CGROUPS, *_CGROUPS.iterdir()) if _CGROUPS.is_dir() else ()
    for hierarchy in hierarchies:
        for path, _, _ in os.walk(hierarchy / parent.lstrip("/"), topdown=False):
            yield Path(path)


def remove_cgroups(parent: str) -> bool:
    """Remove a cgroup with those below it, and the one above it when empty; was there any?

    `parent` is its path from the top of a hierarchy.
    """
    found = any(True for _ in _cgroups(parent))

    def all_removed() -> bool:
        for cgroup in list(_cgroups(parent)):
            # Busy for a moment after its last process has ended.
            with contextlib.suppress(OSError):
                cgroup.rmdir()
            if cgroup.name == Path(parent).name:
                with contextlib.suppress(OSError):
                    cgroup.parent.rmdir()
        return not any(True for _ in _cgroups(parent))

    wait_until(all_removed, _TIMEOUT)
    return found


def _remove_plugins_cgroups(directory: Path) -> None:
    """Remove the cgroups of managed plugins: dockerd names them by the plugins' ids, below its own."""
    ids = {path.name for path in directory.glob("*/docker/plugins/*") if _PLUGIN_ID.fullmatch(path.name)}

    def all_removed() -> bool:
        left = [cgroup for plugin in ids for cgroup in _CGROUPS.rglob(plugin)]
        for cgroup in left:
            with contextlib.suppress(OSError):
                cgroup.rmdir()
        return not left

    if ids:
        wait_until(all_removed, _TIMEOUT)
