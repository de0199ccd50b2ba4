"""A VTEP outside OVN has ports of type vtep: no flow of the driver carries its packets.

One host's driver has --ip-lookup and guards the VTEP's tunnel; the other's has not.
"""

import contextlib
import json
from collections.abc import Iterator

import pytest

from ovn_docker.overlay.vtep.openflow import cookie_of
from ovn_docker_lab import Lab, Machine
from tests.integration.conftest import lab_name
from tests.integration.tenant import DRIVER
from tests.integration.vtep_contract import FROM, VtepContract
from tests.integration.vtep_world import (
    OVN_DOCKER,
    VNIS,
    Service,
    World,
    configured,
    database,
    everything_answers,
    furnished,
    interface,
    network,
    ofport,
    traced,
    vtep,
)
from tests.polling import eventually
from tests.versions import beside_geneve

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120), beside_geneve]

COOKIE = f"cookie={cookie_of(DRIVER):#x}/-1"
VTEP = "198.18.0.13"
OVNS = f"options:remote_ip={VTEP}"


@pytest.fixture(scope="module")
def world(_no_labs_of_dead_runs: None) -> Iterator[World]:
    lab = Lab.up(lab_name("vport"), 3)
    lab.central.run(["ovn-nbctl", "set", "NB_Global", ".", "options:vxlan_mode=false"])
    for host in lab.hosts[:2]:
        encapsulate(host, "geneve,vxlan")
        host.stop("driver")
        host.start_driver(["--health-check-on", *(["--ip-lookup"] if host is lab.hosts[0] else [])])
    eventually(lambda: len(encaps(lab)) >= 4, 10, "VXLAN is known to OVN")
    with furnished(lab, "auto") as place:
        yield place


def encapsulate(host: Machine, kinds: str) -> None:
    """How a host sends to others."""
    host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", f"external_ids:ovn-encap-type={kinds}"])


def encaps(lab: Lab) -> list[str]:
    """The tunnel endpoints of the two hosts and the VTEP, one for each encapsulation."""
    found = lab.central.run(["ovn-sbctl", "--bare", "--columns=chassis_name,type", "list", "Encap"])
    lines = [" ".join(encap.split()) for encap in found.stdout.split("\n\n")]
    return sorted(encap for encap in lines if encap and not encap.startswith("h3 "))


def our_flows(host: Machine) -> list[str]:
    """The own flows of a host."""
    form = ["ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "dump-flows", "br-int", COOKIE]
    return [line for line in host.run(form, check=False).stdout.splitlines() if "actions=" in line]


def kinds(host: Machine, *more: str) -> list[str]:
    """What the health check finds."""
    done = host.run([OVN_DOCKER, "check", "--json", *more], check=False)
    return [finding["kind"] for finding in json.loads(done.stdout)["findings"]]


class TestVtepPorts(VtepContract):
    """The contract, on ports of type vtep."""

    def entry(self, host: Machine) -> str:
        return interface(host, OVNS)

    @contextlib.contextmanager
    def recovers(self, world: World, host: Machine) -> Iterator[None]:
        red, site = world.services["red", "h1"], world.sites["red"]
        yield
        eventually(lambda: site.pings(red.address), 15, "it answers again")
        eventually(lambda: len(our_flows(host)) == GUARDS, 5, "the guard is back")


GUARDS = 4
"""Flows: against unicast and multicast of a host, and the two kinds of ICMP errors."""


def test_the_mode_is_shown_everywhere(world: World) -> None:
    for host in world.lab.hosts[:2]:
        listed = {(entry["vni"], entry["mode"]) for entry in configured(host)}
        assert listed == {(vni, "ramp") for vni in VNIS.values()}
        shown = database(host)["lookup"]["vteps"]
        assert {(entry["vni"], entry["mode"], entry["Error"]) for entry in shown} == {
            (vni, "ramp", "") for vni in VNIS.values()
        }
        checked = host.run([OVN_DOCKER, "check"]).stdout.splitlines()
        assert len([line for line in checked if line.endswith(": mode vtep")]) == len(VNIS)


def test_only_the_guard_of_a_host_with_ip_lookups_is_ours(world: World) -> None:
    one, other = world.lab.hosts[:2]
    assert len(our_flows(one)) == GUARDS
    assert all("actions=drop" in line for line in our_flows(one))
    assert our_flows(other) == []
    assert kinds(one, "--ip-lookup") == kinds(other) == []


def test_a_vni_of_nobodys_reaches_no_container_past_the_guard(world: World) -> None:
    """OVN reads such a VNI as a datapath and an output port, as it would from a host."""
    one, other = world.lab.hosts[:2]
    for host, reached in ((one, False), (other, True)):
        tenant = world.tenants[host.name]
        green = network(tenant, "green")
        container = tenant.container(green)
        ends = container.endpoint(green)
        service = Service("green", container, green, ends["IPAddress"], "", "")
        vni = colliding(world.lab, str(ends["EndpointID"]))
        packet = f"tcp,dl_dst={service.mac()},nw_dst={service.address}"
        port = interface(host, OVNS)
        found = traced(host, f"in_port={port},tun_id={vni},{FROM},{packet}")
        assert found == (ofport(host, service) if reached else None)
        tenant.remove(container)
        tenant.remove_network(green)
    error = f"icmp,icmp_type=3,icmp_code=4,nw_dst=10.77.0.2,dl_dst={world.services['red', 'h1'].mac()}"
    assert traced(one, f"in_port={interface(one, OVNS)},tun_id={VNIS['red']},{FROM},{error}") is None


def colliding(lab: Lab, port: str) -> int:
    """The VNI that OVN takes for a packet of a host's to a logical port."""
    columns = "--columns=datapath,tunnel_key"
    found = lab.central.run(["ovn-sbctl", "--bare", columns, "find", "Port_Binding", f"logical_port={port}"])
    datapath, key = found.stdout.split()
    get = ["ovn-sbctl", "--bare", "get", "Datapath_Binding", datapath, "tunnel_key"]
    return int(key) << 12 | int(lab.central.run(get).stdout)


def test_it_goes_on_without_a_driver(world: World) -> None:
    host, red = world.lab.hosts[0], world.services["red", "h1"]
    host.kill("driver")
    try:
        assert world.sites["red"].pings(red.address)
        red.container.run("ip neigh flush dev eth0", check=False)
        red.container.reaches("10.77.0.200")
    finally:
        host.start_again("driver")


def test_a_container_that_moves_is_found_on_its_new_host(world: World) -> None:
    tenant, other, site = world.tenants["h1"], world.tenants["h2"], world.sites["red"]
    first = tenant.container(world.services["red", "h1"].network, "--ip", "10.77.0.50")
    eventually(lambda: site.pings("10.77.0.50"), 5, "the first container answers")
    tenant.remove(first)
    second = other.container(world.services["red", "h2"].network, "--ip", "10.77.0.50")
    site.run("ip", "neigh", "flush", "dev", "eth0")
    eventually(lambda: site.pings("10.77.0.50"), 5, "the second container answers")
    other.remove(second)


def test_what_is_lost_in_southbound_is_found_and_made_again(world: World) -> None:
    host, red = world.lab.hosts[0], world.services["red", "h1"]
    ports = world.lab.central.run(
        ["ovn-sbctl", "--bare", "--columns=logical_port", "find", "Port_Binding", "type=vtep"]
    )
    for port in ports.stdout.split():
        world.lab.central.run(["ovn-sbctl", "lsp-unbind", port])
    eventually(lambda: kinds(host) == ["vtep-down"] * len(VNIS), 10, "the check finds it")
    assert not world.sites["red"].pings(red.address)
    for name, vni in VNIS.items():
        vtep(host, "add", VTEP, world.services[name, "h1"].network, "--vni", str(vni))
    eventually(lambda: kinds(host) == [], 10, "nothing is wrong")
    everything_answers(world)


def test_a_vtep_goes_over_to_the_other_mode_and_back(world: World) -> None:
    host, red, site = world.lab.hosts[0], world.services["red", "h1"], world.sites["red"]
    for name in VNIS:
        vtep(host, "del", VTEP, world.services[name, "h1"].network)
    arguments = ("add", VTEP, red.network, "--vni", str(VNIS["red"]), "--mode")
    for mode in ("lookup", "vtep", "lookup", "ramp"):
        vtep(host, *arguments, mode)
        eventually(lambda: site.pings(red.address), 10, f"in mode {mode}")
        red.container.run("ip neigh flush dev eth0", check=False)
        red.container.reaches("10.77.0.200")
    vtep(host, "add", VTEP, world.services["blue", "h1"].network, "--vni", str(VNIS["blue"]))
    everything_answers(world)


def test_it_works_with_vxlan_between_the_hosts_too(world: World) -> None:
    """A VNI has 12 bits then."""
    hosts, central = world.lab.hosts[:2], world.lab.central
    red, far = world.services["red", "h1"], world.services["red", "h2"]
    vtep(hosts[0], "add", VTEP, red.network, "--vni", "901")
    vtep(hosts[0], "del", VTEP, world.services["blue", "h1"].network)
    central.run(["ovn-nbctl", "--wait=sb", "remove", "NB_Global", ".", "options", "vxlan_mode"])
    for host in hosts:
        encapsulate(host, "vxlan")
    eventually(lambda: encaps(world.lab) == ["h1 vxlan", "h2 vxlan", f"vtep-{VTEP} vxlan"], 10, "VXLAN only")
    red.container.reaches(far.address, 20)
    site = world.speaker.site(901, ["10.77.0.201/24", "fd77::c9/64"], hosts)
    for service in (red, far):
        eventually(lambda service=service: site.pings(service.address), 10, service.name)  # type: ignore[misc]
        assert site.fetches(service.address, 81) == service.name
        service.container.reaches("10.77.0.201")
    said = vtep(hosts[0], "add", "198.18.0.99", red.network, "--vni", "5005")
    assert "mode lookup, because " in said
    assert "198.18.0.99: VNI 5005 is larger than 4095" in said
    vtep(hosts[0], "del", "198.18.0.99", red.network)


def test_nothing_is_left_without_vteps(world: World) -> None:
    central, hosts, red = world.lab.central, world.lab.hosts[:2], world.services["red", "h1"]
    vtep(hosts[0], "del", VTEP, red.network)
    central.run(["ovn-nbctl", "--wait=hv", "sync"])
    assert [encap for encap in encaps(world.lab) if encap.startswith("vtep")] == []
    nb = central.run(["ovn-nbctl", "--bare", "--columns=external_ids,other_config", "list", "Logical_Switch"])
    assert "vtep" not in nb.stdout
    assert "tnl-key" not in nb.stdout
    assert central.run(["ovn-nbctl", "--bare", "find", "Logical_Switch_Port", "type=vtep"]).stdout == ""
    for host in hosts:
        eventually(lambda host=host: interface(host, OVNS) == "", 10, "the tunnel is gone")  # type: ignore[misc]
        eventually(lambda host=host: our_flows(host) == [], 5, "the guard is gone")  # type: ignore[misc]
    world.services["red", "h1"].container.reaches(world.services["red", "h2"].address)
