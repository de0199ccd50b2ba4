"""dockerd is ended and started again, with live-restore and without, in an orderly way and by a kill."""

from collections.abc import Iterator, Sequence

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.faults.account import balances
from tests.integration.faults.parts import DOCKERD, KILL, STOP, caught_up, restart, same_drivers, started_with
from tests.integration.faults.talk import Talk, begin
from tests.integration.records import PORT, Row, marks
from tests.integration.tenant import Container, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

COMES_BACK = ("--restart=always", "--stop-signal=KILL")

how = pytest.mark.parametrize("how", [STOP, KILL])


@pytest.fixture
def live_restore(lab: Lab) -> Iterator[None]:
    """The first host's dockerd leaves containers alone when it ends."""
    started_with(lab.hosts[0], DOCKERD, ["--live-restore"])
    yield
    started_with(lab.hosts[0], DOCKERD)


@how
def test_no_packet_is_lost_with_live_restore(live_restore: None, how: str, talk: Talk, lab: Lab) -> None:  # noqa: ARG001
    ports = eventually(lambda: named(lab.central), 10, "each port has its container's name")
    with same_drivers(lab):
        restart(lab.hosts[0], DOCKERD, how)
        talk.goes_on()
        assert talk.lost() == 0
        talk.new_containers_reach_the_old(limit=0)
    after = eventually(lambda: named(lab.central), 10, "each port has its container's name")
    assert after == ports, "the ports are the same"
    balances(lab)


def named(central: Machine) -> list[Row]:
    """The ports, once each has the name of its container, which is written after it."""
    ports = records.rows(central, PORT)
    return ports if all("ovn-docker-name" in marks(port) for port in ports) else []


@how
def test_containers_with_a_restart_policy_come_back_without_live_restore(
    how: str, users: Sequence[Tenant], lab: Lab
) -> None:
    talk = begin(lab.central, users, "10.61.0.0/24", *COMES_BACK)
    with same_drivers(lab):
        restart(lab.hosts[0], DOCKERD, how)
        eventually(lambda: is_up(talk.boxes[0]), 20, f"{talk.boxes[0].name} is up again")
        caught_up(lab.central)
        talk.boxes[0].reaches(talk.addresses()[1])
        talk.new_containers_reach_the_old()
    balances(lab)


def is_up(box: Container) -> bool:
    return box.run("true", check=False).returncode == 0
