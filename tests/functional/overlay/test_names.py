"""Containers of a shared network are found by their names on all hosts, as long as they are there."""

import asyncio
import contextlib
import json
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID

import pytest

from ovn_docker.docker import models
from ovn_docker.errors import ConflictError, UnreachableError
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.overlay_driver import EARLY_TIMEOUT
from ovn_docker.ovn import leases, names, switches
from ovn_docker.ovn.names import Named
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import (
    Operation,
    delete,
    in_batches,
    insert,
    row_is,
    to_map,
)
from tests.functional.many_rows import milliseconds
from tests.functional.overlay.named_host import (
    Box,
    a_network,
    agrees,
    filed,
    found,
    left,
    looked_up,
    published,
    records,
    run,
    two,
    wrong,
)
from tests.functional.overlay.shared_host import SUBNET, Container, Host, Hosts, Network
from tests.functional.servers import Proxy

pytestmark = pytest.mark.functional

MARK = Mark("h0", "2030-01-02T03:04:05Z")


@contextlib.asynccontextmanager
async def counted(hosts: Hosts, directory: Path) -> AsyncIterator[tuple[Host, Network, Proxy]]:
    """A host with a network, and its way to Northbound."""
    proxy = Proxy(directory / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h0", remote=proxy.remote) as host:
        yield host, await a_network(host, SUBNET), proxy


# --- Publishing ---------------------------------------------------------------------------------------------


async def test_a_container_is_found_from_every_host_by_each_of_its_names(hosts: Hosts) -> None:
    async with two(hosts) as (one, other, here, there):
        web = await published(one, "web", here, aliases=("www", "0123456789ab"))
        db = await published(other, "db", there)
        for host, network in ((one, here), (other, there)):
            for name in ("web", "www", "0123456789ab"):
                assert await looked_up(host, network, name) == {web.ip}
            assert await looked_up(host, network, "db") == {db.ip}
            assert await looked_up(host, network, web.ip) == {"web"}
            assert await looked_up(host, network, "none") == set()
        assert agrees(hosts)


async def test_a_container_with_two_addresses_has_both_under_its_name(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET, "fd00::/64")
        web = await published(host, "web", network)
        v4, v6 = (each.partition("/")[0] for each in web.endpoints[0].addresses)
        assert found(hosts, "web") == {v4, v6}
        assert found(hosts, v4) == found(hosts, v6) == {"web"}
        assert await wrong(host) == {}
        await web.rm()
        assert left(hosts) == set()


async def test_one_name_on_two_hosts_is_one_row_with_both_addresses(hosts: Hosts) -> None:
    async with two(hosts) as (one, other, here, there):
        first, second = await published(one, "web", here), await published(other, "web", there)
        assert filed(hosts)["web"] == {first.endpoint_id: (first.ip,), second.endpoint_id: (second.ip,)}
        await first.rm()
        assert filed(hosts)["web"] == {second.endpoint_id: (second.ip,)}
        await second.rm()
        assert left(hosts) == set()


async def test_a_name_is_a_name_of_one_switch_alone(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        here, there = await a_network(host, SUBNET), await a_network(host, "10.1.0.0/24")
        one = await published(host, "web", here)
        assert await looked_up(host, here, "web") == {one.ip}
        assert await looked_up(host, there, "web") == set()
        two = await published(host, "web", there)
        host.naming.cache.forget([names.name_id(switches.switch_id(there.pool.key), "web")])
        assert await looked_up(host, here, "web") == {one.ip}
        assert await looked_up(host, there, "web") == {two.ip}


async def test_a_container_on_two_networks_has_its_names_on_both(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        here, there = await a_network(host, SUBNET), await a_network(host, "10.1.0.0/24")
        box = await published(host, "web", here, there)
        for network, endpoint in zip((here, there), box.endpoints, strict=True):
            assert await looked_up(host, network, "web") == {endpoint.ip}


async def test_other_names_take_the_place_of_the_former(hosts: Hosts) -> None:
    async with two(hosts) as (one, other, here, there):
        web = await published(one, "web", here, aliases=("www", "kept"))
        same = await published(other, "www", there)
        web.name, web.aliases = "front", ("kept",)
        await web.publish()
        assert set(filed(hosts)) == {"front", "kept", "www", web.ip, same.ip}
        assert found(hosts, "www") == {same.ip}
        assert found(hosts, web.ip) == {"front"}
        assert agrees(hosts)
        assert await looked_up(one, here, "web") == set()
        assert await looked_up(one, here, "front") == {web.ip}


async def test_a_renamed_container_is_not_answered_from_what_its_host_remembers(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        web = await published(host, "web", network)
        assert await looked_up(host, network, "web") == {web.ip}
        web.name = "front"
        await web.publish()
        assert await looked_up(host, network, "web") == set()
        await web.rm()
        assert await looked_up(host, network, "front") == set()


async def test_the_names_of_another_endpoint_stay_when_one_leaves(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        one = await published(host, "web-1", network, aliases=("web",))
        two = await published(host, "web-2", network, aliases=("web",))
        await one.rm()
        assert set(filed(hosts)) == {"web", "web-2", two.ip}
        assert set(records(hosts)) == {two.endpoint_id}
        assert agrees(hosts)


async def test_nothing_is_left_when_all_are_gone(hosts: Hosts) -> None:
    async with two(hosts) as (one, other, here, there):
        boxes = [
            await published(host, f"box-{number}", network, aliases=("box", "same"))
            for number in range(4)
            for host, network in ((one, here), (other, there))
        ]
        assert len(found(hosts, "same")) == len(boxes)
        await asyncio.gather(*(box.rm() for box in boxes))
        assert left(hosts) == set()
        await one.network_rm(here)
        await other.network_rm(there)
        assert hosts.northbound.rows("DHCP_Options") == []


async def test_a_container_on_a_network_of_this_host_alone_is_dockers_to_find(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        plain = await host.plain_network_create("10.9.0.0/24")
        container = models.Container("id", "web", {}, ((plain.network_id, "e0" * 32),), {"e0" * 32: ("web",)})
        await host.naming.publish_container(container)
        assert hosts.northbound.rows("DHCP_Options") == []


async def test_an_endpoint_without_names_or_interface_is_left_out(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        nameless = await run(host, "a.b", network)
        unplugged = Box(host, "web", [await host.run(network)])
        for box in (nameless, unplugged):
            await box.publish()
        assert left(hosts) == set()


# --- Transactions -------------------------------------------------------------------------------------------


async def test_a_name_is_published_by_one_transaction_and_repeated_by_none(
    hosts: Hosts, short_path: Path
) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await run(host, "web", network, aliases=("www",))
        proxy.transactions.clear()
        await box.publish()
        assert len(proxy.transactions) == 1
        await box.publish()
        await box.publish()
        assert len(proxy.transactions) == 1
        box.aliases = ("www", "front")
        await box.publish()
        assert len(proxy.transactions) == 3


async def test_names_go_with_their_port_in_one_transaction(hosts: Hosts, short_path: Path) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await published(host, "web", network)
        proxy.transactions.clear()
        request = messages.EndpointRequest(network_id=network.network_id, endpoint_id=box.endpoint_id)
        await host.driver.delete_endpoint(request)
        [read, written] = proxy.transactions
        assert {op["op"] for op in read} == {"select"}
        assert {op["table"] for op in written if op["op"] != "select"} >= {"Logical_Switch", "DHCP_Options"}
        assert hosts.ports() == []
        assert left(hosts) == set()


async def test_the_names_of_a_port_that_is_gone_are_not_published(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        box = await run(host, "web", network)
        await box.rm()
        await box.publish()
        assert left(hosts) == set()
        assert not host.naming._published
        assert not host.naming._locks


@pytest.mark.parametrize("known", [False, True])
async def test_names_that_come_while_the_port_is_removed_go_with_it(
    hosts: Hosts,
    short_path: Path,
    known: bool,  # noqa: FBT001  (a parameter of the test)
) -> None:
    """A container that ends at once: the event of its start is read while Docker removes it."""
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await run(host, "web", network)
        if known:
            await box.publish()
        switch = switches.switch_id(network.pool.key)
        late = Named(network.network_id, box.endpoint_id, switch, (box.ip,), ("front", "late"))

        def publish(operations: list[Operation]) -> None:
            """Between what the removal reads, and what it writes."""
            if {op["op"] for op in operations} == {"select"}:
                return
            proxy.before = lambda _: None
            rows = [names.name_id(switch, box.ip)] if known else []
            old = {"web": names.FORWARD, box.ip: names.REVERSE} if known else None
            hosts.northbound.transact(*names.publish(late, MARK, rows, old))

        proxy.before = publish
        await box.rm()
        assert proxy.before is not publish
        assert left(hosts) == set()


async def test_hosts_that_publish_one_new_name_at_once_are_both_found(hosts: Hosts) -> None:
    async with two(hosts) as (one, other, here, there):
        boxes = [await run(one, "", here), await run(other, "", there)]
        for number in range(30):
            for box in boxes:
                box.name, box.aliases = f"web-{number}", ("same", f"alias-{number}")
            await asyncio.gather(*(box.publish() for box in boxes))
            for name in (f"web-{number}", f"alias-{number}", "same"):
                assert found(hosts, name) == {box.ip for box in boxes}, name
            assert set(filed(hosts)) == {f"web-{number}", f"alias-{number}", "same", *(b.ip for b in boxes)}
        assert agrees(hosts)


async def test_names_that_come_and_go_on_many_hosts_agree_with_their_records(hosts: Hosts) -> None:
    async with hosts.several(4) as several:
        boxes = [await run(host, "", await a_network(host, SUBNET)) for host in several]

        async def rename(box: Box, offset: int) -> None:
            for number in range(10):
                box.name = f"web-{(number + offset) % 3}"
                await box.publish()

        await asyncio.gather(*(rename(box, number) for number, box in enumerate(boxes)))
        assert agrees(hosts)
        for box in boxes:
            assert box.ip in found(hosts, box.name)
        await asyncio.gather(*(box.rm() for box in boxes))
        assert left(hosts) == set()


async def test_two_processes_of_a_host_leave_the_names_of_the_later_one(hosts: Hosts) -> None:
    """Such as a driver and ``ovn-docker repair``."""
    async with hosts.host("h0") as driver, hosts.host("h0") as repair:
        network = await a_network(driver, SUBNET)
        box = await published(driver, "web", network)
        switch = switches.switch_id(network.pool.key)
        for number in range(20):
            named = [
                Named(network.network_id, box.endpoint_id, switch, (box.ip,), (f"{who}-{number}",))
                for who in ("a", "b")
            ]
            await asyncio.gather(
                driver.naming.publish(named[0], again=True), repair.naming.publish(named[1], again=True)
            )
            [record] = records(hosts).values()
            assert record in ({f"a-{number}", box.ip}, {f"b-{number}", box.ip})
            assert agrees(hosts)


def unsettled(hosts: Hosts, network: Network, name: str) -> Callable[[list[Operation]], None]:
    """Before each transaction that publishes a name another host makes its row, or removes it."""
    row = names.name_id(switches.switch_id(network.pool.key), name)
    ids = {leases.KIND: names.NAME_ROW, names.NAME: name}
    content = {"cidr": "", "options": to_map({"other": "h1 10.0.0.9"}), "external_ids": to_map(ids)}

    def change(operations: list[Operation]) -> None:
        if any(op["op"] == "wait" and op["table"] == "Logical_Switch_Port" for op in operations):
            [gone] = hosts.northbound.transact(delete("DHCP_Options", [row_is(row)]))
            if not gone["count"]:
                hosts.northbound.transact(insert("DHCP_Options", row, content))

    return change


async def test_names_that_others_change_all_the_time_end_it_with_an_error(
    hosts: Hosts, short_path: Path
) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await run(host, "web", network)
        proxy.before = unsettled(hosts, network, "web")
        with pytest.raises(ConflictError, match=f"endpoint {box.endpoint_id}: its names change"):
            await box.publish()
        assert records(hosts) == {}
        proxy.before = lambda _: None
        await box.publish()
        assert box.ip in found(hosts, "web")


async def test_a_lost_answer_does_no_harm(hosts: Hosts, short_path: Path) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await run(host, "web", network)
        proxy.lose_replies = 1
        await box.publish()
        assert found(hosts, "web") == {box.ip}
        proxy.lose_replies = 1
        box.name = "front"
        await box.publish()
        assert set(filed(hosts)) == {"front", box.ip}
        assert agrees(hosts)


async def test_names_are_published_again_after_an_outage_of_northbound(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        box = await run(host, "web", network)
        host.client._outage_timeout = 0.1
        hosts.northbound.kill()
        with pytest.raises(UnreachableError):
            await box.publish()
        hosts.northbound.start()
        async with asyncio.timeout(10):
            await host.client.ready()
        await box.publish()
        assert found(hosts, "web") == {box.ip}


async def test_a_driver_that_was_started_again_publishes_what_is_there_at_no_harm(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        box = await published(host, "web", network, aliases=("www",))
        before = hosts.northbound.rows("DHCP_Options", "_uuid", "options", "external_ids")
    async with hosts.host("h0") as again:
        box.host = box.endpoints[0].host = again
        await again.plug(box.endpoints[0])
        await box.publish()
        assert hosts.northbound.rows("DHCP_Options", "_uuid", "options", "external_ids") == before
        box.name = "front"
        await box.publish()
        assert set(filed(hosts)) == {"front", "www", box.ip}
        await box.rm()
        assert left(hosts) == set()


# --- Names that Docker tells before the start ---------------------------------------------------------------


async def early(host: Host, network: Network, name: str) -> Box:
    """What Docker 29 asks for: the lease names the container, and is followed by its endpoint."""
    address = await host.request(network.pool_ids[0], options={messages.ENDPOINT_NAME: name})
    container = Container(host, network, secrets.token_hex(32), [address])
    await host.endpoint(network, container.endpoint_id, address)
    return Box(host, name, [container])


async def test_a_name_that_is_told_with_the_lease_is_there_before_the_start(
    hosts: Hosts, short_path: Path
) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        box = await early(host, network, "Web")
        assert found(hosts, "web") == {box.ip}
        assert found(hosts, box.ip) == {"web"}
        await host.plug(box.endpoints[0])
        proxy.transactions.clear()
        await box.publish()
        assert proxy.transactions == []
        box.aliases = ("www",)
        await box.publish()
        assert set(filed(hosts)) == {"web", "www", box.ip}
        await box.rm()
        assert left(hosts) == set()


async def test_a_name_that_is_no_label_is_not_published_before_the_start(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        await early(host, await a_network(host, SUBNET), "web.1")
        assert left(hosts) == set()


async def test_an_address_that_is_leased_again_has_no_name_of_its_former_container(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await a_network(host, SUBNET)
        address = await host.request(network.pool_ids[0], "10.0.0.9", {messages.ENDPOINT_NAME: "lost"})
        await host.release(network.pool_ids[0], address)
        assert await host.request(network.pool_ids[0], "10.0.0.9") == address
        await host.endpoint(network, "e0" * 32, address)
        assert filed(hosts) == {}


async def test_a_port_is_made_though_its_name_cannot_be_published(hosts: Hosts, short_path: Path) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):
        proxy.before = unsettled(hosts, network, "web")
        box = await early(host, network, "web")
        proxy.before = lambda _: None
        assert hosts.ports() == [box.endpoint_id]
        assert records(hosts) == {}


async def test_a_start_does_not_wait_long_for_a_northbound_that_hangs(hosts: Hosts, short_path: Path) -> None:
    async with counted(hosts, short_path) as (host, network, proxy):

        def hang(operations: list[Operation]) -> None:
            if operations[0]["op"] == "wait" and operations[0]["table"] == "Logical_Switch_Port":
                hosts.northbound.signal(signal.SIGSTOP)

        proxy.before = hang
        try:
            async with asyncio.timeout(EARLY_TIMEOUT + 1):
                box = await early(host, network, "web")
        finally:
            hosts.northbound.signal(signal.SIGCONT)
        proxy.before = lambda _: None
        await host.plug(box.endpoints[0])
        await box.publish()
        assert found(hosts, "web") == {box.ip}


# --- What it costs ------------------------------------------------------------------------------------------


MANY = 30.0
"""Milliseconds of Northbound's for a name's life; to go through 10,000 rows ten times takes 60 or more."""


def other_name(switch: UUID, number: int) -> list[Operation]:
    """A name of another host's container, and its record."""
    name, endpoint_id = f"other-{number}", f"{number:064x}"
    marks = {leases.KIND: names.NAME_ROW, names.SWITCH: str(switch), names.NAME: name}
    told = {leases.KIND: names.RECORD, switches.HOST: "h9", names.SWITCH: str(switch)}
    rows = [
        (names.name_id(switch, name), {endpoint_id: "h9 10.0.9.9"}, marks),
        (names.record_id(endpoint_id), {name: names.FORWARD}, told | {names.ENDPOINT: endpoint_id}),
    ]
    return [
        insert("DHCP_Options", uuid, {"cidr": "", "options": to_map(entries), "external_ids": to_map(ids)})
        for uuid, entries, ids in rows
    ]


async def test_a_name_costs_no_more_where_there_are_ten_thousand(hosts: Hosts, short_path: Path) -> None:
    hosts.indexed = True
    async with counted(hosts, short_path) as (host, network, proxy):
        box, switch = await run(host, "web", network), switches.switch_id(network.pool.key)
        answers: list[int] = []

        async def once() -> list[int]:
            """How many operations each transaction of a name's life has."""
            proxy.transactions.clear()
            await box.publish()
            assert await looked_up(host, network, "web") == {box.ip}
            assert await wrong(host) == {}
            read = await host.shared.database.transact([names.name_get(names.name_id(switch, "web"))])
            answers.append(len(json.dumps(read)))
            await host.naming.withdraw(box.endpoint_id)
            return [len(each) for each in proxy.transactions]

        alone = await once()
        for batch in in_batches(range(10_000), 1000):
            await host.client.transact([each for number in batch for each in other_name(switch, number)])
        spent = milliseconds(hosts.northbound)
        assert await once() == alone
        assert milliseconds(hosts.northbound) - spent < MANY
        assert answers[0] == answers[1]
