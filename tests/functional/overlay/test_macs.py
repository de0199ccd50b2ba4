"""MAC addresses on a switch, of which no two ports have the same; and port security, unless waived."""

import pytest

from ovn_docker.docker.models import Endpoint
from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.libnetwork import messages
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts, Network
from tests.functional.servers import until

pytestmark = pytest.mark.functional

ONE, TWO = "a" * 64, "b" * 64
MAC = "02:11:22:33:44:55"


def gone(network: Network, endpoint_id: str) -> messages.EndpointRequest:
    return messages.EndpointRequest(network_id=network.network_id, endpoint_id=endpoint_id)


@pytest.fixture(params=["own", "shared"])
def options(request: pytest.FixtureRequest) -> dict[str, str]:
    """A network on a switch of its own, and one on a shared switch."""
    return {"create": "true"} if request.param == "shared" else {}


async def test_a_mac_address_that_was_named_is_one_endpoint_s(hosts: Hosts, options: dict[str, str]) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options=options)
        await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)
        with pytest.raises(ConflictError, match=f"{MAC}: endpoint {ONE} on host h1 has it"):
            await host.endpoint(network, TWO, "10.0.0.3/24", mac=MAC.upper())
        assert hosts.ports() == [ONE]
        await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)  # a repeat
        await host.driver.delete_endpoint(gone(network, ONE))
        assert hosts.rows("claim") == []
        await host.endpoint(network, TWO, "10.0.0.3/24", mac=MAC)
        assert hosts.ports() == [TWO]


async def test_two_hosts_cannot_name_the_same_mac_address_on_a_shared_switch(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        networks = [await host.plain_network_create(SUBNET, options={"create": "true"}) for host in several]
        await several[0].endpoint(networks[0], ONE, "10.0.0.2/24", mac=MAC)
        with pytest.raises(ConflictError, match=f"endpoint {ONE} on host h0 has it"):
            await several[1].endpoint(networks[1], TWO, "10.0.0.3/24", mac=MAC)
        assert hosts.ports() == [ONE]
        assert hosts.rows("claim") == [MAC, "10.0.0.2"]


async def test_a_leased_address_does_not_hide_whose_mac_address_it_is(hosts: Hosts) -> None:
    async with hosts.host("h1") as host:
        network = await host.network_create(SUBNET)
        await host.endpoint(network, ONE, await host.request(network.pool_ids[0]), mac=MAC)
        with pytest.raises(ConflictError, match=f"{MAC}: endpoint {ONE} on host h1 has it"):
            await host.endpoint(network, TWO, await host.request(network.pool_ids[0]), mac=MAC)


async def test_two_switches_may_have_the_same_mac_address(hosts: Hosts) -> None:
    async with hosts.host("h1") as host:
        for endpoint_id in (ONE, TWO):
            network = await host.plain_network_create(SUBNET)
            await host.endpoint(network, endpoint_id, "10.0.0.2/24", mac=MAC)
        assert hosts.ports() == [ONE, TWO]


async def test_the_mac_address_of_another_address_cannot_be_named(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options=options)
        with pytest.raises(RequestError, match=r"it is reserved for address 10\.0\.0\.3 of its network"):
            await host.endpoint(network, ONE, "10.0.0.2/24", mac="02:42:0a:00:00:03")
        await host.endpoint(network, ONE, "10.0.0.2/24", mac="02:42:0a:00:00:02")
        await host.endpoint(network, TWO, "10.0.0.3/24", mac="02:42:0b:00:00:03")
        assert hosts.ports() == [ONE, TWO]


async def test_a_routers_or_a_ports_mac_address_on_a_shared_switch_is_refused(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options=options)
        [switch] = hosts.switches()
        hosts.nbctl("lsp-add", switch, "vm", "--", "lsp-set-addresses", "vm", "0a:00:00:00:00:01 10.0.0.9")
        hosts.nbctl("lr-add", "r", "--", "lrp-add", "r", "rp", "0a:00:00:00:00:02", "10.0.0.1/24")
        hosts.nbctl("lsp-add", switch, "sp", "--", "lsp-set-type", "sp", "router")
        hosts.nbctl("lsp-set-options", "sp", "router-port=rp", "--", "lsp-set-addresses", "sp", "router")
        await until(lambda: host.client.replica.rows("Logical_Router_Port"), "the router port is seen")
        taken = {"0a:00:00:00:00:02": "router port rp"}
        if options:
            taken["0a:00:00:00:00:01"] = "logical switch port vm"
        for mac, who in taken.items():
            with pytest.raises(ConflictError, match=f"{mac}: {who} holds it"):
                await host.endpoint(network, ONE, "10.0.0.2/24", mac=mac)
        assert hosts.ports() == ["sp", "vm"]
        assert hosts.rows("claim") == []


async def test_an_endpoint_whose_port_was_lost_is_made_again_with_what_it_claimed(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options=options)
        await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)
        hosts.nbctl("lsp-del", ONE)
        await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)
        assert hosts.ports() == [ONE]
        await host.driver.delete_endpoint(gone(network, ONE))
        assert hosts.rows("claim") == []


async def test_a_network_that_goes_with_leftover_ports_leaves_no_claim(hosts: Hosts) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET)
        await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)
        await host.network_rm(network)
        assert (hosts.switches(), hosts.rows("claim")) == ([], [])


async def test_an_endpoint_of_a_network_that_is_gone_leaves_no_claim(hosts: Hosts) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET)
        hosts.nbctl("ls-del", network.network_id)
        with pytest.raises(RequestError, match="OVN has no logical switch"):
            await host.endpoint(network, ONE, "10.0.0.2/24", mac=MAC)
        assert hosts.rows("claim") == []


async def test_an_ipv6_only_endpoint_s_mac_address_cannot_be_named_by_another(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create("fd00::/64", options=options)
        await host.endpoint(network, ONE, "fd00::2/64")
        [mac] = [each.split()[0] for each in hosts.port_security().values()]
        with pytest.raises(ConflictError, match=f"endpoint {ONE} on host h1 has it"):
            await host.endpoint(network, TWO, "fd00::3/64", mac=mac)


# --- Port security ------------------------------------------------------------------------------------------


async def readdressed(host: Host, network: Network) -> None:
    """What the health check does to a port with other addresses than Docker says."""
    endpoint = Endpoint(network.network_id, ONE, "02:42:0a:00:00:07", ("10.0.0.7/24",), "")
    await host.inventory.readdress(endpoint)


async def test_a_port_is_held_to_its_addresses_also_after_a_repair(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options=options)
        await host.endpoint(network, ONE, "10.0.0.2/24")
        assert hosts.port_security() == {ONE: "02:42:0a:00:00:02 10.0.0.2"}
        await readdressed(host, network)
        assert hosts.port_security() == {ONE: "02:42:0a:00:00:07 10.0.0.7"}


async def test_ports_of_a_network_without_port_security_have_none_after_a_repair(
    hosts: Hosts, options: dict[str, str]
) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET, options={**options, "port_security": "false"})
        await host.endpoint(network, ONE, "10.0.0.2/24")
        await host.endpoint(network, ONE, "10.0.0.2/24")
        assert hosts.port_security() == {ONE: ""}
        await readdressed(host, network)
        assert hosts.port_security() == {ONE: ""}


async def test_a_shared_switch_waives_port_security_only_where_it_says_so(hosts: Hosts) -> None:
    waived = {"create": "true", "port_security": "false"}
    async with hosts.several(2) as several:
        secure = await several[0].plain_network_create(SUBNET, options={"create": "true"})
        with pytest.raises(ConflictError, match="does not allow containers without port security"):
            await several[1].plain_network_create(SUBNET, options=waived)
        [switch] = hosts.switches()
        hosts.nbctl("set", "Logical_Switch", switch, "external_ids:ovn-docker-port-security=false")
        open_one = await several[1].plain_network_create(SUBNET, options=waived)
        await several[0].endpoint(secure, ONE, "10.0.0.2/24")
        await several[1].endpoint(open_one, TWO, "10.0.0.3/24")
        assert hosts.port_security() == {ONE: "02:42:0a:00:00:02 10.0.0.2", TWO: ""}


async def test_a_repeat_with_another_port_security_is_refused(hosts: Hosts) -> None:
    async with hosts.host("h1") as host:
        network = await host.plain_network_create(SUBNET)
        request = messages.CreateNetworkRequest(
            network_id=network.network_id,
            options={messages.GENERIC: {"port_security": "false"}},
            ipv4_data=network.data,
        )
        with pytest.raises(ConflictError, match="exists in OVN with other pools or options"):
            await host.driver.create_network(request)
