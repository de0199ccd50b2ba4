"""What CreateEndpoint begins of Join is there before Join, ends with the endpoint, and is in nobody's way."""

import asyncio
import contextlib
import json
import logging

import msgspec
import pytest

from ovn_docker.errors import ConflictError, HostError, UnreachableError
from ovn_docker.host import attachment
from ovn_docker.libnetwork import messages
from ovn_docker.overlay import plugging
from ovn_docker.ovsdb.operations import to_map
from tests.functional.overlay.overlay_host import (
    ENDPOINT,
    INSIDE,
    NET,
    OTHER_ENDPOINT,
    OUTSIDE,
    Host,
    Place,
    endpoint,
    join,
    network,
    of,
    only,
)
from tests.functional.private_network import (
    attribute,
    in_private_network,
    ip,
    links,
    other_network,
    transmits_checksums,
)
from tests.functional.servers import until

pytestmark = pytest.mark.functional

MOMENTS = range(0, 40, 3)
"""Turns of the event loop: more than the work takes at last, so that it is met at each of its steps."""


@pytest.fixture
def place(place: Place) -> Place:
    place.plugging = True
    return place


async def created(host: Host, mtu: str = "", *, internal: bool = False) -> None:
    """A network, and an endpoint on it, of which nothing is under way any more."""
    await host.driver.create_network(network("10.0.0.0/24", mtu=mtu, internal=internal))
    await host.driver.create_endpoint(endpoint())
    await host.driver.plugging.settled(ENDPOINT)


async def turns(count: int) -> None:
    """Let the event loop turn so often, each time with something of the kernel's or a server's time."""
    for _ in range(count):
        await asyncio.sleep(0.0002)


async def name_bridge(place: Place, host: Host, name: str) -> None:
    """Have Open_vSwitch name another integration bridge, until the driver knows it."""
    ids, named = "external_ids", to_map({"ovn-bridge": name})
    change = [[ids, "delete", ["set", ["ovn-bridge"]]], [ids, "insert", named]]
    place.open_vswitch.transact({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": change})
    rows = host.clients[0].replica.rows("Open_vSwitch")
    await until(lambda: f'"{name}"' in json.dumps(list(rows.values())), f"the bridge is {name}")


@pytest.mark.parametrize("internal", [False, True])
@in_private_network
async def test_an_endpoint_is_plugged_in_before_its_join_which_adds_the_sandbox(
    place: Place,
    internal: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    async with place.host() as host:
        await created(host, internal=internal)
        assert links() == {OUTSIDE, INSIDE}
        before = host.interfaces()[OUTSIDE]
        assert (before["iface-id"], before["attached-mac"]) == (ENDPOINT, "02:42:0a:00:00:02")
        assert "vm-id" not in before
        answer = await host.driver.join(join())
        assert (answer.interface_name.src_name, answer.disable_gateway_service) == (INSIDE, internal)
        assert host.interfaces()[OUTSIDE] == before | {"vm-id": "fc2ac21230fc", "ovn-installed": "true"}
        await host.driver.leave(of())
        await host.driver.delete_endpoint(of())
        assert host.nothing_is_left()


@pytest.mark.parametrize("before", [False, True])
@in_private_network
async def test_an_interface_says_the_name_servers_whoever_plugged_it_in(
    place: Place,
    before: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    place.plugging = before
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        options = {messages.DNS_SERVERS: ["192.0.2.53", "2001:db8::53"]}
        request = msgspec.structs.replace(endpoint(), options=options)
        await host.driver.create_endpoint(request)
        await host.driver.plugging.settled(ENDPOINT)
        assert (OUTSIDE in host.interfaces()) == before
        await host.driver.join(join())
        assert host.interfaces()[OUTSIDE]["ovn-docker-dns"] == "192.0.2.53 2001:db8::53"


@in_private_network
async def test_northbound_is_asked_no_more_than_without(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        host.transactions()
        await host.driver.create_endpoint(endpoint())
        await host.driver.plugging.settled(ENDPOINT)
        assert host.transactions() == 1
        await host.driver.join(join())
        assert host.transactions() == 1


@pytest.mark.parametrize(("ipsec", "own", "mtu"), [(True, "", 1400), (False, "", 1442), (True, "1300", 1300)])
@in_private_network
async def test_its_link_is_as_join_would_make_it(
    place: Place,
    ipsec: bool,  # noqa: FBT001  (a parameter of the test)
    own: str,
    mtu: int,
) -> None:
    place.northbound.transact({"op": "insert", "table": "NB_Global", "row": {"ipsec": ipsec}})
    async with place.host() as host:
        await created(host, own)
        assert {attribute(end, "mtu") for end in (OUTSIDE, INSIDE)} == {str(mtu)}
        assert attribute(INSIDE, "address") == "02:42:0a:00:00:02"
        assert not transmits_checksums(INSIDE)


@in_private_network
async def test_a_change_of_the_tunnels_encryption_holds_for_the_next_endpoint(place: Place) -> None:
    place.northbound.transact({"op": "insert", "table": "NB_Global", "row": {"ipsec": False}})
    async with place.host() as host:
        row = {"op": "update", "table": "NB_Global", "where": [], "row": {"ipsec": True}}
        place.northbound.transact(row)
        await created(host)
        assert attribute(INSIDE, "mtu") == "1400"


@in_private_network
async def test_a_join_that_comes_while_it_is_under_way_waits_for_it(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        for count in MOMENTS:
            await host.driver.create_endpoint(endpoint())
            await turns(count)
            assert (await host.driver.join(join())).interface_name.src_name == INSIDE
            assert host.interfaces()[OUTSIDE]["vm-id"] == "fc2ac21230fc"
            await host.driver.leave(of())
            await host.driver.delete_endpoint(of())
            assert (host.nothing_is_left(), host.ports()) == (True, [])


@pytest.mark.parametrize("verb", ["delete_endpoint", "leave"])
@in_private_network
async def test_an_endpoint_that_goes_while_it_is_under_way_leaves_nothing(place: Place, verb: str) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        for count in MOMENTS:
            await host.driver.create_endpoint(endpoint())
            await turns(count)
            await getattr(host.driver, verb)(of())
            assert host.nothing_is_left()
            await host.driver.delete_endpoint(of())
        assert host.ports() == []


@in_private_network
async def test_a_stop_undoes_what_is_under_way_and_the_next_driver_joins(place: Place) -> None:
    for count in MOMENTS:
        async with place.host() as host:
            await host.driver.create_network(network("10.0.0.0/24"))
            await host.driver.create_endpoint(endpoint())
            await turns(count)
        assert (OUTSIDE in host.interfaces()) is (OUTSIDE in links())
        async with place.host() as host:
            await host.driver.create_endpoint(endpoint())
            await host.driver.join(join())
            await host.driver.leave(of())
            await host.driver.delete_endpoint(of())
            assert (host.nothing_is_left(), host.ports()) == (True, [])


@in_private_network
async def test_what_cannot_be_plugged_in_fails_at_join_and_not_before(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with place.host() as host:
        await name_bridge(place, host, "br-other")
        await created(host)
        assert host.nothing_is_left()
        with pytest.raises(HostError, match="this host has no bridge br-other"):
            await host.driver.join(join())
        await name_bridge(place, host, "br-int")
        assert (await host.driver.join(join())).interface_name.src_name == INSIDE
        assert "plugged in" not in caplog.text


@in_private_network
async def test_a_link_of_somebody_else_fails_at_join_and_stays(place: Place) -> None:
    ip("link", "add", OUTSIDE, "type", "veth", "peer", "name", "theirs")
    async with place.host() as host:
        await created(host)
        with pytest.raises(ConflictError, match="is not a free veth pair"):
            await host.driver.join(join())
        assert links() == {OUTSIDE, "theirs"}
        assert host.interfaces() == {}


@in_private_network
async def test_a_repeated_join_that_times_out_leaves_a_container_its_link(place: Place) -> None:
    async with place.host() as host:
        await created(host)
        await host.driver.join(join())
        with other_network() as container:
            ip("link", "set", INSIDE, "netns", str(container))
            for moment in range(60):
                repeat = asyncio.create_task(host.driver.join(join()))
                for _ in range(moment):
                    await asyncio.sleep(0)
                repeat.cancel()
                await asyncio.gather(repeat, return_exceptions=True)
                assert links() == {OUTSIDE}
                assert list(host.interfaces()) == [OUTSIDE]


@in_private_network
async def test_an_endpoint_is_made_while_open_vswitch_is_away(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        host.open_vswitch.kill()
        await until(host.clients[0].outage, "the loss is noticed")
        caplog.clear()
        await asyncio.wait_for(host.driver.create_endpoint(endpoint()), 2)
        await asyncio.wait_for(host.driver.plugging.settled(ENDPOINT), 2)
        assert links() == set()
        assert ENDPOINT not in caplog.text
        await asyncio.wait_for(host.driver.delete_endpoint(of()), 2)
        await host.driver.create_endpoint(endpoint())
        host.open_vswitch.start()
        assert (await asyncio.wait_for(host.driver.join(join()), 9)).interface_name.src_name == INSIDE


@in_private_network
async def test_nothing_is_left_of_an_endpoint_when_open_vswitch_is_back(
    place: Place,
) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.create_endpoint(endpoint())
        host.open_vswitch.kill()
        with contextlib.suppress(UnreachableError):  # where it came so far
            await asyncio.wait_for(host.driver.delete_endpoint(of()), 15)
        host.open_vswitch.start()
        await until(host.nothing_is_left, "nothing is left")
        assert host.ports() == []


@in_private_network
async def test_a_join_that_fails_removes_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "INSTALL_TIMEOUT", 0.3)
    async with place.host() as host:
        host.daemons.installs = False
        await created(host)
        with pytest.raises(HostError, match="OVN did not install the flows"):
            await host.driver.join(join())
        assert host.nothing_is_left()


@in_private_network
async def test_a_repeat_plugs_in_nothing_twice_and_touches_no_container(place: Place) -> None:
    async with place.host() as host:
        await created(host)
        assert await host.driver.create_endpoint(endpoint()) == await host.driver.create_endpoint(endpoint())
        await host.driver.join(join())
        ip("link", "set", INSIDE, "name", "eth0")  # as Docker does, in the container
        before = host.interfaces()
        await host.driver.create_endpoint(endpoint())
        await host.driver.plugging.settled(ENDPOINT)
        assert links() == {OUTSIDE, "eth0"}
        assert host.interfaces() == before


@in_private_network
async def test_a_join_without_a_bridge_does_not_touch_a_running_container(place: Place) -> None:
    async with place.host() as host:
        await created(host)
        await host.driver.join(join())
        ip("link", "set", INSIDE, "name", "eth0")  # as Docker does, in the container
        before = host.interfaces()
        await name_bridge(place, host, "br-other")
        with pytest.raises(HostError, match="this host has no bridge br-other"):
            await host.driver.join(join())
        assert (links(), host.interfaces()) == ({OUTSIDE, "eth0"}, before)


@in_private_network
async def test_a_port_that_is_made_for_a_container_that_runs_is_not_plugged_in(place: Place) -> None:
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        await host.driver.make_port(endpoint())
        await host.driver.plugging.settled(ENDPOINT)
        assert host.ports() == [ENDPOINT]
        assert host.nothing_is_left()


@in_private_network
async def test_endpoints_beyond_the_limit_are_plugged_in_by_their_join(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugging, "AT_ONCE", 1)
    async with place.host() as host:
        await host.driver.create_network(network("10.0.0.0/24"))
        ids = [f"{number:02x}" * 32 for number in range(2, 8)]
        requests = [endpoint(f"10.0.0.{number}/24", endpoint_id=each) for number, each in enumerate(ids, 2)]
        await asyncio.gather(*map(host.driver.create_endpoint, requests))
        await asyncio.gather(*map(host.driver.plugging.settled, ids))
        assert 1 <= len(host.interfaces()) < len(ids)
        await asyncio.gather(*(host.driver.join(join(endpoint_id=each)) for each in ids))
        assert {each["vm-id"] for each in host.interfaces().values()} == {"fc2ac21230fc"}
        assert len(host.interfaces()) == len(ids)


@pytest.mark.parametrize("joined", [False, True])
@in_private_network
async def test_an_addresss_next_endpoint_replaces_one_without_a_container(
    place: Place,
    joined: bool,  # noqa: FBT001  (a parameter of the test)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attachment, "LINK_TIMEOUT", 0.2)
    async with place.host() as host:
        await created(host)
        if joined:
            await host.driver.join(join())
            ip("link", "set", INSIDE, "name", "eth0")  # as Docker does, in the container
        await host.driver.create_endpoint(endpoint(endpoint_id=OTHER_ENDPOINT))
        await host.driver.plugging.settled(OTHER_ENDPOINT)
        wanted = [ENDPOINT, OTHER_ENDPOINT] if joined else [OTHER_ENDPOINT]
        assert host.ports() == wanted
        assert sorted(each["iface-id"] for each in host.interfaces().values()) == wanted


@in_private_network
async def test_an_endpoint_is_shown_without_a_sandbox_until_it_is_joined(place: Place) -> None:
    async with place.host() as host:
        await created(host)
        shown = (await host.driver.database())["networks"][NET]["Containers"][OUTSIDE]
        assert (shown["EndpointID"], shown["SandboxID"], shown["Error"]) == (ENDPOINT, "", "")
        assert only(host.northbound.ports("name"))["name"] == ENDPOINT
