"""The lock files hold what pyproject.toml asks for, each file by its hash, and no address."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOGETHER = [
    "requirements.lock",
    "requirements-dev.lock",
    "requirements-build.lock",
    "requirements-underlay.lock",
]
AUDITED = [*TOGETHER, "requirements-audit.lock", "tests/underlay/requirements.lock"]
FLOORS = "requirements-floors.lock"
"""Nobody's to use: what is known of these old versions, a distribution repairs in its own."""
LOCKS = [*AUDITED, FLOORS]


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    """The normalized project name (PEP 503) that a requirement begins with."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def _locked(lock: str) -> dict[str, str]:
    """Name to whole entry, hashes included, of each requirement in a lock file."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {_name(entry): entry for entry in re.split(r"\n(?=[a-z0-9])", text) if "==" in entry}


def test_every_run_time_dependency_stands_in_both_locks() -> None:
    wanted = {_name(requirement) for requirement in _pyproject()["project"]["dependencies"]}
    assert wanted <= _locked("requirements.lock").keys()
    assert wanted <= _locked("requirements-dev.lock").keys()


def test_every_development_dependency_stands_in_the_development_lock() -> None:
    wanted = {_name(requirement) for requirement in _pyproject()["project"]["optional-dependencies"]["dev"]}
    assert wanted <= _locked("requirements-dev.lock").keys()


def test_every_build_dependency_stands_in_the_build_lock() -> None:
    wanted = {_name(requirement) for requirement in _pyproject()["build-system"]["requires"]}
    assert wanted <= _locked("requirements-build.lock").keys()


def test_every_dependency_of_the_audit_stands_in_its_lock() -> None:
    wanted = {_name(requirement) for requirement in _pyproject()["project"]["optional-dependencies"]["audit"]}
    assert wanted <= _locked("requirements-audit.lock").keys()


def test_the_floors_that_are_tested_are_those_of_the_project() -> None:
    project = _pyproject()["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["underlay"]]
    locked = _locked(FLOORS)
    assert [locked[_name(requirement)].split()[0] for requirement in wanted] == [
        f"{_name(requirement)}=={requirement.partition('>=')[2]}" for requirement in wanted
    ]


def test_every_lock_is_tested_here_and_audited_but_the_floors() -> None:
    found = [*ROOT.glob("*.lock"), *(ROOT / "tests").rglob("*.lock")]
    assert {str(path.relative_to(ROOT)) for path in found} == set(LOCKS)
    script = (ROOT / "scripts" / "audit").read_text(encoding="utf-8")
    listed = re.search(r"^readonly audited=\((.*?)\)$", script, re.MULTILINE | re.DOTALL)
    assert listed
    assert sorted(listed[1].split()) == sorted(AUDITED)


def test_every_script_that_installs_checks_hashes() -> None:
    """What is installed without an index needs none: the package itself, which --no-deps says."""
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file()]
    installs = [
        line.strip()
        for path in scripts
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"(\bpip\b.* install\b|\$\{pip\[@\]\})", line)
        and not line.strip().startswith(("#", "printf", "local", "fail"))
    ]
    assert installs
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []


def test_what_two_locks_name_has_one_version() -> None:
    """Pip refuses two versions of one project, and the files are installed together."""
    largest = _locked("requirements-dev.lock")
    for lock in TOGETHER:
        for name, entry in _locked(lock).items():
            if name in largest:
                assert entry.split()[0] == largest[name].split()[0]


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_is_pinned_and_hashed(lock: str) -> None:
    for entry in _locked(lock).values():
        assert re.match(r"[a-z0-9.-]+==\S+ ", entry)
        assert "--hash=sha256:" in entry


@pytest.mark.parametrize("lock", LOCKS)
def test_no_address_stands_in_a_lock(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(index|extra|find|trusted)", text, re.MULTILINE)
