"""An OVN logical router on a network's switch is the way out of its containers."""

from collections.abc import Callable, Iterator

import pytest

from ovn_docker_lab import Machine
from tests.integration import records
from tests.integration.tenant import Network, Tenant
from tests.integration.vtep_world import OVN_DOCKER
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

ROUTER = "router"
ROUTED = ("-o", "egress=docker")
"""A network whose gateway address a router is to have."""

Attach = Callable[..., None]


@pytest.fixture
def attach(central: Machine, tenant: Tenant) -> Iterator[Attach]:
    """Attach a logical router to switches, each by a port with addresses."""
    central.run(["ovn-nbctl", "lr-add", ROUTER])
    networks: list[Network] = []

    def attach(network: Network, *addresses: str) -> None:
        number = len(networks) + 1
        up, down = f"up{number}", f"down{number}"
        router_port = ["lrp-add", ROUTER, up, f"00:00:00:00:ff:{number:02}", *addresses]
        switch_port = ["lsp-add", network.id, down, "--", "lsp-set-type", down, "router"]
        options = ["lsp-set-options", down, f"router-port={up}", "--", "lsp-set-addresses", down, "router"]
        central.run(["ovn-nbctl", "--wait=hv", *router_port, "--", *switch_port, "--", *options])
        networks.append(network)

    yield attach
    tenant.clear()
    central.run(["ovn-nbctl", "lr-del", ROUTER])
    for network in networks:
        central.run(["ovn-nbctl", "--if-exists", "ls-del", network.id])


def test_the_default_route_of_a_new_container_goes_to_the_router(tenant: Tenant, attach: Attach) -> None:
    foo = tenant.network("10.17.1.0/24", *ROUTED)
    attach(foo, "10.17.1.1/24")
    box = tenant.container(foo)
    assert set(box.links()) == {"eth0"}, "no interface on docker_gwbridge"
    assert box.default_routes() == ["default via 10.17.1.1 dev eth0"]
    assert box.pings("10.17.1.1")


def test_the_router_may_have_another_address_than_docker_s_gateway(tenant: Tenant, attach: Attach) -> None:
    foo = tenant.network("10.17.1.0/24", "--ip-range=10.17.1.0/25")
    attach(foo, "10.17.1.254/24")
    assert tenant.container(foo).default_routes() == ["default via 10.17.1.254 dev eth0"]


def test_a_router_with_the_gateway_s_own_address_is_found(tenant: Tenant, attach: Attach) -> None:
    foo = tenant.network("10.17.1.0/24")
    attach(foo, "10.17.1.1/24")
    tenant.container(foo)
    reason = "an OVN router has the address 10.17.1.1 of the network's gateway port"
    done = tenant.host.run([OVN_DOCKER, "check"], check=False)
    expected = f"egress-closed: containers of network {foo.name} cannot rely on their gateway: {reason}"
    assert expected in done.stdout
    assert reason in tenant.host.log("driver")


def test_two_networks_behind_one_router_reach_each_other(tenant: Tenant, attach: Attach) -> None:
    foo, bar = tenant.network("10.17.1.0/24", *ROUTED), tenant.network("10.17.2.0/24", *ROUTED)
    attach(foo, "10.17.1.1/24")
    attach(bar, "10.17.2.1/24")
    one = tenant.container(foo)
    two = tenant.container(bar, command="httpd -f -p 80 -h /etc")
    assert one.pings(two.address(bar))
    assert two.pings(one.address(foo))
    fetched = one.run(f"timeout 5 wget -qO- http://{two.address(bar)}/hostname").stdout
    assert fetched == two.run("cat /etc/hostname").stdout


def test_networks_of_two_hosts_behind_one_router_reach_each_other(
    tenant: Tenant, other: Tenant, attach: Attach
) -> None:
    foo, bar = tenant.network("10.17.1.0/24", *ROUTED), other.network("10.17.2.0/24", *ROUTED)
    attach(foo, "10.17.1.1/24")
    attach(bar, "10.17.2.1/24")
    one, two = tenant.container(foo), other.container(bar)
    one.reaches(two.address(bar))
    two.reaches(one.address(foo))
    other.clear()


def test_the_router_is_the_way_out_over_ipv6_too(tenant: Tenant, attach: Attach) -> None:
    foo = tenant.network("10.17.1.0/24", *ROUTED, "--ipv6", "--subnet=fd00:17::/64")
    attach(foo, "10.17.1.1/24", "fd00:17::1/64")
    box = tenant.container(foo)
    routes = box.run("ip -6 route").stdout
    assert "default via fd00:17::1 dev eth0" in routes
    assert set(box.links()) == {"eth0"}


def test_a_router_attached_later_serves_the_containers_that_start_then(
    tenant: Tenant, attach: Attach
) -> None:
    foo = tenant.network("10.17.1.0/24", *ROUTED)
    before = tenant.container(foo)
    attach(foo, "10.17.1.1/24")
    after = tenant.container(foo)
    assert set(before.links()) == {"eth0", "eth1"}
    assert set(after.links()) == {"eth0"}
    assert before.pings(after.address(foo))


def test_a_router_that_is_gone_is_no_gateway_any_more(
    tenant: Tenant, attach: Attach, central: Machine
) -> None:
    foo = tenant.network("10.17.1.0/24", *ROUTED)
    attach(foo, "10.17.1.1/24")
    central.run(["ovn-nbctl", "--wait=hv", "lsp-del", "down1"])

    def links() -> set[str]:
        box = tenant.container(foo)
        found = set(box.links())
        tenant.remove(box)
        return found

    eventually(lambda: links() == {"eth0", "eth1"}, 5, "a new container is on docker_gwbridge again")


def test_an_internal_network_does_not_use_the_router(tenant: Tenant, attach: Attach) -> None:
    foo = tenant.network("10.17.1.0/24", "--internal")
    attach(foo, "10.17.1.1/24")
    box = tenant.container(foo)
    assert set(box.links()) == {"eth0"}
    assert box.default_routes() == []


def test_a_network_with_a_router_is_removed_without_touching_the_router(
    tenant: Tenant, attach: Attach, central: Machine
) -> None:
    foo = tenant.network("10.17.1.0/24", *ROUTED)
    attach(foo, "10.17.1.1/24")
    tenant.remove(tenant.container(foo))
    tenant.docker("network", "rm", foo.name, check=False)
    assert [row["name"] for row in records.rows(central, records.PORT)] == ["down1"]
    assert "down1 among them" in tenant.host.log("driver")
