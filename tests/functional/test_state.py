"""The state file of another user, and one that root writes for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovn_docker.state_file import StateFile

NOBODY = 65534

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user"),
]

COMMAND = """
import os, sys
from ovn_docker.cli import main
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(main.main(sys.argv[1:]))
"""


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


def test_what_root_writes_is_for_the_user_whose_directory_it_is_in(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    file, elsewhere = tmp_path / "state.json", tmp_path / "elsewhere"
    (tmp_path / ".state.json.new").symlink_to(elsewhere)
    StateFile(file).update(lambda _: {"networks": {}})
    found = file.stat()
    assert (found.st_uid, found.st_gid, oct(found.st_mode)) == (NOBODY, NOBODY, "0o100600")
    assert not elsewhere.exists(), "root follows no link that the user left there"
