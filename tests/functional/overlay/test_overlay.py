"""Every verb of the overlay driver in its normal life: what it leaves where, and what a repeat does."""

import asyncio

import pytest

from ovn_docker.errors import ConflictError, HostError, NotFoundError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.ovsdb.operations import mapping
from tests.functional.overlay.overlay_host import (
    ENDPOINT,
    INSIDE,
    NET,
    OTHER_NET,
    OUTSIDE,
    Host,
    Place,
    at,
    endpoint,
    join,
    network,
    of,
    only,
    text_of,
)
from tests.functional.private_network import attribute, in_private_network, ip, links, transmits_checksums
from tests.functional.servers import until

pytestmark = pytest.mark.functional

MARKS = {
    "ovn-docker-network": NET,
    "ovn-docker-host": "chassis-1",
    "ovn-docker-created": "2030-01-02T03:04:05Z",
}


async def joined(host: Host, *pools: str, internal: bool = False) -> messages.JoinResponse:
    """A network with these pools and an endpoint in the first, joined."""
    pools = pools or ("10.0.0.0/24",)
    await host.driver.create_network(network(*pools, internal=internal))
    await host.driver.create_endpoint(endpoint(pools[0].replace(".0/", ".2/")))
    return await host.driver.join(join())


@in_private_network
async def test_a_containers_whole_life_leaves_nothing(place: Place) -> None:
    async with place.host() as host:
        driver = host.driver
        await driver.create_network(network("10.0.0.0/24", gateway="10.0.0.1/24"))
        created = await driver.create_endpoint(endpoint())
        assert created.interface == messages.EndpointInterface(mac_address="02:42:0a:00:00:02")
        answer = await driver.join(join())
        assert answer.interface_name == messages.InterfaceName(src_name=INSIDE, dst_prefix="eth")
        assert (answer.gateway, answer.gateway_ipv6, answer.disable_gateway_service) == ("", "", False)
        assert links() == {OUTSIDE, INSIDE}
        await driver.leave(of())
        assert host.nothing_is_left()
        assert host.ports() == [ENDPOINT]
        await driver.delete_endpoint(of())
        assert (host.ports(), host.switches()) == ([], [NET])
        await driver.delete_network(at())
        assert host.switches() == []


@in_private_network
async def test_what_docker_makes_is_visible_as_the_guide_says(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("192.168.1.0/24", gateway="192.168.1.1/24"))
        await host.driver.create_endpoint(endpoint("192.168.1.2/24"))
        await host.driver.join(join())
        switch = only(host.northbound.rows("Logical_Switch", "name", "external_ids"))
        assert switch["name"] == NET
        expected = {"subnet": "192.168.1.0/24", "gateway_ip": "192.168.1.1"} | MARKS
        assert expected.items() <= mapping(switch["external_ids"]).items()
        columns = ("name", "addresses", "port_security", "external_ids")
        port = only(host.northbound.ports(*columns))
        addresses = "02:42:c0:a8:01:02 192.168.1.2"
        assert (port["name"], port["addresses"], port["port_security"]) == (ENDPOINT, addresses, addresses)
        assert mapping(port["external_ids"]) == MARKS
        ids = host.interfaces()[OUTSIDE]
        assert (ids["iface-id"], ids["attached-mac"]) == (ENDPOINT, "02:42:c0:a8:01:02")
        assert (ids["vm-id"], ids["ovn-docker-network"]) == ("fc2ac21230fc", NET)


@in_private_network
async def test_each_verb_is_one_transaction_with_northbound(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        host.proxy.transactions.clear()
        counts = {}
        await host.driver.create_network(network("10.1.0.0/24", network_id=OTHER_NET))
        counts["create_network"] = host.transactions()
        await host.driver.create_endpoint(endpoint())
        counts["create_endpoint"] = host.transactions()
        await host.driver.join(join())
        counts["join"] = host.transactions()
        await host.driver.endpoint_info(of())
        counts["endpoint_info"] = host.transactions()
        await host.driver.leave(of())
        counts["leave"] = host.transactions()
        await host.driver.delete_endpoint(of())
        counts["delete_endpoint"] = host.transactions()
        await host.driver.delete_network(at())
        counts["delete_network"] = host.transactions()
        assert counts == dict.fromkeys(counts, 1) | {"leave": 0}


@in_private_network
async def test_every_verb_may_come_twice(place: Place) -> None:
    async with place.host() as host:
        driver = host.driver
        for _ in range(2):
            await driver.create_network(network("10.0.0.0/24", "fd00::/64"))
        answers = [await driver.create_endpoint(endpoint(ipv6="fd00::2/64")) for _ in range(2)]
        assert answers[0] == answers[1]
        assert await driver.join(join()) == await driver.join(join())
        assert await driver.endpoint_info(of()) == await driver.endpoint_info(of())
        assert (host.switches(), host.ports(), list(host.interfaces())) == ([NET], [ENDPOINT], [OUTSIDE])
        for _ in range(2):
            await driver.leave(of())
        assert host.nothing_is_left()
        for _ in range(2):
            await driver.delete_endpoint(of())
        for _ in range(2):
            await driver.delete_network(at())
        assert (host.switches(), host.ports()) == ([], [])


@in_private_network
async def test_a_verb_about_what_was_never_made_says_so_or_succeeds(place: Place) -> None:
    async with place.host() as host:
        driver = host.driver
        with pytest.raises(NotFoundError, match=f"no logical switch for network {NET}"):
            await driver.create_endpoint(endpoint())
        with pytest.raises(NotFoundError, match=f"no logical switch for network {NET}"):
            await driver.join(join())
        with pytest.raises(NotFoundError, match=f"no port for endpoint {ENDPOINT} of network {NET}"):
            await driver.endpoint_info(of())
        await driver.leave(of())
        await driver.delete_endpoint(of())
        await driver.delete_network(at())
        await driver.create_network(network("10.0.0.0/24"))
        with pytest.raises(NotFoundError, match=f"no port for endpoint {ENDPOINT} of network {NET}"):
            await driver.join(join())
        assert host.ports() == []
        assert host.nothing_is_left()


@in_private_network
async def test_an_endpoint_deleted_before_its_leave_takes_its_link_along(place: Place) -> None:
    async with place.host() as host:
        await joined(host)
        await host.driver.delete_endpoint(of())
        assert host.ports() == []
        assert host.nothing_is_left()
        await host.driver.leave(of())


@in_private_network
async def test_an_endpoint_may_leave_and_join_again(place: Place) -> None:
    async with place.host() as host:
        first = await joined(host)
        await host.driver.leave(of())
        assert await host.driver.join(join()) == first
        assert links() == {OUTSIDE, INSIDE}


@in_private_network
async def test_a_join_of_a_running_container_does_not_touch_it(place: Place) -> None:
    async with place.host() as host:
        await joined(host)
        ip("link", "set", INSIDE, "name", "eth0")  # as Docker does, in the container
        with pytest.raises(ConflictError, match="is joined already"):
            await host.driver.join(join())
        assert links() == {OUTSIDE, "eth0"}
        assert list(host.interfaces()) == [OUTSIDE]


@pytest.mark.parametrize(
    ("address", "ipv6", "mac", "stored"),
    [
        ("10.0.0.2/24", "", "", "02:42:0a:00:00:02 10.0.0.2"),
        ("10.0.0.2/24", "fd00::2/64", "", "02:42:0a:00:00:02 10.0.0.2 fd00::2"),
        ("10.1.0.2/16", "", "", "02:42:0a:01:00:02 10.1.0.2"),
        ("10.0.0.2/24", "", "02:42:AA:00:00:07", "02:42:aa:00:00:07 10.0.0.2"),
        ("", "", "02:42:aa:00:00:07", "02:42:aa:00:00:07"),
    ],
)
@in_private_network
async def test_an_endpoint_gets_the_addresses_that_docker_chose(
    place: Place, address: str, ipv6: str, mac: str, stored: str
) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24", "10.1.0.0/16", "fd00::/64"))
        answer = await host.driver.create_endpoint(endpoint(address, ipv6, mac))
        assert (answer.interface is None) is bool(mac)
        port = only(host.northbound.ports("addresses", "port_security"))
        assert port == {"addresses": stored, "port_security": stored}
        info = (await host.driver.endpoint_info(of())).value
        assert [info["mac_address"], *info["ip_address"].split()] == stored.split()
        assert info["veth_outside"] == OUTSIDE


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (endpoint("10.9.0.2/24"), "cannot have 10.9.0.0/24: network .* has the pools 10.0.0.0/24, fd00::/64"),
        (endpoint("10.0.0.2/16"), "cannot have 10.0.0.0/16"),
        (endpoint("10.0.0.2/24", "fd01::2/64"), "cannot have 10.0.0.0/24 and fd01::/64"),
        (endpoint("10.0.0.2"), "address '10.0.0.2' is not a valid address with a prefix length"),
        (endpoint("nonsense/24"), "address 'nonsense/24'"),
        (endpoint("10.0.0.2/24", "10.0.0.3"), "IPv6 address '10.0.0.3'"),
        (endpoint(mac="02:42"), "MAC address '02:42'"),
        (endpoint(mac="ff:ff:ff:ff:ff:ff"), "multicast"),
    ],
)
@in_private_network
async def test_an_address_that_cannot_be_is_refused_and_leaves_nothing(
    place: Place, request_: messages.CreateEndpointRequest, text: str
) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24", "fd00::/64"))
        with pytest.raises(RequestError, match=text) as refused:
            await host.driver.create_endpoint(request_)
        assert not isinstance(refused.value, NotFoundError | ConflictError)
        assert host.ports() == []


@in_private_network
async def test_a_second_endpoint_may_not_change_the_first(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.create_network(network("10.0.0.0/24", network_id=OTHER_NET))
        await host.driver.create_endpoint(endpoint())
        for other in (
            endpoint("10.0.0.3/24"),
            endpoint(mac="02:00:00:00:00:09"),
            endpoint(network_id=OTHER_NET),
        ):
            with pytest.raises(ConflictError, match="made by host chassis-1"):
                await host.driver.create_endpoint(other)
        assert only(host.northbound.ports("addresses"))["addresses"].endswith("10.0.0.2")


@in_private_network
async def test_a_network_may_be_made_again_only_as_it_is(place: Place) -> None:
    async with place.host() as host:
        pools = ("10.0.0.0/24", "10.1.0.0/24")
        await host.driver.create_network(network(*pools))
        await host.driver.create_network(network(*reversed(pools)))
        for other in (network(pools[0]), network(*pools, internal=True), network(*pools, mtu="1400")):
            with pytest.raises(ConflictError, match=f"network {NET} exists in OVN with other"):
                await host.driver.create_network(other)


@pytest.mark.parametrize(
    ("ids", "datapath", "mtu"),
    [
        ({}, "netdev", 1442),
        ({"ovn-encap-type": "vxlan"}, "", 1450),
        ({"ovn-encap-type": "geneve,vxlan", "ovn-encap-ip": "127.0.0.1"}, "netdev", 1442),
        ({"ovn-encap-ip": "::1"}, "netdev", 1422),
        ({"ovn-encap-ip": "10.9.8.7"}, "system", 8942),
        ({"ovn-encap-ip": "10.9.8.7,127.0.0.1"}, "netdev", 1442),
    ],
)
@in_private_network
async def test_the_interface_fits_the_tunnel_and_the_datapath(
    place: Place, ids: dict[str, str], datapath: str, mtu: int
) -> None:
    ip("link", "add", "underlay", "mtu", "9000", "type", "veth", "peer", "name", "far")
    ip("address", "add", "10.9.8.7/24", "dev", "underlay")
    place.datapath = datapath
    async with place.host(**ids) as host:
        await joined(host)
        assert {attribute(end, "mtu") for end in (OUTSIDE, INSIDE)} == {str(mtu)}
        assert attribute(INSIDE, "address") == "02:42:0a:00:00:02"
        assert transmits_checksums(INSIDE) is (datapath != "netdev")


@pytest.mark.parametrize(("ipsec", "mtu"), [(True, 1400), (False, 1442)])
@in_private_network
async def test_the_interface_leaves_room_for_the_encryption_of_tunnels(
    place: Place,
    ipsec: bool,  # noqa: FBT001  (a parameter of the test)
    mtu: int,
) -> None:
    place.northbound.transact({"op": "insert", "table": "NB_Global", "row": {"ipsec": ipsec}})
    async with place.host() as host:
        await joined(host)
        assert {attribute(end, "mtu") for end in (OUTSIDE, INSIDE)} == {str(mtu)}


@in_private_network
async def test_the_networks_own_mtu_wins(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24", mtu="1300"))
        await host.driver.create_endpoint(endpoint())
        await host.driver.join(join())
        assert attribute(INSIDE, "mtu") == "1300"


@in_private_network
async def test_many_containers_at_once_all_get_their_own_interface(place: Place) -> None:
    async def start(number: int) -> str:
        eid = f"{number:02x}" * 32
        await host.driver.create_endpoint(endpoint(f"10.0.0.{number}/24", endpoint_id=eid))
        return (await host.driver.join(join(endpoint_id=eid))).interface_name.src_name

    async def stop(number: int) -> None:
        eid = f"{number:02x}" * 32
        await host.driver.leave(of(endpoint_id=eid))
        await host.driver.delete_endpoint(of(endpoint_id=eid))

    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        names = await asyncio.gather(*map(start, range(2, 22)))
        assert len(set(names) & links()) == 20
        assert len(host.ports()) == len(host.interfaces()) == 20
        await asyncio.gather(*map(stop, range(2, 22)))
        assert host.ports() == []
        assert host.nothing_is_left()


@in_private_network
async def test_the_database_shows_networks_and_joined_endpoints(place: Place) -> None:
    async with place.host() as host:
        await joined(host)
        shown = await host.driver.database()
        assert (shown["about"], shown["system_id"], shown["integration_bridge"]) == (
            "this",
            "chassis-1",
            "br-int",
        )
        assert shown["outage"] == ""
        assert shown["networks"][NET]["Subnet"] == "10.0.0.0/24"
        container = shown["networks"][NET]["Containers"][OUTSIDE]
        assert (container["EndpointID"], container["SandboxID"]) == (ENDPOINT, "fc2ac21230fc")
        assert (container["MacAddress"], container["Error"]) == ("02:42:0a:00:00:02", "")


@in_private_network
async def test_the_database_is_shown_while_northbound_is_away(place: Place) -> None:
    async with place.host() as host:
        await joined(host)
        host.northbound.kill()
        await until(lambda: not host.clients[1].connected, "the loss is noticed")
        shown = await asyncio.wait_for(host.driver.database(), 1)
        assert shown["networks"] == {}
        assert "OVN Northbound cannot be reached" in shown["outage"]


@in_private_network
async def test_an_outage_names_the_database_and_ends_by_itself(place: Place) -> None:
    async with place.host() as host:
        await joined(host)
        host.northbound.kill()
        host.open_vswitch.kill()
        await until(lambda: "OVN Northbound cannot" in host.driver.outage(), "Northbound is missed")
        await until(lambda: "Open vSwitch cannot" in host.driver.outage(), "Open vSwitch is missed")
        host.northbound.start()
        host.open_vswitch.start()
        await asyncio.wait_for(host.driver.leave(of()), 5)
        await asyncio.wait_for(host.driver.delete_endpoint(of()), 5)
        assert host.driver.outage() == ""


@pytest.mark.parametrize(
    ("ids", "setting"),
    [({"ovn-nb": ""}, "external_ids:ovn-nb"), ({"system-id": ""}, "external_ids:system-id")],
)
@in_private_network
async def test_a_setting_that_is_missing_is_named(place: Place, ids: dict[str, str], setting: str) -> None:
    async with place.host(**ids) as host:
        with pytest.raises(HostError, match=f"{setting} is not set in Open_vSwitch"):
            await host.driver.create_network(network("10.0.0.0/24"))


@in_private_network
async def test_swarms_options_come_back(place: Place) -> None:
    async with place.host() as host:
        options = {"port_security": "false"}
        asked = messages.AllocateNetworkRequest(network_id=OTHER_NET, options=options)
        assert (await host.driver.allocate_network(asked)).options == options | {"swarm": "true"}


@in_private_network
async def test_an_id_of_swarm_names_rows_like_any_other(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24", network_id=OTHER_NET))
        eid = "z8y7x6w5v4u3t2s1r0q9p8o7n"
        await host.driver.create_endpoint(endpoint(network_id=OTHER_NET, endpoint_id=eid))
        answer = await host.driver.join(join(OTHER_NET, eid))
        assert answer.interface_name.src_name == "z8y7x6w5v4u3t_c"
        assert (host.switches(), host.ports()) == ([OTHER_NET], [eid])
        assert text_of(only(host.northbound.ports("type"))["type"]) == ""
