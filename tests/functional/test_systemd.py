"""The systemd units, read by systemd itself."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

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
