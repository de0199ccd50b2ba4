"""Names that are lost or damaged in Northbound are found by the health check of their host, and restored."""

from collections.abc import AsyncIterator

import pytest

from ovn_docker.ovn import leases, names, switches
from ovn_docker.ovsdb.operations import (
    Condition,
    Operation,
    delete,
    mapping,
    mutate,
    replace_keys,
    row_is,
    to_map,
    to_set,
    update,
)
from tests.functional.overlay.named_host import (
    Box,
    a_network,
    agrees,
    filed,
    found,
    of_host,
    published,
    records,
    two,
    wrong,
)
from tests.functional.overlay.shared_host import Hosts

pytestmark = pytest.mark.functional


@pytest.fixture
async def web(hosts: Hosts) -> AsyncIterator[Box]:
    """A container with two names, and another host's with one of them."""
    async with two(hosts) as (one, other, here, there):
        box = await published(one, "web", here, aliases=("www",))
        await published(other, "www", there)
        yield box


def name_row(box: Box, name: str) -> list[Condition]:
    """The condition that the row of a name meets."""
    return [row_is(names.name_id(switches.switch_id(box.endpoints[0].network.pool.key), name))]


def without(box: Box) -> Operation:
    """Removes an endpoint from a row."""
    gone = ("options", "delete", to_set([box.endpoint_id]))
    return {"op": "mutate", "table": "DHCP_Options", "mutations": [gone]}


async def test_names_that_are_there_are_not_found_wrong(web: Box) -> None:
    assert await wrong(web.host) == {}
    [record] = await of_host(web.host)
    assert (record.endpoint_id, set(record.names), record.addresses) == (
        web.endpoint_id,
        {"web", "www"},
        (web.ip,),
    )


@pytest.mark.parametrize("name", ["web", "www", "address"])
@pytest.mark.parametrize("how", ["row deleted", "entry deleted", "entry changed", "entry empty"])
async def test_a_name_that_somebody_removed_or_changed_is_found_and_restored(
    hosts: Hosts, web: Box, name: str, how: str
) -> None:
    name = web.ip if name == "address" else name
    others = {key: value for key, value in filed(hosts)[name].items() if key != web.endpoint_id}
    where = name_row(web, name)
    said = {"entry changed": "h0 10.0.0.77", "entry empty": ""}.get(how, "")
    hosts.northbound.transact(
        delete("DHCP_Options", where)
        if how == "row deleted"
        else {**without(web), "where": where}
        if how == "entry deleted"
        else mutate("DHCP_Options", where, *replace_keys("options", {web.endpoint_id: said}))
    )
    assert await wrong(web.host) == {web.endpoint_id: name}
    await web.host.naming.restore(web.told())
    assert await wrong(web.host) == {}
    assert filed(hosts)[name][web.endpoint_id] == (("web",) if name == web.ip else (web.ip,))
    if how != "row deleted":
        assert filed(hosts)[name].items() >= others.items()


async def test_a_record_that_somebody_removed_is_made_again(hosts: Hosts, web: Box) -> None:
    hosts.northbound.transact(delete("DHCP_Options", [row_is(names.record_id(web.endpoint_id))]))
    assert await of_host(web.host) == ()
    await web.host.naming.restore(web.told())
    assert records(hosts)[web.endpoint_id] == {"web", "www", web.ip}
    assert agrees(hosts)


@pytest.mark.parametrize(
    "ids",
    [
        {},
        {names.SWITCH: "no row id"},
        {leases.KIND: "lease"},
        {names.SWITCH: "00000000-0000-0000-0000-000000000000"},
    ],
)
async def test_a_record_that_cannot_be_read_is_made_again(
    hosts: Hosts, web: Box, ids: dict[str, str]
) -> None:
    where = [row_is(names.record_id(web.endpoint_id))]
    marks = {leases.KIND: names.RECORD, switches.HOST: "h0", names.ENDPOINT: web.endpoint_id} | ids
    hosts.northbound.transact(update("DHCP_Options", where, {"external_ids": to_map(marks)}))
    await of_host(web.host)
    await web.host.naming.restore(web.told())
    assert records(hosts)[web.endpoint_id] == {"web", "www", web.ip}
    assert await wrong(web.host) == {}
    assert agrees(hosts)
    [named] = await of_host(web.host)
    assert named.network_id == web.endpoints[0].network.network_id


async def test_a_container_is_removed_whatever_its_record_says(hosts: Hosts, web: Box) -> None:
    where = [row_is(names.record_id(web.endpoint_id))]
    marks = {leases.KIND: names.RECORD, names.SWITCH: "no row id", names.ENDPOINT: web.endpoint_id}
    hosts.northbound.transact(update("DHCP_Options", where, {"external_ids": to_map(marks)}))
    await web.rm()
    assert web.endpoint_id not in hosts.ports()


async def test_names_of_an_endpoint_that_is_gone_are_withdrawn(hosts: Hosts, web: Box) -> None:
    endpoint = web.endpoints[0]
    port = switches.lsp_del_anywhere(endpoint.network.network_id, endpoint.endpoint_id)
    hosts.northbound.transact(port)
    assert "web" in filed(hosts)
    await web.host.naming.withdraw(web.endpoint_id)
    assert web.endpoint_id not in records(hosts)
    assert set(filed(hosts)) == {"www", *found(hosts, "www")}
    assert agrees(hosts)
    await web.host.naming.withdraw(web.endpoint_id)


async def test_nothing_is_restored_of_a_container_that_is_gone(hosts: Hosts, web: Box) -> None:
    told = web.told()
    await web.rm()
    await web.host.naming.restore(told)
    assert web.endpoint_id not in records(hosts)
    assert "web" not in filed(hosts)


async def test_the_health_check_reads_the_records_of_its_host_alone(hosts: Hosts) -> None:
    for indexed in (False, True):
        hosts.indexed = indexed
        async with hosts.host(f"a{indexed}") as one, hosts.host(f"b{indexed}") as other:
            subnet = f"10.{int(indexed)}.0.0/24"
            box = await published(one, "web", await a_network(one, subnet))
            await published(other, "web", await a_network(other, subnet))
            [named] = await of_host(one)
            assert (named.endpoint_id, named.names, named.addresses) == (box.endpoint_id, ("web",), (box.ip,))


async def test_records_are_no_leases(hosts: Hosts, web: Box) -> None:
    [read] = hosts.northbound.transact(leases.lease_list("h0"))
    assert {mapping(row["external_ids"])[leases.KIND] for row in read["rows"]} == {leases.LEASE}
    held = await web.host.inventory.held([web.endpoints[0].network.network_id])
    assert {each.address for each in held.leases} == {web.ip}
