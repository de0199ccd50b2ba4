"""What a lease costs the rest of OVN: nothing. A real ovn-northd between private databases."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker.ovn import hosts as last_seen
from ovn_docker.ovsdb.remotes import Remote
from tests.functional.conftest import MakeServer
from tests.functional.overlay.shared_host import SUBNET, Hosts
from tests.functional.servers import LIMIT, Cluster, OvsdbServer, run
from tests.polling import eventually
from tests.versions import needs_ovn

pytestmark = pytest.mark.functional

LEASES = 100


class Northd:
    """An ovn-northd process."""

    def __init__(self, northbound: OvsdbServer, southbound: OvsdbServer | Cluster, directory: Path) -> None:
        self._control = directory / "northd.ctl"
        self._nb, self._sb = northbound, southbound
        command = [
            "ovn-northd",
            f"--ovnnb-db={northbound.remote}",
            f"--ovnsb-db={','.join(map(str, _remotes(southbound)))}",
            f"--unixctl={self._control}",
            "--no-chdir",
            "-vconsole:off",
            "-vsyslog:off",
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=directory)
        eventually(self._control.exists, LIMIT, "ovn-northd takes commands")

    def sync(self) -> None:
        """Wait until it has done what Northbound held when this was called."""
        run("ovn-nbctl", f"--db={self._nb.remote}", "--timeout=5", "--wait=sb", "sync")

    def cost_of_sync(self) -> tuple[dict[str, int], int]:
        """How often each part has been computed anew, and how many changes Southbound has seen.

        Left out is what looks at a table (NB_, SB_) or a clock (_waker) each time that northd wakes.
        """
        self.sync()
        stats = run("ovn-appctl", "-t", self._control, "inc-engine/show-stats")
        found = re.findall(r"Node: (\S+)\s+- recompute:\s+(\d+)", stats)
        assert len(found) > 10, stats
        parts = {node: int(count) for node, count in found if not re.match(r"[NS]B_|.*_waker$", node)}
        return parts, self._changes()

    def _changes(self) -> int:
        assert isinstance(self._sb, OvsdbServer)
        return run("ovsdb-tool", "show-log", self._sb.file).count("record ")

    def pause(self) -> None:
        """Let it pause, and wait until it has released its lock."""
        self._switch("pause")

    def resume(self) -> None:
        """Let it go on, and wait until it has asked for its lock."""
        self._switch("resume")

    def _switch(self, command: str) -> None:
        """Give a command that it follows when it next wakes, and wake it.

        Without a second command that may be never: the end of the first one's connection wakes it only if it
        sleeps by then. OVN wakes it after resume since 23.06.5, 23.09.5, 24.03.3 and 24.09, and after pause
        in no release until 26.03.2. The second command is answered after the first was followed.
        """
        self.appctl(command)
        self.appctl("is-paused")

    def appctl(self, *words: str) -> str:
        return run("ovn-appctl", "-t", self._control, *words)


def _remotes(served: OvsdbServer | Cluster) -> tuple[Remote, ...]:
    return served.remotes if isinstance(served, Cluster) else (served.remote,)


@pytest.fixture
def northd(northbound: OvsdbServer, make_server: MakeServer, short_path: Path) -> Iterator[Northd]:
    daemon = Northd(northbound, make_server("OVN_Southbound"), short_path)
    yield daemon
    daemon.process.terminate()
    daemon.process.wait(LIMIT)


def difference(after: tuple[dict[str, int], int], before: tuple[dict[str, int], int]) -> dict[str, int]:
    changes = {node: count - before[0][node] for node, count in after[0].items()}
    return changes | {"Southbound": after[1] - before[1]}


@needs_ovn("23.09", "the northd of an older one computes everything anew at any change")
async def test_leases_and_signs_of_life_make_northd_compute_and_write_nothing(
    hosts: Hosts, northd: Northd
) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        northd.sync()
        first, second = northd.cost_of_sync(), northd.cost_of_sync()
        held = [await host.request(network.pool_ids[0]) for _ in range(LEASES)]
        for address in held[:50]:
            await host.release(network.pool_ids[0], address)
        third = northd.cost_of_sync()
        assert difference(third, second) == difference(second, first)
        for number in range(60):
            await host.client.transact([last_seen.seen_set("h", f"2030-01-02T03:{number:02}:00Z")])
        seen = northd.cost_of_sync()
        assert difference(seen, third) == difference(second, first)
        third = seen
        await host.run(network)
        assert difference(northd.cost_of_sync(), third) != difference(second, first), (
            "the measure sees a port"
        )
