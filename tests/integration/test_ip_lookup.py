"""A VTEP outside OVN reaches containers by address, and they it: --ip-lookup on two hosts."""

import contextlib
import json
from collections.abc import Iterator

import pytest

from ovn_docker.overlay.vtep.openflow import cookie_of, parse_flow
from ovn_docker_lab import Lab, Machine
from tests.exposition import value
from tests.integration.conftest import lab_name
from tests.integration.plugin import Plugin
from tests.integration.tenant import DRIVER
from tests.integration.vtep_contract import VtepContract
from tests.integration.vtep_world import (
    OVN_DOCKER,
    VNIS,
    World,
    database,
    everything_answers,
    furnished,
    interface,
    ofport,
    traced,
    vtep,
)
from tests.polling import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COOKIE = cookie_of(DRIVER)
OURS = "external_ids:ovn-docker-vtep!=''"
REMOTE = "options:remote_ip=198.18.0.12"


@pytest.fixture(scope="module")
def world(_no_labs_of_dead_runs: None) -> Iterator[World]:
    lab = Lab.up(lab_name("vtep"), 3)
    for host in lab.hosts[:2]:
        host.stop("driver")
        host.start_driver(["--ip-lookup", "--health-check-on", "--health-check-interval=3"])
    with furnished(lab, "auto") as place:
        yield place


def flows(host: Machine) -> list[str]:
    """The own flows of a host."""
    form = ["ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "dump-flows", "br-int", f"cookie={COOKIE:#x}/-1"]
    return [line for line in host.run(form, check=False).stdout.splitlines() if "actions=" in line]


class TestLookups(VtepContract):
    """The contract, in a deployment where OVN is not set up for ports of its own."""

    def entry(self, host: Machine) -> str:
        return interface(host, OURS)

    @contextlib.contextmanager
    def recovers(self, world: World, host: Machine) -> Iterator[None]:  # noqa: ARG002
        wanted = sorted(flows(host))
        yield
        assert recovery(host, wanted) < 1


def recovery(host: Machine, wanted: list[str]) -> float:
    """Seconds from OVN's flows of its containers to the last of the driver's, by the switch's own clock."""
    eventually(lambda: _ovn_is_back(host), 15, "OVN's flows are back")
    eventually(lambda: without_ports(flows(host)) == without_ports(wanted), 10, "our flows are back")
    dump = host.run(["ovs-ofctl", "-O", "OpenFlow15", "dump-flows", "br-int"]).stdout.splitlines()
    ages = {
        line: float(line.partition("duration=")[2].partition("s")[0]) for line in dump if "duration=" in line
    }
    newest = min(age for line, age in ages.items() if f"cookie={COOKIE:#x}," in line)
    return max(age for line, age in ages.items() if "->reg14" in line and "table=0," in line) - newest


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


@pytest.mark.parametrize("killed", [False, True], ids=["in service", "killed"])
def test_no_entry_is_left_when_the_number_of_a_containers_port_is_free_again(
    world: World,
    killed: bool,  # noqa: FBT001
) -> None:
    host, tenant, red = world.lab.hosts[0], world.tenants["h1"], world.services["red", "h1"]
    container = tenant.container(red.network)
    ends = container.endpoint(red.network)
    match = f"nw_dst={ends['IPAddress']} "
    eventually(lambda: any(match in line for line in flows(host)), 2, "the entry")
    if killed:
        host.kill("driver")
        assert any(match in line for line in flows(host))
        host.start_again("driver")
    driver = Plugin(host.paths.plugin_socket)
    eventually(driver.serves, 10, "the driver serves")
    ids = {"NetworkID": red.network.id, "EndpointID": ends["EndpointID"]}
    for verb in ("Leave", "DeleteEndpoint"):  # as Docker does, and at once
        assert driver.call(f"NetworkDriver.{verb}", ids).status == 200
    assert not any(match in line for line in flows(host))
    tenant.remove(container)


def test_an_address_that_is_used_again_leads_to_its_new_container_only(world: World) -> None:
    tenant, other, red = world.tenants["h1"], world.tenants["h2"], world.services["red", "h1"]
    far = world.services["red", "h2"]
    first = tenant.container(red.network, "--ip", "10.77.0.50")
    site = world.sites["red"]
    eventually(lambda: site.pings("10.77.0.50"), 5, "the first container answers")
    tenant.remove(first)
    second = other.container(far.network, "--ip", "10.77.0.50", command="httpd -p 81 -h /; sleep 3600")
    site.run("ip", "neigh", "flush", "dev", "eth0")
    eventually(lambda: site.pings("10.77.0.50"), 5, "the second container answers")
    assert not any("10.77.0.50" in line for line in flows(world.lab.hosts[0]))
    other.remove(second)


def test_check_finds_what_is_wrong_and_repair_corrects_it(world: World) -> None:
    host, before = world.lab.hosts[0], sorted(flows(world.lab.hosts[0]))
    arguments = ["--ip-lookup", "--json"]
    table = database(host)["lookup"]["output_table"]

    def kinds(verb: str) -> list[str]:
        done = host.run([OVN_DOCKER, verb, *arguments], check=False)
        found = [finding["kind"] for finding in json.loads(done.stdout)["findings"]]
        return [kind for kind in found if kind != "driver-down"]

    host.stop("driver")
    try:
        assert kinds("check") == []
        one = f"cookie={COOKIE:#x}/-1,table={table}"
        host.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", one])
        host.run(
            ["ovs-ofctl", "add-flow", "br-int", f"cookie={COOKIE:#x},table=200,priority=7,udp,actions=drop"]
        )
        assert kinds("check") == ["lookup-missing", "lookup-surplus"]
        kinds("repair")
        assert sorted(flows(host)) == before
        assert kinds("check") == []
    finally:
        host.start_again("driver")


def test_the_health_check_installs_what_somebody_removed_and_counts_it(world: World) -> None:
    host, driver = world.lab.hosts[0], Plugin(world.lab.hosts[0].paths.plugin_socket)
    eventually(lambda: database(host)["lookup"]["output_table"], 5, "the driver has looked at the switch")
    before, wanted = repairs(driver), sorted(flows(host))
    table = database(host)["lookup"]["output_table"]  # nobody watches this one
    host.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", f"cookie={COOKIE:#x}/-1,table={table}"])
    assert sorted(flows(host)) != wanted
    eventually(lambda: sorted(flows(host)) == wanted, 20, "the flows are back")
    eventually(lambda: repairs(driver) > before, 10, "the repair is counted")


def repairs(driver: Plugin) -> float:
    """How many times the health check has installed flows."""
    return value(driver.metrics(), "ovn_docker_repairs_total", kind="lookup-missing") or 0.0


@pytest.mark.slow
def test_the_entry_of_a_container_removed_without_its_driver_goes_soon(world: World) -> None:
    host, tenant, red = world.lab.hosts[0], world.tenants["h1"], world.services["red", "h1"]
    container = tenant.container(red.network)
    match = f"nw_dst={container.address(red.network)} "
    eventually(lambda: any(match in line for line in flows(host)), 2, "the entry")
    host.kill("driver")
    tenant.docker("rm", "--force", container.name, check=False, timeout=90)
    assert any(match in line for line in flows(host))
    host.start_again("driver")
    eventually(lambda: not any(match in line for line in flows(host)), 40, "the entry is gone")


def test_ours_outranks_nothing_of_ovns_but_at_the_documented_hook(world: World) -> None:
    host = world.lab.hosts[0]
    dump = ["ovs-ofctl", "-O", "OpenFlow15", "--no-stats", "dump-flows", "br-int"]
    found = [parse_flow(line) for line in host.run(dump).stdout.splitlines()]
    own = [flow for cookie, flow in filter(None, found) if cookie == COOKIE]
    ovns = [flow for cookie, flow in filter(None, found) if cookie != COOKIE]
    for own_flow in [flow for flow in own if flow.table]:
        beaten = [flow for flow in ovns if flow.table == own_flow.table and flow.priority < own_flow.priority]
        # The catch-all, and the drop of what is for an unknown MAC address.
        assert all(flow.priority == 0 or flow.match.endswith("reg15=0") for flow in beaten), own_flow
    entry = f"in_port={interface(host, OURS)}"
    assert all(entry in flow.match.split(",") for flow in own if flow.table == 0)
    assert not [flow for flow in ovns if flow.table == 0 and entry in flow.match.split(",")]


def test_a_switch_without_ovns_local_output_is_reported_and_networks_work(world: World) -> None:
    host, tenant = world.lab.hosts[0], world.tenants["h1"]
    table = database(host)["lookup"]["local_output_table"]
    host.kill("ovn-controller")
    try:
        host.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", f"table={table}"])
        host.run(["ovs-ofctl", "-O", "OpenFlow15", "del-flows", "br-int", f"cookie={COOKIE:#x}/-1"])
        eventually(lambda: "IP lookup is off" in database(host)["lookup"]["outage"], 10, "it is reported")
        assert not flows(host)
        tenant.remove_network(tenant.network("10.78.0.0/24"))
    finally:
        host.start_again("ovn-controller")
    eventually(lambda: database(host)["lookup"]["outage"] == "", 15, "everything is served")
    everything_answers(world)


def test_database_tells_what_is_looked_up(world: World) -> None:
    host = world.lab.hosts[0]
    assert database(host)["ip_lookup"] is True
    eventually(lambda: database(host)["lookup"]["flows"] == len(flows(host)), 5, "as many as there are")
    shown = database(host)["lookup"]
    assert (shown["outage"], shown["table"]) == ("", 200)
    assert {(entry["vni"], entry["mode"], entry["Error"]) for entry in shown["vteps"]} == {
        (vni, "lookup", "") for vni in VNIS.values()
    }


def test_it_works_with_vxlan_between_the_hosts_too(world: World) -> None:
    hosts = world.lab.hosts[:2]
    for host in hosts:
        host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", "external_ids:ovn-encap-type=vxlan"])
    red, far = world.services["red", "h1"], world.services["red", "h2"]
    eventually(lambda: "vxlan" in tunnels(hosts[0]), 10, "tunnels of OVN's are VXLAN")
    red.container.reaches(far.address, 20)
    everything_answers(world)
    # A VTEP that is a host of OVN's comes through OVN's own tunnel, and is looked up where OVN would drop it.
    chassis = str(hosts[1].address)
    said = vtep(hosts[0], "add", chassis, red.network, "--vni", "77")
    assert "mode lookup, because " in said
    assert f"VTEP {chassis}" in said
    packet = (
        f"in_port={interface(hosts[0], REMOTE)},tun_id=77,dl_src=02:00:00:00:00:01,tcp,nw_dst={red.address}"
    )
    eventually(lambda: traced(hosts[0], packet) == ofport(hosts[0], red), 5, "it is looked up")
    vtep(hosts[0], "del", chassis, red.network)
    eventually(lambda: traced(hosts[0], packet) is None, 5, "it is dropped")


def tunnels(host: Machine) -> str:
    """The kind of OVN's tunnel to the other host."""
    find = ["ovs-vsctl", "--bare", "--columns=type", "find", "Interface", REMOTE]
    return host.run(find).stdout


def test_nothing_is_left_without_vteps_or_without_the_flag(world: World) -> None:
    host, red = world.lab.hosts[0], world.services["red", "h1"]
    vtep(host, "del", world.speaker.address, red.network)
    eventually(lambda: not any("tun_id=0x1389" in line for line in flows(host)), 2, "red's flows are gone")
    eventually(lambda: not world.sites["red"].pings(red.address), 5, "red is unreachable")
    assert world.sites["blue"].pings(world.services["blue", "h1"].address)
    host.stop("driver")
    host.start_driver()
    eventually(lambda: not flows(host), 5, "all flows are gone")
    ports = host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout
    assert "vtep" not in ports
