"""Pools that have addresses in common: which are one, and which are refused, so that nothing stays behind."""

import asyncio

import pytest

from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.libnetwork import messages
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts, Network, create

pytestmark = pytest.mark.functional

OVERLAPS = "Pool overlaps with other one on this address space: "
BY_NAME = {"context": "default"}


class TestOneSubnetInAnother:
    @pytest.mark.parametrize(
        ("first", "second"),
        [("10.0.0.0/16", SUBNET), (SUBNET, "10.0.0.0/16"), ("fd00::/48", "fd00::/64")],
    )
    async def test_it_is_refused_on_every_host(self, hosts: Hosts, first: str, second: str) -> None:
        async with hosts.several(2) as several:
            await several[0].network_create(first)
            before = hosts.nbctl("list", "DHCP_Options")
            text = (
                f"{OVERLAPS}{second} with {first} of context default, which networks of h0 have: choose"
                " another subnet, or another context with both --ipam-opt context=NAME and -o context=NAME$"
            )
            for host in several:
                with pytest.raises(ConflictError, match=text):
                    await host.network_create(second)
            assert hosts.nbctl("list", "DHCP_Options") == before
            await several[1].network_create(
                second, ipam_options={"context": "red"}, options={"context": "red"}
            )

    async def test_it_is_accepted_when_the_other_is_gone(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            await host.network_rm(await host.network_create("10.0.0.0/16"))
            await other.network_create(SUBNET)

    async def test_of_hosts_that_make_them_at_once_one_succeeds(self, hosts: Hosts) -> None:
        async with hosts.several(4) as several:
            subnets = ["10.0.0.0/16", "10.0.0.0/17", "10.0.0.0/18", "10.0.0.0/19"]
            made = await asyncio.gather(
                *(host.network_create(each) for host, each in zip(several, subnets, strict=True)),
                return_exceptions=True,
            )
            refused = [str(each) for each in made if isinstance(each, ConflictError)]
            assert (len(refused), len(hosts.rows("pool"))) == (3, 1)
            assert all(each.startswith(OVERLAPS) for each in refused)


class TestOneSubnetTwiceOnAHost:
    async def test_the_second_network_is_refused_and_leaves_nothing(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            one = await host.network_create(SUBNET)
            before = hosts.nbctl("list", "DHCP_Options")
            for aux in ([], ["10.0.0.9"]):
                text = f"{OVERLAPS}network {one.network_id} of this host has {SUBNET} of context default"
                with pytest.raises(ConflictError, match=text):
                    await host.network_create(SUBNET, aux=aux)
            assert hosts.nbctl("list", "DHCP_Options") == before
            await other.network_create(SUBNET)
            assert len(hosts.switches()) == 1

    async def test_of_those_that_are_made_at_once_one_is(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            made = await asyncio.gather(
                *(host.network_create(SUBNET) for _ in range(4)), return_exceptions=True
            )
            refused = [each for each in made if isinstance(each, ConflictError)]
            assert (len(refused), len(host.shared.all())) == (3, 1)

    async def test_it_is_made_where_it_names_the_context(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            networks = [
                await host.network_create(SUBNET),
                await host.network_create(SUBNET, options=BY_NAME),
            ]
            containers = [await host.run(each) for each in networks]
            assert [each.ip for each in containers] == ["10.0.0.2", "10.0.0.3"]
            assert len(hosts.switches()) == 1

    async def test_a_restart_and_a_repeat_change_nothing(self, hosts: Hosts) -> None:
        async with hosts.host("h") as host:
            network = await host.network_create(SUBNET)
        async with hosts.host("h") as host:
            await host.driver.create_network(create(network, None))
            with pytest.raises(ConflictError, match=network.network_id):
                await host.network_create(SUBNET)

    async def test_a_network_is_made_again_when_docker_has_removed_it(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            await host.network_rm(await host.network_create(SUBNET))
            again = await host.network_create(SUBNET)
            await release(host, again)  # DeleteNetwork was lost, and Docker asks once
            again = await host.network_create(SUBNET)
            await host.run(again)


class TestAddressesOfAnotherContextThanTheSwitchs:
    @pytest.mark.parametrize("first", [SUBNET, "10.0.0.0/16"])
    @pytest.mark.parametrize(
        ("ipam", "switch", "text"),
        [
            (
                {"context": "zz"},
                None,
                "of context zz, .* of context default: with --ipam-opt .*=zz give -o .*=zz",
            ),
            (
                None,
                {"context": "zz"},
                "of context default, .* of context zz: with -o .*=zz give --ipam-opt .*=zz",
            ),
            (
                {"context": "zz"},
                {"context": "yy"},
                "of context zz, .* of context yy: with -o .*=yy give --ip.*=yy",
            ),
            (
                {"context": "zz"},
                {"context": "default"},
                "with -o context=default give --ipam-opt context=default",
            ),
        ],
    )
    async def test_they_are_refused_and_leave_nothing(
        self, hosts: Hosts, first: str, ipam: dict[str, str] | None, switch: dict[str, str] | None, text: str
    ) -> None:
        async with hosts.several(2) as (host, other):
            await other.network_create(first, options={"context": "qq"}, ipam_options={"context": "qq"})
            if ipam:
                await host.network_create(first)
            before = hosts.nbctl("list", "DHCP_Options"), hosts.switches(), host.shared.all()
            with pytest.raises(RequestError, match=text):
                await host.network_create(SUBNET, aux=["10.0.0.9"], options=switch, ipam_options=ipam)
            assert (hosts.nbctl("list", "DHCP_Options"), hosts.switches(), host.shared.all()) == before

    @pytest.mark.parametrize("subnets", [(SUBNET, "fd00::/64"), ("", "fd00::/64")])
    async def test_both_pools_of_a_dual_network_are_of_the_switchs_context(
        self, hosts: Hosts, subnets: tuple[str, ...]
    ) -> None:
        red = {"context": "red"}
        async with hosts.several(1) as (host,):
            with pytest.raises(RequestError, match="are of context red"):
                await host.network_create(*subnets, ipam_options=red)
            assert hosts.northbound.rows("DHCP_Options") == []
            await host.network_create(*subnets, ipam_options=red, options=red)

    async def test_a_network_of_another_driver_is_in_nobodys_way(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            request = messages.RequestPoolRequest(pool=SUBNET, options={"context": "zz"})
            for _ in range(2):
                network = await host.network_create(SUBNET)
                await host.ipam.request_pool(request)  # without a CreateNetwork
                await host.driver.create_network(create(network, None))  # as Docker repeats it
                await host.network_rm(network)

    async def test_what_was_requested_before_a_restart_passes(self, hosts: Hosts) -> None:
        async with hosts.host("h") as host:
            network = await host.network_create(SUBNET)
            await host.driver.delete_network(messages.NetworkRequest(network_id=network.network_id))
        async with hosts.host("h") as host:
            await host.driver.create_network(create(network, None))


async def release(host: Host, network: Network) -> None:
    """What Docker asks before DeleteNetwork."""
    for pool_id, address in network.held:
        await host.release(pool_id, address)
    for pool_id in network.pool_ids:
        await host.ipam.release_pool(messages.PoolRequest(pool_id=pool_id))
