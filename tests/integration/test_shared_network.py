"""One network over three hosts that share nothing but the central, its addresses leased from Northbound."""

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from ovn_docker.address_pools import switch_name
from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.plugin import Plugin
from tests.integration.records import SWITCH, marks
from tests.integration.tenant import IMAGE, OURS, Container, Network, Tenant, in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CONTAINERS = 40
AT_ONCE = 8
"""How many `docker exec` are under way at a time, on two cores."""

NEIGHBOURS = Path("/proc/sys/net/ipv4/neigh/default")

SERVE = "echo hello >/tmp/index.html; httpd -p 80 -h /tmp; exec sleep 3600"
REACH = """for peer in %s; do
    ping -c1 -W1 $peer >/dev/null 2>&1 || ping -c1 -W2 $peer >/dev/null 2>&1 || echo no ping from $peer
    [ "$(timeout 5 wget -q -O - http://$peer/index.html)" = hello ] || echo no page from $peer
done"""
"""One peer after the other, and a second ping, for a userspace datapath drops packets on a busy machine."""


@pytest.fixture
def lab(three_hosts: Lab) -> Lab:
    """Three hosts."""
    return three_hosts


def make(users: Sequence[Tenant], subnet: str | None, *options: str) -> list[Network]:
    """The same network on each host, at the same time."""
    return list(in_parallel(*(partial(user.network, subnet, *OURS, *options) for user in users)))


def switches(central: Machine) -> list[str]:
    return [str(switch["name"]) for switch in records.rows(central, SWITCH)]


def settled(central: Machine) -> None:
    """Wait until all hosts have made what Northbound says: a start waits for the container's own only."""
    central.run(["ovn-nbctl", "--wait=hv", "--timeout=30", "sync"], timeout=40)


@pytest.fixture
def room_for_neighbours() -> Iterator[None]:
    """A kernel counts the neighbours of all its namespaces together, and has room for 1,024 by default.

    Only its first network namespace shows the limits.
    """
    files = [NEIGHBOURS / f"gc_thresh{number}" for number in (1, 2, 3)]
    if not files[0].exists():
        pytest.skip("the kernel's room for neighbours can be seen in its first network namespace alone")
    before = [file.read_text() for file in files]
    for file in reversed(files):
        file.write_text("8192")
    yield
    for file, text in zip(files, before, strict=True):
        file.write_text(text)


def unreached(box: Container, peers: Sequence[str]) -> list[str]:
    """What a container misses of the others."""
    said = box.run(REACH % " ".join(peers), timeout=60).stdout
    return [f"{box.name} on {box.host.name}: {line}" for line in said.splitlines()]


@pytest.mark.slow
def test_forty_containers_started_at_once_on_three_hosts_reach_each_other(
    users: Sequence[Tenant],
    lab: Lab,
    room_for_neighbours: None,  # noqa: ARG001
) -> None:
    networks = make(users, "10.30.0.0/24")
    assert switches(lab.central) == [switch_name("default", ipaddress.ip_network("10.30.0.0/24"))]
    starts = [
        (users[number % 3], networks[number % 3], users[number % 3].name()) for number in range(CONTAINERS)
    ]

    boxes = in_parallel(
        *(partial(user.container, network, command=SERVE, name=name) for user, network, name in starts)
    )

    addresses = [box.address(network) for box, (_, network, _) in zip(boxes, starts, strict=True)]
    assert [address for address, times in Counter(addresses).items() if times > 1] == []
    assert sorted(records.leases(lab.central)) == sorted(addresses)
    settled(lab.central)
    for box in boxes[:3]:  # a tunnel of the userspace datapath loses what comes before it knows its end
        for address in addresses[:3]:
            box.reaches(address)
    checks = [
        partial(unreached, box, [address for address in addresses if address != own])
        for box, own in zip(boxes, addresses, strict=True)
    ]
    missed = [
        line
        for start in range(0, CONTAINERS, AT_ONCE)
        for lines in in_parallel(*checks[start : start + AT_ONCE])
        for line in lines
    ]
    assert missed == []

    in_parallel(*(partial(stop_all, user) for user in users))
    assert records.leases(lab.central) == []
    for user in users:
        user.clear()
    assert records.left(lab) == []


def stop_all(user: Tenant) -> None:
    """Stop all containers of a host."""
    user.docker("stop", "--time=0", *user.docker("ps", "--quiet").stdout.split(), timeout=120)


def test_a_pool_is_filled_to_the_last_address_from_three_hosts_at_once(lab: Lab, clean: None) -> None:  # noqa: ARG001
    plugins = [Plugin(host.paths.plugin_socket) for host in lab.hosts]
    pools = [str(ok(plugin, "RequestPool", Pool="10.31.0.0/26")["PoolID"]) for plugin in plugins]
    for plugin, pool in zip(plugins, pools, strict=True):
        kind = {"RequestAddressType": "com.docker.network.gateway"}
        assert ok(plugin, "RequestAddress", PoolID=pool, Options=kind)["Address"] == "10.31.0.1/26"

    filled = in_parallel(*(partial(fill, *pair) for pair in zip(plugins, pools, strict=True)))

    got = [address for addresses, _ in filled for address in addresses]
    usable = [f"{address}/26" for address in ipaddress.ip_network("10.31.0.0/26").hosts()][1:]
    assert sorted(got) == sorted(usable)
    for addresses, error in filled:
        assert addresses, "each host had some"
        assert "pool 10.31.0.0/26 of context default is exhausted: all of its 62 addresses" in error
    for plugin, pool, (addresses, _) in zip(plugins, pools, filled, strict=True):
        for address in [*addresses, "10.31.0.1/26"]:
            ok(plugin, "ReleaseAddress", PoolID=pool, Address=address.partition("/")[0])
        ok(plugin, "ReleasePool", PoolID=pool)


def ok(plugin: Plugin, verb: str, **body: object) -> dict[str, object]:
    """Call a verb of the IPAM driver that must succeed."""
    answer = plugin.call(f"IpamDriver.{verb}", body)
    assert answer.ok, answer.error
    return answer.body


def fill(plugin: Plugin, pool: str) -> tuple[list[str], str]:
    """Take addresses until there are none; these and the last error."""
    taken: list[str] = []
    while (answer := plugin.call("IpamDriver.RequestAddress", {"PoolID": pool})).ok:
        taken.append(str(answer.body["Address"]))
        assert len(taken) < 100
    return taken, answer.error


def test_a_taken_address_is_refused_naming_its_endpoint_and_host(
    users: Sequence[Tenant],
) -> None:
    networks = make(users, "10.32.0.0/24")
    first = users[0].container(networks[0], "--ip", "10.32.0.7")
    holder = first.endpoint(networks[0])["EndpointID"]

    refused = users[1].once(networks[1], "true", "--ip", "10.32.0.7")

    assert refused.returncode != 0
    assert f"10.32.0.7 of pool 10.32.0.0/24 is taken: endpoint {holder} on host h1" in refused.stderr
    users[0].remove(first)
    assert users[1].container(networks[1], "--ip", "10.32.0.7").address(networks[1]) == "10.32.0.7"


def test_a_network_has_ipv4_and_ipv6_over_all_hosts(users: Sequence[Tenant], lab: Lab) -> None:
    networks = make(users, "10.33.0.0/24", "--ipv6", "--subnet", "fd33::/64")
    boxes = [user.container(network) for user, network in zip(users, networks, strict=True)]
    endpoints = [box.endpoint(network) for box, network in zip(boxes, networks, strict=True)]
    assert len({endpoint["GlobalIPv6Address"] for endpoint in endpoints} - {""}) == 3
    assert len(records.leases(lab.central)) == 6
    settled(lab.central)
    for box in boxes:
        for peer in endpoints:
            box.reaches(peer["IPAddress"])
            box.reaches(peer["GlobalIPv6Address"])


def test_hosts_heed_their_own_range_and_every_gateway_and_aux_address(
    users: Sequence[Tenant], lab: Lab
) -> None:
    subnet, gateway = "10.34.0.0/24", "10.34.0.254"
    aux = ("--aux-address", "printer=10.34.0.65", "--aux-address", "clock=10.34.0.2")
    upper = ("--ip-range", "10.34.0.64/28")
    first = users[0].network(subnet, *OURS, "--gateway", gateway, *aux)
    second = users[1].network(subnet, *OURS, *upper)
    third = users[2].network(subnet, *OURS)

    ranged = [users[1].container(second).address(second) for _ in range(3)]
    others = [user.container(net).address(net) for user, net in ((users[0], first), (users[2], third))]

    assert ranged == ["10.34.0.64", "10.34.0.66", "10.34.0.67"]
    assert not {*others} & {gateway, "10.34.0.2", "10.34.0.65"}
    [switch] = records.rows(lab.central, SWITCH)
    assert marks(switch)["gateway_ip"] == gateway
    reserved = [address for kind, address in records.held(lab.central) if kind == "reserved"]
    assert sorted(reserved) == ["10.34.0.2", "10.34.0.254", "10.34.0.65"]


def test_another_gateway_than_the_switch_has_is_refused(users: Sequence[Tenant], lab: Lab) -> None:
    users[0].network("10.35.0.0/24", *OURS, "--gateway", "10.35.0.254")
    options = ("--driver=openvswitch", *OURS, "--subnet=10.35.0.0/24", "--gateway=10.35.0.1", "other")
    refused = users[1].docker("network", "create", *options, check=False)
    assert "has the gateway 10.35.0.254" in refused.stderr
    assert "--gateway 10.35.0.254" in refused.stderr
    assert records.held(lab.central) == [("pool", "10.35.0.0/24"), ("reserved", "10.35.0.254")]


def test_a_network_without_subnet_has_the_next_one_that_no_host_uses(users: Sequence[Tenant]) -> None:
    networks = make(users, None)
    form = "{{(index .IPAM.Config 0).Subnet}}"
    got = [
        user.docker("network", "inspect", "--format", form, network.name).stdout.strip()
        for user, network in zip(users, networks, strict=True)
    ]
    assert sorted(got) == ["10.200.0.0/24", "10.200.1.0/24", "10.200.2.0/24"]
    users[0].remove_network(networks[0])
    again = users[1].network(None, *OURS)
    shown = users[1].docker("network", "inspect", "--format", form, again.name).stdout.strip()
    assert shown == got[0]


def test_a_host_that_removes_the_network_leaves_it_to_the_others(users: Sequence[Tenant], lab: Lab) -> None:
    first = users[0].network("10.36.0.0/24", *OURS)
    second, third = make(users[1:], "10.36.0.0/24")
    one, two = users[1].container(second), users[2].container(third)

    users[0].remove_network(first)

    assert len(switches(lab.central)) == 1
    settled(lab.central)
    one.reaches(two.address(third))
    users[1].remove(one)
    users[1].remove_network(second)
    assert len(switches(lab.central)) == 1
    users[2].remove(two)
    users[2].remove_network(third)
    assert records.left(lab) == []


def test_a_switch_removed_by_its_last_user_comes_back_with_a_container(
    users: Sequence[Tenant], lab: Lab
) -> None:
    first, second, third = make(users, "10.37.0.0/24")
    users[0].remove_network(first)
    one, two = users[1].container(second), users[2].container(third)
    assert len(switches(lab.central)) == 1
    settled(lab.central)
    one.reaches(two.address(third))


def test_a_driver_that_is_killed_remembers_the_switch_of_each_network(
    users: Sequence[Tenant], lab: Lab
) -> None:
    networks = make(users[:2], "10.38.0.0/24")
    peer = users[1].container(networks[1])
    lab.hosts[0].kill("driver")
    lab.hosts[0].start_driver()
    box = users[0].container(networks[0])
    settled(lab.central)
    box.reaches(peer.address(networks[1]))
    lab.hosts[0].kill("driver")
    lab.hosts[0].start_driver()
    users[0].remove(box)
    users[0].remove_network(networks[0])
    assert records.leases(lab.central) == [peer.address(networks[1])]
    shown = lab.hosts[0].run(["stat", "-c", "%a", "/var/lib/ovn-docker/openvswitch.json"]).stdout
    assert shown.strip() == "600"


def test_an_address_of_a_foreign_port_or_exclude_ips_is_not_leased(users: Sequence[Tenant], lab: Lab) -> None:
    network = users[0].network("10.39.0.0/29", *OURS)
    [switch] = switches(lab.central)
    nbctl = partial(lab.central.run, timeout=20)
    nbctl(
        ["ovn-nbctl", "lsp-add", switch, "vm", "--", "lsp-set-addresses", "vm", "0a:00:00:00:00:01 10.39.0.2"]
    )
    nbctl(["ovn-nbctl", "set", "Logical_Switch", switch, "other_config:exclude_ips=10.39.0.3..10.39.0.4"])

    got = [users[0].container(network).address(network) for _ in range(2)]
    exhausted = users[0].once(network, "true")

    assert sorted(got) == ["10.39.0.5", "10.39.0.6"]
    assert "pool 10.39.0.0/29 of context default is exhausted" in exhausted.stderr
    taken = users[0].once(network, "true", "--ip", "10.39.0.2")
    assert "logical switch port vm " in taken.stderr
    nbctl(["ovn-nbctl", "lsp-del", "vm"])


def test_containers_that_restart_have_an_address_of_their_own_again(
    users: Sequence[Tenant], lab: Lab
) -> None:
    networks = make(users[:2], "10.40.0.0/24")
    boxes = [users[number % 2].container(networks[number % 2]) for number in range(4)]
    in_parallel(*(partial(box.host.docker, "restart", "--time=0", box.name) for box in boxes))
    addresses = [box.address(networks[number % 2]) for number, box in enumerate(boxes)]
    assert len(set(addresses)) == 4
    assert sorted(records.leases(lab.central)) == sorted(addresses)
    eventually(lambda: boxes[0].pings(addresses[1]), 10, "they reach each other")


def test_a_container_that_cannot_start_leaves_no_lease(users: Sequence[Tenant], lab: Lab) -> None:
    network = users[0].network("10.41.0.0/24", *OURS)
    name = users[0].name()
    failed = users[0].docker("run", "--net", network.name, "--name", name, IMAGE, "no-program", check=False)
    assert failed.returncode != 0
    assert records.leases(lab.central) == []
