"""The managed plugin on a host of a lab: built once, then created and enabled, set, killed and looked at."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ovn_docker_lab import Machine
from tests.polling import eventually
from tests.unit.test_plugin_settings import CONFIG, ROOT

NAME = "ovn"
DRIVER = f"{NAME}:latest"
MANAGED = ("--driver", DRIVER, "--ipam-driver", DRIVER)
"""What makes a network the plugin's, and its addresses OVN's."""

REGISTRY = "127.0.0.1:5000"
OUTPUT = ROOT / "build" / "test-plugin"
BUILD_TIMEOUT = 240.0


def build(clone: Path, output: Path, **environment: str) -> Path:
    """Build the plugin of a tree where it is not there yet; its directory.

    Test processes that need it at the same moment wait for the one that builds it.
    """
    command = [str(clone / "scripts" / "build-plugin"), "--no-archive", "--output", str(output)]
    variables = os.environ | environment
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False, env=variables
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return output / "plugin"


def fingerprint(directory: Path) -> Mapping[str, tuple[object, ...]]:
    """All that makes up a tree, by path: kind, mode, time and content of each entry."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = path.readlink()
        elif path.is_file():
            content = sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(directory))] = (status.st_mode, int(status.st_mtime), content)
    return found


HEALTH_CHECK = ("HEALTH_CHECK_ON=true", "HEALTH_CHECK_INTERVAL=1", "docker.source=/run/docker.sock")
NO_HEALTH_CHECK = ("HEALTH_CHECK_ON=", "HEALTH_CHECK_INTERVAL=", "docker.source=/dev/null")


@dataclass(frozen=True, slots=True)
class Managed:
    """The plugin on one host."""

    host: Machine

    def plugin(self, *arguments: str, check: bool = True) -> str:
        """Run ``docker plugin``; what it says, on either stream."""
        done = self.host.docker("plugin", *arguments, check=check, timeout=90)
        return done.stdout + done.stderr

    def create(self, directory: Path) -> None:
        """Create and enable it, for use outside a swarm."""
        self.plugin("create", NAME, str(directory))
        self.plugin("set", NAME, "DOCKER_DRIVER_SCOPE=local")
        self.plugin("enable", NAME)

    def set(self, *settings: str, force: bool = False) -> None:
        """Disable it, set it and enable it again."""
        self.plugin("disable", *(["--force"] if force else []), NAME)
        self.plugin("set", NAME, *settings)
        self.plugin("enable", NAME)

    def inspect(self) -> dict[str, Any]:
        """What Docker says of it."""
        [found] = json.loads(self.plugin("inspect", NAME))
        assert isinstance(found, dict)
        return found

    @property
    def pid(self) -> int:
        """The process id, on this machine; 0 when it does not run."""
        tasks = self.host.paths.run / "docker/containerd/daemon/io.containerd.runtime.v2.task/plugins.moby"
        try:
            return int((tasks / self.inspect()["Id"] / "init.pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def kill(self) -> None:
        """End its process at once, and wait for dockerd to have started another."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.pid not in {0, pid}, 20, "dockerd has started the plugin again")

    def log(self) -> str:
        """Its lines in dockerd's log."""
        identity = f"plugin={self.inspect()['Id']}"
        return "\n".join(line for line in self.host.log("dockerd").splitlines() if identity in line)

    def remove(self) -> None:
        """Disable and remove it, which Docker does only if it is not in use any more."""
        self.plugin("disable", NAME)
        self.plugin("rm", NAME)


@contextmanager
def registry(host: Machine, directory: Path) -> Iterator[None]:
    """A registry of images on a host's loopback address."""
    program = shutil.which("docker-registry")
    assert program is not None, "docker-registry is missing: scripts/test installs it"
    settings = directory / "registry.yml"
    address, storage = {"addr": REGISTRY}, {"filesystem": {"rootdirectory": str(directory / "registry")}}
    log = {"level": "error", "accesslog": {"disabled": True}}
    settings.write_text(json.dumps({"version": 0.1, "log": log, "storage": storage, "http": address}))
    process = subprocess.Popen(
        host.enter([program, "serve", str(settings)]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://{REGISTRY}/v2/"
        eventually(
            lambda: host.run(["curl", "-sf", url], check=False).returncode == 0, 20, "the registry answers"
        )
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def another(plugin: Path, directory: Path) -> Path:
    """A later release: the same plugin with something changed in it."""
    copy = directory / "later"
    shutil.copytree(plugin, copy, symlinks=True)
    (copy / "rootfs" / "etc" / "later").write_text("another release\n")
    config = CONFIG | {"description": "A later release"}
    (copy / "config.json").unlink()
    (copy / "config.json").write_text(json.dumps(config))
    return copy
