"""Who is registered is read from one list: kept by drivers, and completed once of what was there before."""

import asyncio
import contextlib

import pytest

from ovn_docker.health import host_cleanup
from ovn_docker.ovn import hosts
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import delete, row_is
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import CREATED, Databases, task
from tests.functional.servers import Proxy, connected, until

pytestmark = pytest.mark.functional


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


def scans(proxy: Proxy) -> int:
    """How many operations since the last question looked for rows by something else than their ids."""
    selects = [op for each in proxy.transactions for op in each if op["op"] == "select"]
    proxy.transactions.clear()
    return sum(not any(condition[0] == "_uuid" for condition in op["where"]) for op in selects)


async def test_drivers_that_start_together_make_one_list_of_them_all(databases: Databases) -> None:
    names = [f"h{number}" for number in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            local = await stack.enter_async_context(databases.driver(name))
            await stack.enter_async_context(task(local.presence().run()))
        await until(lambda: list(databases.listed().names) == names, "all are in the list")
    assert databases.registered() == names
    assert not databases.listed().is_whole


async def test_a_host_of_a_version_without_a_list_is_listed_at_its_start(
    databases: Databases,
) -> None:
    databases.remains_of("h1", listed=False)
    async with databases.driver("h1") as local, task(local.presence().run()):
        await until(lambda: databases.listed().names == ("h1",), "it is in the list")
    assert databases.registered() == ["h1"]


async def test_a_list_that_is_gone_is_made_again(databases: Databases) -> None:
    async with databases.driver("h1") as local, task(local.presence(interval=0.05).run()):
        await until(lambda: databases.listed().names, "it is in the list")
        await asyncio.to_thread(
            databases.northbound.transact, delete("DHCP_Options", [row_is(hosts.list_id())])
        )
        await until(lambda: databases.listed().names, "it is in the list again")


async def test_hosts_registered_before_there_was_a_list_are_found_by_one_scan(
    databases: Databases,
) -> None:
    databases.remains_of("h1", "h2")
    databases.remains_of("dead", "old", listed=False)
    proxy = Proxy(databases.northbound.directory / "proxy", databases.northbound.socket)
    async with proxy.serve(), connected([proxy.remote], "OVN_Northbound") as client:
        assert await _read(client) == ["dead", "h1", "h2", "old"]
        assert scans(proxy) == 1
        assert databases.listed().is_whole
        assert await _read(client) == ["dead", "h1", "h2", "old"]
        assert scans(proxy) == 0


async def test_the_first_list_is_made_by_who_looks_where_no_driver_has_made_one(databases: Databases) -> None:
    databases.remains_of("dead", listed=False)
    async with connected([databases.northbound.remote], "OVN_Northbound") as client:
        assert await _read(client) == ["dead"]
        assert databases.listed().is_whole
        databases.remains_of("h2")
        assert await _read(client) == ["dead", "h2"]


async def test_a_host_that_is_not_listed_is_found_by_deep_which_writes_nothing(
    databases: Databases,
) -> None:
    async with connected([databases.northbound.remote], "OVN_Northbound") as client:
        assert await _read(client, deep=True) == []
        assert not databases.listed().is_whole
        assert await _read(client) == []
        databases.northbound.transact(hosts.host_add(Mark("h1", CREATED)))
        assert await _read(client) == []
        assert await _read(client, deep=True) == ["h1"]
        assert databases.listed().names == ()


async def test_a_host_that_a_version_without_a_list_struck_off_is_not_told(databases: Databases) -> None:
    databases.remains_of("h1", "h2")
    async with connected([databases.northbound.remote], "OVN_Northbound") as client:
        assert await _read(client) == ["h1", "h2"]
        databases.northbound.transact(hosts.host_del("h1"))
        assert await _read(client) == ["h2"]


async def _read(client: Client, *, deep: bool = False) -> list[str]:
    async with asyncio.timeout(10):
        names = await host_cleanup.listed(client, deep=deep)
        return await host_cleanup.registered(client, names)
