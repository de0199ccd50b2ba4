"""The way out is damaged, or what made it is ended: it is there again by itself, or never went away."""

import json
from collections.abc import Callable, Sequence

import pytest

from ovn_docker_lab import Lab, Machine
from ovn_docker_lab.plan import WORLD
from tests.integration.faults.parts import DOCKERD, DRIVER, KILL, STOP, end, restart
from tests.integration.tenant import OURS, Container, Network, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SUBNET, SUBNET6 = "10.68.0.0/24", "fd00:68::/64"
RESTORED = 40.0
"""Seconds; a pass of the health check begins every 2 s here, and looks twice at what it finds."""

COMES_BACK = ("--restart=always", "--stop-signal=KILL")

Damage = Callable[[Machine, Machine], object]


def gateway_link(host: Machine) -> str:
    """The only link by which a host is a gateway."""
    names = [link["ifname"] for link in json.loads(host.run(["ip", "-json", "link"]).stdout)]
    [name] = [name for name in names if name.startswith("og-")]
    return str(name)


def _on_link(*command: str) -> Damage:
    return lambda host, _: host.run([word.format(link=gateway_link(host)) for word in command])


def _localport_removed(_host: Machine, central: Machine) -> None:
    listed = central.run(
        ["ovn-nbctl", "--bare", "--columns=name", "find", "Logical_Switch_Port", "type=localport"]
    )
    [name] = listed.stdout.split()
    central.run(["ovn-nbctl", "--wait=hv", "lsp-del", name])


DAMAGES: dict[str, Damage] = {
    "its link is deleted": _on_link("ovs-vsctl", "del-port", "{link}"),
    "its link is down": _on_link("ip", "link", "set", "{link}", "down"),
    "its address is lost": _on_link("ip", "address", "flush", "dev", "{link}"),
    "its MAC address is another": _on_link("ip", "link", "set", "{link}", "address", "02:00:00:00:00:99"),
    "our table is deleted": lambda host, _: host.run(["nft", "delete", "table", "inet", "ovn-docker"]),
    "its chain of iptables is emptied": lambda host, _: host.run(["iptables", "-F", "OVN-DOCKER"]),
    "its port is gone": _localport_removed,
}


def gets_out(box: Container) -> bool:
    """Whether the machine outside answers it."""
    fetch = f"timeout 2 wget -q -O - http://{WORLD[0]}/"
    return box.run(fetch, check=False).stdout.strip() == str(box.host.address)


def container(tenant: Tenant, *options: str, ipam: Sequence[str] = OURS) -> Container:
    """A container with a way out, of both families."""
    network = tenant.network(SUBNET, *ipam, "--ipv6", f"--subnet={SUBNET6}")
    box = tenant.container(network, *options)
    assert set(box.links()) == {"eth0"}
    eventually(lambda: gets_out(box), 5, "it gets out")
    return box


@pytest.mark.parametrize("what", DAMAGES)
def test_the_way_out_is_restored_when(what: str, tenant: Tenant, lab: Lab) -> None:
    _is_restored(container(tenant), what, lab)


def test_the_way_out_is_restored_on_a_network_of_one_host(tenant: Tenant, lab: Lab) -> None:
    _is_restored(container(tenant, ipam=()), "its port is gone", lab)


def _is_restored(box: Container, what: str, lab: Lab) -> None:
    DAMAGES[what](box.host, lab.central)
    eventually(lambda: gets_out(box), RESTORED, f"it gets out again though {what}")
    eventually(lambda: is_whole(box.host), RESTORED, f"all is as it was before {what}")
    assert gets_out(box)


def is_whole(host: Machine) -> bool:
    """Whether everything stands of which the way out is made, of both families."""
    link = gateway_link(host)
    shown = host.run(["ip", "address", "show", link], check=False).stdout
    table = host.run(["nft", "list", "table", "inet", "ovn-docker"], check=False).stdout
    chain = host.run(["iptables", "-S", "OVN-DOCKER"]).stdout
    return (
        all(address in shown for address in ("10.68.0.1/24", "fd00:68::1/64"))
        and ",UP" in shown
        and "masquerade" in table
        and "og-" in chain
    )


@pytest.mark.parametrize("how", [STOP, KILL])
def test_the_way_out_needs_no_driver(how: str, tenant: Tenant, lab: Lab) -> None:
    box = container(tenant)
    end(lab.hosts[0], DRIVER, how)
    assert gets_out(box)
    lab.hosts[0].start_again(DRIVER)
    assert gets_out(box)


def test_the_way_out_is_open_while_the_central_is_away(tenant: Tenant, lab: Lab) -> None:
    box = container(tenant)
    try:
        for daemon in ("northd", "nb", "sb"):
            lab.central.kill(daemon)
        assert gets_out(box)
        lab.hosts[0].kill("ovn-controller")
        assert gets_out(box)
    finally:
        lab.central.repair()
        lab.hosts[0].repair()


@pytest.mark.parametrize("how", [STOP, KILL])
def test_the_way_out_is_there_again_with_dockerd(how: str, tenant: Tenant, lab: Lab) -> None:
    box = container(tenant, *COMES_BACK)
    restart(lab.hosts[0], DOCKERD, how)
    eventually(lambda: gets_out(box), 20, "it gets out again")
    assert set(box.links()) == {"eth0"}


def test_the_way_out_is_there_again_after_a_restart_of_ovs_vswitchd(tenant: Tenant, lab: Lab) -> None:
    box = container(tenant)
    restart(lab.hosts[0], "ovs-vswitchd", KILL)
    eventually(lambda: gets_out(box), RESTORED, "it gets out again")


def test_the_way_out_is_there_again_after_a_reboot(users: Sequence[Tenant], lab: Lab) -> None:
    networks = [user.network(SUBNET, *OURS) for user in users]
    box, other = (user.container(network, *COMES_BACK) for user, network in zip(users, networks, strict=True))
    lab.hosts[0].reboot()
    eventually(lambda: is_up(box), 60, "it is up")
    eventually(lambda: gets_out(box), RESTORED, "it gets out again")
    assert gets_out(other)
    assert set(box.links()) == {"eth0"}
    assert reaches_from_host(box, networks[0])


def is_up(box: Container) -> bool:
    return box.run("true", check=False).returncode == 0


def reaches_from_host(box: Container, network: Network) -> bool:
    """Whether the host reaches its container."""
    ping = ["busybox", "ping", "-c1", "-W2", box.address(network)]
    return box.host.run(ping, check=False).returncode == 0
