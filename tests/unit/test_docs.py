"""What the documents say of the code, compared with the code; and what no file of the project may hold."""

import argparse
import ast
import os
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from ovn_docker import addressing, settings
from ovn_docker.addressing import MAXIMUM_MTU, MINIMUM_MTU
from ovn_docker.cli import check, gc, main, vtep
from ovn_docker.daemon.serve import _about
from ovn_docker.host import open_vswitch
from ovn_docker.libnetwork import messages, server
from ovn_docker.libnetwork.api import verbs
from ovn_docker.ovn import switches
from ovn_docker.settings import Program
from ovn_docker.underlay import neutron_networks
from ovn_docker.underlay.neutron import resources
from ovn_docker_lab import cli as lab_cli
from tests import reference
from tests.flags import settings_of
from tests.functional.libnetwork.front import StubDriver, StubIpam

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "ovn_docker"


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the project: all but what .gitignore names."""
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()] + [".git"]
    found = []
    for directory, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not any(fnmatch(name, pattern) for pattern in ignored)]
        found += [Path(directory, name) for name in names]
    return tuple(sorted(found))


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def words(document: str) -> str:
    """A document with one space between its words."""
    return " ".join((DOCS / document).read_text().split())


# --- Links --------------------------------------------------------------------------------------------------


def without_blocks(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`]*`", lambda code: code[0].replace("(", " ").replace("[", " "), without_blocks(page))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.*)$", without_blocks(page), re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found[name] = found.get(name, 0) + 1
    return {name if n == 0 else f"{name}-{n}" for name, times in found.items() for n in range(times)}


def dead_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(\s*<?([^)>\s]+)>?[^)]*\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        is_page = other.suffix == ".md" and other.is_file()
        if not other.exists() or (anchor and not (is_page and anchor in anchors(other))):
            yield f"{page.relative_to(ROOT)}: {target}"


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    assert [link for page in pages() for link in dead_links(page)] == []


def test_every_page_of_the_docs_is_in_their_index() -> None:
    index = (DOCS / "README.md").read_text()
    decisions = DOCS / "decisions"
    listed = [page for page in pages() if DOCS in page.parents and decisions not in page.parents]
    assert [
        str(page.relative_to(DOCS))
        for page in listed
        if page.name != "README.md" and f"({page.relative_to(DOCS)})" not in index
    ] == []


# --- What no file may hold ----------------------------------------------------------------------------------

REGISTRY = r"(?:pypi|registry|mirror|proxy|artifactory|nexus)"
FORBIDDEN = [
    r"(?<![\w.-])/(?:home|Users)/\w",
    r"\bindex-url\s*=",
    rf"\b{REGISTRY}[\w-]*(?:\.[\w-]+)*\.(?:com|net|io|dev|internal|local)\b",
    r"https?://[^/\s\"')]*@",  # a password
]
SYSTEM_DIRECTORIES = {"opt", "usr", "var", "tmp"}


def own_paths() -> Iterator[str]:
    """The directories of whoever runs this."""
    for path in (ROOT, Path(sys.prefix)):
        if len(path.parts) > 2 and path.parts[1] not in SYSTEM_DIRECTORIES:
            yield rf"(?<![\w.}}-]){re.escape(str(path))}\b"


@cache
def about_a_machine() -> re.Pattern[str]:
    return re.compile("|".join((*FORBIDDEN, *own_paths())))


def test_no_file_names_a_developers_directory_or_a_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__)
        for match in about_a_machine().finditer(path.read_text(errors="replace"))
    ]
    assert found == []


def test_no_command_gives_wget_a_time_limit() -> None:
    """The busybox of Debian 12 crashes on -T; a `timeout` before it does the same everywhere."""
    limited = re.compile(r"""wget\b[^|\n]*[ "]-T\b""")
    assert limited.search("wget -q -T 5 -O - http://a/")
    others = [path for path in tracked() if path != Path(__file__)]
    found = [path.relative_to(ROOT) for path in others if limited.search(path.read_text(errors="replace"))]
    assert found == []


# --- The reference ------------------------------------------------------------------------------------------


def typed(parser: argparse.ArgumentParser) -> Iterator[str]:
    """What a user may type: the names of commands and the long flags."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from typed(command)
        else:
            yield from (flag for flag in action.option_strings if len(flag) > 2 and flag != "--help")


def code(page: Path) -> set[str]:
    """The words of the code in the text of a page."""
    return set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`]+)`", without_blocks(page)))))


@pytest.mark.parametrize("path", reference.files(), ids=lambda path: path.name)
def test_what_the_table_of_flags_gives_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is not, ``python -m tests.reference`` writes it."""
    monkeypatch.delenv("OVS_RUNDIR", raising=False)
    text = path.read_text()
    assert text == reference.files()[path](text)


def test_every_flag_that_the_underlay_driver_lacks_is_in_its_reference() -> None:
    underlay = {flag.dest for flag in settings.FLAGS if Program.UNDERLAY in flag.programs}
    lacking = [flag.names[-1] for flag in settings.FLAGS if flag.dest not in underlay]
    text = words("reference/underlay.md").partition("<!-- flags")[0]
    assert [name for name in lacking if f"`{name}`" not in text] == []


def test_every_option_and_tag_of_the_underlay_driver_is_in_the_reference() -> None:
    text = words("reference/underlay.md")
    assert [name for name in neutron_networks.OPTIONS if f"`-o {name}=" not in text] == []
    tags = [value for value in vars(resources).values() if str(value).startswith("ovn-docker-")]
    assert len(tags) == 7  # and a claim and a request
    assert [tag for tag in tags if f"`{tag}" not in text] == []


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("check", "health-check.md"),
        ("repair", "health-check.md"),
        ("gc", "commands.md"),
        ("vtep", "vtep.md"),
        ("lab", "lab.md"),
    ],
)
def test_every_command_and_flag_is_in_its_reference(name: str, page: str) -> None:
    commands = argparse.ArgumentParser().add_subparsers()
    for module in (check, gc, vtep):
        module.register(commands)
    lab_cli.add_commands(commands.add_parser("lab"))
    assert set(typed(commands.choices[name])) - code(DOCS / "reference" / page) == set()


def test_every_key_of_the_database_is_in_the_reference(tmp_path: Path) -> None:
    about = _about(settings_of("--unix-socket", str(tmp_path / "s")))
    text = words("reference/http-api.md")
    assert [key for key in about if f"`{key}`" not in text] == []


def test_every_path_of_the_api_is_in_the_reference() -> None:
    text = words("reference/http-api.md")
    assert [verb.name for verb in verbs(StubDriver(), StubIpam()) if f"`/{verb.name}`" not in text] == []
    assert f"{server.DEADLINE:g} s" in text


def test_every_option_and_what_each_encapsulation_takes_is_in_the_reference() -> None:
    text = words("reference/network-options.md")
    assert f"| `{messages.MTU}` | {MINIMUM_MTU} to {MAXIMUM_MTU} bytes" in text
    for name in addressing.ENCAP_OVERHEAD:
        taken = [
            1500 - addressing.mtu(1500, [name], version, encrypted=encrypted)
            for encrypted in (False, True)
            for version in (4, 6)
        ]
        assert f"| `{name}` | {' | '.join(map(str, taken))} |" in text


@pytest.mark.parametrize("module", [switches, open_vswitch])
def test_every_mark_is_in_the_reference(module: object) -> None:
    constants = {
        name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str)
    }
    marks = [value for value in constants.values() if "ovn-docker" in value]
    assert marks
    text = words("reference/names-and-marks.md")
    assert [mark for mark in marks if f"external_ids:{mark}" not in text] == []


def test_what_the_matrix_leaves_out_is_in_the_reference_with_its_reason() -> None:
    left_out = re.findall(r'^  "(tests/\S+): (.*)"$', (ROOT / "scripts" / "matrix").read_text(), re.MULTILINE)
    assert left_out
    text = (DOCS / "reference" / "releases.md").read_text()
    for path, reason in left_out:
        assert (ROOT / path).exists()
        assert f"| `{path}` | {reason} |" in text


def test_every_setting_that_is_read_is_in_the_reference() -> None:
    source = (PACKAGE / "host" / "open_vswitch.py").read_text()
    keys = set(re.findall(r'ids\.get\("((?:ovn|system)-[a-z-]+)"', source)) - {"ovn-installed"}
    assert "ovn-nb" in keys
    text = words("reference/host-settings.md")
    assert [key for key in keys if f"| `{key}` |" not in text] == []


# --- Error texts --------------------------------------------------------------------------------------------


def literals(node: ast.AST) -> Iterator[ast.expr]:
    """The texts that an expression may give."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)


def pattern(node: ast.expr) -> str:
    """A regular expression for a text, with any word where a value goes."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [str(part.value) if isinstance(part, ast.Constant) else None for part in parts]
    return "".join(".{1,90}?" if text is None else re.escape(text) for text in texts)


def error_texts(source: str) -> set[str]:
    """Patterns of what a module raises: texts given to an exception, or returned by a function there."""
    tree = ast.parse(source)
    functions = {
        node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found = set()
    for raised in ast.walk(tree):
        if not (isinstance(raised, ast.Raise) and isinstance(raised.exc, ast.Call) and raised.exc.args):
            continue
        argument = raised.exc.args[0]
        found |= {pattern(text) for text in literals(argument)}
        if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name):
            for node in ast.walk(functions.get(argument.func.id, ast.Pass())):
                if isinstance(node, ast.Return) and node.value is not None:
                    found |= {pattern(text) for text in literals(node.value)}
    return found


INTERNAL = {
    re.escape("a part of the verb was cancelled from inside"),  # reported as "failed inside the driver"
    re.escape("the answer had begun when it failed"),  # aiohttp ends the connection
    re.escape("the prefix length is missing"),  # the REASON of another text
}


def test_every_error_text_of_the_driver_is_in_the_troubleshooting_page() -> None:
    page = words("how-to/troubleshoot.md")
    texts = set().union(*(error_texts(module.read_text()) for module in PACKAGE.rglob("*.py"))) - INTERNAL
    assert len(texts) > 150, "the search no longer finds them"
    assert [text for text in sorted(texts) if not re.search(text, page)] == []


def reasons(source: str) -> set[str]:
    """Patterns of why something does not work: what is assigned to such a variable, or returned."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and re.search(
            r"\b_?(nowhere|reason)\b", ast.unparse(node.targets[0])
        ):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            found |= {pattern(text) for value in values for text in literals(value)}
        elif isinstance(node, ast.FunctionDef) and node.name in {"_unusable", "outage", "cause_of"}:
            returned = (part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
            found |= {pattern(text) for value in returned for text in literals(value)}
    return found - {""}


@pytest.mark.parametrize(
    "module",
    ["ovsdb/client.py", "host/ovn_settings.py", "overlay/plugging.py"],
)
def test_every_reason_of_a_failure_is_in_the_troubleshooting_page(module: str) -> None:
    found = reasons((PACKAGE / module).read_text())
    assert found
    page = words("how-to/troubleshoot.md")
    assert [text for text in sorted(found) if not re.search(text, page)] == []


def test_the_command_line_says_where_the_settings_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.overlay_driver(["--help"])
    assert "external_ids" in capsys.readouterr().out
