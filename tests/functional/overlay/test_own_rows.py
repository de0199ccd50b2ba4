"""How a host finds its rows among all: by its index, also by one that is wrong, lost or not there yet."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest

from ovn_docker.overlay import northbound as database_module
from ovn_docker.overlay.naming import Naming
from ovn_docker.overlay.overlay_inventory import OverlayInventory
from ovn_docker.ovn import hosts as host_index
from ovn_docker.ovn import hosts as host_schema
from ovn_docker.ovn import leases, surveys, switches
from ovn_docker.ovn.surveys import Survey
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import mapping, row_is, to_map
from tests.functional.overlay.docker_side import Docker, findings, picture, repaired
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts
from tests.functional.servers import Proxy, until

pytestmark = pytest.mark.functional

NEVER = 1e9


@pytest.fixture
def hosts(hosts: Hosts) -> Hosts:
    hosts.indexed = True
    return hosts


def index(hosts: Hosts, host: str = "h") -> dict[str, str]:
    """What the index of a host names: row ids and kinds."""
    where = [row_is(host_schema.host_id(host))]
    [found] = hosts.northbound.transact(
        {"op": "select", "table": "DHCP_Options", "where": where, "columns": ["options"]}
    )
    return {key: kind for row in found["rows"] for key, kind in mapping(row["options"]).items()}


def is_whole(hosts: Hosts, host: str = "h") -> bool:
    [found] = hosts.northbound.transact(host_index.index_get(host))
    return host_index.read_index(found["rows"]).is_whole


def rows_of(hosts: Hosts, host: str = "h") -> set[str]:
    """The row ids of all that is a host's, by going through everything."""
    found = set()
    for table in ("Logical_Switch", "Logical_Switch_Port", "DHCP_Options"):
        columns = ["_uuid", "external_ids", *(["options"] if table == "DHCP_Options" else [])]
        found |= {
            row["_uuid"][1] for row in hosts.northbound.rows(table, *columns) if host_index.is_of(host, row)
        }
    return found


def register(hosts: Hosts, host: str = "h") -> None:
    """What a driver does at its first connection; its index is not whole."""
    hosts.northbound.transact(host_schema.host_add(Mark(host, "2030-01-02T03:04:05Z")))


def slow(host: Host, delay: Callable[[], float]) -> Host:
    """The host, which goes through all tables after that time where its index is not whole."""
    naming = Naming(host.shared, host.attachments)
    host.inventory = OverlayInventory(host.shared.database, host.shared, host.ipam, "default", naming, delay)
    return host


def scans(proxy: Proxy) -> int:
    """How many operations since the last question looked for rows by something else than their ids."""
    by_id = [
        any(condition[0] == "_uuid" for condition in op["where"])
        for each in proxy.transactions
        for op in each
        if op["op"] == "select"
    ]
    proxy.transactions.clear()
    return by_id.count(False)


@contextlib.asynccontextmanager
async def before_the_upgrade(hosts: Hosts) -> AsyncIterator[tuple[Host, Docker]]:
    """A host with containers on every kind of network, whose driver had no index; then it is registered."""
    hosts.indexed = False
    async with hosts.host("h") as host:
        docker = Docker(host)
        shared = await docker.create(SUBNET, "fd00::/64", leased=True)
        own = await docker.create("10.9.0.0/24", leased=False)
        await docker.run(shared)
        await docker.run(own, "10.9.0.2/24")
        register(hosts)
        assert index(hosts) == {}
        yield host, docker


async def test_an_index_names_all_that_the_verbs_make_and_nothing_of_other_hosts(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        for each in (host, other):
            docker = Docker(each)
            shared = await docker.create(SUBNET, "fd00::/64", leased=True)
            own = await docker.create(f"10.9.{each.name[1:]}.0/24", leased=False)
            await docker.run(shared)
            await docker.run(own, f"10.9.{each.name[1:]}.2/24")
            await each.endpoint(
                own, secrets.token_hex(32), f"10.9.{each.name[1:]}.3/24", mac="0a:00:00:00:00:01"
            )
            assert set(index(hosts, each.name)) == rows_of(hosts, each.name)
            assert await findings(each, docker.state()) != []  # the endpoint that this Docker does not know


async def test_a_pass_reads_the_rows_of_its_host_by_their_ids_alone(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        await docker.run(network)
        scans(proxy)
        assert await findings(host, docker.state()) == []
        assert scans(proxy) == 0


async def test_the_database_shows_the_networks_of_its_host_by_their_ids_alone(
    hosts: Hosts, short_path: Path
) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host, hosts.host("other") as other:
        docker = Docker(host)
        shared, own = (
            await docker.create(SUBNET, leased=True),
            await docker.create("10.9.0.0/24", leased=False),
        )
        await Docker(other).create("10.8.0.0/24", leased=False)
        by_index = (await host.driver.database())["networks"]
        assert set(by_index) == {shared.network_id, own.network_id}
        scans(proxy)
        assert (await host.driver.database())["networks"] == by_index
        assert scans(proxy) == 0
        hosts.northbound.transact(host_schema.host_del("h"))
        register(hosts)
        assert (await host.driver.database())["networks"] == by_index
        assert scans(proxy) == 1


async def test_deleted_rows_are_removed_from_the_index(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "REMOVED_AT_ONCE", 4)
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        kept = await host.run(network)
        for _ in range(6):
            container = await host.run(network)
            await container.rm()
        await until(lambda: len(index(hosts)) <= len(rows_of(hosts)) + 4, "most are removed")
        assert rows_of(hosts) <= set(index(hosts))
        await host.inventory.held([network.network_id])
        assert set(index(hosts)) == rows_of(hosts)
        await kept.rm()
        await host.network_rm(network)
        await host.inventory.held([])
        assert index(hosts) == {}


async def test_a_row_that_has_come_back_stays_in_the_index(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        container = await host.run(network)
        lease = leases.lease_id(network.pool.key, ip_address(container.ip))
        before = index(hosts)
        assert str(lease) in before
        await host.shared.database.remove_entries({lease: "row", UUID(int=7): "row"})
        assert index(hosts) == before


async def test_an_entry_is_a_hint_and_what_is_anothers_is_neither_held_nor_removed(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        theirs = await elsewhere.create(SUBNET, leased=True)
        await elsewhere.run(theirs)
        own = await elsewhere.create("10.9.0.0/24", leased=False)
        await elsewhere.run(own, "10.9.0.2/24")
        before = picture(hosts.northbound)
        nonsense = {"no row id": "port", str(UUID(int=8)): "?"}
        wrong = index(hosts, other.name) | {str(UUID(int=7)): "port"} | nonsense
        where = [row_is(host_schema.host_id(host.name))]
        row = {"options": to_map(wrong)}
        hosts.northbound.transact({"op": "update", "table": "DHCP_Options", "where": where, "row": row})

        assert await repaired(host, docker.state()) == []

        assert picture(hosts.northbound) == before
        assert index(hosts, host.name) == nonsense
        assert await repaired(other, elsewhere.state()) == []


async def test_what_docker_has_is_not_missing_while_the_index_is_incomplete(hosts: Hosts) -> None:
    async with before_the_upgrade(hosts) as (host, docker):
        slow(host, lambda: NEVER)
        before = picture(hosts.northbound)
        assert await findings(host, docker.state()) == []
        assert picture(hosts.northbound) == before
        assert not is_whole(hosts)
        assert rows_of(hosts) - set(index(hosts)) == {  # each of which is asked for by its id in any case
            str(switches.switch_id(name)) for name in hosts.switches()
        }
        assert await findings(host, docker.state()) == []


async def test_a_scan_of_all_tables_finds_what_an_earlier_version_left(
    hosts: Hosts, short_path: Path
) -> None:
    async with before_the_upgrade(hosts) as (host, docker):
        slow(host, lambda: NEVER)
        docker.containers = []
        assert await findings(host, docker.state()) == []
        slow(host, lambda: 0.0)
        found = await findings(host, docker.state())
        assert sorted(each.kind for each in found) == [
            "endpoint-stale",
            "endpoint-stale",
            "lease-stale",
            "lease-stale",
        ]
        assert is_whole(hosts)
        assert set(index(hosts)) == rows_of(hosts)
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as again:
        docker.host = again
        scans(proxy)
        assert [each.kind for each in await findings(again, docker.state())] == [each.kind for each in found]
        assert scans(proxy) == 0
        await repaired(again, docker.state())
        assert hosts.ports() == []


async def test_a_lost_index_harms_nobody_and_is_made_again(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(slow(host, lambda: NEVER))
        network = await docker.create(SUBNET, leased=True)
        await docker.run(network)
        hosts.northbound.transact(host_schema.host_del("h"))
        assert await findings(host, docker.state()) == []
        container = await docker.run(network)
        register(hosts)
        assert await findings(host, docker.state()) == []
        await docker.rm(container)
        slow(host, lambda: 0.0)
        assert await findings(host, docker.state()) == []
        assert is_whole(hosts)
        assert await findings(host, docker.state()) == []
        assert set(index(hosts)) == rows_of(hosts)


async def test_two_processes_of_a_host_enter_rows_side_by_side(hosts: Hosts) -> None:
    """Such as a driver and ``ovn-docker repair``."""
    async with hosts.host("h") as driver, hosts.host("h") as repair:
        network = await driver.network_create(SUBNET)
        for _ in range(3):
            await driver.run(network)
            await repair.request(network.pool_ids[0])
        assert set(index(hosts)) == rows_of(hosts)


async def test_a_row_that_no_index_names_is_found_by_repair_deep_alone(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        container = await host.run(await docker.create(SUBNET, leased=True))
        where = [row_is(host_schema.host_id("h"))]
        removal = {"op": "mutate", "table": "DHCP_Options", "where": where}
        port = switches.port_id(container.network.network_id, container.endpoint_id)
        removal["mutations"] = [["options", "delete", ["set", [str(port)]]]]
        hosts.northbound.transact(removal)
        assert "endpoint-stale" not in {each.kind for each in await findings(host, docker.state())}
        host.inventory.scan(always=True, note=False)
        assert "endpoint-stale" in {each.kind for each in await findings(host, docker.state())}
        assert str(port) not in index(hosts), "a check writes nothing"
        host.inventory.scan(always=True, note=True)
        assert "endpoint-stale" in {each.kind for each in await findings(host, docker.state())}
        assert str(port) in index(hosts)


async def test_repair_deep_forgets_surveys_of_switches_that_are_gone(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        there = switches.switch_id(network.pool.key)
        for switch in (there, UUID(int=7)):
            hosts.northbound.transact(surveys.survey_set(switch, Survey("v", 1.0, 1000, ""), ())[1])
        host.inventory.scan(always=True, note=True)
        await host.inventory.held([])
        assert surveys.read_switches(hosts.northbound.rows("DHCP_Options", "external_ids")) == [there]


async def test_what_a_swarm_has_and_no_host_uses_is_in_no_index(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        address = ip_address("10.0.0.9")
        lease = leases.Lease(leases.LEASE, "", request="r", swarm=True)
        mark = Mark("h", "2030-01-02T03:04:05Z")
        entry = str(leases.lease_id(network.pool.key, address))
        database = host.shared.database
        await database.transact([leases.lease_add(network.pool.key, address, lease, mark)])
        assert entry not in index(hosts)
        await database.transact([leases.lease_take(network.pool.key, address, "h")])
        assert entry in index(hosts)
        await database.transact(leases.lease_del(network.pool.key, address, "h"))
        assert {each.address for each in (await host.inventory.held([])).leases} == set()
        assert entry not in index(hosts)
        assert hosts.rows("lease") == ["10.0.0.9"]
