"""scripts/vm where it needs no machine: its arguments, its help and its page, the kernel's configuration."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.functional

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/vm.md"
CONFIG = ROOT / "scripts/lib/vm.config"


def _vm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts/vm"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_the_help_and_the_page_have_the_same_verbs_and_options() -> None:
    usage = _vm("--help")
    assert usage.returncode == 0
    verbs = set(re.findall(r"^  ([a-z]+) ", usage.stdout, re.MULTILINE))
    options = set(re.findall(r"(?<![\w-])--?[a-z]+", usage.stdout.partition("\n")[2]))
    columns = " ".join(re.findall(r"^\|([^|]*)\|", PAGE.read_text(), re.MULTILINE))
    assert verbs == set(re.findall(r"`([a-z]+)(?: [^`]*)?`", columns))
    assert options == set(re.findall(r"(?<![\w-])--?[a-z]+", columns))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["up", "--nonsense"], "--nonsense"),
        (["up", "--lab", "Ä"], "--lab"),
        (["up", "-n", "10"], "-n 10"),
        (["up", "--memory", "much"], "--memory"),
        (["up", "--lab"], "--lab needs a value"),
        (["ssh", "--lab", "none"], "scripts/vm up --lab none -n 1"),
        (["down", "--lab", "none"], "scripts/vm list"),
        (["put", "--lab", "none", "/none"], "/none"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which scripts/vm would ask for")
def test_a_mistake_is_told_in_one_line(arguments: list[str], word: str) -> None:
    done = _vm(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert word in done.stderr
    assert not Path("/var/lib/ovn-docker-vm/none").exists()


def test_the_configuration_of_the_kernel_says_each_thing_once() -> None:
    lines = [line for line in CONFIG.read_text().splitlines() if line]
    names = re.findall(r"^(?:# )?(CONFIG_\w+)(?:=\S+| is not set)$", CONFIG.read_text(), re.MULTILINE)
    assert len(names) == len(set(names)) > 100
    assert len(names) == len([line for line in lines if "CONFIG_" in line])
