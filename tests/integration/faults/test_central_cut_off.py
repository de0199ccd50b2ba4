"""The central cannot be reached for a while: what runs talks on, and new containers work once it is back.

``OVN_DOCKER_CUT_OFF_SECONDS`` says for how long; a release is checked with 60.
"""

import os
import time

import pytest

from ovn_docker_lab import Lab
from tests.integration.faults.account import balances
from tests.integration.faults.parts import caught_up, same_drivers
from tests.integration.faults.talk import Talk
from tests.polling import eventually

SECONDS = float(os.environ.get("OVN_DOCKER_CUT_OFF_SECONDS", "6"))

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + SECONDS)]


def test_containers_keep_talking_while_the_central_is_cut_off(talk: Talk, lab: Lab) -> None:
    with same_drivers(lab):
        lab.central.cut_off()
        until = time.monotonic() + SECONDS
        failed = talk.users[0].once(talk.networks[0], "true")
        assert "OVN Northbound" in failed.stderr, "it is named what is away"
        eventually(lambda: time.monotonic() > until, SECONDS + 1, "the central was away long enough")
        talk.goes_on(limit=2)
        lab.central.reconnect()
        caught_up(lab.central)
        talk.goes_on()
        assert talk.lost() == 0
        talk.new_containers_reach_the_old()
    balances(lab)
