"""Two machines by the tutorial: over TCP, with the kernel's datapath between them, and over TLS."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.polling import eventually
from tests.vm.conftest import player
from tests.vm.machines import Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]

NETWORK = "docker network create -d openvswitch --ipam-driver openvswitch --subnet 10.40.0.0/24 both"
SERVER = "10.40.0.10"
WEB = "busybox httpd -f -p 80 -h /www"
MEGABYTES = 20


@contextmanager
def containers(first: Vm, second: Vm) -> Iterator[None]:
    """A web server on the first machine, a client on the second."""
    try:
        for machine in (first, second):
            machine.run(NETWORK)
        first.run(f"dd if=/dev/urandom of=/root/data bs=1M count={MEGABYTES} 2>/dev/null")
        first.run(f"docker run -d --net both --ip {SERVER} --name server -v /root:/www {WEB}")
        second.run("docker run -d --net both --name client busybox sleep 1000000")
        yield
    finally:
        for machine, name in ((first, "server"), (second, "client")):
            machine.try_(f"docker rm -f {name}; docker network rm both")


def inside(container: str, command: str) -> str:
    """A command of the machine's in a container's network."""
    return f"nsenter --net=/proc/$(docker inspect -f '{{{{.State.Pid}}}}' {container})/ns/net {command}"


def test_the_tutorial_of_two_hosts_is_true_with_systemd(pair: tuple[Vm, Vm]) -> None:
    """Its commands were run for the fixture, and what they show was compared."""
    for machine in pair:
        assert machine.run("systemctl is-active ovn-docker-overlay-driver").strip() == "active"
        assert "tcp:" in machine.run("ovs-vsctl get Open_vSwitch . external_ids:ovn-nb")
        machine.finds_nothing_wrong()


def test_the_kernel_carries_what_containers_send(pair: tuple[Vm, Vm]) -> None:
    first, second = pair
    with containers(first, second):
        for machine, name in ((first, "server"), (second, "client")):
            assert "geneve" in machine.run("ip -d link show genev_sys_6081")
            assert "ovn-bridge-datapath-type" not in machine.run("ovs-vsctl get Open_vSwitch . external_ids")
            [link] = json.loads(machine.run(inside(name, "ip -j link show eth0")))
            assert link["mtu"] == 1442
            assert "tx-checksumming: on" in machine.run(inside(name, "ethtool -k eth0"))
        ping = f"docker exec client ping -c 1 -W 1 -s 1414 {SERVER}"  # 1442 with its headers
        eventually(second.succeeds(ping), 20, "a packet as long as the MTU passes")
        fetch = f"docker exec client timeout 60 wget -q -O - http://{SERVER}/data | sha256sum"
        assert second.run(fetch).split()[0] == first.run("sha256sum /root/data").split()[0]


def test_a_machine_that_boots_finds_its_containers_again(pair: tuple[Vm, Vm]) -> None:
    first, second = pair
    with containers(first, second):
        second.run("docker update --restart always client")
        second.cut()
        second.up()
        fetch = f"docker exec client timeout 5 wget -q -O /dev/null http://{SERVER}/data"
        eventually(second.succeeds(fetch), 150, "the client of the machine that booted reaches the server")
        second.finds_nothing_wrong()


def test_the_page_on_tls_is_true_with_systemd(pair: tuple[Vm, Vm]) -> None:
    first, second = pair
    for machine in pair:
        key = machine.run("cat /root/.ssh/id_ed25519.pub 2>/dev/null || true") or machine.run(
            "ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && cat /root/.ssh/id_ed25519.pub"
        )
        for other in pair:
            other.run(f"echo '{key.strip()}' >>/root/.ssh/authorized_keys")
        machine.run("printf 'StrictHostKeyChecking accept-new\\nLogLevel ERROR\\n' >/root/.ssh/config")
    try:
        player().play("how-to/tls.md", until="## What it does not do")
        for machine in pair:
            assert "ssl:" in machine.run("ovs-vsctl get Open_vSwitch . external_ids:ovn-nb")
            machine.finds_nothing_wrong()
    finally:
        back_to_tcp(first, second)
    second.finds_nothing_wrong()


def back_to_tcp(first: Vm, second: Vm) -> None:
    """What the tutorial set."""
    for database in ("nb", "sb"):
        port = 6641 if database == "nb" else 6642
        first.run(f"ovn-{database}ctl set-connection ptcp:{port} && ovn-{database}ctl del-ssl")
    for machine in (first, second):
        remotes = (
            f"external_ids:ovn-remote=tcp:{first.address}:6642 external_ids:ovn-nb=tcp:{first.address}:6641"
        )
        machine.run(f"ovs-vsctl set Open_vSwitch . {remotes} && ovs-vsctl del-ssl")
