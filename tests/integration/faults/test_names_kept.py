"""What answers for names, or tells them, is ended: names stay, or are there again by themselves."""

from collections.abc import Sequence
from time import monotonic

import pytest

from ovn_docker_lab import Lab
from tests.integration import records
from tests.integration.faults.parts import DOCKERD, DRIVER, KILL, STOP, end, restart
from tests.integration.tenant import OURS, Container, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SUBNET = "10.69.0.0/24"
ELSEWHERE = "example.test"
"""A name of the world."""

SOON, TTL = 1.0, 5.0
"""Seconds until a name is known, and for which a host keeps what it has looked up."""

RESTORED = 40.0
COMES_BACK = ("--restart=always", "--stop-signal=KILL")


def pair(users: Sequence[Tenant]) -> tuple[Container, Container]:
    """A container on each host; the first has found the second by its name."""
    networks = [user.network(SUBNET, *OURS) for user in users]
    asker, peer = (
        user.container(network, *COMES_BACK, name=f"kept{number}")
        for number, (user, network) in enumerate(zip(users, networks, strict=True))
    )
    eventually(lambda: asker.pings(peer.name), 10, "it is found by its name")
    return asker, peer


def test_a_name_stays_known_while_northbound_is_away(users: Sequence[Tenant], lab: Lab) -> None:
    asker, peer = pair(users)
    try:
        lab.central.kill("nb")
        gone = monotonic()
        eventually(lambda: monotonic() - gone > TTL + SOON, TTL + 2 * SOON, "it is not fresh any more")
        assert asker.pings(peer.name)
        assert asker.pings(ELSEWHERE)
    finally:
        lab.central.repair()
    late = users[1].container(users[1].network("10.70.0.0/24", *OURS), name="late")
    joined = users[0].container(users[0].network("10.70.0.0/24", *OURS), name="joined")
    eventually(lambda: joined.pings(late.name), RESTORED, "new names are published again")


@pytest.mark.parametrize("how", [STOP, KILL])
def test_other_names_need_no_driver_and_short_ones_are_back_with_it(
    how: str, users: Sequence[Tenant], lab: Lab
) -> None:
    asker, peer = pair(users)
    end(lab.hosts[0], DRIVER, how)
    assert asker.pings(ELSEWHERE)
    lab.hosts[0].start_again(DRIVER)
    eventually(lambda: asker.pings(peer.name), 10, "it is found again")


def test_a_container_keeps_its_names_while_its_driver_is_away(users: Sequence[Tenant], lab: Lab) -> None:
    asker, peer = pair(users)
    end(lab.hosts[1], DRIVER, KILL)
    assert asker.pings(peer.name)
    peer.host.run(["docker", "rename", peer.name, "other"])
    lab.hosts[1].start_again(DRIVER)
    try:
        eventually(lambda: asker.pings("other"), TTL + 10, "its new name is published")
    finally:
        peer.host.run(["docker", "rename", "other", peer.name])


@pytest.mark.parametrize("how", [STOP, KILL])
def test_names_are_right_after_a_restart_of_dockerd(how: str, users: Sequence[Tenant], lab: Lab) -> None:
    asker, peer = pair(users)
    restart(lab.hosts[1], DOCKERD, how)
    eventually(lambda: asker.pings(peer.name), RESTORED, "it is found where it is now")


def test_names_are_right_after_a_reboot(users: Sequence[Tenant], lab: Lab) -> None:
    asker, peer = pair(users)
    lab.hosts[1].reboot()
    eventually(lambda: asker.pings(peer.name), RESTORED + 20, "it is found where it is now")
    lab.hosts[0].reboot()
    eventually(lambda: asker.run("true", check=False).returncode == 0, 60, "it is up")
    eventually(lambda: asker.pings(peer.name), RESTORED, "it finds the other again")


def test_names_that_were_lost_are_published_again(users: Sequence[Tenant], lab: Lab) -> None:
    asker, peer = pair(users)
    for row in records.rows(lab.central, records.LEASE, "external_ids:ovn-docker=name"):
        lab.central.run(["ovn-nbctl", "destroy", records.LEASE, row["_uuid"][1]])
    eventually(lambda: {asker.name, peer.name} <= published(lab), RESTORED, "both are published")
    eventually(lambda: asker.pings(peer.name), TTL + SOON, "it is found again")


def published(lab: Lab) -> set[str]:
    """The names and addresses that Northbound has."""
    rows = records.rows(lab.central, records.LEASE, "external_ids:ovn-docker=name")
    return {records.marks(row)["ovn-docker-name"] for row in rows}
