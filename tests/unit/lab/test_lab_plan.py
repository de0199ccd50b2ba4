"""Names, addresses, paths and command lines of a lab."""

from pathlib import Path

import pytest

from ovn_docker.errors import ConfigError, NotFoundError
from ovn_docker_lab.daemons import (
    central_daemons,
    daemon_named,
    external_ids,
    host_daemons,
    underlay_bridge,
    underlay_device,
)
from ovn_docker_lab.namespace_holder import holder_command, holder_script
from ovn_docker_lab.plan import (
    MOST_HOSTS,
    LabSettings,
    MachinePaths,
    check_name,
    host_names,
    underlay_address,
)
from ovn_docker_lab.requirements import missing_packages

HOST = MachinePaths("mine", "h1", Path("/labs"))
NETDEV = LabSettings(hosts=2, docker=True, driver=True, datapath="netdev")
SYSTEM = LabSettings(hosts=2, docker=True, driver=True, datapath="system")


@pytest.mark.parametrize("name", ["a", "lab", "t123-main", "a" * 15])
def test_a_short_plain_name_can_be_used(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a/b", "..", "a" * 16, "a\n"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="lab name"):
        check_name(name)


def test_hosts_are_numbered_from_one() -> None:
    assert host_names(3) == ("h1", "h2", "h3")


@pytest.mark.parametrize("count", [-1, 0, MOST_HOSTS + 1])
def test_a_count_of_hosts_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} hosts"):
        host_names(count)


def test_every_machine_has_an_address_of_its_own() -> None:
    machines = ("central", *host_names(MOST_HOSTS))
    assert len({underlay_address(machine) for machine in machines}) == len(machines)
    assert str(underlay_address("h2")) == "198.18.0.12/24"


@pytest.mark.parametrize("machine", ["", "h", "h0", "h01", "x1", "h1 ", "h100"])
def test_a_machine_that_no_lab_has_has_no_address(machine: str) -> None:
    with pytest.raises(NotFoundError, match="no host"):
        underlay_address(machine)


def test_sockets_of_the_longest_name_fit_in_a_unix_address() -> None:
    paths = MachinePaths("a" * 15, "central")
    longest = f"{paths.run}/openvswitch/ovs-vswitchd.4194304.ctl"
    assert len(longest) < 108


def test_every_daemon_but_the_namespace_holder_names_the_lab_or_answers_in_it() -> None:
    central = MachinePaths("mine", "central", Path("/labs"))
    for daemon in (*host_daemons(HOST, "driver").values(), *central_daemons(central).values()):
        assert "/labs/mine/" in " ".join(daemon.command)
        assert daemon.socket.startswith("/labs/mine/")


def test_daemons_stand_in_the_order_of_their_start() -> None:
    assert list(host_daemons(HOST, "driver")) == [
        "ovsdb-server",
        "ovs-vswitchd",
        "ovn-controller",
        "dockerd",
        "driver",
    ]
    assert list(central_daemons(HOST)) == ["nb", "sb", "northd"]


def test_the_driver_listens_where_docker_looks_for_the_plugin_openvswitch() -> None:
    driver = host_daemons(HOST, "/bin/driver")["driver"]
    assert driver.command[:2] == ("/bin/driver", "--unix-socket=/run/docker/plugins/openvswitch.sock")
    assert driver.socket == "/labs/mine/h1/run/docker/plugins/openvswitch.sock"


def test_containers_get_a_cgroup_of_the_lab() -> None:
    assert "--cgroup-parent=/labs/mine/h1" in host_daemons(HOST, "driver")["dockerd"].command


def test_an_unknown_daemon_is_named_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match=r"'northd'.*nb, sb"):
        daemon_named({"nb": central_daemons(HOST)["nb"], "sb": central_daemons(HOST)["sb"]}, "northd", "h1")


def test_the_userspace_datapath_is_chosen_before_ovn_controller_starts() -> None:
    assert 'external_ids:ovn-bridge-datapath-type="netdev"' in external_ids("h1", NETDEV)
    assert not any("datapath" in setting for setting in external_ids("h1", SYSTEM))


def test_a_host_is_told_of_the_central_as_the_guide_says() -> None:
    settings = external_ids("h2", SYSTEM)
    assert 'external_ids:ovn-remote="tcp:198.18.0.1:6642"' in settings
    assert 'external_ids:ovn-nb="tcp:198.18.0.1:6641"' in settings
    assert 'external_ids:ovn-encap-ip="198.18.0.12"' in settings
    assert 'external_ids:system-id="h2"' in settings


def test_only_the_userspace_datapath_needs_a_bridge_for_tunnels() -> None:
    assert "add-br" in underlay_bridge(NETDEV)
    assert underlay_bridge(SYSTEM) == ()
    devices = [
        underlay_device("h1", NETDEV),
        underlay_device("h1", SYSTEM),
        underlay_device("central", NETDEV),
    ]
    assert devices == ["br-phy", "eth0", "underlay"]


def test_the_namespace_holder_is_known_by_the_directory_of_its_machine() -> None:
    assert holder_command(HOST)[-1] == "/labs/mine/h1/namespace-holder.sh"
    assert "mount -t tmpfs -o size=4k /labs/mine/h1/ /labs/mine/h1/marker" in holder_script(HOST)


def test_the_namespace_holder_puts_the_cgroups_back_after_the_new_sysfs() -> None:
    script = holder_script(HOST)
    assert script.index("mount -t sysfs") < script.index("mount --rbind /labs/mine/h1/cgroup /sys/fs/cgroup")


def test_missing_programs_are_told_as_packages() -> None:
    installed = {"ip", "unshare", "nsenter", "ethtool", "hostname"}
    missing = missing_packages(lambda program: program if program in installed else None, docker=False)
    assert missing == ("openvswitch-common", "openvswitch-switch", "ovn-central", "ovn-host")


def test_docker_is_needed_only_by_a_lab_with_docker() -> None:
    installed = {"dockerd", "docker", "iptables", "busybox"}
    find = {name: name for name in installed}.get
    with_docker, without = missing_packages(find, docker=True), missing_packages(find, docker=False)
    assert with_docker == without
    assert "docker.io" in missing_packages(lambda _: None, docker=True)
