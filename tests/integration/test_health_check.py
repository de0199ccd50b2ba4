"""What is lost is made whole again and what Docker has forgotten is removed, by the driver and by hand."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovn_docker import addressing
from ovn_docker.host.veth import GROUP
from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.records import LEASE, PORT, SWITCH, marks
from tests.integration.tenant import OURS, Container, Network, Result, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PROGRAM = str(Path(sys.executable).with_name("ovn-docker"))
CHECKING = ("--health-check-on", "--health-check-interval=2")
MENDED, REMOVED = 15.0, 40.0
"""Seconds for two looks, and for two that are ten seconds apart, on a busy machine."""

GHOST = "f0e1d2c3" * 8

WithFlags = Callable[..., None]


@pytest.fixture
def driver(lab: Lab) -> Iterator[WithFlags]:
    """Starts the first host's driver again with other flags."""
    host = lab.hosts[0]

    def start(*flags: str) -> None:
        host.stop("driver")
        host.start_driver(flags)

    yield start
    start()


@pytest.fixture
def checking(driver: WithFlags) -> None:
    """The first host's driver checks."""
    driver(*CHECKING)


def command(host: Machine, *words: str) -> Result:
    """``ovn-docker WORD...`` on a host."""
    return host.run([PROGRAM, *words], check=False, timeout=60)


def agrees(host: Machine) -> bool:
    return command(host, "check").returncode == 0


def endpoint_of(box: Container, network: Network) -> str:
    return str(box.endpoint(network)["EndpointID"])


def log_of(host: Machine) -> str:
    return host.paths.log("driver").read_text()


def lease_row(central: Machine, cidr: str) -> str:
    [found] = [row for row in records.rows(central, LEASE) if row["cidr"] == cidr]
    return str(found["_uuid"][1])


def test_what_is_lost_is_made_again_and_containers_talk(
    tenant: Tenant,
    central: Machine,
    plugin: Plugin,
    checking: None,  # noqa: ARG001
) -> None:
    own, shared = tenant.network("10.60.0.0/24"), tenant.network("10.60.1.0/24", *OURS)
    one, two = tenant.container(own), tenant.container(shared)
    peers = tenant.container(own), tenant.container(shared)
    link, _ = addressing.link_names(endpoint_of(one, own))
    other, _ = addressing.link_names(endpoint_of(two, shared))
    before = plugin.call("Database").body["docker_last_synched"]

    central.run(["ovn-nbctl", "ls-del", own.id])
    central.run(["ovn-nbctl", "lsp-del", endpoint_of(two, shared)])
    central.run(["ovn-nbctl", "lsp-set-addresses", endpoint_of(peers[1], shared), "0a:00:00:00:00:01"])
    for cidr in ("10.60.1.0/24", "10.60.1.1", peers[1].address(shared)):
        central.run(["ovn-nbctl", "destroy", LEASE, lease_row(central, cidr)])
    tenant.host.run(["ovs-vsctl", "del-port", link])
    tenant.host.run(["ovs-vsctl", "remove", "Interface", other, "external_ids", "iface-id"])

    eventually(lambda: agrees(tenant.host), MENDED, "nothing differs any more")
    one.reaches(peers[0].address(own))
    two.reaches(peers[1].address(shared))
    assert marks(records.row(central, SWITCH, own.id))["subnet"] == "10.60.0.0/24"
    assert ("reserved", "10.60.1.1") in records.held(central)
    repaired = {kind for kind in KINDS if f"health check: {kind}: " in log_of(tenant.host)}
    assert repaired >= {
        "network-missing",
        "endpoint-missing",
        "endpoint-changed",
        "lease-missing",
        "pool-missing",
        "interface-missing",
    }
    eventually(lambda: plugin.call("Database").body["docker_last_synched"] != before, 10, "a good pass")


KINDS = (
    "network-missing",
    "endpoint-missing",
    "endpoint-changed",
    "lease-missing",
    "pool-missing",
    "interface-missing",
)


def ghost(plugin: Plugin) -> None:
    """Networks that Docker has forgotten: one of its own switch, and one on a shared one with a pool."""
    pool = {"AddressSpace": "ovn-docker", "Pool": "10.61.9.0/24"}
    taken = plugin.call("IpamDriver.RequestPool", {"Pool": "10.61.9.0/24"})
    gateway = {"RequestAddressType": "com.docker.network.gateway"}
    for options in (gateway, {}):
        body = {"PoolID": taken.body["PoolID"], "Options": options}
        assert plugin.call("IpamDriver.RequestAddress", body).ok
    for network_id, data in ((GHOST, {"Pool": "10.61.8.0/24"}), (GHOST[::-1], pool)):
        made = plugin.call("CreateNetwork", {"NetworkID": network_id, "IPv4Data": [data]})
        assert made.ok, made.error


def test_what_docker_has_forgotten_is_removed_and_what_runs_is_not(
    tenant: Tenant, lab: Lab, plugin: Plugin, driver: WithFlags
) -> None:
    own, shared = tenant.network("10.61.0.0/24"), tenant.network("10.61.1.0/24", *OURS)
    keeps = "--restart=always", "--stop-signal=KILL"
    gone = tenant.container(shared)
    tenant.container(shared)  # forgotten by a dockerd that is killed
    stays, peer = tenant.container(own, *keeps), tenant.container(own, *keeps)
    ghost(plugin)
    lab.central.stop("nb")
    tenant.remove(gone)  # Docker says it is gone, whatever the driver could do
    tenant.host.kill("driver")
    lab.central.start("nb")
    tenant.host.run(["ip", "link", "add", "stale0", "type", "veth", "peer", "name", "stale1"])
    tenant.host.run(["ip", "link", "set", "stale0", "group", str(GROUP)])
    tenant.host.kill("dockerd")
    driver(*CHECKING)
    tenant.host.start("dockerd")

    wanted = sorted([("pool", "10.61.1.0/24"), ("reserved", "10.61.1.1")])
    eventually(lambda: records.held(lab.central) == wanted, REMOVED, "only what Docker has is held")
    eventually(lambda: "stale0" not in records.links(tenant.host), 10, "the link is gone")
    eventually(lambda: len(records.interfaces(tenant.host)) == 2, 10, "two containers are plugged in")
    names = {str(switch["name"]) for switch in records.rows(lab.central, SWITCH)}
    assert own.id in names
    assert GHOST not in names
    assert len(records.rows(lab.central, PORT)) == 2
    stays.reaches(peer.address(own))
    eventually(lambda: agrees(tenant.host), MENDED, "nothing differs any more")


def test_the_commands_say_what_differs_and_repair_it_with_no_driver(
    tenant: Tenant, central: Machine, driver: WithFlags
) -> None:
    network = tenant.network("10.62.0.0/24", *OURS)
    box = tenant.container(network)
    host = tenant.host
    host.stop("driver")
    command(host, "repair")  # the container's names
    good = command(host, "check", "--json")
    [finding] = json.loads(good.stdout)["findings"]
    assert (good.returncode, finding["kind"]) == (1, "driver-down")

    central.run(["ovn-nbctl", "destroy", LEASE, lease_row(central, box.address(network))])
    found = command(host, "check")
    assert found.returncode == 1
    assert found.stdout.startswith(f"lease-missing: container {box.name} on network {network.name} ")
    assert "2 finding(s), 1 of them only by hand" in found.stdout
    dry = command(host, "repair", "--dry-run", "--json")
    assert dry.returncode == 1
    finding, down = json.loads(dry.stdout)["findings"]
    assert (finding["kind"], finding["repaired"], finding["removes"]) == ("lease-missing", False, False)
    assert (down["kind"], down["repair"]) == ("driver-down", None)
    assert records.leases(central) == []

    repaired = command(host, "repair")
    assert repaired.returncode == 1, repaired.stdout + repaired.stderr
    assert "\ndriver-down: driver openvswitch " in repaired.stdout
    assert "2 finding(s), 1 of them repaired, 1 of them only by hand" in repaired.stdout
    assert records.leases(central) == [box.address(network)]

    before = records.held(central)
    absent = command(host, "repair", "--docker-socket=unix:///run/nothing.sock")
    assert (absent.returncode, absent.stdout) == (3, "")
    assert absent.stderr.startswith("ovn-docker: Docker cannot be reached at /run/nothing.sock: ")
    assert absent.stderr.count("\n") == 1
    assert records.held(central) == before
    driver()


def test_another_docker_s_socket_removes_nothing(tenant: Tenant, lab: Lab, driver: WithFlags) -> None:
    """The second host's, on which nothing runs."""
    own, shared = tenant.network("10.63.0.0/24"), tenant.network("10.63.1.0/24", *OURS)
    tenant.network("10.63.2.0/24", *OURS)
    box, peer = tenant.container(own), tenant.container(own)
    tenant.container(shared)
    tenant.host.stop("driver")
    before = records.held(lab.central), len(records.rows(lab.central, SWITCH))
    stranger = f"--docker-socket=unix://{lab.hosts[1].paths.docker_socket}"
    said = command(tenant.host, "repair", "--json", stranger)
    assert said.returncode == 1, said.stderr
    findings = json.loads(said.stdout)["findings"]
    assert {finding["kind"] for finding in findings} == {"interface-alive"}
    assert len(findings) == 3
    assert before == (records.held(lab.central), len(records.rows(lab.central, SWITCH)))
    assert len(records.interfaces(tenant.host)) == 3
    driver()
    box.reaches(peer.address(own))


def names_at(central: Machine, endpoint_id: str) -> dict[str, str]:
    kept = ("ovn-docker-container", "ovn-docker-name", "ovn-docker-label:")
    return {k: v for k, v in marks(records.row(central, PORT, endpoint_id)).items() if k.startswith(kept)}


def test_a_container_s_name_and_labels_stand_at_its_ports_within_seconds(
    tenant: Tenant, central: Machine, driver: WithFlags
) -> None:
    driver("--health-check-on", "--health-check-interval=3600")  # so that only events tell of them
    first, second = tenant.network("10.64.0.0/24"), tenant.network("10.64.1.0/24")
    eventually(lambda: "docker_last_synched" in log_or_state(tenant), 10, "the driver has looked")
    box = tenant.container(first, "--label", "tier=front", "--label", "note=a b")

    def says(network: Network, name: str) -> None:
        wanted = {"ovn-docker-name": name, "ovn-docker-label:tier": "front", "ovn-docker-label:note": "a b"}
        endpoint_id = endpoint_of(Container(box.host, name), network)

        def is_named() -> Any:  # noqa: ANN401
            found = names_at(central, endpoint_id)
            return len(found.pop("ovn-docker-container", "")) == 64 and found == wanted

        eventually(is_named, 3, f"port {endpoint_id} names {name}")

    says(first, box.name)
    tenant.docker("network", "connect", second.name, box.name)
    says(second, box.name)
    renamed = tenant.name()
    tenant.docker("rename", box.name, renamed)
    says(first, renamed)
    says(second, renamed)
    endpoint_id = endpoint_of(Container(box.host, renamed), first)
    tenant.docker("rm", "--force", renamed)
    lines = [line for line in log_of(tenant.host).splitlines() if endpoint_id in line]
    for verb in ("Leave", "DeleteEndpoint"):
        [line] = [line for line in lines if f"NetworkDriver.{verb} " in line]
        assert f" container={renamed} " in line


def log_or_state(tenant: Tenant) -> str:
    """What the driver says of itself, once a pass was good."""
    body = Plugin(tenant.host.paths.plugin_socket).call("Database").body
    return "docker_last_synched" if body.get("docker_last_synched") else ""


def test_without_docker_s_socket_the_driver_says_so_once_and_serves_on(
    tenant: Tenant, central: Machine, plugin: Plugin, driver: WithFlags
) -> None:
    before = len(log_of(tenant.host))
    driver("--health-check-on", "--health-check-interval=1", "--docker-socket=unix:///run/nothing.sock")
    network = tenant.network("10.65.0.0/24")
    box, peer = tenant.container(network), tenant.container(network)
    box.reaches(peer.address(network))
    central.run(["ovn-nbctl", "lsp-set-addresses", endpoint_of(box, network), "0a:00:00:00:00:01"])
    said = "health check: Docker cannot be reached at /run/nothing.sock"
    eventually(lambda: said in log_of(tenant.host)[before:], 10, "the driver says so")
    assert log_of(tenant.host)[before:].count(said) == 1
    assert plugin.call("Database").body["docker_last_synched"] is None
    assert records.addresses(records.row(central, PORT, endpoint_of(box, network))) == "0a:00:00:00:00:01"


@pytest.mark.slow
def test_check_finds_a_host_that_is_off_and_an_ovn_northd_that_does_not_run(
    tenant: Tenant, lab: Lab, other: Tenant
) -> None:
    network = "10.66.0.0/24", *OURS
    tenant.container(tenant.network(*network))
    other.container(other.network(*network))
    eventually(lambda: agrees(tenant.host), MENDED, "nothing is wrong")
    off = lab.hosts[1]
    address = off.run(["ovs-vsctl", "get", "Open_vSwitch", ".", "external_ids:ovn-encap-ip"]).stdout
    off.power_off()
    try:
        found = command(tenant.host, "check")
    finally:
        off.power_on()
    assert found.returncode == 1
    assert "peer-down: 1 host " in found.stdout, found.stdout
    assert f"h2 ({address.strip().strip(chr(34))})" in found.stdout
    lab.central.stop("northd")
    try:
        found, repaired = command(tenant.host, "check"), command(tenant.host, "repair")
    finally:
        lab.central.start("northd")
    assert found.returncode == repaired.returncode == 1
    for shown in (repaired.stdout, found.stdout):
        assert "northd-down: no ovn-northd " in shown
    eventually(lambda: agrees(tenant.host), REMOVED, "nothing is wrong any more")


def test_check_names_a_dead_ovs_vswitchd_before_its_consequences(
    tenant: Tenant,
) -> None:
    host = tenant.host
    host.stop("ovs-vswitchd")
    try:
        found = command(host, "check")
    finally:
        host.start("ovs-vswitchd")
    assert found.stdout.startswith("vswitchd-down: ovs-vswitchd is not running"), found.stderr
    assert found.returncode == (3 if found.stderr else 1)
    eventually(lambda: agrees(host), REMOVED, "nothing is wrong any more")
