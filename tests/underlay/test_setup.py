"""The one-time set-up of a machine, in every way broken and repaired."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence

import pytest

from tests.polling import eventually
from tests.underlay.clouds import MTU, Cloud
from tests.underlay.machines import BRIDGE, LINK, VirtualMachine

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
        assert [finding["kind"] for finding in found] == [kind]
        assert found[0]["repair"] is None
    finally:
        mac = f'other-config:hwaddr="{bare.vif["mac_address"]}"'
        for command in (*right, ["ovs-vsctl", "set", "bridge", BRIDGE, mac]):
            bare.host.run(command)


def test_a_missing_bridge_and_a_port_of_another_machine_are_found(cloud: Cloud, bare: VirtualMachine) -> None:
    [found] = bare.findings("--bridge=br9")
    assert found["kind"] == "bridge-missing"
    assert f"no bridge br9: put {LINK} on one" in found["text"]
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
    assert [(finding["kind"], finding["repaired"]) for finding in found] == [("vif-elsewhere", False)]
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
        return "vif-down" in [finding["kind"] for finding in bare.all_findings()]

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
    assert [finding["kind"] for finding in bare.findings("--dry-run", verb="repair")] == ["trunk-missing"]
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
        assert [(finding["kind"], finding["subject"]) for finding in found] == [("cloud-lacks", "trunk")]


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


def test_by_binding_profile_no_trunk_is_missed(cloud: Cloud, bare: VirtualMachine) -> None:
    [trunk] = cloud.demo.list("trunks", port_id=bare.vif["id"])
    cloud.demo.delete("trunks", trunk["id"])
    agent = cloud.openstack.agent()
    login = {"OS_USERNAME": agent.user, "OS_PASSWORD": agent.password}
    assert bare.kinds("--child-ports=profile", **login) == []
    assert cloud.demo.list("trunks", port_id=bare.vif["id"]) == []
    bare.findings(verb="repair")
