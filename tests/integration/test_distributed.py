"""Switches shared by subnet and context, as the guide has it, and what a network may ask beyond that."""

import hashlib
import itertools
import re
import shlex
from collections.abc import Iterator, Sequence

import pytest

from ovn_docker_lab import Lab, Machine
from ovn_docker_lab.processes import start_time
from tests.integration import records
from tests.integration.records import SWITCH, marks
from tests.integration.second_driver import Driver
from tests.integration.tenant import OURS, Tenant
from tests.integration.test_shared_network import settled, switches

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

GUIDE_SWITCH = "19a05268b5eb3df10e2d50b8220505ea0026679bb62eb39d71c8707dd5165248"
SUBNET = "10.10.10.0/24"
NUMBERS = itertools.count(1)
PORTS = itertools.count(5001)


@pytest.fixture
def lab(three_hosts: Lab) -> Lab:
    """Three hosts, of which two are used."""
    return three_hosts


class Fleet:
    """Further drivers, each with a name of its own: dockerd asks a driver only once what it is."""

    def __init__(self) -> None:
        self._drivers: list[Driver] = []

    def start(self, host: Machine, name: str, *flags: str) -> Driver:
        """Start a driver on a port of its own."""
        driver = Driver(host, name)
        self._drivers.append(driver)
        listen = ("--bind-ip=127.0.0.1", f"--bind-port={next(PORTS)}", "--docker-driver-scope=local")
        driver.start(*listen, *flags)
        return driver

    def end(self) -> None:
        """End all of them and remove what they left."""
        for driver in self._drivers:
            if (pid := driver.pid()) and start_time(pid) is not None:
                driver.end()
            state = f"/var/lib/ovn-docker/{driver.name}.json"
            driver.host.run(["rm", "-f", driver.pidfile, driver.spec, state])


@pytest.fixture
def fleet(users: Sequence[Tenant]) -> Iterator[Fleet]:
    """No driver yet; the networks go before the drivers do."""
    drivers = Fleet()
    yield drivers
    for user in users:
        user.clear()
    drivers.end()


@pytest.fixture
def stretched(lab: Lab, fleet: Fleet) -> tuple[Driver, Driver]:
    """A driver with --distributed on each of two hosts."""
    name = f"stretch{next(NUMBERS)}"
    first, second = (fleet.start(host, name, "--distributed") for host in lab.hosts[:2])
    return first, second


@pytest.fixture
def administrator(lab: Lab) -> Iterator[Machine]:
    """The central; switches that a test made there by hand are removed."""
    yield lab.central
    for name in switches(lab.central):
        lab.central.run(["ovn-nbctl", "--if-exists", "ls-del", name])


def add_guides_switch(central: Machine, *more: str) -> None:
    """The guide's example, as it stands there."""
    central.run(
        [
            *("ovn-nbctl", "ls-add", GUIDE_SWITCH, "--", "set", "Logical_Switch", GUIDE_SWITCH),
            *("external_ids:subnet=10.10.10.0/24", "external_ids:gateway_ip=10.10.10.1"),
            *("external_ids:subnet_context=default", *more),
        ]
    )


def create(user: Tenant, *options: str) -> tuple[int, str]:
    """Try to make a network; the status and what docker said."""
    done = user.docker("network", "create", *options, "refused", check=False)
    return done.returncode, done.stderr


def test_the_guides_switch_is_stretched_over_two_hosts(
    users: Sequence[Tenant], administrator: Machine, stretched: tuple[Driver, Driver]
) -> None:
    printed = administrator.run(["sh", "-c", 'printf "default-10.10.10.0/24" | sha256sum']).stdout
    assert printed.split()[0] == GUIDE_SWITCH
    add_guides_switch(administrator)
    before = records.rows(administrator, SWITCH)

    first, second = (
        user.network(SUBNET, driver.docker_option) for user, driver in zip(users, stretched, strict=False)
    )
    one = users[0].container(first, "--ip=10.10.10.11")
    two = users[1].container(second, "--ip=10.10.10.12")
    settled(administrator)
    one.reaches("10.10.10.12")
    two.reaches("10.10.10.11")
    assert len(records.values(records.row(administrator, SWITCH, GUIDE_SWITCH), "ports")) == 2

    users[0].clear()
    users[1].clear()
    assert records.rows(administrator, SWITCH) == before


def test_a_switch_that_is_missing_is_refused_with_the_command_that_makes_it(
    users: Sequence[Tenant], administrator: Machine, stretched: tuple[Driver, Driver]
) -> None:
    status, said = create(users[0], stretched[0].docker_option, f"--subnet={SUBNET}")
    assert status != 0
    assert switches(administrator) == []
    [command] = re.findall(r"make it with '(ovn-nbctl [^']*)'", said)

    administrator.run(shlex.split(command))

    made = users[0].network(SUBNET, stretched[0].docker_option)
    assert switches(administrator) == [GUIDE_SWITCH]
    assert users[0].container(made).address(made) == "10.10.10.2"


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("subnet=10.10.11.0/24", "is for subnet 10.10.11.0/24, not for 10.10.10.0/24"),
        ("subnet_context=other", "is for context other, not for default"),
        ("gateway_ip=10.10.10.254", "has the gateway 10.10.10.254, not 10.10.10.1"),
    ],
)
def test_a_switch_that_its_owner_meant_for_something_else_is_refused(
    users: Sequence[Tenant],
    administrator: Machine,
    stretched: tuple[Driver, Driver],
    setting: str,
    word: str,
) -> None:
    add_guides_switch(administrator, f"external_ids:{setting}")
    status, said = create(users[0], stretched[0].docker_option, f"--subnet={SUBNET}")
    assert status != 0
    assert word in said


def test_the_second_host_whose_docker_chose_an_address_is_refused(
    users: Sequence[Tenant], administrator: Machine, stretched: tuple[Driver, Driver]
) -> None:
    add_guides_switch(administrator)
    first, second = (
        user.network(SUBNET, driver.docker_option) for user, driver in zip(users, stretched, strict=False)
    )
    one = users[0].container(first)
    endpoint = one.endpoint(first)["EndpointID"]

    refused = users[1].once(second, "true")

    assert refused.returncode != 0
    assert f"10.10.10.2: endpoint {endpoint} on host h1 has it" in refused.stderr
    assert records.leases(administrator) == ["10.10.10.2"]
    users[0].remove(one)
    assert users[1].once(second, "true").returncode == 0
    assert records.leases(administrator) == []


def test_two_drivers_on_one_host_with_different_contexts_are_isolated(
    users: Sequence[Tenant], lab: Lab, fleet: Fleet, administrator: Machine
) -> None:
    number = next(NUMBERS)
    networks = {}
    for context in ("red", "blue"):
        name = f"{context}{number}"
        flags = ("--distributed", f"--routing-context={context}")
        driver = fleet.start(lab.hosts[0], name, *flags)
        fleet.start(lab.hosts[1], name, *flags)
        switch = hashlib.sha256(f"{context}-{SUBNET}".encode()).hexdigest()
        add = f"ovn-nbctl ls-add {switch} -- set Logical_Switch {switch} external_ids:subnet={SUBNET}"
        add += f" external_ids:gateway_ip=10.10.10.1 external_ids:subnet_context={context}"
        administrator.run(add.split())
        options = (driver.docker_option, "--ipam-driver", name)
        networks[context] = [user.network(SUBNET, *options) for user in users[:2]]

    boxes = {
        context: [user.container(net) for user, net in zip(users, pair, strict=False)]
        for context, pair in networks.items()
    }
    settled(administrator)
    addresses = {
        context: [box.address(net) for box, net in zip(boxes[context], pair, strict=True)]
        for context, pair in networks.items()
    }
    assert addresses["red"] == addresses["blue"] == ["10.10.10.2", "10.10.10.3"]
    for context in ("red", "blue"):
        boxes[context][0].reaches(addresses[context][1])
    users[1].remove(boxes["blue"][1])
    boxes["red"][0].reaches("10.10.10.3")
    assert not boxes["blue"][0].pings("10.10.10.3")


def test_a_network_may_name_its_context_and_have_the_switch_made(
    users: Sequence[Tenant], lab: Lab, administrator: Machine
) -> None:
    options = ("-o", "context=red")
    status, said = create(users[0], "--driver=openvswitch", f"--subnet={SUBNET}", *options)
    assert status != 0
    assert "-o create=true" in said

    first = users[0].network(SUBNET, *options, "-o", "create=true")
    second = users[1].network(SUBNET, *OURS, *options, "--ipam-opt", "context=red")

    [switch] = records.rows(lab.central, SWITCH)
    assert switch["name"] == hashlib.sha256(f"red-{SUBNET}".encode()).hexdigest()
    assert marks(switch)["subnet_context"] == "red"
    one = users[0].container(first)
    two = users[1].container(second)
    assert one.address(first) != two.address(second)
    settled(administrator)
    one.reaches(two.address(second))
    users[0].clear()
    users[1].clear()
    assert records.left(lab) == []


def test_a_network_may_be_on_a_switch_of_any_name_which_is_left_as_it_is(
    users: Sequence[Tenant], lab: Lab, administrator: Machine
) -> None:
    administrator.run(["ovn-nbctl", "ls-add", "office"])
    options = ("--driver=openvswitch", *OURS, "--subnet=10.42.0.0/24", "-o", "switch=office")
    status, said = create(users[0], *options)
    assert status != 0
    [command] = re.findall(r"its owner allows all hosts with '(ovn-nbctl [^']*)'", said)
    administrator.run(shlex.split(command))
    vm = ("lsp-add", "office", "vm", "--", "lsp-set-addresses", "vm", "0a:00:00:00:00:01 10.42.0.2")
    administrator.run(["ovn-nbctl", *vm])
    before = records.row(administrator, SWITCH, "office")
    network = users[0].network("10.42.0.0/24", *OURS, "-o", "switch=office")
    peer = users[1].network("10.42.0.0/24", *OURS, "-o", "switch=office")

    one, two = users[0].container(network), users[1].container(peer)

    assert sorted((one.address(network), two.address(peer))) == ["10.42.0.3", "10.42.0.4"]
    settled(administrator)
    one.reaches(two.address(peer))
    users[0].clear()
    users[1].clear()
    assert records.row(administrator, SWITCH, "office") == before
    assert records.left(lab) == []


def test_a_switch_that_was_named_and_does_not_exist_is_refused(users: Sequence[Tenant]) -> None:
    status, said = create(
        users[0], "--driver=openvswitch", *OURS, "--subnet=10.43.0.0/24", "-o", "switch=nowhere"
    )
    assert status != 0
    assert "no logical switch named 'nowhere'" in said


def test_the_mapping_of_a_stretched_network_survives_a_kill_at_any_moment(
    users: Sequence[Tenant], administrator: Machine, stretched: tuple[Driver, Driver]
) -> None:
    add_guides_switch(administrator)
    driver = stretched[0]
    network = users[0].network(SUBNET, driver.docker_option)
    state = f"/var/lib/ovn-docker/{driver.name}.json"
    assert GUIDE_SWITCH in driver.read(state)
    port = driver.read(driver.spec).rpartition(":")[2].strip()
    driver.host.run(["kill", "-KILL", str(driver.pid())])
    listen = ("--bind-ip=127.0.0.1", f"--bind-port={port}", "--docker-driver-scope=local")
    driver.start("--overwrite-pidfile", "--distributed", *listen)

    assert users[0].container(network).address(network) == "10.10.10.2"

    assert len(records.values(records.row(administrator, SWITCH, GUIDE_SWITCH), "ports")) == 1


def test_a_driver_takes_subnets_and_its_file_from_the_flags(
    users: Sequence[Tenant], lab: Lab, fleet: Fleet
) -> None:
    name = f"pooled{next(NUMBERS)}"
    state = f"/run/{name}.json"
    pool = "--default-address-pool=base=10.90.0.0/27,size=28"
    driver = fleet.start(lab.hosts[0], name, pool, f"--state-file={state}")
    form = "{{(index .IPAM.Config 0).Subnet}}"
    got = []
    for _ in range(2):
        network = users[0].network(None, driver.docker_option, "--ipam-driver", name)
        got.append(users[0].docker("network", "inspect", "--format", form, network.name).stdout.strip())
        assert network.id in driver.read(state)
    assert got == ["10.90.0.0/28", "10.90.0.16/28"]

    status, said = create(users[0], driver.docker_option, "--ipam-driver", name)

    assert status != 0
    assert "no free IPv4 subnet left in context default" in said
    users[0].clear()
    driver.host.run(["rm", state])
    assert records.left(lab) == []
