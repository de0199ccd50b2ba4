"""scripts/quickstart on a fresh machine with systemd: the demo, boots, --down and again."""

from collections.abc import Callable

import pytest

from tests.polling import eventually
from tests.vm.machines import TREE, Vm

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

TALK = "docker exec demo-a ping -c 1 -W 2 demo-b && docker exec demo-a timeout 5 wget -q -O - http://demo-b/"
BOOT = 150.0
"""Seconds within which everything has to be back."""


def talk(machine: Vm, within: float) -> None:
    eventually(machine.succeeds(TALK), within, "the demo's containers talk")


def test_a_fresh_machine_ends_with_two_containers_that_talk(quick: Vm, first_output: str) -> None:
    assert "0% packet loss" in first_output
    assert "Hello over OVN" in first_output
    assert "Two containers talk over OVN" in first_output
    quick.finds_nothing_wrong()


def test_the_kernel_forwards_and_nothing_was_switched_off_for_it(quick: Vm) -> None:
    assert "ovn-bridge-datapath-type" not in quick.run("ovs-vsctl get Open_vSwitch . external_ids")
    assert "system@ovs-system" in quick.run("ovs-dpctl dump-dps")
    inside = "nsenter --net=/proc/$(docker inspect -f '{{.State.Pid}}' demo-a)/ns/net"
    quick.run("apt-get -qq install -y ethtool >/dev/null", 300)
    assert "tx-checksumming: on" in quick.run(f"{inside} ethtool -k eth0")
    assert " mtu 1442 " in quick.run(f"{inside} ip link show eth0")


def test_it_can_be_run_again(quick: Vm) -> None:
    assert "Two containers talk over OVN" in quick.run(f"{TREE}/scripts/quickstart", timeout=600)


@pytest.mark.parametrize("stop", [Vm.down, Vm.cut], ids=["shut down", "plug pulled"])
def test_containers_are_back_after_a_cold_boot(quick: Vm, stop: Callable[[Vm], None]) -> None:
    quick.run(
        "docker run -d --restart always --net demo --name lasting ovn-docker-demo/busybox sleep 1000000"
    )
    try:
        quick.run("sync")
        stop(quick)
        quick.up()
        talk(quick, BOOT)
        eventually(
            quick.succeeds("docker exec lasting ping -c 1 -W 2 demo-b"),
            BOOT,
            "the container that lasts talks",
        )
        quick.finds_nothing_wrong()
    finally:
        quick.run("docker rm -f lasting")


@pytest.mark.parametrize(
    "unit", ["ovn-ovsdb-server-nb", "ovn-central", "openvswitch-switch", "ovn-controller", "docker"]
)
def test_containers_start_after_a_restart_of_a_daemon(quick: Vm, unit: str) -> None:
    quick.run(f"systemctl restart {unit}")
    run = "docker run --rm --net demo ovn-docker-demo/busybox ping -c 1 -W 2 demo-b"
    quick.run("docker start demo-a demo-b")
    eventually(quick.succeeds(run), 60, f"a container starts after a restart of {unit}")
    quick.finds_nothing_wrong()


def test_the_demo_goes_and_comes_back(quick: Vm) -> None:
    quick.run("docker network create -d openvswitch --subnet 10.66.0.0/24 foo")
    quick.run("docker run -d --net foo --name one ovn-docker-demo/busybox sleep 1000")
    refused = quick.try_(f"{TREE}/scripts/quickstart --down", timeout=600)
    assert refused.status != 0
    assert "docker rm -f one" in refused.output
    talk(quick, 10)  # nothing was undone
    quick.run("docker rm -f one && docker network rm foo")
    quick.run(f"{TREE}/scripts/quickstart --down", timeout=600)
    for unit in ("ovn-docker-overlay-driver", "docker", "ovn-controller", "ovn-northd", "ovs-vswitchd"):
        assert quick.try_(f"systemctl is-active {unit}").output.strip() == "inactive"
    assert quick.try_("ls /etc/systemd/system/ovn-docker-overlay-driver.service").status != 0
    assert quick.try_("ls /var/lib/ovn-docker-quickstart/state").status != 0
    assert "Two containers talk over OVN" in quick.run(f"{TREE}/scripts/quickstart", timeout=600)
    quick.finds_nothing_wrong()
