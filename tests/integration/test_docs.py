"""The commands of the documents, run in a lab as they stand there; what is shown below them has to come true.

A fenced block whose info string is ``console host=NAME`` is run. NAME is a machine of the lab (``central``,
``h1``, …) or ``here``, this machine; in ``h1,h2`` both, one after the other. A line that begins with ``$ ``
is a command, which goes on after a backslash; the lines up to the next command are what it prints. There
``...`` stands for any text within a line and, alone on a line, for any lines; ids, MAC addresses and times
need only have the right form. A command below which nothing is shown may print what it likes. Further words
of the info string:

    status=N         the command ends with this status instead of 0
    within=SECONDS   the command is repeated until it comes true, for so long
    only=DATAPATH    the block is run with this datapath only (netdev or system)

The commands of a document run in its order. A variable or a working directory that one sets on a host is
there for the next.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import ovn_docker_lab as labs
from ovn_docker_lab.daemons import underlay_device
from ovn_docker_lab.lab import down
from ovn_docker_lab.requirements import environment
from tests.integration.conftest import lab_name

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DOCS = Path(__file__).parents[2] / "docs"
HERE = "here"
COMMAND_TIMEOUT = 90.0
VTEP = "192.0.2.50"
"""That of the page about VTEPs."""

LAB_FILES = ("/var/lib/ovn", "/var/log/ovn", "/var/log/openvswitch")
"""Directories that the machines of a lab share and that the packaged ovn-ctl writes to."""

FORMS = (
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b"), "<mac>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z"), "<time>"),
    (re.compile(r"\b(?:[0-9a-f]{12,64}|[0-9a-z]{25})\b"), "<id>"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a document and what the document says of it."""

    host: str
    command: str
    shown: tuple[str, ...]
    status: int
    within: float
    only: str


# --- Reading a document -------------------------------------------------------------------------------------


def steps(text: str) -> list[Step]:
    """All commands of a Markdown text that are to be run."""
    found = []
    for match in re.finditer(r"^( *)```console (\S.*)\n((?:.*\n)*?)\1```$", text, re.MULTILINE):
        options = dict(word.split("=", 1) for word in match[2].split())
        unknown = options.keys() - {"host", "status", "within", "only"}
        assert not unknown, f"unknown words in an info string: {unknown}"
        found += [
            Step(
                host=host,
                command=command,
                shown=shown,
                status=int(options.get("status", "0")),
                within=float(options.get("within", "0")),
                only=options.get("only", ""),
            )
            for host in options["host"].split(",")
            for command, shown in commands(match[3])
        ]
    return found


def commands(block: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commands of one block, each with the lines shown below it."""
    for part in re.split(r"^ *\$ ", block, flags=re.MULTILINE)[1:]:
        match = re.match(r"(?:[^\n]*\\\n)*[^\n]*\n", part)
        assert match is not None
        yield match[0].strip(), tuple(line for line in part[match.end() :].splitlines() if line.strip())


def plain(line: str) -> str:
    """A line with one space between its words and a name for each form in place of what differs."""
    line = " ".join(line.split())
    for form, name in FORMS:
        line = form.sub(name, line)
    return line


def comes_true(shown: Sequence[str], printed: str) -> bool:
    """Whether a command has printed what the document shows."""
    if not shown:
        return True
    actual = "".join(plain(line) + "\n" for line in printed.splitlines() if line.strip())
    wanted = ""
    for line in map(plain, shown):
        text = re.escape(line).replace(re.escape("..."), ".*")
        wanted += r"(?:.*\n)*" if line == "..." else text + r"\n"
    return re.fullmatch(wanted, actual) is not None


def is_installed(command: str) -> bool:
    """False for a curl that a bare machine lacks: nothing else of this project needs it."""
    return not command.startswith("curl ") or shutil.which("curl") is not None


# --- Running it ---------------------------------------------------------------------------------------------


class Shells:
    """A shell on every machine of a lab, each of which keeps its variables and its working directory."""

    def __init__(self, directory: Path, variables: Mapping[str, Mapping[str, str]]) -> None:
        """Make shells that keep their state in `directory` and start with `variables`, by host."""
        self._directory = directory
        self._variables = variables

    def play(self, document: str, lab: labs.Lab | None, datapath: str) -> None:
        """Run every command of a document and compare."""
        found = steps((DOCS / document).read_text())
        assert found, f"{document} has no command that could be run"
        for step in found:
            if step.only in {"", datapath} and is_installed(step.command):
                self._check(document, step, lab)

    def _check(self, document: str, step: Step, lab: labs.Lab | None) -> None:
        deadline = time.monotonic() + step.within
        while True:
            status, printed = self._run(step, lab)
            good = status == step.status and comes_true(step.shown, printed)
            if good or time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        shown = "\n".join(step.shown)
        assert good, (
            f"{document}, on {step.host}: $ {step.command}\nended with {status} and printed\n{printed}\n"
            f"The document says {step.status} and\n{shown}"
        )

    def _run(self, step: Step, lab: labs.Lab | None) -> tuple[int, str]:
        state, output = self._directory / f"{step.host}.sh", self._directory / "output"
        state.touch()
        # A daemon that a command leaves behind must not hold a pipe that we read to its end, hence a file.
        script = f'set -a; . {state}; cd "$PWD"; {step.command}\nstatus=$?; export -p > {state}; exit $status'
        command = ["bash", "-c", script]
        if step.host != HERE:
            assert lab is not None
            command = lab.machine(step.host).enter(command)
        variables = environment(**self._variables.get(step.host, {}))
        with output.open("w") as file:
            done = subprocess.run(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_TIMEOUT,
                check=False,
                cwd="/",
            )
        return done.returncode, output.read_text(errors="replace")


def programs(directory: Path, lab_name: str) -> str:
    """A PATH on which the programs of the documents are this package's, and a lab has our name."""
    directory.mkdir()
    own = Path(sys.executable).parent
    script = directory / "ovn-docker-lab"
    named = f'[ $command = ls ] || set -- --name {lab_name} "$@"'
    run = f'exec {own}/ovn-docker-lab $command "$@"'
    script.write_text(f"#!/bin/sh\ncommand=$1; shift\n{named}\n{run}\n")
    script.chmod(0o755)
    return f"{directory}:{own}:{environment()['PATH']}"


def strip(lab: labs.Lab) -> None:
    """Take back what a lab does by itself and the chapter tells: OVN central, settings, ovn-controller."""
    for daemon in ("northd", "sb", "nb"):
        lab.central.stop(daemon)
    for host in lab.hosts:
        host.stop("ovn-controller")
        keys = ("system-id", "ovn-remote", "ovn-nb", "ovn-encap-ip", "ovn-encap-type")
        host.run(["ovs-vsctl", "remove", "Open_vSwitch", ".", "external_ids", *keys])
        host.run(["ovs-vsctl", "--if-exists", "del-br", "br-int"])
    for machine in (lab.central, *lab.hosts):
        for directory in LAB_FILES:
            machine.run(["mkdir", "-p", directory])
            machine.run(["mount", "-t", "tmpfs", "tmpfs", directory])


def play_on_bare_hosts(document: str, tmp_path: Path, central: str) -> None:
    """Run a document that begins with two hosts on which nothing is set up; `central` gets the databases."""
    lab = labs.Lab.up(lab_name("guide"), 2, docker=True, driver=False)
    try:
        strip(lab)
        common = {
            "PATH": programs(tmp_path / "bin", lab.name),
            "CENTRAL_IP": str(lab.machine(central).address),
            "ENCAP_TYPE": "geneve",
        }
        hosts = {host.name: common | {"LOCAL_IP": str(host.address)} for host in lab.hosts}
        shells = Shells(tmp_path, hosts | {"central": common})
        shells.play(document, lab, lab.settings.datapath)
    finally:
        lab.down()


def test_the_overlay_chapter_is_true(tmp_path: Path) -> None:
    play_on_bare_hosts("how-to/overlay.md", tmp_path, "central")


def test_the_tutorial_of_two_hosts_is_true(tmp_path: Path) -> None:
    play_on_bare_hosts("tutorial/two-hosts.md", tmp_path, "h1")


@pytest.mark.parametrize("document", ["how-to/troubleshoot.md", "reference/http-api.md"])
def test_a_document_about_a_running_host_is_true(document: str, tmp_path: Path) -> None:
    lab = labs.Lab.up(lab_name("docs"), 1)
    try:
        common = {"PATH": programs(tmp_path / "bin", lab.name)}
        Shells(tmp_path, {"h1": common, "central": common}).play(document, lab, lab.settings.datapath)
    finally:
        lab.down()


def make_vtep(lab: labs.Lab) -> None:
    """Have the page's VTEP answer, on the central, so that nothing is wrong with the tunnel to it."""
    for machine, address in ((lab.central, f"{VTEP}/24"), (lab.machine("h1"), "192.0.2.11/24")):
        device = underlay_device(machine.name, lab.settings)
        machine.run(["ip", "address", "add", address, "dev", device])


@pytest.mark.slow
def test_the_page_about_vteps_is_true(tmp_path: Path) -> None:
    lab = labs.Lab.up(lab_name("vteps"), 1)
    try:
        lab.machine("h1").stop("driver")
        lab.machine("h1").start_driver(["--ip-lookup", "--health-check-on"])
        make_vtep(lab)
        common = {"PATH": programs(tmp_path / "bin", lab.name)}
        shells = Shells(tmp_path, {"h1": common, "central": common})
        shells.play("how-to/vtep.md", lab, lab.settings.datapath)
    finally:
        lab.down()


@pytest.mark.slow
def test_the_page_about_tls_to_the_databases_is_true(tmp_path: Path) -> None:
    lab = labs.Lab.up(lab_name("tls"), 2)
    try:
        for directory in ("/var/lib/openvswitch", "/var/log/openvswitch"):
            lab.central.run(["mkdir", "-p", directory])
            lab.central.run(["mount", "-t", "tmpfs", "tmpfs", directory])
        path = programs(tmp_path / "bin", lab.name)
        hosts = "".join(
            f"root@{host.name}:*) to={host.paths.etc}/${{last#*:/etc/}};;\n" for host in lab.hosts
        )
        copy = tmp_path / "bin" / "scp"
        copy.write_text(f'#!/bin/bash\nlast=${{!#}}\ncase $last in\n{hosts}esac\ncp "${{@:1:$#-1}}" "$to"\n')
        copy.chmod(0o755)
        common = {"PATH": path, "CENTRAL_IP": str(lab.central.address)}
        variables = {machine.name: common for machine in (lab.central, *lab.hosts)}
        Shells(tmp_path, variables).play("how-to/tls.md", lab, lab.settings.datapath)
    finally:
        lab.down()


def test_the_page_on_tls_is_true_on_a_host_without_a_driver(tmp_path: Path) -> None:
    lab = labs.Lab.up(lab_name("tls"), 1, docker=True, driver=False)
    try:
        for directory in LAB_FILES:
            lab.machine("h1").run(["mkdir", "-p", directory])
            lab.machine("h1").run(["mount", "-t", "tmpfs", "tmpfs", directory])
        common = {"PATH": programs(tmp_path / "bin", lab.name)}
        Shells(tmp_path, {"h1": common}).play("how-to/secure.md", lab, lab.settings.datapath)
    finally:
        lab.down()


@pytest.mark.slow
def test_the_tutorial_is_true(tmp_path: Path) -> None:
    name = lab_name("laptop")
    shells = Shells(tmp_path, {HERE: {"PATH": programs(tmp_path / "bin", name)}})
    try:
        shells.play("tutorial/laptop-lab.md", None, "")
    finally:
        down(name)


# --- The reading itself -------------------------------------------------------------------------------------


def test_a_command_continues_after_a_backslash_and_output_ends_at_the_next() -> None:
    text = (
        "```console host=h1 within=3\n$ one \\\n    two\nsaid\n$ three\n```\n\n```console\n$ not run\n```\n"
    )
    assert steps(text) == [
        Step("h1", "one \\\n    two", ("said",), 0, 3.0, ""),
        Step("h1", "three", (), 0, 3.0, ""),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "true"),
    [
        (["a   b"], "a b\n", True),
        (["a b"], "a c\n", False),
        (["a"], "a\nb\n", False),
        (["a", "..."], "a\nb\nc\n", True),
        (["a ... c"], "a b b c\n", True),
        (["0123456789ab"], "ba9876543210\n", True),
        (["0123456789ab"], "none\n", False),
        ([], "anything\n", True),
        (["(1.5)"], "(155)\n", False),
    ],
)
def test_shown_output_is_compared_by_words_and_forms(
    shown: list[str],
    printed: str,
    true: bool,  # noqa: FBT001
) -> None:
    assert comes_true(shown, printed) is true


def test_a_shell_keeps_variables_and_quotes(tmp_path: Path) -> None:
    shells = Shells(tmp_path, {})
    quoted = shlex.quote("it's two  words")
    assert shells._run(Step(HERE, f"WORDS={quoted}", (), 0, 0.0, ""), None) == (0, "")
    assert shells._run(Step(HERE, 'echo "$WORDS"; false', (), 0, 0.0, ""), None) == (1, "it's two  words\n")
