"""The shape of the code: who imports whom, which modules stay pure, and how large a part may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "ovn_docker"
MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST_FUNCTION, LONGEST_FILE, LONGEST_TEST_NAME = 60, 600, 72
VAGUE = {"utils", "util", "common", "base", "helpers", "helper", "manager", "misc", "shared"}
PURE = [
    "errors",
    "addressing",
    "address_pools",
    "docker.models",
    "dns.messages",
    "health.checks",
    "health.findings",
    "health.host_checks",
    "health.host_identity",
    "health.lease_checks",
    "health.openstack_checks",
    "settings",
    "ovsdb.operations",
    "ovsdb.jsonrpc",
    "ovn.switches",
    "host.open_vswitch",
    "host.ruleset",
    "host.iptables_chain",
    "ovn.leases",
    "ovn.hosts",
    "ovn.surveys",
    "ovn.nb_global",
    "ovn.southbound",
    "ovn.vteps",
    "libnetwork.network_options",
    "underlay.neutron.credentials",
    "underlay.neutron.resources",
    "overlay.network_spec",
    "overlay.vtep.openflow",
    "overlay.vtep.pipeline",
    "overlay.vtep.lookup_flows",
    "libnetwork.messages",
]
IMPURE = {
    "socket",
    "asyncio",
    "subprocess",
    "ssl",
    "threading",
    "time",
    "random",
    "secrets",
    "signal",
    "pyroute2",
}
PROCESSES = {"subprocess", "multiprocessing"}
REQUEST_PATH = ["overlay", "underlay", "dns", "host", "libnetwork", "ovsdb", "ovn"]


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    """The first name of every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_the_import_ladder_holds() -> None:
    """As a process of its own: in this one it would switch off the loggers that other tests listen to."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = re.search(r"(\d+) kept, 0 broken", done.stdout)
    assert kept, done.stdout
    assert int(kept[1]) >= 3


def test_no_module_is_named_for_nothing() -> None:
    assert [str(path) for path in MODULES if VAGUE & set(module(path).split("."))] == []


def test_files_and_functions_stay_readable() -> None:
    long = [f"{module(path)}: {lines}" for path in MODULES if (lines := _lines(path)) > LONGEST_FILE]
    long += [
        f"{module(path)}.{function.name}: {length}"
        for path in MODULES
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > LONGEST_FUNCTION
    ]
    assert long == []


def test_names_of_tests_stay_readable() -> None:
    names = [
        match[1]
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for match in re.finditer(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    ]
    assert len(names) > 1000
    assert [name for name in names if len(name) > LONGEST_TEST_NAME] == []


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_acts(name: str) -> None:
    path = PACKAGE.joinpath(*name.split(".")).with_suffix(".py")
    assert set(imports(path)) & IMPURE == set()
    assert [found.name for found in functions(path) if isinstance(found, ast.AsyncFunctionDef)] == []


def test_no_request_starts_a_process() -> None:
    paths = [path for path in MODULES if module(path).split(".")[0] in REQUEST_PATH]
    assert len(paths) > 15
    assert [module(path) for path in paths if set(imports(path)) & PROCESSES] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        module(path)
        for path in MODULES
        if _lines(path) and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
