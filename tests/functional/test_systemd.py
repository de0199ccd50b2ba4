"""The systemd units, read by systemd itself."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_plugin_settings import CONFIG
from tests.unit.test_systemd import UNITS, unit

pytestmark = pytest.mark.functional


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_systemd_finds_no_fault_with_it(path: Path, tmp_path: Path) -> None:
    installed = tmp_path / path.name
    program = shlex.split(unit(path)["Service"]["ExecStart"])[0]
    installed.write_text(path.read_text().replace(program, shutil.which("true") or "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(installed)]
    verdict = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (verdict.returncode, verdict.stderr) == (0, "")


def boot(root: Path) -> None:
    """Make below a directory what the plugin's file has made at each boot."""
    (root / "etc").mkdir()
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    file = UNITS.parent / "plugin" / "ovn-docker-plugin.conf"
    subprocess.run(["systemd-tmpfiles", f"--root={root}", "--create", file], timeout=30, check=True)


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd is not installed")
def test_each_boot_makes_what_docker_mounts_into_the_plugin(tmp_path: Path) -> None:
    boot(tmp_path)
    made = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_dir()}
    # /etc/openvswitch and /dev/null are there on every host.
    wanted = {mount["source"] for mount in CONFIG["mounts"]} - {"/etc/openvswitch", "/dev/null"}
    assert wanted == {"/run/openvswitch", "/var/lib/ovn-docker"}
    assert wanted <= made


@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="systemd is not installed")
def test_a_boot_leaves_the_state_of_the_service_beside_the_plugin_as_it_is(tmp_path: Path) -> None:
    """Owner and mode go together in tmpfiles.d(5); who is not root can see the mode only."""
    state = tmp_path / "var/lib/ovn-docker"
    state.mkdir(parents=True)
    state.chmod(0o750)
    boot(tmp_path)
    assert state.stat().st_mode & 0o777 == 0o750
