"""What a dead host left in Northbound goes, and nothing of anybody else's."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.errors import ConflictError, LockError
from ovn_docker.health import host_cleanup
from ovn_docker.health.host_cleanup import HostCleanup, Leftovers, remains
from ovn_docker.ovn import hosts as host_index
from ovn_docker.ovn import hosts as schema
from ovn_docker.ovn import names
from ovn_docker.ovn import switches as nb
from ovn_docker.ovn.names import Named
from ovn_docker.ovn.switches import Mark, Switch, SwitchPort
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, insert, mutate, to_map, to_set
from tests.functional.conftest import MakeServer
from tests.functional.overlay.named_host import a_network, filed, left, published, records
from tests.functional.overlay.shared_host import SUBNET, Hosts
from tests.functional.servers import OvsdbServer, Proxy, connected, running

pytestmark = pytest.mark.functional

DATABASE = "OVN_Northbound"
DEAD, ALIVE = Mark("h0", "2030-01-02T03:04:05Z"), Mark("h1", "2030-01-02T03:04:05Z")
PRIVATE = "10.7.0.0/24"
RECORD = {names.ENDPOINT: "e", names.SWITCH: str(nb.switch_id("n"))}
WRITTEN = {
    "Logical_Switch": ("name", "external_ids", "ports"),
    "Logical_Switch_Port": ("name", "external_ids", "addresses"),
    "DHCP_Options": ("cidr", "external_ids", "options"),
}


@pytest.fixture(params=["with an index", "without an index"])
def hosts(
    northbound: OvsdbServer, make_server: MakeServer, short_path: Path, request: pytest.FixtureRequest
) -> Hosts:
    return Hosts(northbound, make_server, short_path, indexed=request.param == "with an index")


async def give_up(server: OvsdbServer, host: str = "h0", locks: Sequence[str] = ()) -> Leftovers:
    async with connected([server.remote], DATABASE) as client:
        return await HostCleanup(client, host, locks).run()


def everything(server: OvsdbServer) -> dict[str, dict[str, Any]]:
    """All rows of what drivers write, with their versions: an equal one was not written to."""
    found = [server.rows(table, "_uuid", "_version", *columns) for table, columns in WRITTEN.items()]
    return {row["_uuid"][1]: row for rows in found for row in rows}


async def fill(server: OvsdbServer, ports: int, mark: Mark = DEAD, network: str = "n") -> None:
    """A switch with ports, as a host makes them."""
    async with connected([server.remote], DATABASE) as client:
        switch = nb.switch_id(network)
        await client.transact(nb.ls_add(Switch(network), mark))
        await client.transact(
            [
                operation
                for number in range(ports)
                for operation in nb.lsp_add(
                    SwitchPort(network, f"{network}-{number}", "02:00:00:00:00:01"), switch, (), mark
                )
            ]
        )


async def test_what_the_drivers_of_a_dead_host_made_is_gone_and_all_else_untouched(hosts: Hosts) -> None:
    async with hosts.host("h1") as alive:
        theirs = await alive.network_create(SUBNET, gateway="10.0.0.1")
        box = await alive.run(theirs)
        plain = await alive.plain_network_create("10.9.0.0/24")
        hosts.nbctl("ls-add", "foreign", "--", "lsp-add", "foreign", "foreign-port")
        before = everything(hosts.northbound)
        async with hosts.host("h0") as dead:
            ours = await dead.network_create(SUBNET)
            boxes = [await dead.run(ours) for _ in range(3)]
            private = await dead.network_create(PRIVATE, aux=["10.7.0.9"])
            await dead.run(private)
            own = await dead.plain_network_create("10.8.0.0/24")
            await dead.endpoint(own, "e0" * 32, "10.8.0.2/24")

        async with connected([hosts.northbound.remote], DATABASE) as client:
            expected = await remains(client, "h0")
        assert await give_up(hosts.northbound) == expected
        assert expected == Leftovers(ports=5, leases=4, uses=2 + 3, switches=2)

        after = everything(hosts.northbound)
        assert set(after) == set(before)
        changed = {key for key in after if after[key]["_version"] != before[key]["_version"]}
        assert {after[key]["cidr"] for key in changed if "cidr" in after[key]} == {SUBNET, "10.0.0.1"}
        assert {after[key]["name"] for key in changed if "name" in after[key]} == {theirs.pool.key}
        assert [after[key]["options"] for key in changed if "cidr" in after[key]] == [
            before[key]["options"] for key in changed if "cidr" in after[key]
        ]
        assert plain.network_id in hosts.switches()
        assert await alive.request(theirs.pool_ids[0], boxes[0].ip) == boxes[0].addresses[0]
        await box.rm()


async def test_the_names_of_a_dead_host_are_gone_and_those_of_others_stay(hosts: Hosts) -> None:
    async with hosts.host("h1") as alive:
        theirs = await a_network(alive, SUBNET)
        stays = await published(alive, "web", theirs, aliases=("other",))
        before = filed(hosts)
        async with hosts.host("h0") as dead:
            ours = await a_network(dead, SUBNET)
            for number in range(3):
                await published(dead, f"box-{number}", ours, aliases=("web", "box"))
            assert len(filed(hosts)["web"]) == 4
        assert (await give_up(hosts.northbound)).ports == 3
        assert filed(hosts) == before
        assert set(records(hosts)) == {stays.endpoint_id}
        await stays.rm()
        assert left(hosts) == set()


async def test_names_go_before_ports_for_none_may_lead_to_a_free_address(
    hosts: Hosts, short_path: Path
) -> None:
    async with hosts.host("h0") as dead:
        await published(dead, "web", await a_network(dead, SUBNET))
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    left_then: list[tuple[list[str], set[str]]] = []

    def look(operations: list[Operation]) -> None:
        """What there is before each removal of ports."""
        if any(op.get("table") == "Logical_Switch" and op["op"] == "mutate" for op in operations):
            left_then.append((hosts.ports(), left(hosts)))

    proxy.before = look
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        await HostCleanup(client, "h0", ()).run()
    [(ports, named), *_] = left_then
    assert len(ports) == 1
    assert named == set()


async def test_many_names_go_in_transactions_that_are_bounded(hosts: Hosts, short_path: Path) -> None:
    count = host_cleanup.BATCH + 20
    async with hosts.host("h0") as dead:
        network = await a_network(dead, "10.0.0.0/16")
        row = nb.switch_id(network.pool.key)
        for number in range(count):
            port = SwitchPort(network.network_id, f"{number:064x}", "02:00:00:00:00:01")
            named = Named(network.network_id, port.endpoint_id, row, (f"10.0.1.{number}",), (f"n-{number}",))
            operations = [*nb.lsp_add(port, row, (), DEAD), *names.publish(named, DEAD, (), None)]
            await dead.shared.database.transact(operations)
    assert len(records(hosts)) == count
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        assert (await HostCleanup(client, "h0", ()).run()).ports == count
    assert left(hosts) == set()
    each = len(
        names.withdraw({"external_ids": to_map(RECORD), "options": to_map({"n": "name", "a": "address"})})
    )
    assert max(map(len, proxy.transactions)) == each * host_cleanup.BATCH


async def test_the_rows_that_an_index_names_are_found_without_a_scan(
    northbound: OvsdbServer, make_server: MakeServer, short_path: Path
) -> None:
    hosts = Hosts(northbound, make_server, short_path, indexed=True)
    async with hosts.host("h0") as dead:
        ours = await dead.network_create(SUBNET)
        await dead.run(ours)
    proxy = Proxy(short_path / "proxy", northbound.socket)
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        assert await HostCleanup(client, "h0", ()).run() == Leftovers(ports=1, leases=1, uses=2, switches=1)
    looked = [op["where"] for each in proxy.transactions for op in each if op["op"] == "select"]
    assert {where[0][0] for where in looked} == {"_uuid"}
    assert hosts.northbound.rows("DHCP_Options") == []


async def test_an_entry_of_a_dead_host_removes_nothing_of_anybody_elses(
    northbound: OvsdbServer, make_server: MakeServer, short_path: Path
) -> None:
    hosts = Hosts(northbound, make_server, short_path, indexed=True)
    async with hosts.host("h1") as alive:
        await alive.run(await alive.network_create(SUBNET))
    async with hosts.host("h0"):
        pass
    before = everything(northbound)
    [theirs] = northbound.transact(host_index.index_get("h1"))
    entries = host_index.read_index(theirs["rows"]).entries
    assert len(entries) == 5
    northbound.transact(host_index.index_add("h0", entries))
    assert not await give_up(northbound)
    mine = str(schema.host_id("h0"))
    assert everything(northbound) == {key: row for key, row in before.items() if key != mine}


async def test_a_host_that_is_gone_is_given_up_again_at_no_harm(hosts: Hosts) -> None:
    await fill(hosts.northbound, 3)
    assert await give_up(hosts.northbound) == Leftovers(ports=3, switches=1)
    assert everything(hosts.northbound) == {}
    assert not await give_up(hosts.northbound)


async def test_a_switch_with_ports_of_others_stays_with_them(hosts: Hosts) -> None:
    await fill(hosts.northbound, 2)
    hosts.nbctl("lsp-add", "n", "foreign-port")
    assert await give_up(hosts.northbound) == Leftovers(ports=2)
    assert (hosts.switches(), hosts.ports()) == (["n"], ["foreign-port"])


async def test_a_port_is_found_on_whatever_switch_it_is_by_now(hosts: Hosts) -> None:
    await fill(hosts.northbound, 1)
    hosts.nbctl("ls-add", "elsewhere")
    [row] = hosts.northbound.ports("_uuid")
    everywhere: list[Any] = []
    hosts.northbound.transact(
        mutate("Logical_Switch", everywhere, ("ports", "delete", to_set([row["_uuid"]]))),
        mutate("Logical_Switch", [("name", "==", "elsewhere")], ("ports", "insert", to_set([row["_uuid"]]))),
    )
    assert (await give_up(hosts.northbound)).ports == 1
    assert (hosts.ports(), hosts.switches()) == ([], ["elsewhere"])


async def test_many_ports_go_in_transactions_that_are_bounded(hosts: Hosts, short_path: Path) -> None:
    await fill(hosts.northbound, 2 * host_cleanup.BATCH + 50)
    await fill(hosts.northbound, 5, ALIVE, "m")
    before = {key: row for key, row in everything(hosts.northbound).items() if "m" in str(row["name"])[:1]}
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        assert (await HostCleanup(client, "h0", ()).run()).ports == 2 * host_cleanup.BATCH + 50
    assert max(map(len, proxy.transactions)) == host_cleanup.BATCH + 1
    assert everything(hosts.northbound) == before


async def test_a_port_that_became_anothers_meanwhile_stays(hosts: Hosts, short_path: Path) -> None:
    await fill(hosts.northbound, 3)
    [one] = [row for row in everything(hosts.northbound).values() if row["name"] == "n-1"]

    def take(operations: list[Operation]) -> None:
        """Between the search and the removal it is marked as another host's."""
        if operations[-1]["op"] != "mutate":
            return
        proxy.before = lambda _: None
        ids = {"external_ids": to_map({nb.HOST: "h1", nb.NETWORK: "n"})}
        where = [("_uuid", "==", one["_uuid"])]
        hosts.northbound.transact(
            {"op": "update", "table": "Logical_Switch_Port", "where": where, "row": ids}
        )

    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    proxy.before = take
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        assert await HostCleanup(client, "h0", ()).run() == Leftovers(ports=2)
    assert (hosts.ports(), hosts.switches()) == (["n-1"], ["n"])


async def test_ports_that_never_cease_to_come_end_it_with_an_error(hosts: Hosts, short_path: Path) -> None:
    await fill(hosts.northbound, 1)
    numbers = iter(range(1000))

    def make(operations: list[Operation]) -> None:
        if operations[-1]["op"] == "mutate":
            port = SwitchPort("n", f"new-{next(numbers)}", "02:00:00:00:00:01")
            hosts.northbound.transact(*nb.lsp_add(port, nb.switch_id("n"), (), DEAD))

    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    proxy.before = make
    async with proxy.serve(), connected([proxy.remote], DATABASE) as client:
        with pytest.raises(ConflictError, match="ports of host h0 change while they are removed"):
            await HostCleanup(client, "h0", ()).run()


class Interrupted(Client):
    """A client before whose removals something happens, once."""

    interruption: Any = None

    async def transact(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        if operations[0]["op"] == "assert" and self.interruption is not None:
            interruption, self.interruption = self.interruption, None
            await interruption()
        return await super().transact(operations, undo)


async def test_it_stops_at_once_when_the_host_is_back_and_harms_nothing_new(hosts: Hosts) -> None:
    await fill(hosts.northbound, 1)
    lock = schema.presence_lock("h0")
    port = SwitchPort("n", "new", "02:00:00:00:00:02")
    client = Interrupted("test database", DATABASE, {})
    client.redirect((hosts.northbound.remote,))
    async with (
        connected([hosts.northbound.remote], DATABASE) as returned,
        running(client),
        client.lock(lock) as held,
        contextlib.AsyncExitStack() as presence,
    ):
        await asyncio.wait_for(held.acquired(), 5)

        async def come_back() -> None:
            await presence.enter_async_context(returned.lock(lock, steal=True))
            await returned.transact(nb.lsp_add(port, nb.switch_id("n"), (), DEAD))

        client.interruption = come_back
        with pytest.raises(LockError):
            await HostCleanup(client, "h0", [lock]).run()
    assert hosts.ports() == ["n-0", "new"]


async def test_a_pool_of_others_keeps_what_is_reserved_in_it(hosts: Hosts) -> None:
    async with hosts.host("h0") as dead, hosts.host("h1") as alive:
        await dead.network_create(SUBNET, aux=["10.0.0.9"])
        theirs = await alive.network_create(SUBNET)
        assert await give_up(hosts.northbound) == Leftovers(uses=3, switches=1)
        assert hosts.rows("pool") == [SUBNET]
        assert hosts.rows("reserved") == ["10.0.0.1"]
        await alive.network_rm(theirs)
    assert hosts.rows("pool") == hosts.rows("reserved") == []


async def test_a_row_without_our_mark_is_never_looked_at(northbound: OvsdbServer) -> None:
    foreign: Mapping[str, Any] = {
        "cidr": "10.0.0.0/24",
        "options": to_map({"router": "h0"}),
        "external_ids": to_map({"neutron": "x"}),
    }
    northbound.transact(insert("DHCP_Options", schema.host_id("another"), dict(foreign)))
    before = everything(northbound)
    assert not await give_up(northbound)
    assert everything(northbound) == before
    assert len(before) == 1
