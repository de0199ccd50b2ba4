"""The managed plugin on two machines, and a swarm of them, with IPVS in the kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.polling import eventually
from tests.vm.machines import TREE, Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

DRIVER = "-d ovn:latest --ipam-driver ovn:latest"
SERVICE = "docker service create --detach --quiet --no-resolve-image --stop-grace-period 1s"
WEB = "busybox httpd -f -p 80 -h /etc"


@pytest.fixture(scope="module")
def _plugin_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plugin")


@pytest.fixture
def plugged(pair: tuple[Vm, Vm]) -> tuple[Vm, Vm]:
    """Both machines with the plugin, built on the first."""
    first, second = pair
    if "ovn:latest" not in first.run("docker plugin ls"):
        first.run(f"{TREE}/scripts/build-plugin", timeout=900)
        first.run(
            "cd /root && rm -rf plugin && mkdir plugin && tar -xzf ovn-docker/build/plugin/*.tar.gz -C plugin"
        )
        first.run("test -d /root/plugin/plugin || mv /root/plugin/*/* /root/plugin/")
        key = "-o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
        public = first.run(
            "[ -e .ssh/swarm ] || ssh-keygen -q -t ed25519 -N '' -f .ssh/swarm; cat .ssh/swarm.pub"
        )
        second.run(f"echo '{public.strip()}' >>/root/.ssh/authorized_keys")
        first.run(
            f"tar -C /root -c plugin | ssh -i .ssh/swarm {key} root@{second.address} tar -x -C /root", 300
        )
        for machine in pair:
            machine.run("install -m 644 /root/plugin/ovn-docker-plugin.conf /etc/tmpfiles.d/")
            machine.run("systemd-tmpfiles --create ovn-docker-plugin.conf")
            machine.run("docker plugin create ovn /root/plugin/plugin", 300)
            machine.run("docker plugin set ovn HEALTH_CHECK_ON=true docker.source=/run/docker.sock")
            machine.run("docker plugin enable ovn")
    return pair


def test_the_plugin_joins_containers_of_two_machines(plugged: tuple[Vm, Vm]) -> None:
    first, _second = plugged
    try:
        first.run(f"docker network create {DRIVER} --subnet 10.88.0.0/24 boxed")
        first.run("docker run -d --net boxed --ip 10.88.0.10 --name one busybox sleep 1000000")
        first.run("docker run --rm --net boxed busybox ping -c 1 -W 2 10.88.0.10")
        first.run("systemctl restart docker")
        first.run("docker start one")
        first.run("docker run --rm --net boxed busybox ping -c 1 -W 2 10.88.0.10")
    finally:
        first.try_("docker rm -f one; docker network rm boxed")


@pytest.fixture
def swarm(plugged: tuple[Vm, Vm]) -> Iterator[tuple[Vm, Vm]]:
    """A manager and a worker, with an attachable network."""
    first, second = plugged
    try:
        first.run(f"docker swarm init --advertise-addr {first.address}")
        token = first.run("docker swarm join-token --quiet worker").strip()
        second.run(f"docker swarm join --token {token} {first.address}:2377")
        first.run(f"docker network create {DRIVER} --subnet 10.60.0.0/24 --attachable net")
        yield plugged
    finally:
        first.try_("docker service rm $(docker service ls -q)")
        eventually(
            first.succeeds("docker network rm net || ! docker network inspect net"), 60, "no network is left"
        )
        second.try_("docker swarm leave")
        first.try_("docker swarm leave --force")


def running(manager: Vm, service: str, tasks: int) -> bool:
    states = manager.run(f"docker service ps --format '{{{{.CurrentState}}}}' {service}")
    return states.count("Running") == tasks


def fetch(address: str) -> str:
    """A request from a container on the swarm's network."""
    return f"docker run --rm --net net busybox timeout 5 wget -q -O - http://{address}/group"


def test_a_service_is_reached_by_its_name_from_every_node(swarm: tuple[Vm, Vm]) -> None:
    first, _second = swarm
    first.run(f"{SERVICE} --name web --replicas 2 --network net --endpoint-mode dnsrr {WEB}")
    eventually(lambda: running(first, "web", 2), 120, "both tasks run")
    for node in swarm:
        eventually(node.succeeds(fetch("web")), 60, "the service answers to its name")


def test_the_routing_mesh_leads_every_node_to_a_published_port(swarm: tuple[Vm, Vm]) -> None:
    first, _second = swarm
    first.run(f"{SERVICE} --name mesh --replicas 1 --network net --publish 8080:80 {WEB}")
    eventually(lambda: running(first, "mesh", 1), 120, "the task runs")
    for node in swarm:
        curl = f"curl -s --max-time 5 http://{node.address}:8080/group"
        eventually(lambda: "root:x:0:" in first.try_(curl).output, 60, "each node serves the port")  # noqa: B023


def test_a_virtual_address_on_the_network_of_a_plugin_is_not_served(swarm: tuple[Vm, Vm]) -> None:
    """As docs/how-to/swarm.md says; were it served one day, the page would be wrong."""
    first, _second = swarm
    first.run(f"{SERVICE} --name virtual --replicas 2 --network net {WEB}")
    eventually(lambda: running(first, "virtual", 2), 120, "both tasks run")
    eventually(first.succeeds(fetch("tasks.virtual")), 60, "the tasks answer to the name of the tasks")
    assert first.try_(fetch("virtual")).status != 0
