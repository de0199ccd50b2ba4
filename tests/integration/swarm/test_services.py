"""Services over three nodes: who reaches whom, growth, an update under load, a node that dies."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from ovn_docker_lab import Machine
from tests.integration import records
from tests.integration.swarm.cluster import (
    NOTICED,
    OURS,
    Cluster,
    Task,
    leases,
    users,
)
from tests.integration.tenant import IMAGE, Container, in_parallel
from tests.polling import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.slow]

PROGRAM = str(Path(sys.executable).with_name("ovn-docker"))
SUBNET, OTHER_SUBNET = "10.71.0.0/24", "10.72.0.0/24"
CLIENT = """\
while :; do
  if timeout 3 wget -q -O /dev/null http://web/hostname; then echo ok; else echo failed; fi
  sleep 0.05
done >/tmp/said 2>&1"""


def all_reach_all(tasks: Sequence[Task], *networks: str) -> None:
    """Each task asks each other one's web server, by the name of its container and by its addresses."""
    wanted = [task.name for task in tasks]
    wanted += [task.address(network) for network in networks for task in tasks]
    script = "; ".join(
        f"timeout 5 wget -q -O /dev/null http://{server}/hostname || echo {server}" for server in wanted
    )
    asks = [partial(task.container.run, script, timeout=60) for task in tasks]
    assert [answer.stdout for answer in in_parallel(*asks)] == [""] * len(tasks)


def test_a_service_of_twelve_tasks_scales_to_thirty_and_down_to_three(
    cluster: Cluster,
) -> None:
    network_id = cluster.network("leased", SUBNET, *OURS)
    cluster.service("web", "leased", 12)
    tasks = cluster.settle("web", 12)
    assert {task.host.name for task in tasks} == {"h1", "h2", "h3"}
    all_reach_all(tasks, "leased")

    for number in (30, 3):
        tasks = cluster.scale("web", number)
        addresses = {task.address("leased") for task in tasks}
        assert len(addresses) == number
        eventually(partial(leased, cluster, addresses), 20, f"{number} addresses are leased")
        assert len(records.rows(cluster.lab.central, records.PORT)) == number
    all_reach_all(tasks, "leased")

    cluster.docker("node", "update", "--availability", "drain", "h2")
    try:
        eventually(lambda: "h2" not in users(cluster.lab), 30, "the drained node has nothing")
        tasks = cluster.settle("web", 3)
        assert {task.host.name for task in tasks} == {"h1", "h3"}
        all_reach_all(tasks, "leased")
    finally:
        cluster.docker("node", "update", "--availability", "active", "h2")
    switches = records.rows(cluster.lab.central, records.SWITCH)
    assert [records.marks(switch)["ovn-docker-network"] for switch in switches] == [network_id]


def leased(cluster: Cluster, addresses: set[str]) -> bool:
    """Whether these are leased, and no others."""
    return set(leases(cluster.lab)) == addresses


def test_an_update_under_load_fails_no_request(cluster: Cluster) -> None:
    """Docker takes a task out of the names before it asks it to end; the new one is there before that."""
    cluster.network("plain", SUBNET, "--internal", "--attachable")
    cluster.service("web", "plain", 6, "--update-order", "start-first", "--update-parallelism", "2")
    before = {task.task_id for task in cluster.settle("web", 6)}
    worker = cluster.lab.hosts[1]
    worker.docker("run", "-d", "--net", "plain", "--name", "client", IMAGE, "sh", "-c", CLIENT)
    client = Container(worker, "client")
    try:
        assert (list(client.links()), client.default_routes()) == (["eth0"], []), "it is internal"
        eventually(lambda: count(client, "ok") > 20, 20, "the client has answers")
        cluster.docker("service", "update", "--detach=false", "--quiet", "--force", "web")
        after = {task.task_id for task in cluster.settle("web", 6)}
        seen = count(client, "ok")
        eventually(lambda: count(client, "ok") > seen + 20, 20, "the client has more answers")
        assert not before & after
        assert count(client, "failed") == 0
    finally:
        worker.docker("rm", "--force", "client")


def count(client: Container, word: str) -> int:
    return int(client.run(f"grep -c {word} /tmp/said", check=False).stdout or "0")


def test_tasks_of_a_dead_worker_run_elsewhere_and_its_rows_are_collected(cluster: Cluster) -> None:
    lab = cluster.lab
    dead = lab.hosts[2]
    cluster.network("leased", SUBNET, *OURS)
    cluster.network("plain", OTHER_SUBNET)
    cluster.service("web", "leased", 6, "--network", "plain")
    lost = {task.address("leased") for task in cluster.settle("web", 6) if task.host == dead}
    assert lost
    dead.power_off()
    tasks = cluster.settle("web", 6, NOTICED)
    assert not {task.address("leased") for task in tasks} & lost
    all_reach_all(tasks, "leased", "plain")

    assert users(lab)["h3"] >= {"port", "lease", "claim"}
    lab.central.run(["ovn-sbctl", "chassis-del", "h3"])
    eventually(lambda: given_up(cluster.manager, "h3"), 30, "h3 is given up")
    assert "h3" not in users(lab)
    kept = {address: ids for address, ids in leases(lab).items() if address in lost}
    assert all(ids["ovn-docker-swarm"] == "true" for ids in kept.values()), "only the swarm may free them"
    all_reach_all(tasks, "leased", "plain")

    dead.power_on()
    eventually(lambda: cluster.nodes()["h3"] == "Ready Active", NOTICED, "h3 is back")
    grown = cluster.scale("web", 9)
    assert [task for task in grown if task.host == dead]
    all_reach_all(grown, "leased", "plain")
    held = {task.address("leased") for task in grown}
    eventually(partial(leased, cluster, held), 30, "nothing but what tasks have is leased")


def given_up(host: Machine, name: str) -> bool:
    """Whether `ovn-docker gc` gives a host up; Northbound takes a while to notice that it is gone."""
    return host.run([PROGRAM, "gc", "--host", name], check=False).returncode == 0
