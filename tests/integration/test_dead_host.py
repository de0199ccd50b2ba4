"""A host loses its power for good: what it had in OVN is given up, by hand or by itself, or it comes back."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.conftest import lab_name
from tests.integration.records import PORT
from tests.integration.tenant import OURS, Container, Network, Tenant, in_parallel
from tests.polling import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.slow]

PROGRAM = str(Path(sys.executable).with_name("ovn-docker"))
SUBNET = "10.61.0.0/24"
NOTICED = 30
"""Seconds for the server of Northbound to notice that a client has lost its power: two of its probes."""


@pytest.fixture(scope="module")
def lab(_no_labs_of_dead_runs: None) -> Iterator[Lab]:
    """Three hosts, of which the first gives up dead ones."""
    made = Lab.up(lab_name("dead"), 3)
    try:
        for host in made.hosts:
            host.stop("driver")
            after = ("--dead-host-after=60",) if host.name == "h1" else ()
            host.start_driver(("--health-check-on", *after))
        yield made
    finally:
        made.down()


@pytest.fixture
def users(lab: Lab) -> Iterator[list[Tenant]]:
    tenants = [Tenant(host) for host in lab.hosts]
    yield tenants
    for user in tenants:
        user.clear()


def owners(central: Machine) -> list[str]:
    """The host of each port."""
    return sorted(records.marks(port).get("ovn-docker-host", "") for port in records.rows(central, PORT))


def chassis(central: Machine) -> list[str]:
    return central.run(["ovn-sbctl", "--bare", "--columns=name", "list", "Chassis"]).stdout.split()


def gc(host: Machine, *flags: str) -> tuple[int, str, str]:
    done = host.run([PROGRAM, "gc", *flags], check=False)
    return done.returncode, done.stdout, done.stderr


def populate(user: Tenant, boxes: int) -> tuple[Network, list[Container]]:
    network = user.network(SUBNET, *OURS)
    return network, [user.container(network) for _ in range(boxes)]


def test_a_host_without_power_is_given_up_by_hand_and_comes_back_unharmed(
    lab: Lab, users: list[Tenant]
) -> None:
    alive, _, dead = lab.hosts
    (net, [one]), (their_net, [box, other]) = in_parallel(
        lambda: populate(users[0], 1), lambda: populate(users[2], 2)
    )
    freed = [box.address(their_net), other.address(their_net)]
    one.reaches(freed[0])
    dead.power_off()

    status, _, error = gc(alive, "--host", "h3")
    assert (status, "the driver of host h3 is connected" in error) == (1, True), error
    assert owners(lab.central) == ["h1", "h3", "h3"]
    done = eventually(lambda: _given_up(alive), NOTICED, "h3 is given up")
    assert (done["ports"], done["leases"], done["uses"]) == (2, 2, 2)
    assert done["chassis"], "what died leaves it, and nobody deleted it"
    assert owners(lab.central) == ["h1"]
    assert records.leases(lab.central) == [one.address(net)]
    assert "h3" not in records.registered(lab.central)
    taker = users[0].container(net, "--ip", freed[0])
    assert taker.address(net) == freed[0]
    one.reaches(freed[0])

    dead.power_on()
    eventually(lambda: "h3" in records.registered(lab.central), 30, "h3 is registered again")
    back = eventually(lambda: users[2].try_container(their_net), 30, "a container starts on h3")
    Container(dead, back).reaches(one.address(net), 30)
    assert owners(lab.central) == ["h1", "h1", "h3"]


def _given_up(host: Machine) -> dict[str, int]:
    """What was given up, or nothing while the driver of the dead host seems to be connected."""
    status, output, error = gc(host, "--host", "h3", "--json")
    if status:
        assert "the driver of host h3 is connected" in error
        return {}
    found: dict[str, int] = json.loads(output)
    return found


def test_a_host_whose_chassis_is_gone_is_given_up_by_itself(lab: Lab, users: list[Tenant]) -> None:
    _, [one] = populate(users[0], 1)
    populate(users[1], 2)
    lab.hosts[1].power_off()
    lab.central.run(["ovn-sbctl", "chassis-del", "h2"])
    try:
        eventually(
            lambda: "h2" not in owners(lab.central) and "h2" not in records.registered(lab.central),
            60 + 10 + NOTICED,
            "h2 is given up",
        )
        assert owners(lab.central) == ["h1"]
        assert len(records.leases(lab.central)) == 1
        assert "host h2 is removed: its chassis has been gone" in lab.hosts[0].log("driver")
        assert one.run("true").returncode == 0
    finally:
        lab.hosts[1].power_on()


def test_a_host_whose_ovn_controller_is_stopped_keeps_what_it_has(lab: Lab, users: list[Tenant]) -> None:
    """Stopping it cleanly removes the chassis, while containers go on with their addresses."""
    network, [box] = populate(users[1], 1)
    lab.hosts[1].run(["ovn-appctl", "-t", "ovn-controller", "exit"])
    eventually(lambda: "h2" not in chassis(lab.central), 10, "its chassis is gone")
    try:
        finding = "host h2 has no chassis in OVN Southbound, but its driver is connected"
        eventually(lambda: finding in lab.hosts[0].log("driver"), 60 + 30, "it is logged that h2 is alive")
        assert owners(lab.central) == ["h2"]
        assert records.leases(lab.central) == [box.address(network)]
    finally:
        lab.hosts[1].start_again("ovn-controller")
