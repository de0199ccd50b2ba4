"""Three managers whose leader dies: the next one has all that the swarm has, and takes nothing twice."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.integration.swarm.cluster import NOTICED, OURS, SETTLED, Cluster, leases, users
from tests.integration.swarm.test_services import all_reach_all, given_up, leased
from tests.polling import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.slow]

SUBNET = "10.73.0.0/24"


@pytest.fixture
def managers(cluster: Cluster) -> Iterator[Cluster]:
    """The swarm with three managers; afterwards it has one again."""
    first = cluster.manager
    cluster.docker("node", "promote", "h2", "h3")
    yield cluster
    cluster.remove_services()
    cluster.remove_networks()
    eventually(lambda: cluster.role("h1").startswith("Reachable"), NOTICED, "h1 is a manager again")
    cluster.manager = first
    eventually(lambda: demoted(cluster), NOTICED, "h1 is the only manager")


def demoted(cluster: Cluster) -> bool:
    """Whether the others are workers, and know it; swarm refuses while it would lose its majority."""
    cluster.manager.docker("node", "demote", "h2", "h3", check=False)
    form = "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"
    others = [host.docker("info", "--format", form).stdout.strip() for host in cluster.lab.hosts[1:]]
    roles = [cluster.role(name) for name in ("h1", "h2", "h3")]
    return (roles, others) == (["Leader", "", ""], ["active false"] * 2)


def test_the_next_leader_goes_on_where_the_dead_one_was(managers: Cluster) -> None:
    lab, cluster = managers.lab, managers
    eventually(lambda: cluster.role("h3") == "Reachable", SETTLED, "there are three managers")
    cluster.network("leased", SUBNET, *OURS)
    cluster.service("web", "leased", 6)
    before = {task.task_id: task.address("leased") for task in cluster.settle("web", 6)}
    lab.hosts[0].power_off()
    cluster.manager = lab.hosts[1]
    eventually(lambda: cluster.leader() in {"h2", "h3"}, NOTICED, "there is another leader")
    tasks = cluster.settle("web", 6, NOTICED)
    stayed = {task.task_id for task in tasks} & before.keys()
    assert stayed
    assert {task.address("leased") for task in tasks if task.task_id in stayed} == {
        before[task_id] for task_id in stayed
    }

    lab.central.run(["ovn-sbctl", "chassis-del", "h1"])
    eventually(lambda: given_up(lab.hosts[1], "h1"), 30, "h1 is given up")
    assert "h1" not in users(lab)
    assert set(leases(lab)) >= {*before.values()}, "the swarm keeps what it gave to the dead node's tasks"
    tasks = cluster.scale("web", 9)
    addresses = {task.address("leased") for task in tasks}
    assert len(addresses) == 9
    assert not addresses & {before[task_id] for task_id in before.keys() - stayed}
    all_reach_all(tasks, "leased")

    lab.hosts[0].power_on()
    eventually(partial(leased, cluster, addresses), NOTICED, "nothing but what tasks have is leased")
