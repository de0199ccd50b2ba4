"""Addresses that somebody names: a container's with ``--ip``, a network's with ``--aux-address``."""

import asyncio

import pytest

from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.libnetwork import messages
from tests.functional.drivers.shared_host import GATEWAY_OPTIONS, SUBNET, Host, Hosts

pytestmark = pytest.mark.functional

ADDRESS = "10.0.0.9"


async def foreign_network(host: Host, aux: str = "") -> str:
    """``docker network create -d macvlan --ipam-driver openvswitch``; nobody tells us that it was made."""
    pool = (await host.ipam.request_pool(messages.RequestPoolRequest(pool=SUBNET))).pool_id
    await host.request(pool, "", GATEWAY_OPTIONS)
    if aux:
        await host.request(pool, aux)
    return pool


def named(container: str) -> dict[str, str]:
    """The options of a container's RequestAddress from Docker 29 on."""
    return {messages.ENDPOINT_NAME: container}


class TestUnderAnotherNetworkDriver:
    async def test_an_address_that_is_asked_for_right_behind_the_pool_is_one_containers(
        self, hosts: Hosts
    ) -> None:
        async with hosts.several(2) as several:
            one, other = [await foreign_network(host) for host in several]
            assert await several[0].request(one, ADDRESS) == f"{ADDRESS}/24"
            text = f"{ADDRESS} of pool {SUBNET} is taken: an endpoint .* on host h0 has it"
            with pytest.raises(ConflictError, match=text):
                await several[1].request(other, ADDRESS)
            await several[0].release(one, ADDRESS)
            assert await several[1].request(other, ADDRESS) == f"{ADDRESS}/24"

    async def test_an_auxiliary_address_is_every_hosts_once_the_health_check_has_seen_it(
        self, hosts: Hosts
    ) -> None:
        async with hosts.several(2) as (host, other):
            await foreign_network(host, aux=ADDRESS)
            with pytest.raises(ConflictError, match="on host h0 has it"):
                await foreign_network(other, aux=ADDRESS)
            await host.ipam.enter("default", SUBNET, "", [ADDRESS])
            assert hosts.rows("reserved") == ["10.0.0.1", ADDRESS]
            pool = await foreign_network(other, aux=ADDRESS)
            await host.release(pool, ADDRESS)
            assert hosts.rows("lease") == []

    async def test_a_container_that_docker_names_never_has_a_reserved_address(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            pool = await foreign_network(host)
            with pytest.raises(ConflictError, match="it is the gateway or an auxiliary address"):
                await host.request(pool, "10.0.0.1", named("web"))


class TestAuxiliaryAddresses:
    async def test_hosts_that_make_a_network_at_once_all_keep_its_auxiliary_addresses(
        self, hosts: Hosts
    ) -> None:
        aux = ["10.0.0.5", ADDRESS]
        async with hosts.several(5) as several:
            made = await asyncio.gather(*(host.network_create(SUBNET, aux=aux) for host in several))
            assert (hosts.rows("reserved"), hosts.rows("lease")) == (["10.0.0.1", *aux], [])
            for host, network in zip(several, made, strict=True):
                await host.network_rm(network)
        assert hosts.northbound.rows("DHCP_Options") == []

    async def test_a_network_that_is_refused_leaves_none(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            with pytest.raises(RequestError, match="colour"):
                await host.network_create(SUBNET, aux=[ADDRESS], options={"colour": "red"})
        assert hosts.northbound.rows("DHCP_Options") == []


async def test_who_has_an_address_is_told_by_the_containers_name(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        one, other = [await host.network_create(SUBNET) for host in several]
        await several[0].request(one.pool_ids[0], ADDRESS, named("web"))
        with pytest.raises(ConflictError, match="taken: container web on host h0 has it"):
            await several[1].request(other.pool_ids[0], ADDRESS, named("web"))
        await several[0].endpoint(one, "a0" * 32, f"{ADDRESS}/24")
        with pytest.raises(ConflictError, match=r"taken: endpoint (a0)+ of container web on host h0 has it"):
            await several[1].request(other.pool_ids[0], ADDRESS)
