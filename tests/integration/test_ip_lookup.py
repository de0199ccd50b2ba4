"""A VTEP that knows no OVN reaches containers by address, and they it: --ip-lookup on two hosts."""

import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ovn_docker.flows.text import cookie_of
from ovn_docker.lab import Lab, Machine
from tests.integration.conftest import LOCAL, lab_name
from tests.integration.plugin import Plugin
from tests.integration.speaker import ECHO, PYTHON, Site, Speaker
from tests.integration.tenant import DRIVER, OURS, Container, Network, Tenant
from tests.polling import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COOKIE = cookie_of(DRIVER)
REMOTE = "options:remote_ip=198.18.0.12"
SUBNET, SUBNET6 = "10.77.0.0/24", "fd77::/64"
VNIS = {"red": 5001, "blue": 5002}
PORT = 7000
OVN_DOCKER = str(Path(sys.executable).with_name("ovn-docker"))


@dataclass(frozen=True, slots=True)
class Service:
    """A container that answers with its name."""

    name: str
    container: Container
    network: Network
    address: str
    address6: str

    def arrived(self) -> int:
        """How many ICMP echo requests it has seen."""
        lines = self.container.run("grep Icmp: /proc/net/snmp").stdout.splitlines()
        names, values = (line.split() for line in lines)
        return int(values[names.index("InEchos")])


@dataclass(frozen=True, slots=True)
class World:
    """Two networks with the same addresses on two hosts, and a site of the VTEP for each."""

    lab: Lab
    speaker: Speaker
    sites: dict[str, Site]
    services: dict[tuple[str, str], Service]
    tenants: dict[str, Tenant]

    def networks(self) -> list[tuple[str, Site, list[Service]]]:
        """By network: its site, its containers."""
        return [
            (name, self.sites[name], [each for key, each in self.services.items() if key[0] == name])
            for name in VNIS
        ]


@pytest.fixture(scope="module")
def world(_no_labs_of_dead_runs: None) -> Iterator[World]:
    lab = Lab.up(lab_name("vtep"), 3)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        yield _furnish(lab, processes)
    finally:
        for each in processes:
            each.kill()
            each.wait()
        lab.down()


def _furnish(lab: Lab, processes: list[subprocess.Popen[bytes]]) -> World:
    hosts = lab.hosts[:2]
    for host in hosts:
        host.stop("driver")
        host.start_driver([*LOCAL, "--ip-lookup", "--health-check-on"])
    speaker = Speaker(lab.hosts[2])
    services, tenants = {}, {host.name: Tenant(host) for host in hosts}
    for host in hosts:
        for name in VNIS:
            options = (
                *OURS,
                "--ipam-opt",
                f"context={name}",
                "-o",
                f"context={name}",
                "--ipv6",
                "--subnet",
                SUBNET6,
            )
            network = tenants[host.name].network(SUBNET, *options)
            if host is hosts[0]:
                _vtep(host, "add", speaker, network, name)
            services[name, host.name] = _service(
                tenants[host.name], network, f"{name}-{host.name}", processes
            )
    sites = {name: speaker.site(vni, ["10.77.0.200/24", "fd77::c8/64"], hosts) for name, vni in VNIS.items()}
    return World(lab, speaker, sites, services, tenants)


def _vtep(host: Machine, verb: str, speaker: Speaker, network: Network, name: str) -> None:
    vni = ["--vni", str(VNIS[name])] if verb == "add" else []
    host.run([OVN_DOCKER, "vtep", verb, "--remote-ip", speaker.address, *vni, "--network", network.name])


def _service(
    tenant: Tenant, network: Network, name: str, processes: list[subprocess.Popen[bytes]]
) -> Service:
    web = f"echo {name} >/tmp/who; httpd -p 80 -h /tmp; httpd -p 81 -h /tmp; sleep 3600"
    container = tenant.container(network, command=web)
    form = "{{.State.Pid}}"
    pid = tenant.docker("inspect", "--format", form, container.name).stdout.strip()
    serve = ["nsenter", f"--target={pid}", "--net", "--", PYTHON, str(ECHO), "serve", name, str(PORT)]
    processes.append(subprocess.Popen(tenant.host.enter(serve)))
    ends = container.endpoint(network)
    return Service(name, container, network, str(ends["IPAddress"]), str(ends["GlobalIPv6Address"]))


def flows(host: Machine) -> list[str]:
    """The flows of ours on a host."""
    form = ["ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "dump-flows", "br-int", f"cookie={COOKIE:#x}/-1"]
    return [line for line in host.run(form, check=False).stdout.splitlines() if "actions=" in line]


def everything_answers(world: World) -> None:
    """See that every container answers the site of its network, and by its own name."""
    for name, site, services in world.networks():
        for each in services:
            eventually(functools.partial(site.pings, each.address), 10, f"{name}: {each.name}")
            assert site.fetches(each.address, 81) == each.name


def test_icmp_tcp_and_udp_reach_the_right_container_and_no_other(world: World) -> None:
    everything_answers(world)
    before = {each: each.arrived() for each in world.services.values()}
    for name, site, services in world.networks():
        for each in services:
            assert site.run("busybox", "ping", "-c3", "-i0.2", "-W1", each.address).returncode == 0
            assert site.sends(each.address, PORT, "hello") == f"{each.name} hello"
            assert site.fetches(each.address, 80) == each.name
        seen = {each.name for each, count in before.items() if each.arrived() > count}
        assert seen == {each.name for each in services}, name
        before = {each: each.arrived() for each in world.services.values()}


def test_ipv6_reaches_the_right_container(world: World) -> None:
    for _, site, services in world.networks():
        for each in services:
            eventually(functools.partial(site.pings, each.address6), 10, each.name)
            assert site.sends(each.address6, PORT, "hello") == f"{each.name} hello"


def test_a_container_speaks_first(world: World) -> None:
    for each in world.services.values():
        each.container.run("ip neigh flush dev eth0", check=False)
        each.container.reaches("10.77.0.200")


def test_the_switch_sends_each_kind_of_packet_where_it_belongs(world: World) -> None:
    host = world.lab.hosts[0]
    red, blue = world.services["red", "h1"], world.services["blue", "h1"]
    remote = world.services["red", "h2"]
    assert red.address == blue.address
    to = f"nw_dst={red.address}"
    assert output(host, f"tcp,{to},tcp_dst=81", VNIS["red"]) == ofport(host, red)
    assert output(host, f"udp,{to},udp_dst=53", VNIS["blue"]) == ofport(host, blue)
    assert output(host, f"icmp,{to}", VNIS["red"]) == ofport(host, red)
    assert output(
        host, f"arp,dl_dst=ff:ff:ff:ff:ff:ff,arp_op=1,arp_tpa={red.address}", VNIS["red"]
    ) == ofport(host, red)
    assert output(host, f"icmp6,ipv6_dst={red.address6}", VNIS["red"]) == ofport(host, red)
    group = "icmp6,dl_dst=33:33:00:00:00:01,ipv6_dst=ff02::1"
    target = f"{group},icmpv6_type=135,icmpv6_code=0,nd_target={red.address6}"
    assert output(host, target, VNIS["red"]) == ofport(host, red)
    assert output(host, "tcp,nw_dst=10.77.0.99", VNIS["red"]) is None
    assert output(host, f"tcp,nw_dst={remote.address}", VNIS["red"]) is None
    assert output(host, f"tcp,{to}", 5003) is None
    assert output(host, "ip,nw_dst=255.255.255.255,dl_dst=ff:ff:ff:ff:ff:ff", VNIS["red"]) is None


def output(host: Machine, packet: str, vni: int) -> str | None:
    """The last port that a packet from the VTEP is output to, or None when it is dropped."""
    port = host.run(
        ["ovs-vsctl", "--bare", "--columns=ofport", "find", "Interface", "external_ids:ovn-docker-vtep!=''"]
    ).stdout
    [ours] = port.split()
    return traced(host, f"in_port={ours},tun_id={vni},dl_src=02:00:00:00:00:01,{packet}")


def traced(host: Machine, flow: str) -> str | None:
    """The last port that a packet is output to, or None when it is dropped."""
    # A connection that conntrack does not know begins; what it says is answered for each recirculation.
    trace = host.run(
        ["ovs-appctl", "ofproto/trace", "br-int", flow, "--ct-next", "trk,new", "--ct-next", "trk,new"]
    )
    told = [line.strip() for line in trace.stdout.splitlines() if "output:" in line]
    return told[-1].partition("output:")[2] if told else None


def ofport(host: Machine, service: Service) -> str:
    """The port of a container."""
    endpoint = service.container.endpoint(service.network)["EndpointID"]
    found = host.run(
        ["ovs-vsctl", "--bare", "--columns=ofport", "find", "Interface", f"external_ids:iface-id={endpoint}"]
    )
    return found.stdout.strip()


@pytest.mark.parametrize("verdict", ["drop", "stateful"])
def test_an_acl_that_drops_a_port_drops_it_for_the_vtep_too(world: World, verdict: str) -> None:
    central, site, red = world.lab.central, world.sites["red"], world.services["red", "h1"]
    switch = switch_of(red)
    acls = [["acl-add", switch, "to-lport", "1001", "tcp.dst == 80", "drop"]]
    if verdict == "stateful":
        acls.append(["acl-add", switch, "to-lport", "1000", "ip", "allow-related"])
    try:
        for each in acls:
            central.run(["ovn-nbctl", "--wait=hv", *each])
        eventually(lambda: not site.fetches(red.address, 80), 5, "port 80 is closed")
        assert site.fetches(red.address, 81) == red.name
    finally:
        central.run(["ovn-nbctl", "--wait=hv", "acl-del", switch])
    eventually(lambda: site.fetches(red.address, 80) == red.name, 5, "port 80 is open again")


def switch_of(service: Service) -> str:
    """The name of the switch of a service's network."""
    host = service.container.host
    listed = json.loads(host.run([OVN_DOCKER, "vtep", "list", "--json"]).stdout)
    vni = VNIS[service.name.partition("-")[0]]
    [name] = [each["Logical_Switch"] for each in listed if each["vni"] == vni]
    return str(name)


def test_a_transfer_goes_on_while_ovn_controller_and_vswitchd_are_restarted(world: World) -> None:
    host, site, red = world.lab.hosts[0], world.sites["red"], world.services["red", "h1"]
    wanted = sorted(flows(host))
    talk = site.enter([PYTHON, str(ECHO), "talk", red.address, str(PORT), "9"])
    with subprocess.Popen(world.speaker.machine.enter(talk), stdout=subprocess.PIPE, text=True) as transfer:
        assert transfer.stdout is not None
        assert transfer.stdout.readline() == "connected\n"
        host.kill("ovn-controller")
        host.start_again("ovn-controller")
        assert recovery(host, wanted) < 1
        host.kill("ovs-vswitchd")
        host.start_again("ovs-vswitchd")
        assert recovery(host, wanted) < 1
        said, _ = transfer.communicate(timeout=40)
    name, lines, _ = said.split()
    assert name == red.name
    assert int(lines) > 100


def recovery(host: Machine, wanted: list[str]) -> float:
    """Seconds from OVN's flows of its containers to the last of ours, by the switch's own clock."""
    eventually(lambda: _ovn_is_back(host), 15, "OVN's flows are back")
    eventually(lambda: without_ports(flows(host)) == without_ports(wanted), 10, "our flows are back")
    dump = host.run(["ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "br-int"]).stdout.splitlines()
    ages = {
        line: float(line.partition("duration=")[2].partition("s")[0]) for line in dump if "duration=" in line
    }
    ours = min(age for line, age in ages.items() if f"cookie={COOKIE:#x}," in line)
    return max(age for line, age in ages.items() if "->reg14" in line and "table=0," in line) - ours


def without_ports(lines: list[str]) -> list[str]:
    """Flows without what a restart numbers anew."""
    kept = [line.partition("in_port=")[0] for line in lines if "clone(" not in line]
    return sorted(kept)


def _ovn_is_back(host: Machine) -> bool:
    table = host.run(["ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "br-int", "table=0"], check=False)
    return table.stdout.count("->reg14") >= len(VNIS)


def test_a_driver_that_was_killed_leaves_the_flows_and_takes_them_up_again(world: World) -> None:
    host, before = world.lab.hosts[0], sorted(flows(world.lab.hosts[0]))
    host.kill("driver")
    assert sorted(flows(host)) == before
    red = world.services["red", "h1"]
    tenant = world.tenants["h1"]
    host.start_again("driver")
    spare = tenant.container(red.network)
    address = spare.address(red.network)
    eventually(lambda: any(f"nw_dst={address} " in line for line in flows(host)), 2, "the entry")
    assert world.sites["red"].pings(address)
    tenant.remove(spare)
    eventually(lambda: sorted(flows(host)) == before, 2, "the entry is gone")


def test_an_address_that_is_used_again_leads_to_its_new_container_only(world: World) -> None:
    tenant, other, red = world.tenants["h1"], world.tenants["h2"], world.services["red", "h1"]
    there = world.services["red", "h2"]
    first = tenant.container(red.network, "--ip", "10.77.0.50")
    site = world.sites["red"]
    eventually(lambda: site.pings("10.77.0.50"), 5, "the first container answers")
    tenant.remove(first)
    second = other.container(there.network, "--ip", "10.77.0.50", command="httpd -p 81 -h /; sleep 3600")
    site.run("ip", "neigh", "flush", "dev", "eth0")
    eventually(lambda: site.pings("10.77.0.50"), 5, "the second container answers")
    assert not any("10.77.0.50" in line for line in flows(world.lab.hosts[0]))
    other.remove(second)


def test_the_check_finds_what_is_wrong_and_the_repair_mends_it(world: World) -> None:
    host, before = world.lab.hosts[0], sorted(flows(world.lab.hosts[0]))
    arguments = ["--ip-lookup", "--json"]

    def kinds(verb: str) -> list[str]:
        done = host.run([OVN_DOCKER, verb, *arguments], check=False)
        return [each["kind"] for each in json.loads(done.stdout)["findings"]]

    host.stop("driver")
    try:
        assert kinds("check") == []
        host.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", f"cookie={COOKIE:#x}/-1,table=40"])
        host.run(
            ["ovs-ofctl", "add-flow", "br-int", f"cookie={COOKIE:#x},table=200,priority=7,udp,actions=drop"]
        )
        assert kinds("check") == ["lookup-missing", "lookup-surplus"]
        kinds("repair")
        assert sorted(flows(host)) == before
        assert kinds("check") == []
    finally:
        host.start_again("driver")


def test_database_tells_what_is_looked_up(world: World) -> None:
    host = world.lab.hosts[0]
    socket = str(host.paths.plugin_socket)
    body = Plugin(Path(socket)).call("NetworkDriver.Database").body
    assert body["ip_lookup"] is True

    def lookup() -> dict[str, object]:
        found: dict[str, object] = Plugin(Path(socket)).call("NetworkDriver.Database").body["lookup"]
        return found

    eventually(lambda: lookup()["flows"] == len(flows(host)), 5, "as many flows as there are")
    assert lookup()["outage"] == ""
    assert lookup()["table"] == 200


def test_it_works_with_vxlan_between_the_hosts_too(world: World) -> None:
    hosts = world.lab.hosts[:2]
    for host in hosts:
        host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", "external_ids:ovn-encap-type=vxlan"])
    red, there = world.services["red", "h1"], world.services["red", "h2"]
    eventually(lambda: "vxlan" in tunnels(hosts[0]), 10, "tunnels of OVN's are VXLAN")
    red.container.reaches(there.address, 20)
    everything_answers(world)
    # A VTEP that is a host of OVN's comes through OVN's own tunnel, and is looked up where OVN would drop it.
    chassis = ["--remote-ip", str(hosts[1].address)]
    hosts[0].run([OVN_DOCKER, "vtep", "add", *chassis, "--vni", "77", "--network", red.network.name])
    tunnel = hosts[0].run(
        ["ovs-vsctl", "--bare", "--columns=ofport", "find", "Interface", "type=vxlan", REMOTE]
    )
    packet = f"in_port={tunnel.stdout.strip()},tun_id=77,dl_src=02:00:00:00:00:01,tcp,nw_dst={red.address}"
    eventually(lambda: traced(hosts[0], packet) == ofport(hosts[0], red), 5, "it is looked up")
    hosts[0].run([OVN_DOCKER, "vtep", "del", *chassis, "--network", red.network.name])
    eventually(lambda: traced(hosts[0], packet) is None, 5, "it is dropped")


def tunnels(host: Machine) -> str:
    """The kind of OVN's tunnel to the other host."""
    find = ["ovs-vsctl", "--bare", "--columns=type", "find", "Interface", REMOTE]
    return host.run(find).stdout


def test_nothing_is_left_without_vteps_or_without_the_flag(world: World) -> None:
    host, red = world.lab.hosts[0], world.services["red", "h1"]
    _vtep(host, "del", world.speaker, red.network, "red")
    eventually(lambda: not any("tun_id=0x1389" in line for line in flows(host)), 2, "red's flows are gone")
    eventually(lambda: not world.sites["red"].pings(red.address), 5, "red is unreachable")
    assert world.sites["blue"].pings(world.services["blue", "h1"].address)
    host.stop("driver")
    host.start_driver(LOCAL)
    eventually(lambda: not flows(host), 5, "all flows are gone")
    ports = host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout
    assert "vtep" not in ports
