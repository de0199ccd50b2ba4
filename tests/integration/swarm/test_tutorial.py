"""The tutorial of the swarm, played on three hosts on which nothing is set up but Docker."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ovn_docker.errors import HostError
from ovn_docker_lab import Lab, Machine
from tests.integration.conftest import lab_name
from tests.integration.test_docs import DOCS, Shells, programs, strip

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.slow]

DOCUMENT = "tutorial/swarm.md"


class Reader(Mapping[str, str]):
    """The variables of one who reads the document, and copies the token from h1 as soon as it is shown."""

    def __init__(self, known: Mapping[str, str], manager: Machine) -> None:
        self._known = dict(known)
        self._manager = manager

    def _all(self) -> dict[str, str]:
        if "TOKEN" not in self._known:
            try:
                shown = self._manager.docker("swarm", "join-token", "--quiet", "worker")
            except HostError:  # there is no swarm yet
                return self._known
            self._known["TOKEN"] = shown.stdout.strip()
        return self._known

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


@pytest.mark.usefixtures("_no_labs_of_dead_runs")
def test_the_tutorial_of_the_swarm_is_true(plugin_directory: Path, tmp_path: Path) -> None:
    [stack] = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / DOCUMENT).read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "stack.yaml").write_text(stack)
    lab = Lab.up(lab_name("tutor"), 3, driver=False)
    try:
        strip(lab)
        common = {
            "PATH": programs(tmp_path / "bin", lab.name),
            "HOME": str(tmp_path),
            "CENTRAL_IP": str(lab.hosts[0].address),
            "RELEASE": str(plugin_directory.parent),
        }
        variables = {
            host.name: Reader(common | {"NODE": host.name, "LOCAL_IP": str(host.address)}, lab.hosts[0])
            for host in lab.hosts
        }
        Shells(tmp_path, variables).play(DOCUMENT, lab, lab.settings.datapath)
    finally:
        lab.down()
