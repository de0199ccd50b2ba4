"""The state file of another user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

COMMAND = """
import os, sys
from ovn_docker import cli
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize("command", [["check"], ["repair"], ["vtep", "list"]], ids=" ".join)
def test_a_user_without_rights_is_told_so_in_one_line_and_nothing_is_moved(
    short_path: Path, command: list[str]
) -> None:
    short_path.chmod(0o777)
    file = short_path / "state.json"
    file.write_text("{}")
    file.chmod(0o600)
    words = [sys.executable, "-c", COMMAND, *command, f"--state-file={file}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == (
        f"ovn-docker: the state file {file} cannot be read: Permission denied:"
        " run this as root, or as the file's owner\n"
    )
    assert done.returncode != 0
    assert file.exists()
