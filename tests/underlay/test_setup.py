"""The one-time set-up of a machine, in every way broken and repaired, and ``ovn-docker uplink``."""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from signal import SIGKILL

import pytest

from ovn_docker_lab.processes import send, spawn
from tests.polling import eventually
from tests.underlay.clouds import MTU, Cloud
from tests.underlay.machines import BRIDGE, LINK, VirtualMachine
from tests.underlay.networkd import ETC, has_address, managed

pytestmark = [pytest.mark.underlay, pytest.mark.timeout(240)]

OTHER_MAC = "fa:16:3e:ff:ff:fe"


@pytest.fixture
def bare(cloud: Cloud) -> Iterator[VirtualMachine]:
    """A machine that is set up, with a trunk and without a driver."""
    machine = cloud.machines[0]
    machine.findings(verb="repair")
    yield machine
    eventually(lambda: machine.kinds() == [], 60, "nothing is wrong")


# --- Every fault is found ---------------------------------------------------------------------------------

Commands = Sequence[Sequence[str]]

ON_THE_MACHINE: list[tuple[str, Commands, Commands]] = [
    (
        "uplink-vlan",
        [["ovs-vsctl", "set", "port", LINK, "tag=5"]],
        [["ovs-vsctl", "remove", "port", LINK, "tag", "5"]],
    ),
    (
        "uplink-vlan",
        [["ovs-vsctl", "set", "port", LINK, "trunks=5,6"]],
        [["ovs-vsctl", "clear", "port", LINK, "trunks"]],
    ),
    (
        "uplink-dead",
        [["ovs-vsctl", "set", "interface", LINK, "type=gre"]],
        [["ovs-vsctl", "set", "interface", LINK, 'type=""']],
    ),
    (
        "uplink-missing",
        [["ovs-vsctl", "del-port", LINK]],
        [["ovs-vsctl", "add-port", BRIDGE, LINK]],
    ),
    (
        "bridge-secure",
        [["ovs-vsctl", "set-fail-mode", BRIDGE, "secure"]],
        [["ovs-vsctl", "del-fail-mode", BRIDGE]],
    ),
    (
        "bridge-mac",
        [["ovs-vsctl", "set", "bridge", BRIDGE, f'other-config:hwaddr="{OTHER_MAC}"']],
        [],
    ),
    (
        "mtu-small",
        [["ip", "link", "set", LINK, "mtu", "1300"]],
        [["ip", "link", "set", LINK, "mtu", str(MTU)]],
    ),
    (
        "mtu-large",
        [["ovs-vsctl", "set", "interface", BRIDGE, "mtu_request=1500"]],
        [["ovs-vsctl", "set", "interface", BRIDGE, f"mtu_request={MTU}"]],
    ),
]


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    ON_THE_MACHINE,
    ids=[f"{n}-{each[0]}" for n, each in enumerate(ON_THE_MACHINE)],
)
def test_a_fault_of_the_machine_is_found(
    bare: VirtualMachine, kind: str, wrong: Commands, right: Commands
) -> None:
    for command in wrong:
        bare.host.run(command)
    try:
        found = bare.findings()
        assert [each["kind"] for each in found] == [kind]
        assert found[0]["repair"] is None
    finally:
        mac = f'other-config:hwaddr="{bare.vif["mac_address"]}"'
        for command in (*right, ["ovs-vsctl", "set", "bridge", BRIDGE, mac]):
            bare.host.run(command)


def test_a_bridge_that_is_not_there_and_a_port_that_is_not_the_machines_are_found(
    cloud: Cloud, bare: VirtualMachine
) -> None:
    [found] = bare.findings("--bridge=br9")
    assert found["kind"] == "bridge-missing"
    assert f"'ovn-docker uplink add {LINK} --bridge br9'" in found["text"]
    assert bare.kinds(OS_VIF_ID=str(uuid.uuid4())) == ["vif-missing"]
    other = cloud.machines[1].vif["id"]
    assert "vif-elsewhere" in bare.kinds(OS_VIF_ID=other)
    done = bare.command("check", "--underlay", "--ip-lookup")
    assert (done.returncode, done.stdout) == (2, "")
    done = bare.command("check", "--underlay", OS_PASSWORD="wrong")  # noqa: S106
    assert done.returncode == 3
    assert "refused the login" in done.stderr


def test_a_machine_with_another_machine_s_port_takes_nothing_from_it(
    cloud: Cloud, both: Sequence[VirtualMachine]
) -> None:
    copied, original = both
    original.create_network("mine", "--subnet=10.64.0.0/24")
    one, _ = original.start("one", "mine"), original.start("two", "mine")
    one.reaches("10.64.0.3", 20)
    before = sorted(each["id"] for each in cloud.demo.list("ports") + cloud.demo.list("networks"))
    found = copied.findings(verb="repair", OS_VIF_ID=original.vif["id"])
    assert [(each["kind"], each["repaired"]) for each in found] == [("vif-elsewhere", False)]
    copied.stop_driver()
    login = copied.environment(cloud.demo, OS_VIF_ID=original.vif["id"])
    copied.start_driver("--health-check-on", "--health-check-interval=1", environment=login)
    said = copied.create_network("copied", "--subnet=10.65.0.0/24", check=False)
    assert f"of port {original.vif['id']} (OS_VIF_ID): it is another machine's" in said
    eventually(lambda: "health check: vif-elsewhere" in copied.log.read_text(), 30, "the check has passed")
    assert sorted(each["id"] for each in cloud.demo.list("ports") + cloud.demo.list("networks")) == before
    assert one.pings("10.64.0.3")


def test_a_port_of_another_project_is_found(cloud: Cloud, bare: VirtualMachine) -> None:
    """The owner of a network sees others' ports on it."""
    with cloud.demo.network("10.61.0.0/24") as (network, _):
        foreign = cloud.operator.create(
            "ports", network_id=network["id"], project_id=cloud.openstack.other().login()[2]
        )
        assert "vif-foreign" in bare.kinds(OS_VIF_ID=foreign["id"])


def test_a_port_and_a_trunk_that_are_switched_off_are_found(cloud: Cloud, bare: VirtualMachine) -> None:
    [trunk] = cloud.demo.list("trunks", port_id=bare.vif["id"])
    for kind, resources, resource in (
        ("vif-disabled", "ports", bare.vif["id"]),
        ("trunk-down", "trunks", trunk["id"]),
    ):
        cloud.demo.update(resources, resource, admin_state_up=False)
        try:
            assert kind in bare.kinds()
        finally:
            cloud.demo.update(resources, resource, admin_state_up=True)
        eventually(lambda: bare.kinds() == [], 30, "nothing is wrong")


def test_a_port_that_is_not_plugged_in_is_found(bare: VirtualMachine) -> None:
    tap = f"tap-{bare.host.name}"

    def down() -> bool:
        return "vif-down" in [each["kind"] for each in bare.all_findings()]

    bare.hypervisor.run(["ovs-vsctl", "remove", "Interface", tap, "external_ids", "iface-id"])
    try:
        eventually(down, 60, "Neutron says that the port is DOWN")
    finally:
        iface = f"external_ids:iface-id={bare.vif['id']}"
        bare.hypervisor.run(["ovs-vsctl", "set", "Interface", tap, iface])
    eventually(lambda: not down(), 60, "Neutron says that the port is ACTIVE")


def test_a_trunk_that_is_missing_is_made_by_a_repair(cloud: Cloud, bare: VirtualMachine) -> None:
    [trunk] = cloud.demo.list("trunks", port_id=bare.vif["id"])
    cloud.demo.delete("trunks", trunk["id"])
    assert "trunk-missing" in bare.kinds()
    assert [each["kind"] for each in bare.findings("--dry-run", verb="repair")] == ["trunk-missing"]
    assert cloud.demo.list("trunks", port_id=bare.vif["id"]) == []
    [repaired] = bare.findings(verb="repair")
    assert repaired["repaired"] is True
    assert len(cloud.demo.list("trunks", port_id=bare.vif["id"])) == 1


def test_a_driver_makes_the_trunk_with_its_health_check(cloud: Cloud, vm: VirtualMachine) -> None:
    for trunk in cloud.demo.list("trunks", port_id=vm.vif["id"]):
        cloud.demo.delete("trunks", trunk["id"])
    vm.stop_driver()
    vm.start_driver("--health-check-on", "--health-check-interval=2")
    eventually(lambda: cloud.demo.list("trunks", port_id=vm.vif["id"]), 30, "the trunk is made")


def test_a_cloud_without_trunks_is_found(cloud: Cloud, bare: VirtualMachine) -> None:
    with _without_trunks(cloud):
        found = bare.findings()
        assert [(each["kind"], each["subject"]) for each in found] == [("cloud-lacks", "trunk")]


@contextlib.contextmanager
def _without_trunks(cloud: Cloud) -> Iterator[None]:
    cloud.openstack.kill_neutron()
    cloud.openstack.start_neutron(plugins="ovn-router")
    try:
        yield
    finally:
        cloud.openstack.kill_neutron()
        cloud.openstack.start_neutron()


def test_sizes_and_vlans_that_do_not_agree_with_neutron_are_found(cloud: Cloud, vm: VirtualMachine) -> None:
    vm.create_network("sizes", "--subnet=10.62.0.0/24")
    one, _ = vm.start("one", "sizes"), vm.start("two", "sizes")
    one.reaches("10.62.0.3", 20)
    assert vm.kinds() == []
    management = vm.vif["network_id"]
    cloud.demo.update("networks", management, mtu=1400)
    try:
        assert sorted(vm.kinds()) == ["mtu-large", "network-mtu"]
    finally:
        cloud.demo.update("networks", management, mtu=MTU)
    port, vlan = next(iter(vm.vlans().items()))
    vm.host.run(["ovs-vsctl", "set", "port", port, f"tag={vlan % 4094 + 1}"])
    assert not one.pings("10.62.0.3")
    [found] = vm.findings(verb="repair")
    assert (found["kind"], found["repaired"]) == ("interface-vlan", True)
    one.reaches("10.62.0.3", 20)
    assert vm.vlans()[port] == vlan


# --- Packets that pass, and do not ------------------------------------------------------------------------


def test_a_probe_says_whether_packets_of_a_vlan_pass(cloud: Cloud, bare: VirtualMachine) -> None:
    assert bare.kinds("--probe") == []
    tap = f"tap-{bare.host.name}"
    strip = "priority=100,vlan_tci=0x1000/0x1000,actions=strip_vlan,NORMAL"
    faults: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        (
            "vlan-blocked",
            lambda: bare.host.run(["ovs-ofctl", "add-flow", BRIDGE, strip]),
            lambda: bare.host.run(
                ["ovs-ofctl", "--strict", "del-flows", BRIDGE, "priority=100,vlan_tci=0x1000/0x1000"]
            ),
        ),
        (
            "mtu-blocked",
            lambda: bare.hypervisor.run(["ip", "link", "set", tap, "mtu", "1300"]),
            lambda: bare.hypervisor.run(["ip", "link", "set", tap, "mtu", str(MTU)]),
        ),
    ]
    for kind, break_it, repair_it in faults:
        break_it()
        try:
            assert bare.kinds("--probe") == [kind]
        finally:
            repair_it()
    for resources in ("networks", "ports"):
        assert [each for each in cloud.demo.list(resources) if each["name"] == "ovn-docker-probe"] == []


def test_by_binding_profile_no_trunk_is_missed_and_packets_pass(cloud: Cloud, bare: VirtualMachine) -> None:
    [trunk] = cloud.demo.list("trunks", port_id=bare.vif["id"])
    cloud.demo.delete("trunks", trunk["id"])
    agent = cloud.openstack.agent()
    login = {"OS_USERNAME": agent.user, "OS_PASSWORD": agent.password}
    assert bare.kinds("--child-ports=profile", "--probe", **login) == []
    assert cloud.demo.list("trunks", port_id=bare.vif["id"]) == []
    bare.findings(verb="repair")


# --- ovn-docker uplink ------------------------------------------------------------------------------------


def test_the_bridge_is_unmade_and_made_and_connections_outlive_both(
    cloud: Cloud, bare: VirtualMachine
) -> None:
    other, there = cloud.machines[1], bare.host
    there.run(["ip", "route", "add", "10.98.0.0/16", "via", other.address])
    ping = ["busybox", "ping", "-c1", "-W1", other.address]
    try:
        with _connected(bare, other) as says:
            says("before")
            bare.take_off_bridge()
            says("between")
            bare.put_on_bridge()
            says("after")
        assert f"{LINK} is on no bridge, and has {bare.address}/24 and 1 route(s)" in bare.take_off_bridge()
        assert bare.address in there.run(["ip", "addr", "show", LINK]).stdout
        assert f"dev {LINK}" in there.run(["ip", "route", "get", "10.98.0.1"]).stdout
        assert there.run(["ovs-vsctl", "br-exists", BRIDGE], check=False).returncode == 2
        eventually(lambda: there.run(ping, check=False).returncode == 0, 10, "an answer without a bridge")
        assert "there is no bridge" in bare.take_off_bridge()
        said = bare.put_on_bridge()
        assert "out of reach for a moment" in said
        assert f"{LINK} is on bridge {BRIDGE}, which has {bare.address}/24 and 1 route(s)" in said
        eventually(lambda: there.run(ping, check=False).returncode == 0, 10, "an answer through the bridge")
        assert f"dev {BRIDGE}" in there.run(["ip", "route", "get", "10.98.0.1"]).stdout
        mac = bare.vif["mac_address"]
        assert mac in there.run(["ip", "link", "show", BRIDGE]).stdout
        assert "there is nothing to move" in bare.put_on_bridge()
    finally:
        bare.put_on_bridge()
        there.run(["ip", "route", "del", "10.98.0.0/16"])


@contextlib.contextmanager
def _connected(one: VirtualMachine, other: VirtualMachine) -> Iterator[Callable[[str], None]]:
    """One TCP connection between two machines; what sends a word through it and waits for it."""
    heard = other.host.paths.log("heard")
    pipes = [each.host.paths.run / "words" for each in (one, other)]
    for pipe in pipes:
        os.mkfifo(pipe)  # opened for both ways it never ends, and with its input nc would end
    listen = ["sh", "-c", "exec busybox nc -l -p 7000 <>/run/words"]
    talk = ["sh", "-c", f"exec busybox nc {other.address} 7000 <>/run/words"]
    listening = spawn(other.host.enter(listen), heard, other.host.environment())
    ports = ["sh", "-c", "cat /proc/net/tcp /proc/net/tcp6 | grep -c ':1B58 .* 0A'"]  # 7000, LISTEN
    eventually(lambda: other.host.run(ports, check=False).stdout.strip() == "1", 10, "it listens")
    talking = spawn(one.host.enter(talk), one.host.paths.log("talk"), one.host.environment())
    try:
        with pipes[0].open("w", buffering=1) as words:

            def say(word: str) -> None:
                words.write(f"{word}\n")
                eventually(lambda: word in heard.read_text(), 20, f"'{word}' arrives")

            yield say
    finally:
        for process in (talking, listening):
            send(process, SIGKILL)
        for pipe in pipes:
            pipe.unlink()


def test_a_bridge_with_containers_stays(vm: VirtualMachine) -> None:
    vm.create_network("stays", "--subnet=10.63.0.0/24")
    vm.start("one", "stays")
    done = vm.command("uplink", "del")
    assert done.returncode == 1
    assert "1 interface(s) of containers are on bridge breth0: stop the containers first" in done.stderr
    assert vm.kinds() == []


def test_systemd_networkd_keeps_the_bridges_address_that_neutrons_dhcp_gave(bare: VirtualMachine) -> None:
    with managed(bare) as start:
        with start():
            eventually(lambda: has_address(bare, LINK), 30, "Neutron's address on the interface")
            assert "systemd-networkd takes it up" in bare.put_on_bridge("--persist")
            assert has_address(bare, BRIDGE)
            assert not has_address(bare, LINK)
        bare.host.run(["ip", "addr", "flush", "dev", BRIDGE])  # a reboot
        with start():
            eventually(lambda: has_address(bare, BRIDGE), 30, "Neutron's address on the bridge")
            assert not has_address(bare, LINK)
            assert bare.kinds() == []
            bare.take_off_bridge()
            assert bare.host.run(["ls", ETC]).stdout == ""
            assert has_address(bare, LINK)
