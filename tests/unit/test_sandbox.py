"""What the systemd unit lets the driver do, judged by systemd itself."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
UNIT = PACKAGING / "systemd" / "ovn-docker-overlay-driver.service"
SERVICES = sorted(UNIT.parent.glob("*.service"))
MOST_EXPOSED = 2.0
"""Of 10, which a unit without any sandbox comes near to."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_systemd_finds_little_exposed(service: Path, tmp_path: Path) -> None:
    installed = tmp_path / service.name
    installed.write_text(service.read_text().replace("/usr/local/bin/ovn-docker-overlay-driver", "/bin/true"))
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(level) <= MOST_EXPOSED, done.stdout


def test_docker_is_told_of_the_socket_that_the_unit_listens_on() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(UNIT.read_text())
    [socket] = re.findall(r"--unix-socket (\S+)", unit["Service"]["ExecStart"])
    assert (PACKAGING / "docker" / "openvswitch.spec").read_text() == f"unix://{socket}\n"


def test_the_user_of_the_unit_is_made_with_its_groups() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read_string(UNIT.read_text())
    made = [line.split() for line in (PACKAGING / "sysusers.d" / "ovn-docker.conf").read_text().splitlines()]
    assert ["u", unit["Service"]["User"]] in [words[:2] for words in made]
    assert ["g", unit["Service"]["SupplementaryGroups"]] in [words[:2] for words in made]
