"""Many containers at once, as `docker compose` starts them."""

import json
from functools import partial

import pytest

from ovn_docker_lab import Lab
from tests.integration import records
from tests.integration.tenant import Tenant, in_parallel

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONTAINERS = 20


def test_twenty_containers_started_at_once_all_have_working_interfaces(tenant: Tenant, lab: Lab) -> None:
    foo = tenant.network("10.13.0.0/24")
    target = tenant.container(foo)
    names = [tenant.name() for _ in range(CONTAINERS)]

    boxes = in_parallel(*(partial(tenant.container, foo, name=name) for name in names))

    endpoints = [box.endpoint(foo) for box in boxes]
    for what in ("IPAddress", "MacAddress", "EndpointID"):
        assert len({endpoint[what] for endpoint in endpoints}) == CONTAINERS, what
    seen = [box.links()["eth0"] for box in boxes]
    for endpoint, eth0 in zip(endpoints, seen, strict=True):
        assert f"inet {endpoint['IPAddress']}/24" in eth0
        assert endpoint["MacAddress"] in eth0
    answers = in_parallel(*(partial(box.pings, target.address(foo)) for box in boxes))
    assert answers == [True] * CONTAINERS
    assert len(records.interfaces(tenant.host)) == CONTAINERS + 1

    in_parallel(*(partial(tenant.remove, box) for box in boxes))

    assert len(records.interfaces(tenant.host)) == 1
    tenant.remove(target)
    tenant.remove_network(foo)
    assert records.left(lab) == []


def test_containers_that_come_and_go_at_once_leave_nothing_behind(
    tenant: Tenant,
) -> None:
    foo = tenant.network("10.13.0.0/24")
    target = tenant.container(foo)
    works = [partial(tenant.once, foo, f"exec ping -c1 -W1 {target.address(foo)}") for _ in range(10)]
    runs = in_parallel(*works)
    assert [run.stderr for run in runs if run.returncode] == []
    assert target.run("true").returncode == 0
    assert len(records.interfaces(tenant.host)) == 1
    inspected = json.loads(tenant.docker("network", "inspect", foo.name).stdout)
    assert len(inspected[0]["Containers"]) == 1


def test_networks_made_and_removed_at_once_leave_nothing(tenant: Tenant, lab: Lab) -> None:
    nets = in_parallel(*(partial(tenant.network, f"10.13.{number}.0/24") for number in range(10)))
    assert len(records.rows(lab.central, records.SWITCH)) == 10
    in_parallel(*(partial(tenant.remove_network, net) for net in nets))
    assert records.left(lab) == []
