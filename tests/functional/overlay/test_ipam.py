"""Address pools and leases on a real Northbound: which address is leased, and what a refusal says."""

import asyncio
import contextlib
import ipaddress
import re
from pathlib import Path

import pytest

from ovn_docker.errors import ConflictError, ConstraintError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACES
from ovn_docker.ovn import leases
from ovn_docker.ovn.leases import LEASE, Lease
from ovn_docker.ovn.switches import Mark
from tests.functional.overlay.shared_host import SUBNET, Container, Flags, Host, Hosts, Network
from tests.functional.servers import Proxy

pytestmark = pytest.mark.functional


def usable(subnet: str, *without: str) -> list[str]:
    return [str(each) for each in ipaddress.ip_network(subnet).hosts() if str(each) not in without]


async def addresses(host: Host, network: Network, count: int) -> list[str]:
    """So many addresses, one after the other, without prefix lengths."""
    return [(await host.request(network.pool_ids[0])).partition("/")[0] for _ in range(count)]


async def fill(host: Host, network: Network, at_once: int = 1) -> tuple[list[str], str]:
    """Lease until the pool is exhausted: all addresses, and the last error."""
    got: list[str] = []
    errors: list[str] = []

    async def client() -> None:
        while not errors:
            try:
                got.extend(await addresses(host, network, 1))
            except RequestError as error:
                errors.append(str(error))

    await asyncio.gather(*(client() for _ in range(at_once)))
    return got, errors[0]


# --- Order and cost -----------------------------------------------------------------------------------------


async def test_addresses_come_in_order(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        assert await addresses(host, network, 40) == usable(SUBNET)[1:41]


async def test_hosts_that_take_turns_lease_in_order(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        networks = [await host.network_create(SUBNET) for host in several]
        got = [
            address
            for _ in range(5)
            for host, network in zip(several, networks, strict=True)
            for address in await addresses(host, network, 1)
        ]
    assert got == usable(SUBNET)[1:16]


async def test_an_address_that_was_given_back_comes_again_after_all_others(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create("10.0.0.0/29")
        first, second, third = await addresses(host, network, 3)
        await host.release(network.pool_ids[0], second)
        assert await addresses(host, network, 3) == ["10.0.0.5", "10.0.0.6", second]
        assert {first, second, third} == {"10.0.0.2", "10.0.0.3", "10.0.0.4"}


async def test_a_driver_that_starts_goes_on_where_the_last_one_was(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        await addresses(host, network, 5)
    async with hosts.host("h") as again:
        assert await addresses(again, network, 2) == ["10.0.0.7", "10.0.0.8"]


async def test_a_lease_is_one_transaction_however_full_the_pool_is(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create("10.0.0.0/22")
        await addresses(host, network, 1)
        proxy.transactions.clear()
        await addresses(host, network, 900)
        assert len(proxy.transactions) <= 900 + 5
        assert all({"op": "commit", "durable": True} in each for each in proxy.transactions[-5:])


async def test_many_requests_at_once_in_one_driver_do_not_get_into_each_others_way(
    hosts: Hosts, short_path: Path
) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create(SUBNET)
        proxy.transactions.clear()
        got = await asyncio.gather(*(addresses(host, network, 10) for _ in range(16)))
        assert sorted(ipaddress.ip_address(each) for some in got for each in some) == [
            ipaddress.ip_address(each) for each in usable(SUBNET)[1:161]
        ]
        assert len(proxy.transactions) <= 160 + 10


async def test_hosts_that_lease_at_once_in_a_full_pool_hardly_collide(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), contextlib.AsyncExitStack() as stack:
        several = [
            await stack.enter_async_context(hosts.host(f"h{n}", remote=proxy.remote)) for n in range(4)
        ]
        networks = [await host.network_create("10.0.0.0/17") for host in several]
        pool = networks[0].pool
        mark = Mark("other", "2030-01-01T00:00:00Z")
        numbers = [number for number in pool.window(None, pool.size())[1:] if number % 10]
        for start in range(0, len(numbers), 1000):
            await several[0].client.transact(
                [
                    leases.lease_add(pool.key, pool.address(number), Lease(LEASE, "other"), mark)
                    for number in numbers[start : start + 1000]
                ]
            )
        proxy.transactions.clear()
        got = await asyncio.gather(
            *(addresses(host, on, 20) for host, on in zip(several, networks, strict=True) for _ in range(4))
        )
        assert len({each for some in got for each in some}) == 320
        tries = sum({"op": "commit", "durable": True} in each for each in proxy.transactions)
        probes = sum(each["op"] == "select" for some in proxy.transactions for each in some) - 3 * tries
        assert tries <= 1.5 * 320
        assert probes <= 60 * 320, "a probe of 32 and 64 addresses must serve more than one lease"


# --- Pools --------------------------------------------------------------------------------------------------


async def test_a_pool_asked_for_several_times_is_one_and_goes_with_its_last_user(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        networks = [
            await host.network_create(SUBNET, options={"context": "default"})
            for host in (*several, several[0])
        ]
        assert hosts.rows("pool") == [SUBNET]
        for host, network in zip(several, networks, strict=False):
            await host.network_rm(network)
            assert hosts.rows("pool") == [SUBNET]
            assert hosts.rows("reserved") == ["10.0.0.1"]
        await several[0].network_rm(networks[-1])
    assert hosts.northbound.rows("DHCP_Options") == []


async def test_a_pool_made_by_many_hosts_at_once_is_one(hosts: Hosts) -> None:
    async with hosts.several(4) as several:
        networks = await asyncio.gather(
            *(host.network_create(SUBNET, options={"context": "default"}) for host in several * 3)
        )
        assert hosts.rows("pool") == [SUBNET]
        assert len({network.pool_ids[0] for network in networks}) == 12
        await asyncio.gather(
            *(host.network_rm(network) for host, network in zip(several * 3, networks, strict=True))
        )
    assert hosts.northbound.rows("DHCP_Options") == []
    assert hosts.switches() == []


async def test_releasing_a_pool_twice_does_nothing(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network, kept = await host.network_create(SUBNET), await other.network_create(SUBNET)
        for _ in range(2):
            await host.ipam.release_pool(messages.PoolRequest(pool_id=network.pool_ids[0]))
        assert hosts.rows("pool") == [SUBNET]
        assert await addresses(other, kept, 1) == ["10.0.0.2"]


async def test_a_pool_of_nobodys_choice_is_the_next_free_one(hosts: Hosts) -> None:
    defaults = Flags(default_pools=("base=10.8.0.0/22,size=24", "base=fd00:8::/63,size=64"))
    async with hosts.host("h", defaults) as host, hosts.host("i", defaults) as other:
        await other.network_create("10.8.1.0/25")
        made = [await each.network_create() for each in (host, other, host)]
        assert [each.data[0].pool for each in made] == ["10.8.0.0/24", "10.8.2.0/24", "10.8.3.0/24"]
        dual = await host.network_create(versions=(6,))
        assert dual.data[0].pool == "fd00:8::/64"
        with pytest.raises(RequestError, match="no free IPv4 subnet left in context default: name one with"):
            await host.network_create()
        await host.network_rm(made[0])
        assert (await other.network_create()).data[0].pool == "10.8.0.0/24"


async def test_pools_of_nobodys_choice_asked_for_at_once_are_distinct(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        networks = await asyncio.gather(*(host.network_create() for host in several * 4))
    assert len({network.data[0].pool for network in networks}) == 12
    assert len(hosts.rows("pool")) == 12


async def test_contexts_keep_equal_subnets_apart(hosts: Hosts) -> None:
    async with hosts.host("h", Flags(context="red")) as red, hosts.host("i", Flags(context="blue")) as blue:
        one = await red.network_create(SUBNET)
        other = await blue.network_create(SUBNET)
        same = await blue.network_create(SUBNET, ipam_options={"context": "red"}, options={"context": "red"})
        assert await addresses(red, one, 1) == await addresses(blue, other, 1) == ["10.0.0.2"]
        assert await addresses(blue, same, 1) == ["10.0.0.3"]
        assert len(hosts.switches()) == 2


async def test_a_request_for_a_pool_that_cannot_be_used_is_refused(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        for request, text in (
            (messages.RequestPoolRequest(pool="10.0.0.0"), "pool '10.0.0.0' is not a valid CIDR"),
            (messages.RequestPoolRequest(pool=SUBNET, sub_pool="10.1.0.0/25"), "lies outside its pool"),
            (
                messages.RequestPoolRequest(pool=SUBNET, options={"colour": "red"}),
                "unknown IPAM option 'colour'",
            ),
            (
                messages.RequestPoolRequest(pool=SUBNET, options={"context": "a b"}),
                "context 'a b' is not a valid name",
            ),
            (messages.RequestPoolRequest(options={"context": "a|b"}), "is not a valid name"),
        ):
            with pytest.raises(RequestError, match=re.escape(text)):
                await host.ipam.request_pool(request)
        with pytest.raises(RequestError, match="was not given by this driver"):
            await host.request("10.0.0.0/24")
        assert hosts.northbound.rows("DHCP_Options") == []
        spaces = host.ipam.default_address_spaces()
        assert (spaces.local, spaces.global_) == ADDRESS_SPACES


async def test_a_lost_reply_makes_one_pool_only(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        await host.driver.database()
        proxy.lose_replies = 1
        named = await host.ipam.request_pool(messages.RequestPoolRequest(pool=SUBNET))
        request = messages.RequestPoolRequest()
        for lost in range(1, 4):
            proxy.lose_replies = lost
            await host.ipam.request_pool(request)
        assert len(hosts.rows("pool")) == 4
        await host.ipam.release_pool(messages.PoolRequest(pool_id=named.pool_id))
        assert len(hosts.rows("pool")) == 3


# --- What is handed out -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subnet", "gateway", "expected"),
    [
        ("10.0.0.0/30", "", ["10.0.0.2"]),
        ("10.0.0.0/29", "10.0.0.4", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5", "10.0.0.6"]),
        ("10.0.0.0/31", "", ["10.0.0.1"]),
        ("fd00::/125", "", [f"fd00::{number}" for number in range(2, 8)]),
    ],
)
async def test_a_pool_gives_each_usable_address_once_and_then_is_exhausted(
    hosts: Hosts, subnet: str, gateway: str, expected: list[str]
) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(subnet, gateway=gateway)
        got, error = await fill(host, network)
    assert got == expected
    assert f"pool {subnet} of context default is exhausted: all of its" in error


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "10.0.0.0/16", "fd00::/64", "fd00::/48"])
async def test_large_pools_cost_no_more_than_small_ones(hosts: Hosts, subnet: str) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(subnet)
        first = ipaddress.ip_network(subnet).network_address
        assert await addresses(host, network, 3) == [str(first + number) for number in (2, 3, 4)]


async def test_a_26_is_filled_to_the_last_address_by_three_hosts_at_once(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        networks = [await host.network_create("10.0.0.0/26", aux=["10.0.0.9"]) for host in several]
        results = await asyncio.gather(
            *(fill(host, network, 4) for host, network in zip(several, networks, strict=True))
        )
    got = [address for addresses, _ in results for address in addresses]
    assert sorted(got, key=ipaddress.ip_address) == usable("10.0.0.0/26", "10.0.0.1", "10.0.0.9")
    assert all(
        "pool 10.0.0.0/26 of context default is exhausted: all of its 62" in text for _, text in results
    )


async def test_addresses_come_from_the_range_and_explicit_ones_from_the_pool(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network = await host.network_create(SUBNET, ip_range="10.0.0.64/30")
        beside = await other.network_create(SUBNET, ip_range="10.0.0.128/30")
        assert await addresses(host, network, 4) == [f"10.0.0.{number}" for number in (64, 65, 66, 67)]
        assert await addresses(other, beside, 1) == ["10.0.0.128"]
        with pytest.raises(
            RequestError, match=r"pool 10.0.0.64/30 of context default is exhausted: all of its 4"
        ):
            await addresses(host, network, 1)
        assert (await host.run(network, "10.0.0.200")).ip == "10.0.0.200"


async def test_dual_stack_containers_have_one_address_of_each_version(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        networks = [await host.network_create(SUBNET, "fd00::/64") for host in several]
        containers = [await host.run(network) for host, network in zip(several, networks, strict=True)]
        assert [each.addresses for each in containers] == [
            ["10.0.0.2/24", "fd00::2/64"],
            ["10.0.0.3/24", "fd00::3/64"],
        ]
        assert len(hosts.switches()) == 1
        for container in containers:
            await container.rm()
        assert hosts.rows("lease") == hosts.rows("claim") == []


# --- Gateways, auxiliary and explicit addresses -------------------------------------------------------------


async def test_gateways_and_auxiliary_addresses_are_shared_and_no_containers(hosts: Hosts) -> None:
    async with hosts.several(3) as several:
        made = [
            await host.network_create("10.0.0.0/29", gateway="10.0.0.3", aux=["10.0.0.2", "10.0.0.5"])
            for host in several
        ]
        assert hosts.rows("reserved") == ["10.0.0.2", "10.0.0.3", "10.0.0.5"]
        got, _ = await fill(several[0], made[0])
        assert got == ["10.0.0.1", "10.0.0.4", "10.0.0.6"]
        with pytest.raises(ConflictError, match=r"10.0.0.3 of pool .* is taken: it is the gateway or an aux"):
            await several[1].run(made[1], "10.0.0.3")
        for address in got:
            await several[0].release(made[0].pool_ids[0], address)
        for host, network in zip(several, made, strict=True):
            await host.network_rm(network)
    assert hosts.northbound.rows("DHCP_Options") == []


async def test_a_hosts_auxiliary_address_is_free_again_when_the_host_is_gone(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network = await host.network_create(SUBNET, aux=["10.0.0.2"])
        kept = await other.network_create(SUBNET)
        await host.network_rm(network)
        assert hosts.rows("reserved") == ["10.0.0.1"]
        assert await addresses(other, kept, 1) == ["10.0.0.2"]


async def test_a_gateway_that_a_container_has_is_refused_with_the_containers_name(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network = await host.network_create(SUBNET)
        container = await host.run(network, "10.0.0.254")
        text = f"cannot be reserved: endpoint {container.endpoint_id} on host h0 has it"
        with pytest.raises(ConflictError, match=text):
            await other.network_create(SUBNET, gateway="10.0.0.254")
        assert len(hosts.rows("pool")) == 1
        await container.rm()
        await host.network_rm(network)
    assert hosts.northbound.rows("DHCP_Options") == []


async def test_a_second_network_has_the_gateway_of_the_switch_or_is_refused(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        await host.network_create(SUBNET, gateway="10.0.0.254")
        before = hosts.nbctl("list", "DHCP_Options")
        text = r"has the gateway 10.0.0.254, not 10.0.0.1: .* --gateway 10.0.0.254"
        with pytest.raises(ConflictError, match=text):
            await other.network_create(SUBNET, gateway="10.0.0.1")
        assert hosts.nbctl("list", "DHCP_Options") == before
        assert (await other.network_create(SUBNET)).data[0].gateway == "10.0.0.254/24"


async def test_a_taken_address_says_which_endpoint_on_which_host_has_it(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        networks = await host.network_create(SUBNET), await other.network_create(SUBNET)
        container = await host.run(networks[0], "10.0.0.7")
        pool = networks[1].pool_ids[0]
        text = f"10.0.0.7 of pool {SUBNET} is taken: endpoint {container.endpoint_id} on host h0"
        for _ in range(2):
            with pytest.raises(ConflictError, match=text):
                await other.request(pool, "10.0.0.7")
        await host.request(networks[0].pool_ids[0], "10.0.0.8")
        with pytest.raises(ConflictError, match=r"10.0.0.8 .* on host h0"):
            await other.request(pool, "10.0.0.8")
        await container.rm()
        assert (await other.run(networks[1], "10.0.0.7")).ip == "10.0.0.7"


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.1.1", "fd00::1", "nonsense"])
async def test_an_address_that_no_container_can_have_is_refused(hosts: Hosts, address: str) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        with pytest.raises(RequestError, match=re.escape(address)):
            await host.request(network.pool_ids[0], address)
        assert hosts.rows("lease") == []


# --- Addresses that are in use without a lease --------------------------------------------------------------


async def test_what_an_administrator_uses_is_never_handed_out(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create("10.0.0.0/28")
        name = network.pool.key
        hosts.nbctl(
            "lsp-add", name, "vm", "--", "lsp-set-addresses", "vm", "02:00:00:00:00:01 10.0.0.3 fd00::3"
        )
        hosts.nbctl(
            "lr-add", "r", "--", "lrp-add", "r", "r-s", "02:00:00:00:00:02", "10.0.0.4/28", "10.0.0.5/28"
        )
        hosts.nbctl("lsp-add", name, "s-r", "--", "lsp-set-type", "s-r", "router")
        hosts.nbctl("lsp-set-options", "s-r", "router-port=r-s", "--", "lsp-set-addresses", "s-r", "router")
        hosts.nbctl("set", "Logical_Switch", name, 'other_config:exclude_ips="10.0.0.7..10.0.0.9 10.0.0.12"')
        for address, holder in (
            ("10.0.0.3", "logical switch port vm holds it"),
            ("10.0.0.5", "router port r-s holds it"),
            ("10.0.0.8", "exclude_ips of its switch names it"),
        ):
            with pytest.raises(ConflictError, match=f"{address} .* is taken: .*{holder}"):
                await host.request(network.pool_ids[0], address)
        assert hosts.rows("lease") == []
        got, _ = await fill(host, network)
        assert sorted(got, key=ipaddress.ip_address) == [f"10.0.0.{n}" for n in (2, 6, 10, 11, 13, 14)]


async def test_an_address_set_after_the_switch_was_read_is_seen(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create("10.0.0.0/28")
        name = network.pool.key
        hosts.nbctl("lsp-add", name, "vm")
        assert await addresses(host, network, 1) == ["10.0.0.2"]
        hosts.nbctl("lsp-set-addresses", "vm", "02:00:00:00:00:01 10.0.0.3")
        assert await addresses(host, network, 1) == ["10.0.0.4"]
        hosts.nbctl("lsp-set-addresses", "vm", "02:00:00:00:00:01 10.0.0.5")
        assert await addresses(host, network, 1) == ["10.0.0.6"]
        hosts.nbctl("lr-add", "r", "--", "lrp-add", "r", "r-s", "02:00:00:00:00:02", "10.0.0.7/28")
        hosts.nbctl("lsp-set-type", "vm", "router", "--", "lsp-set-options", "vm", "router-port=r-s")
        assert await addresses(host, network, 1) == ["10.0.0.8"]
        hosts.nbctl("lrp-del", "r-s", "--", "lrp-add", "r", "r-s", "02:00:00:00:00:02", "10.0.0.9/28")
        assert await addresses(host, network, 1) == ["10.0.0.10"]
        hosts.nbctl("set", "Logical_Switch", name, "other_config:exclude_ips=10.0.0.11")
        assert await addresses(host, network, 1) == ["10.0.0.12"]
        hosts.nbctl("lsp-del", "vm", "--", "remove", "Logical_Switch", name, "other_config", "exclude_ips")
        got, _ = await fill(host, network)
        assert set(got) == {f"10.0.0.{n}" for n in (3, 5, 7, 9, 11, 13, 14)}


async def test_many_ports_of_others_cost_no_more_and_none_is_missed(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create("10.0.0.0/16")
        name = network.pool.key
        words = [
            word
            for port in (f"vm{number}" for number in range(200))
            for word in (
                *("--", "lsp-add", name, port),
                *("--", "lsp-set-addresses", port, f"02:00:00:00:00:01 10.0.1.{port[2:]}"),
            )
        ]
        hosts.nbctl(*words[1:])
        await addresses(host, network, 2)
        proxy.transactions.clear()
        await addresses(host, network, 1)
        [operations] = proxy.transactions
        assert len(operations) < 10
        with pytest.raises(ConflictError, match="logical switch port vm17 holds it"):
            await host.request(network.pool_ids[0], "10.0.1.17")
        hosts.nbctl("lsp-add", name, "new", "--", "lsp-set-addresses", "new", "02:00:00:00:00:01 10.0.0.50")
        with pytest.raises(ConflictError, match="logical switch port new holds it"):
            await host.request(network.pool_ids[0], "10.0.0.50")
        hosts.nbctl("lsp-set-addresses", "vm17", "02:00:00:00:00:01 10.0.0.60")
        with pytest.raises(ConflictError, match="logical switch port vm17 holds it"):
            await lease_until_refused(host, network, "10.0.0.60")


async def lease_until_refused(host: Host, network: Network, address: str) -> None:
    """Ask for an address and give it back until the driver has seen that somebody holds it."""
    async with asyncio.timeout(5):
        while True:
            await host.request(network.pool_ids[0], address)
            await host.release(network.pool_ids[0], address)


async def test_addresses_of_ovns_own_ipam_and_a_huge_exclude_ips_are_seen(hosts: Hosts) -> None:
    """northd writes OVN's own into dynamic_addresses."""
    async with hosts.host("h") as host:
        network = await host.network_create("10.0.0.0/8")
        name = network.pool.key
        hosts.nbctl("set", "Logical_Switch", name, "other_config:exclude_ips=10.200.0.0..10.255.255.254")
        hosts.nbctl("lsp-add", name, "vm", "--", "lsp-set-addresses", "vm", "dynamic")
        hosts.nbctl("set", "Logical_Switch_Port", "vm", 'dynamic_addresses="02:00:00:00:00:01 10.0.0.2"')
        assert await addresses(host, network, 2) == ["10.0.0.3", "10.0.0.4"]


async def test_ports_on_a_switch_of_another_name_are_seen(hosts: Hosts) -> None:
    hosts.allowed_switch("mine")
    hosts.nbctl("lsp-add", "mine", "vm")
    hosts.nbctl("lsp-set-addresses", "vm", "02:00:00:00:00:01 10.0.0.2")
    async with hosts.several(2) as several:
        networks = [await host.network_create(SUBNET, options={"switch": "mine"}) for host in several]
        containers = [await host.run(network) for host, network in zip(several, networks, strict=True)]
        assert [each.ip for each in containers] == ["10.0.0.3", "10.0.0.4"]
        for each in containers:
            await each.rm()
        assert hosts.rows("lease") == hosts.rows("claim") == []


# --- Repeats, releases and crashes --------------------------------------------------------------------------


async def test_a_lost_reply_leases_exactly_one(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create(SUBNET)
        await addresses(host, network, 1)
        for lost in (1, 2, 1):
            proxy.lose_replies = lost
            await addresses(host, network, 1)
        proxy.lose_replies = 1
        await host.request(network.pool_ids[0], "10.0.0.100")
        assert len(hosts.rows("lease")) == 5


async def test_a_cancelled_request_leaves_no_lease(hosts: Hosts, short_path: Path) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h", remote=proxy.remote) as host:
        network = await host.network_create(SUBNET)
        await addresses(host, network, 1)
        proxy.lose_replies = 1000
        task = asyncio.ensure_future(addresses(host, network, 1))
        async with asyncio.timeout(5):
            while len(hosts.rows("lease")) < 2:  # noqa: ASYNC110 - the database is what is watched
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.lose_replies = 0
        async with asyncio.timeout(5):
            while hosts.rows("lease") != ["10.0.0.2"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_release_is_idempotent_and_never_of_another_hosts_lease(hosts: Hosts) -> None:
    async with hosts.several(2) as (host, other):
        network, theirs = await host.network_create(SUBNET), await other.network_create(SUBNET)
        [address] = await addresses(host, network, 1)
        for _ in range(2):
            await other.release(theirs.pool_ids[0], address)
        assert hosts.rows("lease") == [address]
        for _ in range(2):
            await host.release(network.pool_ids[0], address)
        assert hosts.rows("lease") == []
        await other.request(theirs.pool_ids[0], address)
        await host.release(network.pool_ids[0], address)
        assert hosts.rows("lease") == [address]
        await host.release(network.pool_ids[0], "10.0.0.1")
        assert hosts.rows("reserved") == ["10.0.0.1"]
        with pytest.raises(RequestError, match="names no address"):
            await host.release(network.pool_ids[0], "")


async def test_a_repeated_release_never_takes_a_running_containers_lease(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create("10.0.0.0/30")
        first = await host.run(network)
        await first.rm()
        second = await host.run(network)
        assert second.ip == first.ip
        await first.release()
        assert hosts.rows("lease") == [second.ip]
        await first.rm()
        assert (hosts.rows("lease"), hosts.ports()) == ([second.ip], [second.endpoint_id])
        await second.rm()
    assert hosts.rows("lease") == []


async def test_an_endpoint_whose_lease_northbound_lost_has_its_address_again(hosts: Hosts) -> None:
    """As after a restore from a backup."""
    async with hosts.several(2) as (host, other):
        network, theirs = await host.network_create(SUBNET), await other.network_create(SUBNET)
        address = await host.request(network.pool_ids[0])
        hosts.nbctl("--all", "destroy", "DHCP_Options")
        container = Container(host, network, "a0b1c2d3" * 8, [address])
        await host.endpoint(network, container.endpoint_id, address)
        with pytest.raises(ConflictError, match=f"endpoint {container.endpoint_id} on host h0 has it"):
            await other.request(theirs.pool_ids[0], address.partition("/")[0])
        await container.rm()
        assert hosts.rows("claim") == hosts.rows("lease") == []


async def test_an_existing_endpoint_with_another_address_is_refused(hosts: Hosts) -> None:
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        container = await host.run(network)
        second = await host.request(network.pool_ids[0])
        with pytest.raises((ConflictError, ConstraintError)):
            await host.endpoint(network, container.endpoint_id, second)
        await host.endpoint(network, container.endpoint_id, container.addresses[0])
