"""Machines of scripts/vm, for tests: what they run, and this tree put into them."""

import shlex
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.polling import eventually
from tests.unit.test_docs import ROOT, tracked

LAB = "vmtest"
TREE = "/root/ovn-docker"
NOTHING_WRONG = "OK: Docker, the host and "
TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended, and what it printed on both streams."""

    status: int
    output: str


def scripts_vm(verb: str, *arguments: str, timeout: float = TIMEOUT) -> Outcome:
    """Run a verb of scripts/vm in the lab of the tests."""
    command = [str(ROOT / "scripts" / "vm"), verb, "--lab", LAB, *arguments]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout)


@dataclass(frozen=True, slots=True)
class Vm:
    """One machine."""

    number: int

    @property
    def address(self) -> str:
        """Where the other machines reach it."""
        return f"10.0.2.{10 + self.number}"

    def _do(self, verb: str, *arguments: str, timeout: float = TIMEOUT) -> None:
        done = scripts_vm(verb, "-n", str(self.number), *arguments, timeout=timeout)
        assert done.status == 0, done.output

    def up(self) -> None:
        """Boot it, if it does not run; made first where there is none, with its kernel and image."""
        self._do("up", timeout=2700)

    def down(self) -> None:
        """Shut it down."""
        self._do("down")

    def cut(self) -> None:
        """Take its power away."""
        self._do("down", "--cut")

    def put(self, path: Path, to: str) -> None:
        """Copy a file into it."""
        self._do("put", str(path), to)

    def try_(self, command: str, timeout: float = TIMEOUT) -> Outcome:
        """Run a command of a shell as root, however it ends."""
        return scripts_vm("ssh", "-n", str(self.number), "--", command, timeout=timeout)

    def run(self, command: str, timeout: float = TIMEOUT) -> str:
        """Run a command of a shell as root; what it printed."""
        done = self.try_(command, timeout)
        assert done.status == 0, f"vm{self.number}: $ {command}\nended with {done.status}\n{done.output}"
        return done.output

    def succeeds(self, command: str) -> Callable[[], bool]:
        """A condition to wait for."""
        return lambda: self.try_(command).status == 0

    def put_tree(self, directory: Path, to: str = TREE) -> None:
        """Copy the files of this tree, as they are, into a directory of the machine's."""
        archive = directory / "tree.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as file:
            for path in tracked():
                file.add(path, path.relative_to(ROOT))
        self.put(archive, "/root/tree.tar.gz")
        self.run(f"mkdir -p {to} && tar -xzf /root/tree.tar.gz -C {to} --no-same-owner")

    def finds_nothing_wrong(self, timeout: float = 60) -> None:
        """Wait until what Docker has and what stands for it agree."""
        check = "/opt/ovn-docker/bin/ovn-docker check"
        eventually(lambda: NOTHING_WRONG in self.try_(check).output, timeout, f"{check}: {NOTHING_WRONG}")

    def make_image(self, name: str = "busybox") -> None:
        """Make an image of the machine's busybox, for no registry has to be reached."""
        self.run(
            "apt-get -qq install -y busybox-static >/dev/null && root=$(mktemp -d) && cd $root &&"
            " mkdir bin etc tmp && cp /bin/busybox bin/ && echo root:x:0: >etc/group &&"
            " for each in $(bin/busybox --list); do [ $each = busybox ] || ln -s busybox bin/$each; done &&"
            f" tar -c . | docker import --change 'CMD [\"sh\"]' - {shlex.quote(name)} && rm -r $root"
        )


def stop_all_but(numbers: set[int]) -> None:
    """Shut down the machines of the lab that are not wanted: two at a time fit a small computer."""
    for line in scripts_vm("list").output.splitlines()[1:]:
        name, number, state, *_ = line.split()
        if name == LAB and state == "up" and int(number) not in numbers:
            Vm(int(number)).down()


def remove_all() -> None:
    """Remove the lab, if it is there."""
    done = scripts_vm("rm", "--all", timeout=300)
    assert done.status == 0 or "there is no lab" in done.output, done.output
