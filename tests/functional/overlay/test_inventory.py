"""What a host holds in Northbound, and its repair: from the verbs' rows, rows lost, and rows left behind."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest

from ovn_docker.health.findings import Finding
from ovn_docker.health.snapshot import Owned, OwnedSwitch
from ovn_docker.libnetwork import messages
from ovn_docker.ovn import hosts as host_index
from ovn_docker.ovn import leases, switches
from ovn_docker.ovsdb.operations import row_is
from tests.functional.overlay.docker_side import Docker, findings, picture, refused, repaired
from tests.functional.overlay.shared_host import SUBNET, Flags, Host, Hosts
from tests.functional.servers import until

pytestmark = pytest.mark.functional

SHARED = {"create": "true"}
ENDPOINT = "a0b1c2d3" * 8


@pytest.fixture(params=["by its index", "by a scan"])
def hosts(hosts: Hosts, request: pytest.FixtureRequest) -> Hosts:
    """Hosts that find their rows in either way."""
    hosts.indexed = request.param == "by its index"
    return hosts


async def held(host: Host, *networks: str) -> Owned:
    return await host.inventory.held(networks)


async def only(host: Host, docker: Docker, *kinds: str) -> list[Finding]:
    """The findings, which must be of these kinds."""
    found = await findings(host, docker.state())
    assert [each.kind for each in found] == list(kinds)
    return found


def lose(hosts: Hosts, table: str, **where: str) -> None:
    """Delete rows behind the driver's back."""
    conditions = [[column, "==", value] for column, value in where.items()]
    hosts.northbound.transact({"op": "delete", "table": table, "where": conditions})


# --- What is held -------------------------------------------------------------------------------------------


async def test_what_the_verbs_made_is_held_and_nothing_of_other_hosts(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        theirs = await elsewhere.create(SUBNET, leased=True)
        await elsewhere.run(theirs)
        own = await docker.create("10.9.0.0/24", leased=False)
        shared = await docker.create(SUBNET, "fd00::/64", leased=True)
        first = await docker.run(own, "10.9.0.2/24")
        second = await docker.run(shared)

        found = await held(host, own.network_id, shared.network_id)

        assert {each.network_id: each.whole for each in found.networks.values()} == {
            own.network_id: True,
            shared.network_id: True,
        }
        assert found.networks[own.network_id].keys == {}
        assert set(found.networks[shared.network_id].keys) == {SUBNET, "fd00::/64"}
        assert {each.endpoint_id: each.addresses[1:] for each in found.endpoints} == {
            first.endpoint_id: ("10.9.0.2",),
            second.endpoint_id: tuple(each.partition("/")[0] for each in second.addresses),
        }
        assert {each.address for each in found.leases} == {e.partition("/")[0] for e in second.addresses}
        assert {each.endpoint_id for each in found.leases} == {second.endpoint_id}
        assert found.switches == ()
        assert {each.cidr: len(each.tokens) for each in found.pools} == {SUBNET: 1, "fd00::/64": 1}
        assert {each.cidr: len(each.tokens) for each in found.reserved} == {"10.0.0.1": 1, "fd00::1": 1}
        assert await findings(host, docker.state()) == []
        assert await findings(other, elsewhere.state()) == []


async def test_the_other_host_s_holds_on_a_pool_are_not_this_one_s(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        await Docker(other).create(SUBNET, leased=True)
        found = await held(host)
        assert (found.pools, found.reserved) == ((), ())
        assert await findings(host, Docker(host).state()) == []


async def test_a_switch_on_which_others_have_ports_is_not_stale(hosts: Hosts) -> None:
    """What could not be removed must not be a finding, or each check would find it again."""
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        mine = await docker.create(SUBNET, leased=True)
        theirs = await elsewhere.create(SUBNET, leased=True)
        container = await elsewhere.run(theirs)
        await docker.network_rm(mine)
        assert len(hosts.switches()) == 1
        await only(host, docker)
        await elsewhere.rm(container)
        [finding] = await only(host, docker, "switch-stale")
        assert await host.repairs.repair([finding]) == [""]
        assert hosts.switches() == []
        await only(host, docker)
        assert await repaired(other, elsewhere.state()) == ["network-missing"]
        await only(host, docker)


async def test_a_network_gone_only_here_is_not_stale_while_others_use_it(
    hosts: Hosts,
) -> None:
    """Swarm: each node makes and removes a network of the same id as its tasks come and go."""
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        network = await docker.create("10.9.0.0/24", leased=False)
        elsewhere.networks = list(docker.networks)
        container = await elsewhere.run(network, "10.9.0.2/24")
        docker.networks = []
        await only(host, docker)
        await elsewhere.rm(container)
        await only(host, docker, "network-stale")


async def test_a_port_of_this_host_keeps_no_stale_network(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create("10.9.0.0/24", leased=False)
        await docker.run(network, "10.9.0.2/24")
        docker.networks, docker.containers = [], []
        await only(host, docker, "network-stale", "endpoint-stale")
        await repaired(host, docker.state())
        assert picture(hosts.northbound) == {"switches": [], "ports": [], "addresses": []}


# --- Each repair: it does it, once and again ----------------------------------------------------------------

Loss = Callable[[Hosts, Docker], Awaitable[Any]]


async def no_switch(hosts: Hosts, docker: Docker) -> None:  # noqa: ARG001
    lose(hosts, "Logical_Switch")


async def no_lease(hosts: Hosts, docker: Docker) -> None:
    lose(hosts, "DHCP_Options", cidr=docker.containers[0].ip)


async def no_pool(hosts: Hosts, docker: Docker) -> None:  # noqa: ARG001
    lose(hosts, "DHCP_Options", cidr=SUBNET)


async def no_gateway(hosts: Hosts, docker: Docker) -> None:  # noqa: ARG001
    lose(hosts, "DHCP_Options", cidr="10.0.0.1")


async def no_port(hosts: Hosts, docker: Docker) -> None:
    hosts.nbctl("lsp-del", docker.containers[0].endpoint_id)


async def other_addresses(hosts: Hosts, docker: Docker) -> None:
    hosts.nbctl("lsp-set-addresses", docker.containers[0].endpoint_id, "0a:00:00:00:00:01 10.0.0.77")


async def unbound(hosts: Hosts, docker: Docker) -> None:
    ids = switches.read_marks(hosts.northbound.rows("DHCP_Options", "external_ids")[0])
    assert ids
    container, host = docker.containers[0], docker.host
    network = host.shared.get(container.network.network_id)
    assert network is not None
    address = ip_address(container.ip)
    await host.client.transact(
        [leases.lease_unbind(network.key(address), address, host.name, container.endpoint_id)]
    )


LOSSES: list[tuple[str, Loss, list[str]]] = [
    ("switch", no_switch, ["network-missing", "endpoint-missing"]),
    ("lease", no_lease, ["lease-missing"]),
    ("pool", no_pool, ["pool-missing"]),
    ("gateway", no_gateway, ["pool-missing"]),
    ("port", no_port, ["endpoint-missing"]),
    ("addresses", other_addresses, ["endpoint-changed"]),
    ("binding", unbound, ["lease-missing"]),
]


@pytest.mark.parametrize(("loss", "kinds"), [each[1:] for each in LOSSES], ids=[e[0] for e in LOSSES])
async def test_what_is_lost_of_a_leased_network_is_made_again(
    hosts: Hosts, loss: Loss, kinds: list[str]
) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        await elsewhere.create("10.5.0.0/24", leased=True)
        network = await docker.create(SUBNET, leased=True)
        await docker.run(network)
        before = picture(hosts.northbound)
        await loss(hosts, docker)
        if loss is no_switch:
            await repaired(other, elsewhere.state())
        found = await only(host, docker, *kinds)
        for each in [*found, *found]:
            assert await host.repairs.repair([each]) == [""], "a repair may be repeated"
        assert picture(hosts.northbound) == before
        await only(host, docker)
        await docker.rm(docker.containers[0])
        await docker.network_rm(network)
        await only(host, docker)
        assert [each for each in hosts.rows("pool") if each != "10.5.0.0/24"] == []
        assert hosts.rows("lease") == []
        assert hosts.rows("reserved") == ["10.5.0.1"]


@pytest.mark.parametrize("loss", [no_switch, no_lease, no_port, other_addresses])
@pytest.mark.parametrize("options", [{}, SHARED], ids=["own switch", "shared switch"])
async def test_what_is_lost_of_a_network_with_docker_s_ipam_is_made_again(
    hosts: Hosts, loss: Loss, options: dict[str, str]
) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=False, **options)
        await docker.run(network, "10.0.0.2/24")
        before = picture(hosts.northbound)
        await loss(hosts, docker)
        if loss is no_port:
            lose(hosts, "DHCP_Options")
        await repaired(host, docker.state())
        assert picture(hosts.northbound) == before


async def test_a_lost_port_comes_back_though_its_endpoint_claimed_the_address(
    hosts: Hosts,
) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=False, **SHARED)
        container = await docker.run(network, "10.0.0.2/24")
        before = picture(hosts.northbound)
        hosts.nbctl("lsp-del", container.endpoint_id)
        await repaired(host, docker.state())
        assert picture(hosts.northbound) == before


async def test_only_a_containers_names_are_written_and_replaced_at_its_port(
    hosts: Hosts,
) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        container = await docker.run(network)
        ids, gone = (network.network_id, container.endpoint_id), (network.network_id, ENDPOINT)
        hosts.nbctl("set", "Logical_Switch_Port", container.endpoint_id, "external_ids:admin=me")

        def marks() -> dict[str, str]:
            [row] = hosts.northbound.ports("external_ids")
            return dict(switches.read_marks(row))

        before = marks()
        first = {"ovn-docker-name": "one", "ovn-docker-label:a": "1", "ovn-docker-label:b": 'two, "quoted" ='}
        assert await host.inventory.rename({gone: first, ids: first}) == {}
        assert await host.inventory.rename({ids: first}) == {}
        assert marks() == before | first
        second = {"ovn-docker-name": "other", "ovn-docker-label:b": ""}
        assert await host.inventory.rename({ids: second}) == {}
        assert marks() == before | second


async def test_what_docker_has_forgotten_is_removed_and_what_it_has_is_not(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        theirs = await elsewhere.create(SUBNET, leased=True)
        await elsewhere.run(theirs)
        kept = await docker.create("10.7.0.0/24", leased=True)
        stays = await docker.run(kept)
        before = picture(hosts.northbound)
        lost = [
            await docker.create(SUBNET, "fd00::/64", leased=True),
            await docker.create("10.8.0.0/24", leased=False),
            await docker.create("10.9.0.0/24", leased=False, **SHARED),
        ]
        await docker.run(lost[0])
        await docker.run(lost[1], "10.8.0.2/24")
        await docker.run(lost[2], "10.9.0.2/24")
        await docker.run(kept)
        await host.request(lost[0].pool_ids[0])  # a RequestAddress that nobody has used
        docker.networks, docker.containers = docker.networks[:1], [stays]
        kinds = await repaired(host, docker.state())
        assert set(kinds) - {"switch-stale"} == {
            "network-stale",
            "endpoint-stale",
            "lease-stale",
            "pool-stale",
            "reserved-stale",
        }
        assert picture(hosts.northbound) == before
        assert await findings(other, elsewhere.state()) == []


# --- What has changed since it was read ---------------------------------------------------------------------


async def test_a_lease_that_was_leased_again_meanwhile_is_left(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        network = await docker.create(SUBNET, leased=True)
        theirs = await elsewhere.create(SUBNET, leased=True)
        leaked = await host.request(network.pool_ids[0])
        [finding] = await only(host, docker, "lease-stale")
        await host.release(network.pool_ids[0], leaked)
        again = await host.request(network.pool_ids[0], leaked)
        assert again == leaked
        assert await host.repairs.repair([finding]) == [""]
        assert hosts.rows("lease") == [leaked.partition("/")[0]]
        await host.release(network.pool_ids[0], leaked)
        await other.request(theirs.pool_ids[0], leaked)
        assert await host.repairs.repair([finding]) == [""]
        assert hosts.rows("lease") == [leaked.partition("/")[0]], "another host has it now"


async def test_a_lease_that_an_endpoint_has_come_to_use_meanwhile_is_left(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        address = await host.request(network.pool_ids[0])
        [finding] = await only(host, docker, "lease-stale")
        await host.endpoint(network, ENDPOINT, address)
        assert await host.repairs.repair([finding]) == [""]
        assert hosts.rows("lease") == [address.partition("/")[0]]


async def test_a_pool_that_was_entered_again_meanwhile_is_left_with_its_gateway(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        docker.networks = []
        stale = await only(host, docker, "network-stale", "pool-stale", "reserved-stale")
        await host.network_rm(network)
        await docker.create(SUBNET, leased=True)
        before = picture(hosts.northbound)
        for each in stale:
            assert await host.repairs.repair([each]) == [""]
        assert picture(hosts.northbound) == before
        await only(host, docker)


async def test_a_switch_that_has_a_port_by_now_is_left(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=False, **SHARED)
        [row] = hosts.northbound.rows("Logical_Switch", "_uuid", "name")
        await docker.run(network, "10.0.0.2/24")
        await host.inventory.remove_switch(OwnedSwitch(UUID(row["_uuid"][1]), row["name"], ""))
        assert hosts.switches() == [row["name"]]


async def test_a_network_that_others_came_to_use_meanwhile_is_left(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker = Docker(host)
        network = await docker.create("10.9.0.0/24", leased=False)
        docker.networks = []
        [finding] = await only(host, docker, "network-stale")
        await other.endpoint(network, ENDPOINT, "10.9.0.2/24")
        assert "1 port(s) of others" in await refused(host, finding)
        assert hosts.ports() == [ENDPOINT]


async def test_an_address_that_another_host_has_leased_meanwhile_stays_its(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        network, theirs = (
            await docker.create(SUBNET, leased=True),
            await elsewhere.create(SUBNET, leased=True),
        )
        container = await docker.run(network)
        await no_lease(hosts, docker)
        [finding] = await only(host, docker, "lease-missing")
        await other.request(theirs.pool_ids[0], container.ip)
        why = await refused(host, finding)
        assert f"has address {container.ip}, which is not its own" in why
        assert "on host h1 has it" in why
        [finding] = await only(host, docker, "address-taken")
        assert f" has lost its address {container.ip} in OVN: an endpoint " in finding.text
        assert finding.text.endswith(" on host h1 has it")
        assert not finding.repair


async def test_no_port_is_made_again_with_an_address_that_another_host_has(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        network, theirs = (
            await docker.create(SUBNET, leased=True),
            await elsewhere.create(SUBNET, leased=True),
        )
        lost, kept = await docker.run(network), await docker.run(network)
        for each in lost, kept:
            hosts.nbctl("lsp-del", each.endpoint_id)
            lose(hosts, "DHCP_Options", cidr=each.ip)
        new = await other.run(theirs, lost.ip)
        found = await findings(host, docker.state())
        assert [each.kind for each in found] == ["address-taken", "lease-missing", "endpoint-missing"]
        assert f"endpoint {new.endpoint_id} on host h1 has it" in found[0].text
        for finding in found[1:]:
            assert await host.repairs.repair([finding]) == [""]
        await only(host, docker, "address-taken")
        assert hosts.ports() == sorted([new.endpoint_id, kept.endpoint_id])
        assert hosts.rows("lease") == sorted([lost.ip, kept.ip])


async def test_a_network_that_is_there_again_is_not_made_twice(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        docker, elsewhere = Docker(host), Docker(other)
        network = await docker.create(SUBNET, leased=True)
        await elsewhere.create(SUBNET, leased=True)
        lose(hosts, "Logical_Switch")
        [finding] = await only(host, docker, "network-missing")
        await repaired(other, elsewhere.state())
        assert await host.repairs.repair([finding]) == [""]
        assert len(hosts.switches()) == 1
        await docker.run(network)


async def test_a_driver_of_another_context_finds_nothing_wrong_with_older_networks(hosts: Hosts) -> None:
    async with hosts.host("h", Flags(context="blue")) as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        await docker.run(network)
    before = picture(hosts.northbound)
    async with hosts.host("h", Flags(context="red")) as again:
        assert await findings(again, docker.state()) == []
        lose(hosts, "DHCP_Options", cidr=SUBNET)
        assert await repaired(again, docker.state()) == ["pool-missing"]
    assert picture(hosts.northbound) == before


async def test_a_reading_without_northbound_is_an_error(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        await docker.create(SUBNET, leased=True)
        hosts.northbound.kill()
        await until(lambda: not host.client.connected, "the connection is lost")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await findings(host, docker.state())
        hosts.northbound.start()
        assert await findings(host, docker.state()) == []


# --- At random ----------------------------------------------------------------------------------------------

SUBNETS = ["10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24"]


async def act(docker: Docker, chance: random.Random, number: int) -> None:
    """One command of Docker's."""
    used = {network.data[0].pool for network, _ in docker.networks}
    free = [each for each in SUBNETS if each not in used]
    action = chance.choice(["create", "run", "run", "rm", "network_rm"])
    if (action == "create" or not docker.networks) and free:
        kind = chance.choice(["leased", "own", "shared"])
        ipv6 = [f"fd0{free[0][5]}::/64"] if chance.random() < 0.4 else []
        await docker.create(free[0], *ipv6, leased=kind == "leased", **(SHARED if kind == "shared" else {}))
    elif action == "run" and docker.networks:
        network, _ = chance.choice(docker.networks)
        offset = number + 100 * (docker.host.name == "h1")
        addresses = [
            each.pool.replace("0/24", f"{offset}/24").replace("::/", f"::{offset}/") for each in network.data
        ]
        await docker.run(network, *addresses)
    elif action == "rm" and docker.containers:
        await docker.rm(chance.choice(docker.containers))
    elif action == "network_rm" and docker.networks:
        network, _ = chance.choice(docker.networks)
        for each in [each for each in docker.containers if each.network is network]:
            await docker.rm(each)
        await docker.network_rm(network)


def lose_at_random(hosts: Hosts, chance: random.Random) -> None:
    """Delete and change rows of everything that the driver made."""
    for table in ("DHCP_Options", "Logical_Switch_Port", "Logical_Switch"):
        is_port = table == "Logical_Switch_Port"
        for row in hosts.northbound.ports("_uuid") if is_port else hosts.northbound.rows(table, "_uuid"):
            if chance.random() < 0.35:
                continue
            where = [row_is(UUID(row["_uuid"][1]))]
            if not is_port:
                hosts.northbound.transact({"op": "delete", "table": table, "where": where})
            elif chance.random() < 0.5:
                hosts.northbound.transact(
                    {"op": "update", "table": table, "where": where, "row": {"addresses": "unknown"}}
                )
            else:
                mutation = ["ports", "delete", ["uuid", row["_uuid"][1]]]
                hosts.northbound.transact(
                    {"op": "mutate", "table": "Logical_Switch", "where": [], "mutations": [mutation]}
                )


def leave_at_random(hosts: Hosts, chance: random.Random, host: Host) -> None:
    """Rows of verbs whose end nobody has heard of."""
    for key in hosts.switches():
        address = ip_address(f"10.0.{chance.randrange(1, 4)}.{chance.randrange(200, 250)}")
        mark = switches.Mark(host.name, "")
        lease = leases.Lease(leases.LEASE, host.name, chance.choice(["", secrets.token_hex(32)]))
        add = leases.lease_add(key, address, lease, mark)
        hosts.northbound.transact(add, host_index.index_add(host.name, host_index.made(host.name, [add])))


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_lost_and_left_behind_docker_s_truth_comes_back(hosts: Hosts, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    async with hosts.several(2) as drivers:
        dockers = [Docker(each) for each in drivers]
        for number in range(2, 22):
            await act(chance.choice(dockers), chance, number)
        for docker in dockers * 2:  # what one has removed for want of ports another may have to make again
            await repaired(docker.host, docker.state())
        before = picture(hosts.northbound)
        lose_at_random(hosts, chance)
        leave_at_random(hosts, chance, drivers[0])
        for docker in [*dockers, *dockers]:
            await repaired(docker.host, docker.state(), passes=8)
        assert picture(hosts.northbound) == before
        for docker in dockers:
            await only(docker.host, docker)
        for docker in dockers:
            for container in list(docker.containers):
                await docker.rm(container)
            for network, _ in list(docker.networks):
                await docker.network_rm(network)
        for docker in [*dockers, *dockers]:
            await repaired(docker.host, docker.state())
        assert picture(hosts.northbound) == {"switches": [], "ports": [], "addresses": []}


async def test_nothing_of_this_host_s_is_another_s_to_repair(hosts: Hosts) -> None:
    """All that one host holds looks stale to another's Docker, and none of it is found there."""
    async with hosts.several(2) as (host, other):
        docker = Docker(host)
        for subnet, leased, options in (
            (SUBNET, True, {}),
            ("10.8.0.0/24", False, {}),
            ("10.9.0.0/24", False, SHARED),
        ):
            network = await docker.create(subnet, leased=leased, **options)
            await docker.run(network, subnet.replace("0/24", "2/24"))
        before = picture(hosts.northbound)
        stranger = Docker(other)
        assert await repaired(other, stranger.state()) == []
        assert picture(hosts.northbound) == before
        [claim] = [each for each in (await held(host)).leases if each.address == "10.9.0.2"]
        await other.inventory.release(replace(claim, marks={**claim.marks, "ovn-docker-request": "another"}))
        assert picture(hosts.northbound) == before


async def test_a_delete_that_comes_after_its_repair_succeeds(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        container = await docker.run(network)
        docker.networks, docker.containers = [], []
        await repaired(host, docker.state())
        await container.rm()
        await host.network_rm(network)
        await host.driver.delete_endpoint(
            messages.EndpointRequest(network_id=network.network_id, endpoint_id=container.endpoint_id)
        )
        assert picture(hosts.northbound) == {"switches": [], "ports": [], "addresses": []}
