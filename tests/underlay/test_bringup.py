"""The cloud of these tests is one."""

import pytest

from tests.polling import eventually
from tests.underlay.conftest import Cloud

pytestmark = pytest.mark.underlay


def test_the_two_machines_reach_each_other_over_their_own_ports(cloud: Cloud) -> None:
    first, second = cloud.machines
    ping = ["busybox", "ping", "-c1", "-W1", second.address]
    eventually(lambda: first.host.run(ping, check=False).returncode == 0, 10, "an answer")
