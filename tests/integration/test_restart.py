"""Docker or Open vSwitch is started again under networks and containers that exist."""

import pytest

from ovn_docker_lab import Lab
from tests.integration import records
from tests.integration.records import SWITCH
from tests.integration.tenant import Container, Tenant
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

STAYS = ("--restart=always", "--stop-signal=KILL")


def is_up(box: Container) -> bool:
    return box.run("true", check=False).returncode == 0


def test_networks_and_containers_come_back_with_dockerd(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.22.0.0/24")
    one, two = tenant.container(foo, *STAYS), tenant.container(foo, *STAYS)
    gone = tenant.container(foo, "--stop-signal=KILL")
    tenant.host.stop("dockerd")
    assert records.left(lab) == [f"{SWITCH} {foo.id}"], "a stopped container holds no port"
    tenant.host.start("dockerd")
    for box in (one, two):
        eventually(lambda: is_up(box), 20, f"{box.name} is up again")  # noqa: B023
    assert not is_up(gone)
    # The first second after a start of dockerd loses packets on Docker's own bridge as often as here.
    one.reaches(two.address(foo))
    assert len(records.interfaces(tenant.host)) == 2


def test_containers_talk_again_after_a_restart_of_ovs_vswitchd(tenant: Tenant) -> None:
    foo = tenant.network("10.22.0.0/24")
    one, two = tenant.container(foo), tenant.container(foo)
    tenant.host.stop("ovs-vswitchd")
    tenant.host.start("ovs-vswitchd")
    one.reaches(two.address(foo), 30)
    name = eventually(lambda: tenant.try_container(foo), 30, "a new container starts")
    Container(tenant.host, name).reaches(one.address(foo), 30)
