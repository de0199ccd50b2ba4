"""A tutorial on machines with systemd: its commands as they stand there, those for root's prompt included."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.integration.test_docs import DOCS, Step, comes_true, steps
from tests.polling import eventually
from tests.vm.machines import TREE, Vm

WITHOUT_SYSTEMD = re.compile(
    r"/usr/share/ovn/scripts/ovn-ctl start_|ovn-docker-overlay-driver --detach|kill "
)
"""What a document has for machines without systemd."""

SOCKETS = ("/run/docker/plugins/openvswitch.sock", "/run/ovn-docker/openvswitch.sock")
"""Where a driver listens that was started by hand, and one that systemd started."""


def read(document: str, until: str) -> Iterator[Step]:
    """The commands of a document, up to a text in it.

    A block without a host is for a prompt of root's; the heading above it says on which hosts.
    """
    text = (DOCS / document).read_text().partition(until)[0]
    hosts: Sequence[str] = ()
    for match in re.finditer(r"^## .*$|^( *)```console( .*)?\n(?:.*\n)*?\1```$", text, re.MULTILINE):
        if match[0].startswith("## "):
            hosts = ("h1",) if match[0].endswith("on h1") else ("h1", "h2")
        elif match[2]:
            yield from steps(match[0])
        else:
            for command in re.findall(r"^ *# (.*)$", match[0], re.MULTILINE):
                yield from (Step(host, command, (), 0, 0, "") for host in hosts)


def for_systemd(command: str) -> str:
    """A command of a document, for a machine with systemd and without the project's repository."""
    command = command.replace("git clone REPOSITORY ovn-docker && cd ovn-docker", f"cd {TREE}")
    command = re.sub(r"^apt-get install ", "DEBIAN_FRONTEND=noninteractive apt-get -qq install -y ", command)
    return command.replace(*SOCKETS)


@dataclass(frozen=True, slots=True)
class Player:
    """Shells on the machines that a document calls h1 and h2; each keeps its variables and directory."""

    machines: Mapping[str, Vm]
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def play(self, document: str, until: str) -> None:
        """Run the commands of a document and compare."""
        for machine in self.machines.values():
            machine.run("rm -f /root/shell")
        for step in read(document, until):
            if step.only != "netdev" and not WITHOUT_SYSTEMD.match(step.command):
                self._check(document, step)

    def _check(self, document: str, step: Step) -> None:
        said = ""

        def good() -> bool:
            nonlocal said
            done = self.machines[step.host].try_(self._script(step), timeout=600)
            said = f"ended with {done.status} and printed\n{done.output}"
            return done.status == step.status and comes_true(step.shown, done.output)

        shown = "\n".join(step.shown)
        try:
            eventually(good, step.within, "as shown")
        except AssertionError:
            expected = f"The document says {step.status} and\n{shown}"
            raise AssertionError(f"{document}, on {step.host}: $ {step.command}\n{said}{expected}") from None

    def _script(self, step: Step) -> str:
        given = "".join(
            f"export {name}={value}; " for name, value in self.variables.get(step.host, {}).items()
        )
        return (
            f'touch /root/shell; set -a; {given}. /root/shell; cd "$PWD"; {for_systemd(step.command)}\n'
            "status=$?; export -p >/root/shell; exit $status"
        )
