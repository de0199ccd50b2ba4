"""The shell scripts where they need no daemon: their arguments, quickstart's memory, the systemd unit."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "packaging/systemd/ovn-docker-overlay-driver.service"


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=False)


def _journal(tmp_path: Path, commands: str) -> list[str]:
    """What the commands print, each undo printing its kind and arguments."""
    script = f"""
        set -euo pipefail
        state_file={tmp_path}/state
        . {ROOT}/scripts/lib/journal.sh
        undo_started() {{ echo "undo started $*"; }}
        undo_external_id() {{ echo "undo external-id $*"; }}
        {commands}
    """
    result = _run("bash", "-c", script)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("arguments", [["--output"], ["--output", "/proc/no"], ["--output", "."]])
def test_build_plugin_tells_at_once_where_it_cannot_put_it(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "mine").touch()
    command = [str(ROOT / "scripts" / "build-plugin"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "--output" in result.stderr
    assert (tmp_path / "plugin" / "mine").exists()


@pytest.mark.parametrize("installed", ["libssl3", "libssl3t64"])
def test_the_plugin_is_built_of_the_package_that_this_release_has(installed: str, tmp_path: Path) -> None:
    query = tmp_path / "dpkg-query"
    query.write_text(f'#!/bin/sh\nfor name; do :; done\n[ "$name" = {installed} ] && echo installed\n')
    query.chmod(0o755)
    packages = ROOT / "packaging" / "plugin" / "packages"
    script = f"""
        . {ROOT}/scripts/lib/steps.sh
        . {ROOT}/scripts/lib/packages.sh
        PATH={tmp_path}:$PATH
        grep -v '^#' {packages} | installed_names
    """
    names = _run("bash", "-c", script).stdout.split()
    assert [name for name in names if name.startswith("libssl")] == [installed]
    assert "libffi8" in names


@pytest.mark.parametrize("script", ["quickstart", "test", "build-plugin", "matrix"])
def test_help_is_shown_and_an_unknown_argument_is_named_in_one_line(script: str) -> None:
    assert _run(ROOT / "scripts" / script, "--help").stdout.startswith(f"usage: scripts/{script}")
    result = _run(ROOT / "scripts" / script, "--nonsense")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "--nonsense" in result.stderr


FAILING = """
    record started ovs
    set +e  # in a condition the shell would go on after the failure
    ( set -e; undo_started() { return 1; }; undo_last )
    cat $state_file
"""


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        (
            "record started ovs; record external-id ovn-nb unix:/a; undo_last; undo_last",
            ["undo external-id ovn-nb unix:/a", "undo started ovs"],
        ),
        (
            "record started ovs; record started docker; record started ovs; cat $state_file",
            ["started ovs", "started docker"],
        ),
        (f"umask 0; . {ROOT}/scripts/lib/steps.sh; record started ovs; stat -c %a $state_file", ["644"]),
        (FAILING, ["started ovs"]),
    ],
    ids=["newest first", "each thing once", "nobody else may write it", "what failed is kept"],
)
def test_the_journal_of_quickstart(commands: str, said: list[str], tmp_path: Path) -> None:
    assert _journal(tmp_path, commands) == said


FAKE_DOCKER = """#!/bin/sh
case "$*" in
"version "*) echo 1 ;;
"network ls "*) printf '1d demo\\n2f foo\\n3b bar\\n4e empty\\n' ;;
*network=1d*) printf 'demo-a\\ndemo-b\\n%s' "$ON_DEMO" ;;
*network=2f*) printf 'two\\none\\n' ;;
*network=3b*) printf 'one\\n' ;;
*network=4e*) ;;
*) echo "not expected: docker $*" >&2; exit 1 ;;
esac
"""


def _in_the_way(tmp_path: Path, state: str, on_demo: str = "") -> str:
    """What --down says of containers of the user's, where quickstart did what this state tells."""
    (tmp_path / "docker").write_text(FAKE_DOCKER)
    (tmp_path / "docker").chmod(0o755)
    script = f"""
        set -euo pipefail
        export PATH={tmp_path}:$PATH ON_DEMO={on_demo}
        state_file={tmp_path}/state log_dir={tmp_path}
        for name in steps packages journal daemons demo in_use; do . {ROOT}/scripts/lib/$name.sh; done
        printf '%s\\n' {state} >$state_file
        step Look check_unused
    """
    return _run("bash", "-c", script).stderr


DEMO = "'network demo' 'container demo-a' 'container demo-b'"


@pytest.mark.parametrize(
    ("state", "on_demo", "names"),
    [
        (f"'started driver' {DEMO}", "", "(bar foo): remove them first: docker rm -f one two"),
        (f"'started driver' {DEMO}", "x", "(bar demo foo): remove them first: docker rm -f one two x"),
        (DEMO, "x", "(demo): remove them first: docker rm -f x"),
    ],
)
def test_the_containers_in_the_way_of_down_are_named(
    state: str, on_demo: str, names: str, tmp_path: Path
) -> None:
    said = _in_the_way(tmp_path, state, on_demo)
    assert f"containers are on networks of this driver {names}\n" in said
    assert _in_the_way(tmp_path, DEMO) == ""


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    # The program may not be installed here, and that is no fault of the unit.
    text = UNIT.read_text(encoding="utf-8").replace("/usr/local/bin/ovn-docker-overlay-driver", "/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(text, encoding="utf-8")
    result = _run("systemd-analyze", "verify", "--man=no", unit)
    assert result.returncode == 0
    assert result.stdout + result.stderr == ""


@pytest.mark.parametrize(
    ("flags", "others"),
    [
        ([], {"ovn-docker-underlay-driver.service"}),
        (
            ["--underlay"],
            {
                *("ovn-docker-overlay-driver.service", "ovn-docker-database@.service"),
                *("ovn-docker-database@.socket", "ovn-northd.service.d"),
            },
        ),
    ],
    ids=["overlay", "underlay"],
)
def test_the_unit_and_what_it_needs_are_installed_and_removed(
    flags: list[str], others: set[str], tmp_path: Path
) -> None:
    script = ROOT / "scripts" / "install-unit"
    packaging = ROOT / "packaging"
    assert _run("env", f"DESTDIR={tmp_path}", script, *flags).returncode == 0
    installed = {path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    files = [path for path in packaging.rglob("*") if path.is_file() and path.parent.name != "plugin"]
    wanted = [path for path in files if not others & set(path.parts)]
    assert installed == {path.read_text() for path in wanted}
    assert _run("env", f"DESTDIR={tmp_path}", script, *flags, "--remove").returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "unknown argument --nonsense" in _run(script, "--nonsense").stderr


def _without_rights(
    tmp_path: Path, *programs: str, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    """A script that needs root's rights, where these programs are installed; each prints its arguments."""
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        (tmp_path / name).chmod(0o755)
    script = f'. {ROOT}/scripts/lib/privileges.sh; PATH={tmp_path}; become_root "$@"; echo is root'
    command = ["bash", "-c", script, "example", *EXAMPLE]
    if os.geteuid() == 0:
        command = ["unshare", "--user", *command]  # where it is nobody
    return subprocess.run(
        command,
        env={**os.environ, "OVN_DOCKER_KEPT": "b c"},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


EXAMPLE = ["scripts/quickstart", "--subnet", "two words", "$HOME"]
AGAIN = ["env", "OVN_DOCKER_KEPT=b c", *EXAMPLE]


def test_a_script_asks_for_root_s_rights_by_sudo_or_su(tmp_path: Path) -> None:
    done = _without_rights(tmp_path, "su")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "must be root" in done.stderr
    master, terminal = os.openpty()
    done = _without_rights(tmp_path, "su", stdin=terminal)
    os.close(master)
    os.close(terminal)
    user, flag, command = done.stdout.splitlines()
    assert (user, flag, shlex.split(command)) == ("root", "-c", AGAIN)
    done = _without_rights(tmp_path, "sudo", "su")
    assert done.stdout.splitlines() == ["--", *AGAIN]


def _audit(tmp_path: Path, pip_audit: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/audit with a stand-in for pip-audit, whose report is "$report"."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "audit", tmp_path / "scripts")
    programs = tmp_path / ".venv-audit" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    find = 'while [ "$1" != --output ]; do shift; done; report=$2'
    (programs / "pip-audit").write_text(f"#!/bin/sh\n{find}\n{pip_audit}\n")
    (programs / "pip-audit").chmod(0o755)
    lock = tmp_path / "requirements-audit.lock"
    lock.write_text("")
    stamp = subprocess.run(["sha256sum"], input=lock.read_bytes(), capture_output=True, check=True).stdout
    (tmp_path / ".venv-audit" / "installed").write_bytes(stamp)
    return _run(tmp_path / "scripts" / "audit")


VULNERABLE = '{"name": "thing", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}'


@pytest.mark.parametrize(
    ("pip_audit", "status", "said"),
    [
        ("""echo '{"dependencies": []}' >"$report" """, 0, "no known vulnerability in requirements.lock "),
        (
            f"""echo '{{"dependencies": [{VULNERABLE}]}}' >"$report"; exit 1""",
            1,
            "requirements.lock: thing 1.0: CVE-1, fixed in 1.1\n",
        ),
        ("echo Traceback; echo ConnectionError: long words; exit 1", 2, "nothing was audited\n"),
    ],
    ids=["nothing", "a vulnerability", "no database"],
)
def test_what_an_audit_says(pip_audit: str, status: int, said: str, tmp_path: Path) -> None:
    done = _audit(tmp_path, pip_audit)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
