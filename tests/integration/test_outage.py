"""Parts of OVN and Open vSwitch are away for a while; the driver says which and goes on when they return."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.plugin import VERBS, Answer, Plugin
from tests.integration.records import PORT, SWITCH
from tests.integration.tenant import ONE_PING, Container, Network, Tenant, in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

DEADLINE = 10.0
BACK = 60.0
"""Seconds; ovn-northd and ovn-controller wait up to 8 s between two attempts to connect."""

NETWORK_ID, ENDPOINT_ID = "abcdefghijklmnopqrstuvwx1", "abcdefghijklmnopqrstuvwx2"


@contextmanager
def away(machine: Machine, *daemons: str) -> Iterator[None]:
    """Daemons of a machine are stopped meanwhile, the first named first."""
    for daemon in daemons:
        machine.stop(daemon)
    try:
        yield
    finally:
        for daemon in reversed(daemons):
            if not machine.running(daemon):
                machine.start(daemon)


@contextmanager
def hung(machine: Machine, daemon: str) -> Iterator[None]:
    """A daemon keeps its sockets but does nothing meanwhile."""
    pid = machine.pid(daemon)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask_everything(plugin: Plugin) -> dict[str, Answer]:
    """Call every verb that needs a database, at the same time."""
    body = {
        "NetworkID": NETWORK_ID,
        "EndpointID": ENDPOINT_ID,
        "SandboxKey": "/var/run/docker/netns/1",
        "Interface": {"Address": "10.18.0.2/24"},
        "IPv4Data": [{"Pool": "10.18.0.0/24", "Gateway": "10.18.0.1/24"}],
    }
    answers = in_parallel(*(partial(plugin.call, verb, body) for verb in VERBS))
    return dict(zip(VERBS, answers, strict=True))


def check_discovery(plugin: Plugin) -> None:
    """See that dockerd would find the driver, at once."""
    for verb in ("Plugin.Activate", "GetCapabilities"):
        answer = plugin.call(verb)
        assert answer.ok
        assert answer.seconds < 1


def assert_named(answers: dict[str, Answer], what: str) -> None:
    for verb, answer in answers.items():
        assert not answer.ok, verb
        assert answer.seconds < DEADLINE, verb
        assert what in answer.error, verb


def works(tenant: Tenant, network: Network, address: str) -> None:
    """Wait until a new container reaches an old one."""
    command = f"exec {ONE_PING} {address}"
    eventually(
        lambda: tenant.once(network, command).returncode == 0, BACK, "a new container reaches an old one"
    )


def test_northbound_is_down_and_comes_back(tenant: Tenant, plugin: Plugin, lab: Lab) -> None:
    foo = tenant.network("10.19.0.0/24")
    peer = tenant.container(foo)
    with away(lab.central, "nb"):
        check_discovery(plugin)
        answers = ask_everything(plugin)
        assert answers.pop("Leave").ok, "what needs only Open vSwitch goes on"
        assert_named(answers, "OVN Northbound cannot be reached at tcp:")
        assert peer.run("true").returncode == 0
    works(tenant, foo, peer.address(foo))
    assert len(records.left(lab)) == 4, "only the peer's and the network's"


def test_docker_run_fails_in_time_and_cleanly_while_northbound_is_down(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.19.0.0/24")
    with away(lab.central, "nb"):
        failed = tenant.once(foo, "true")
        assert failed.returncode != 0
        assert "OVN Northbound cannot be reached" in failed.stderr
    assert records.left(lab) == [f"{SWITCH} {foo.id}"]


def test_northbound_hangs_and_what_was_given_up_is_not_made_later(
    tenant: Tenant, plugin: Plugin, lab: Lab
) -> None:
    foo = tenant.network("10.19.0.0/24")
    endpoint = {
        "NetworkID": foo.id,
        "EndpointID": ENDPOINT_ID,
        "Interface": {"Address": "10.19.0.77/24"},
    }
    network = {"NetworkID": NETWORK_ID, "IPv4Data": [{"Pool": "10.18.0.0/24"}]}
    with hung(lab.central, "nb"):
        check_discovery(plugin)
        create_endpoint, create_network = in_parallel(
            partial(plugin.call, "CreateEndpoint", endpoint), partial(plugin.call, "CreateNetwork", network)
        )
        answers = {"CreateEndpoint": create_endpoint, "CreateNetwork": create_network}
        assert_named(answers, "OVN Northbound at tcp:")
    eventually(lambda: plugin.call("CreateNetwork", network).ok, BACK, "the driver works again")
    eventually(lambda: records.rows(lab.central, PORT) == [], 10, "the port that was given up is not there")
    assert plugin.call("DeleteNetwork", network).ok


def test_open_vswitch_s_database_is_down_and_comes_back(tenant: Tenant, plugin: Plugin, lab: Lab) -> None:
    foo = tenant.network("10.19.0.0/24")
    peer = tenant.container(foo)
    with away(tenant.host, "ovsdb-server"):
        check_discovery(plugin)
        assert_named(ask_everything(plugin), "Open vSwitch cannot be reached at unix:")
    works(tenant, foo, peer.address(foo))
    assert len(records.left(lab)) == 4


@pytest.mark.parametrize(
    ("daemon", "cause"),
    [
        ("ovn-controller", "ovn-controller has not taken up its port"),
        ("northd", "ovn-northd has not made its port"),
    ],
)
def test_a_daemon_of_ovn_is_stopped_and_comes_back(tenant: Tenant, lab: Lab, daemon: str, cause: str) -> None:
    foo = tenant.network("10.19.0.0/24")
    peer = tenant.container(foo)
    with away(lab.central if daemon == "northd" else tenant.host, daemon):
        failed = tenant.once(foo, "true")
        assert failed.returncode != 0
        assert "OVN did not install the flows" in failed.stderr
        assert cause in failed.stderr
        assert len(records.left(lab)) == 4, "only the peer's and the network's"
    works(tenant, foo, peer.address(foo))


def test_a_host_that_is_not_registered_because_ovn_remote_is_wrong_says_so(tenant: Tenant) -> None:
    host, wrong = tenant.host, "tcp:198.18.0.1:9"
    foo = tenant.network("10.19.0.0/24")
    before = setting(host, "ovn-remote")
    set_setting(host, "ovn-remote", wrong)
    try:
        failed = tenant.once(foo, "true")
    finally:
        set_setting(host, "ovn-remote", before)
    assert "ovn-controller has not taken up its port" in failed.stderr
    assert wrong in failed.stderr
    eventually(lambda: tenant.once(foo, "true").returncode == 0, BACK, "a container starts again")


def test_a_datapath_that_refuses_ovn_s_flows_is_named(tenant: Tenant) -> None:
    """As a kernel without connection tracking does; ovn-controller starts anew and sends all flows."""
    foo = tenant.network("10.19.0.0/24")
    with without_connection_tracking(tenant.host):
        failed = tenant.once(foo, "true")
        assert "datapath on this host lacks ct_state" in failed.stderr
    eventually(lambda: tenant.once(foo, "true").returncode == 0, BACK, "a container starts again")


@contextmanager
def without_connection_tracking(host: Machine) -> Iterator[None]:
    """ovs-vswitchd believes that the datapath has none of it meanwhile."""
    believe_in_connection_tracking(host, "false")
    try:
        yield
    finally:
        believe_in_connection_tracking(host, "true")


def believe_in_connection_tracking(host: Machine, believed: str) -> None:
    with away(host, "ovn-controller"):
        host.run(["ovs-ofctl", "del-flows", "br-int"])
        host.run(["ovs-appctl", "dpif/set-dp-features", "br-int", "ct_state", believed])
        host.run(["ovs-vsctl", "clear", "Open_vSwitch", ".", "datapaths"])  # ovn-controller asks for it anew


def test_containers_survive_a_killed_driver_and_new_ones_work_afterwards(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.19.0.0/24")
    one, two = tenant.container(foo), tenant.container(foo)
    tenant.host.kill("driver")
    assert one.pings(two.address(foo))
    tenant.host.start("driver")
    assert one.pings(two.address(foo))
    new = tenant.container(foo)
    assert new.pings(one.address(foo))
    tenant.remove(one, two, new)
    tenant.remove_network(foo)
    assert records.left(lab) == []


def test_a_container_that_ends_while_the_driver_is_away_leaves_nothing(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.19.0.0/24")
    box = tenant.container(foo)
    tenant.host.kill("driver")
    # dockerd asks again for half a minute, so the kill returns after the start.
    in_parallel(partial(tenant.docker, "kill", box.name), partial(tenant.host.start, "driver"))
    eventually(lambda: records.left(lab) == [f"{SWITCH} {foo.id}"], 30, "only the switch is left")


def test_a_driver_started_before_open_vswitch_and_ovn_serves_once_they_run(other: Tenant, lab: Lab) -> None:
    plugin = Plugin(other.host.paths.plugin_socket)
    other.host.stop("driver")
    with away(other.host, "ovn-controller", "ovs-vswitchd", "ovsdb-server"), away(lab.central, "nb"):
        other.host.start("driver")
        check_discovery(plugin)
        assert_named(
            {"CreateNetwork": plugin.call("CreateNetwork", {"NetworkID": NETWORK_ID})}, "Open vSwitch"
        )
    eventually(lambda: create_network(plugin).ok, BACK, "a network is made")
    assert plugin.call("DeleteNetwork", {"NetworkID": NETWORK_ID}).ok
    foo = other.network("10.19.0.0/24")
    peer = eventually(lambda: other.try_container(foo), BACK, "a container starts")
    works(other, foo, Container(other.host, peer).address(foo))


def test_a_driver_without_the_address_of_northbound_says_how_to_set_it(
    tenant: Tenant, plugin: Plugin
) -> None:
    host = tenant.host
    before = setting(host, "ovn-nb")
    host.run(["ovs-vsctl", "remove", "Open_vSwitch", ".", "external_ids", "ovn-nb"])
    try:
        error = eventually(lambda: create_network(plugin).error, 5, "a network is refused")
        assert "external_ids:ovn-nb is not set" in error
    finally:
        set_setting(host, "ovn-nb", before)
    eventually(lambda: create_network(plugin).ok, 5, "it works again")
    assert plugin.call("DeleteNetwork", {"NetworkID": NETWORK_ID}).ok


def create_network(plugin: Plugin) -> Answer:
    return plugin.call("CreateNetwork", {"NetworkID": NETWORK_ID})


def test_the_first_of_several_northbound_servers_are_away(tenant: Tenant, plugin: Plugin) -> None:
    host = tenant.host
    before = setting(host, "ovn-nb")
    set_setting(host, "ovn-nb", f"tcp:198.18.0.250:6641,tcp:198.18.0.1:1,{before}")
    try:
        eventually(lambda: create_network(plugin).ok, 15, "a network is made at the third server")
        assert plugin.call("DeleteNetwork", {"NetworkID": NETWORK_ID}).ok
    finally:
        set_setting(host, "ovn-nb", before)


def setting(host: Machine, key: str) -> str:
    command = ["ovs-vsctl", "get", "Open_vSwitch", ".", f"external_ids:{key}"]
    return host.run(command).stdout.strip().strip('"')


def set_setting(host: Machine, key: str, remotes: str) -> None:
    host.run(["ovs-vsctl", "set", "Open_vSwitch", ".", f'external_ids:{key}="{remotes}"'])
