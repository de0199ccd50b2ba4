"""Each part is ended and started again under containers of two hosts that ping each other the whole time.

They go on talking, new ones work as soon as the part is back, and no driver has to be started again. Packets
are counted before the new containers start: Open vSwitch's userspace datapath loses one now and then whenever
it gets or loses a port, with or without a fault.
"""

import logging

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration.faults.parts import DRIVER, KILL, STOP, caught_up, end, restart, same_drivers
from tests.integration.faults.talk import INTERVAL, Talk
from tests.integration.tenant import in_parallel

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

LOG = logging.getLogger(__name__)

SECOND = 2 * int(1 / INTERVAL)
"""Packets of both directions in a second."""


def lost_while_restarting(talk: Talk, machine: Machine, part: str) -> int:
    """Kill a part and start it again, see that old and new containers work, and count the old's packets."""
    restart(machine, part, KILL)
    caught_up(talk.central)
    talk.goes_on()
    lost = talk.lost()
    LOG.info("%s of %s started again: %d packets lost", part, machine.name, lost)
    talk.new_containers_reach_the_old()
    talk.goes_on()
    return lost


@pytest.mark.parametrize("how", [STOP, KILL])
def test_no_packet_is_lost_while_the_driver_is_replaced(how: str, talk: Talk, lab: Lab) -> None:
    for host in lab.hosts:
        restart(host, DRIVER, how)
    talk.goes_on()
    assert talk.lost() == 0
    talk.new_containers_reach_the_old(limit=0)


def test_a_container_that_is_started_while_the_driver_is_replaced_starts(talk: Talk, lab: Lab) -> None:
    host = lab.hosts[0]
    end(host, DRIVER)
    in_parallel(lambda: talk.new_containers_reach_the_old(limit=0), lambda: host.start_again(DRIVER))


@pytest.mark.parametrize("part", ["northd", "nb", "sb"])
def test_no_packet_is_lost_while_a_part_of_the_central_is_started_again(
    part: str, talk: Talk, lab: Lab
) -> None:
    with same_drivers(lab):
        assert lost_while_restarting(talk, lab.central, part) == 0


def test_hardly_a_packet_is_lost_while_ovn_controller_is_started_again(talk: Talk, lab: Lab) -> None:
    with same_drivers(lab):
        assert lost_while_restarting(talk, lab.hosts[0], "ovn-controller") < SECOND


def test_containers_talk_on_while_the_local_ovsdb_server_is_started_again(talk: Talk, lab: Lab) -> None:
    with same_drivers(lab):
        assert lost_while_restarting(talk, lab.hosts[0], "ovsdb-server") < 5 * SECOND


def test_containers_talk_again_by_themselves_after_a_restart_of_ovs_vswitchd(talk: Talk, lab: Lab) -> None:
    with same_drivers(lab):
        assert lost_while_restarting(talk, lab.hosts[0], "ovs-vswitchd") < 20 * SECOND
