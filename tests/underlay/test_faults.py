"""Neutron that is down, slow or broken, and a driver that is killed between two of its requests."""

import contextlib
import http.client
import threading
from collections.abc import Iterator, Sequence
from signal import SIGKILL

import pytest

from ovn_docker_lab.processes import send
from tests.integration.plugin import VERBS
from tests.integration.tenant import Container
from tests.polling import eventually
from tests.underlay import docker_requests
from tests.underlay.clouds import Cloud
from tests.underlay.conftest import leftovers, wipe
from tests.underlay.docker_requests import new_id
from tests.underlay.machines import VirtualMachine
from tests.underlay.proxy import REGION, Proxy

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(400), pytest.mark.slow]

HEALTH = ("--health-check-on", "--health-check-interval=3")
DEADLINE = 10.5
MOST_REQUESTS = 30


@pytest.fixture
def proxied(cloud: Cloud, proxy: Proxy) -> Iterator[VirtualMachine]:
    """A machine whose driver reaches Neutron through the proxy."""
    machine = cloud.machines[0]
    machine.start_driver(environment=machine.environment(cloud.demo, OS_REGION_NAME=REGION))
    try:
        yield machine
    finally:
        proxy.reset()
        machine.clear()
        machine.stop_driver()
        wipe(cloud)


def bodies(network_id: str, endpoint_id: str) -> dict[str, object]:
    ids = docker_requests.of(network_id, endpoint_id)
    return {
        "CreateNetwork": docker_requests.network(new_id(), "10.41.0.0/24"),
        "CreateEndpoint": docker_requests.endpoint(network_id, new_id(), "10.40.0.77/24"),
        "EndpointOperInfo": ids,
        "Join": {**ids, "SandboxKey": "/x", "Options": {}},
        "Leave": docker_requests.of(network_id, new_id()),
        "DeleteEndpoint": docker_requests.of(network_id, new_id()),
        "DeleteNetwork": {"NetworkID": new_id()},
    }


def answers_within_its_time(vm: VirtualMachine, network_id: str, endpoint_id: str) -> dict[str, str]:
    """What each verb says, all asked at the same time."""
    said: dict[str, str] = {}

    def ask(verb: str, body: object) -> None:
        answer = vm.plugin.call(verb, body)
        assert answer.seconds < DEADLINE
        said[verb] = answer.error

    asked = bodies(network_id, endpoint_id)
    threads = [threading.Thread(target=ask, args=(verb, asked[verb])) for verb in VERBS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(said) == set(VERBS)
    assert all("\n" not in text for text in said.values())
    return said


def test_every_verb_ends_in_time_while_neutron_is_down_or_hangs(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id, endpoint_id = new_id(), new_id()
    assert vm.plugin.call("CreateNetwork", docker_requests.network(network_id)).ok
    assert vm.plugin.call("CreateEndpoint", docker_requests.endpoint(network_id, endpoint_id)).ok
    cloud.openstack.freeze_neutron(frozen=True)
    try:
        said = answers_within_its_time(vm, network_id, endpoint_id)
    finally:
        cloud.openstack.freeze_neutron(frozen=False)
    refused = {verb for verb, text in said.items() if text}
    assert refused >= {"CreateNetwork", "CreateEndpoint", "Join", "EndpointOperInfo"}
    cloud.openstack.kill_neutron()
    try:
        said = answers_within_its_time(vm, network_id, endpoint_id)
        assert "cannot be reached" in said["CreateEndpoint"]
        assert vm.plugin.call("Plugin.Activate").ok
        assert vm.plugin.call("GetCapabilities").ok
    finally:
        cloud.openstack.start_neutron()
    eventually(
        lambda: vm.plugin.call("EndpointOperInfo", docker_requests.of(network_id, endpoint_id)).ok, 30, "ok"
    )
    for verb, body in (
        ("DeleteEndpoint", docker_requests.of(network_id, endpoint_id)),
        ("DeleteNetwork", {"NetworkID": network_id}),
    ):
        assert vm.plugin.call(verb, body).ok
    eventually(lambda: leftovers(cloud) == [], 90, "what was cancelled is undone")


def test_what_docker_deletes_while_neutron_is_down_goes_when_it_is_back(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    """Docker asks once, and forgets, whatever the driver answers; there is no health check here."""
    network_id, endpoint_id = new_id(), new_id()
    verbs = docker_requests.life(vm, network_id, endpoint_id)
    for verb, body in verbs[:3]:
        assert vm.plugin.call(verb, body).ok
    cloud.openstack.kill_neutron()
    try:
        assert vm.plugin.call(*verbs[3]).ok  # Leave
        assert "cannot be reached" in vm.plugin.call(*verbs[4]).error
        assert "cannot be reached" in vm.plugin.call(*verbs[5]).error
    finally:
        cloud.openstack.start_neutron()
    assert f"port {endpoint_id}" in leftovers(cloud)
    eventually(lambda: leftovers(cloud) == [], 90, "what was to go is gone")


SLOW, BROKEN, HALF_BROKEN = "slow", "broken", "broken after it has done what was asked"


@pytest.mark.parametrize("how", [SLOW, BROKEN, HALF_BROKEN])
def test_every_verb_ends_in_time_and_nothing_is_left_when_neutron_is(
    how: str, cloud: Cloud, proxied: VirtualMachine, proxy: Proxy
) -> None:
    network_id, endpoint_id = new_id(), new_id()
    assert proxied.plugin.call("CreateNetwork", docker_requests.network(network_id)).ok
    assert proxied.plugin.call("CreateEndpoint", docker_requests.endpoint(network_id, endpoint_id)).ok
    if how == SLOW:
        proxy.delay = 10
    elif how == BROKEN:
        proxy.answer = lambda *_: 500
    else:
        proxy.instead = lambda method, _: 500 if method != "GET" else None
    said = answers_within_its_time(proxied, network_id, endpoint_id)
    assert {"CreateNetwork", "CreateEndpoint"} <= {verb for verb, text in said.items() if text}
    for verb, text in said.items():
        if text and how != SLOW:
            assert text.startswith("Neutron does not work: it answered "), verb
    proxy.reset()
    for verb, body in docker_requests.life(proxied, network_id, endpoint_id):  # repeats are safe
        assert proxied.plugin.call(verb, body).ok, verb
    eventually(lambda: leftovers(cloud) == [], 90, "what was cancelled is undone")


def test_a_repeat_after_a_lost_answer_makes_nothing_twice(
    cloud: Cloud, proxied: VirtualMachine, proxy: Proxy
) -> None:
    network_id, endpoint_id = new_id(), new_id()
    for verb, body in docker_requests.life(proxied, network_id, endpoint_id)[:3]:
        lost: list[str] = []

        def lose(method: str, path: str) -> None:
            if method != "GET" and len(lost) < 4:  # noqa: B023
                lost.append(path)  # noqa: B023
                raise ConnectionError

        proxy.after = lose
        eventually(lambda: proxied.plugin.call(verb, body).ok, 60, f"{verb} succeeds")  # noqa: B023
    proxy.reset()
    assert len(cloud.demo.list("networks", name=network_id)) == 1
    assert len(cloud.demo.list("ports", name=endpoint_id)) == 1
    for verb, body in docker_requests.life(proxied, network_id, endpoint_id)[3:]:
        assert proxied.plugin.call(verb, body).ok
    eventually(lambda: leftovers(cloud) == [], 30, "nothing is left")


def test_a_driver_killed_between_two_requests_leaves_nothing_after_a_check(
    cloud: Cloud, proxy: Proxy
) -> None:
    machine = cloud.machines[0]
    through = machine.environment(cloud.demo, OS_REGION_NAME=REGION)
    killed = 0
    while killed < MOST_REQUESTS:
        seen: list[str] = []
        process = machine.start_driver(environment=through)

        def kill(method: str, path: str) -> None:
            if method != "GET":
                seen.append(path)  # noqa: B023
                if len(seen) > killed:  # noqa: B023
                    send(process, SIGKILL)  # noqa: B023

        proxy.after = kill
        done = False
        with contextlib.suppress(OSError, http.client.HTTPException):
            done = all(each.ok for each in docker_requests.live(machine, new_id(), new_id()))
        proxy.reset()
        machine.stop_driver(kill=True)
        if done:
            break
        killed += 1
    assert 8 <= killed < MOST_REQUESTS
    assert leftovers(cloud) != []
    machine.start_driver("--health-check-on", "--health-check-interval=3600")  # one pass, no other
    try:
        eventually(lambda: leftovers(cloud) == [], 90, "nothing is left")
    finally:
        machine.stop_driver()
        wipe(cloud)


def test_a_join_does_not_wait_for_ever_for_a_port_that_is_not_active(
    cloud: Cloud, vm: VirtualMachine
) -> None:
    """Where Neutron takes the port for ACTIVE although its machine is cut off, there is no wait."""
    network_id, endpoint_id = new_id(), new_id()
    create, attach, join, *rest = docker_requests.life(vm, network_id, endpoint_id)
    assert vm.plugin.call(*create).ok
    tap = f"tap-{vm.host.name}"
    vm.hypervisor.run(["ovs-vsctl", "remove", "Interface", tap, "external_ids", "iface-id"])
    try:
        eventually(lambda: not _chassis(cloud, vm), 30, "the machine is cut off")
        assert vm.plugin.call(*attach).ok
        [port] = cloud.demo.list("ports", name=endpoint_id)
        answer = vm.plugin.call(*join)
        assert answer.ok
        assert answer.seconds < DEADLINE
        late = f"of endpoint {endpoint_id} is DOWN after 5 s" in vm.log.read_text()
        assert late == (answer.seconds >= 5)
        assert late or cloud.demo.get("ports", port["id"])["status"] == "ACTIVE"
        assert len(vm.vlans()) == 1
    finally:
        vm.hypervisor.run(["ovs-vsctl", "set", "Interface", tap, f"external_ids:iface-id={vm.vif['id']}"])
    eventually(lambda: _chassis(cloud, vm), 30, "the machine is back")
    for verb, body in rest:
        assert vm.plugin.call(verb, body).ok


def _chassis(cloud: Cloud, machine: VirtualMachine) -> str:
    """Where OVN has a machine's port, or nothing. Neutron's own word of it may come late, or not at all."""
    find = ["ovn-sbctl", "--bare", "--columns=chassis", "find", "Port_Binding"]
    return cloud.lab.central.run([*find, f"logical_port={machine.vif['id']}"]).stdout.strip()


def test_a_join_is_answered_when_the_port_is_active(cloud: Cloud, vm: VirtualMachine) -> None:
    network_id, endpoint_id = new_id(), new_id()
    verbs = docker_requests.life(vm, network_id, endpoint_id)
    for verb, body in verbs[:2]:
        assert vm.plugin.call(verb, body).ok
    [port] = cloud.demo.list("ports", name=endpoint_id)
    before = cloud.demo.get("ports", port["id"])["status"]
    assert vm.plugin.call(*verbs[2]).ok
    late = f"of endpoint {endpoint_id} is DOWN after 5 s" in vm.log.read_text()
    assert cloud.demo.get("ports", port["id"])["status"] == "ACTIVE" or late, before
    for verb, body in verbs[3:]:
        assert vm.plugin.call(verb, body).ok


def test_what_goes_missing_is_made_again(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.create_network("repair", "--subnet=10.42.0.0/24")
    one, two = vm.start("one", "repair"), vm.start("two", "repair")
    vm.stop_driver()
    [trunk] = cloud.demo.list("trunks", port_id=vm.vif["id"])
    ports = [sub_port["port_id"] for sub_port in trunk["sub_ports"]]
    body = {"sub_ports": [{"port_id": port} for port in ports]}
    cloud.demo.call("network", "PUT", f"/v2.0/trunks/{trunk['id']}/remove_subports", body)
    cloud.demo.delete("ports", ports[0])
    vm.host.run(["ovs-vsctl", "del-port", vm.interfaces()[0]])
    assert not one.pings("10.42.0.3")
    vm.start_driver(*HEALTH)
    one.reaches("10.42.0.3", 60)
    two.reaches("10.42.0.2", 10)
    eventually(lambda: len(vm.vlans()) == 2, 10, "both are plugged in")


def test_two_drivers_on_one_port_never_share_a_vlan(cloud: Cloud, vm: VirtualMachine) -> None:
    rival = VirtualMachine(vm.host, vm.hypervisor, vm.vif, cloud.openstack)
    socket = vm.host.paths.run / "rival.sock"
    process = rival.start_driver("--unix-socket=/run/rival.sock", "--driver-name=rival", wait=False)
    plugins = [vm.plugin, type(vm.plugin)(socket)]
    eventually(socket.exists, 20, "the rival listens")
    networks = [new_id(), new_id()]
    for number, plugin in enumerate(plugins):
        assert plugin.call(
            "CreateNetwork", docker_requests.network(networks[number], f"10.4{number + 3}.0.0/24")
        ).ok

    made: list[int] = []

    def make(number: int) -> None:
        """Neutron may take its time with a trunk that two change at once, and a repeat is safe."""
        which = number % 2
        body = docker_requests.endpoint(networks[which], new_id(), f"10.4{which + 3}.0.{number + 10}/24")
        eventually(lambda: plugins[which].call("CreateEndpoint", body).ok, 60, "the endpoint is made")
        made.append(number)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        [trunk] = cloud.demo.list("trunks", port_id=vm.vif["id"])
        vlans = [sub_port["segmentation_id"] for sub_port in trunk["sub_ports"]]
        assert len(vlans) == len(set(vlans)) == len(made) == 6
    finally:
        send(process, SIGKILL)
        vm.stop_driver(kill=True)
        wipe(cloud)


def test_neutron_restarted_under_load_leaves_nothing_behind(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.stop_driver()
    vm.start_driver(*HEALTH)
    vm.create_network("load", "--subnet=10.45.0.0/24")
    stop = threading.Event()

    ended: list[int] = []

    def work() -> None:
        while not stop.is_set():
            done = vm.host.docker("run", "--rm", "--network=load", "busybox", "true", check=False)
            ended.append(done.returncode)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: 0 in ended, 60, "containers start before")
        cloud.openstack.kill_neutron()
        eventually(lambda: ended[-1] != 0, 60, "one is refused meanwhile")
        cloud.openstack.start_neutron()
        eventually(lambda: ended[-1] == 0, 60, "containers start again")
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    vm.start("after", "load")
    vm.clear()
    eventually(lambda: leftovers(cloud) == [], 90, "nothing is left")


def test_thirty_containers_in_each_machine(cloud: Cloud, both: Sequence[VirtualMachine]) -> None:
    with cloud.demo.network("10.46.0.0/24", gateway_ip="10.46.0.1") as (network, subnet):
        for machine in both:
            options = (f"--ipam-opt=neutron.subnet={subnet['id']}", f"--opt=neutron.subnet={subnet['id']}")
            machine.create_network("many", "--ipam-driver=openvswitch", *options)

        def fill(machine: VirtualMachine) -> None:
            for number in range(30):
                machine.start(f"c{number}", "many")

        threads = [threading.Thread(target=fill, args=(machine,)) for machine in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert [len(machine.vlans()) for machine in both] == [30, 30]
        addresses = {
            machine.host.docker("exec", f"c{number}", "hostname", "-i").stdout.strip()
            for machine in both
            for number in range(30)
        }
        assert len(addresses) == 60
        ports = [port for port in cloud.demo.list("ports", network_id=network["id"]) if port["name"]]
        assert len(ports) == 60
        assert {port["fixed_ips"][0]["ip_address"] for port in ports} == addresses
        far = both[1].host.docker("exec", "c29", "hostname", "-i").stdout.strip()
        Container(both[0].host, "c29").reaches(far, 30)
        Container(both[0].host, "c0").reaches(far, 30)
        both[0].clear()
        both[1].clear()
