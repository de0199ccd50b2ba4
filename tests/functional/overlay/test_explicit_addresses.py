"""Addresses requested explicitly, with ``--ip`` for a container or ``--aux-address`` for a network."""

import asyncio
import time
from ipaddress import ip_address

import pytest

from ovn_docker import addressing
from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.host import open_vswitch
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.allocator import TakenError
from ovn_docker.overlay.ipam.ipam_driver import SHARE_TIMEOUT
from ovn_docker.ovn import leases
from ovn_docker.ovn.hosts import host_add, presence_lock, seen_set
from ovn_docker.ovn.switches import CREATED, Mark
from ovn_docker.ovsdb.operations import Operation, mapping
from tests.functional.overlay.shared_host import GATEWAY_OPTIONS, SUBNET, Host, Hosts
from tests.functional.overlay.swarm_side import Leader, node_network
from tests.functional.servers import until

pytestmark = pytest.mark.functional

ADDRESS, ENDPOINT = "10.0.0.9", "a0" * 32


async def foreign_network(host: Host, aux: str = "", gateway: str = "") -> str:
    """``docker network create -d macvlan --ipam-driver openvswitch``; without a CreateNetwork for us."""
    pool = (await host.ipam.request_pool(messages.RequestPoolRequest(pool=SUBNET))).pool_id
    await host.request(pool, gateway, GATEWAY_OPTIONS)
    if aux:
        await host.request(pool, aux)
    return pool


def named(container: str) -> dict[str, str]:
    """The options of a container's RequestAddress from Docker 29 on."""
    return {messages.ENDPOINT_NAME: container}


def registered(host: str) -> Operation:
    """What a host's driver does when it is connected for the first time."""
    return host_add(Mark(host, "2030-01-02T03:04:05Z"))


def requested(hosts: Hosts, address: str) -> str:
    """The request that a lease was made for."""
    rows = hosts.northbound.rows("DHCP_Options", "cidr", "external_ids")
    return next(mapping(row["external_ids"])[leases.REQUEST] for row in rows if row["cidr"] == address)


class TestUnderAnotherNetworkDriver:
    async def test_an_address_requested_right_after_its_pool_is_one_containers(self, hosts: Hosts) -> None:
        async with hosts.several(2) as several:
            one, other = [await foreign_network(host) for host in several]
            assert await several[0].request(one, ADDRESS) == f"{ADDRESS}/24"
            text = f"{ADDRESS} of pool {SUBNET} is taken: .* on host h0"
            with pytest.raises(ConflictError, match=text):
                await several[1].request(other, ADDRESS)
            await several[0].release(one, ADDRESS)
            assert await several[1].request(other, ADDRESS) == f"{ADDRESS}/24"

    async def test_the_health_check_makes_an_auxiliary_address_every_hosts(self, hosts: Hosts) -> None:
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

    async def test_a_container_does_not_get_the_gateway_of_its_own_network(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            pool = await foreign_network(host)
            with pytest.raises(ConflictError, match="it is the gateway of the same network"):
                await host.request(pool, "10.0.0.1")


class TestAuxiliaryAddresses:
    @pytest.mark.parametrize("gateway", ["", "10.0.0.7"])
    async def test_one_that_is_the_gateway_is_refused_as_docker_refuses_it(
        self, hosts: Hosts, gateway: str
    ) -> None:
        async with hosts.several(1) as (host,):
            aux = gateway or "10.0.0.1"
            text = f"address {aux} of pool {SUBNET} is taken: it is the gateway of the same network"
            with pytest.raises(ConflictError, match=text):
                await host.network_create(SUBNET, gateway=gateway, aux=[ADDRESS, aux])
        assert hosts.northbound.rows("DHCP_Options") == []

    async def test_the_gateway_of_another_hosts_network_may_be_one(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            await foreign_network(host, gateway="10.0.0.7")
            await foreign_network(other, aux="10.0.0.7")
            assert hosts.rows("reserved") == ["10.0.0.1", "10.0.0.7"]

    async def test_what_a_refused_network_had_leased_goes_with_its_pool(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            kept = await foreign_network(host, aux="10.0.0.5")
            pool = await foreign_network(host, aux=ADDRESS)
            with pytest.raises(ConflictError, match=r"10\.0\.0\.5 of pool"):
                await host.request(pool, "10.0.0.5")
            await host.ipam.release_pool(messages.PoolRequest(pool_id=pool))
            assert hosts.rows("lease") == ["10.0.0.5"]
            await host.release(kept, "10.0.0.5")

    async def test_two_that_are_the_same_are_refused_at_once(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            began = time.monotonic()
            text = (
                f"address {ADDRESS} of pool {SUBNET} is taken: it is an auxiliary address of the same network"
            )
            with pytest.raises(ConflictError, match=text):
                await host.network_create(SUBNET, aux=[ADDRESS, ADDRESS])
            assert time.monotonic() - began < SHARE_TIMEOUT
        assert hosts.northbound.rows("DHCP_Options") == []

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


async def test_the_holder_of_an_address_is_given_by_its_containers_name(hosts: Hosts) -> None:
    async with hosts.several(2) as several:
        one, other = [await host.network_create(SUBNET) for host in several]
        await several[0].request(one.pool_ids[0], ADDRESS, named("web"))
        with pytest.raises(ConflictError, match="taken: container web on host h0 has it"):
            await several[1].request(other.pool_ids[0], ADDRESS, named("web"))
        await several[0].endpoint(one, ENDPOINT, f"{ADDRESS}/24")
        with pytest.raises(ConflictError, match=f"taken: endpoint {ENDPOINT} of container web on host h0"):
            await several[1].request(other.pool_ids[0], ADDRESS)


class TestARequestThatIsRepeated:
    """dockerd sends it again when the connection failed, so perhaps to the next process of the driver."""

    async def test_a_container_that_docker_names_is_answered_again_and_no_other(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            network = await host.network_create(SUBNET)
            pool = network.pool_ids[0]
            for _ in range(3):
                assert await host.request(pool, ADDRESS, named("web")) == f"{ADDRESS}/24"
            with pytest.raises(ConflictError, match="container web on host h0 has it"):
                await host.request(pool, ADDRESS, named("db"))
            await host.endpoint(network, ENDPOINT, f"{ADDRESS}/24")
            with pytest.raises(ConflictError, match=f"endpoint {ENDPOINT} of container web on host h0"):
                await host.request(pool, ADDRESS, named("web"))

    @pytest.mark.parametrize("leave", [True, False])
    async def test_before_docker_29_one_to_the_same_process_is_a_second_containers(
        self, hosts: Hosts, *, leave: bool
    ) -> None:
        async with hosts.several(1) as (host,):
            network = await host.network_create(SUBNET)
            pool = network.pool_ids[0]
            await host.request(pool, ADDRESS)
            with pytest.raises(ConflictError, match="an endpoint still being created on host h0 has it"):
                await host.request(pool, ADDRESS)
            if leave:  # as Docker does for the container whose start failed
                await host.release(pool, ADDRESS)
                assert await host.request(pool, ADDRESS) == f"{ADDRESS}/24"
            await host.endpoint(network, ENDPOINT, f"{ADDRESS}/24")
            assert (hosts.rows("lease"), hosts.ports()) == ([ADDRESS], [ENDPOINT])

    async def test_what_the_first_one_would_take_back_is_left_alone(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            network = await host.network_create(SUBNET)
            requests = []
            for _ in range(2):
                await host.request(network.pool_ids[0], ADDRESS, named("web"))
                requests.append(requested(hosts, ADDRESS))
            key, address = network.pool.key, ip_address(ADDRESS)
            await host.client.transact(leases.lease_undo(key, address, requests[0]))
            assert hosts.rows("lease") == [ADDRESS]

    async def test_the_next_process_answers_what_the_last_one_was_asked(self, hosts: Hosts) -> None:
        async with hosts.host("h") as host:
            network = await host.network_create(SUBNET)
            pool = network.pool_ids[0]
            await host.request(pool, ADDRESS)
            with pytest.raises(ConflictError, match="on host h"):
                await host.request(pool, ADDRESS)  # another container
        async with hosts.host("h") as host, hosts.host("other") as other:
            theirs = await other.network_create(SUBNET)
            with pytest.raises(ConflictError, match="on host h has it"):
                await other.request(theirs.pool_ids[0], ADDRESS)
            assert await host.request(pool, ADDRESS) == f"{ADDRESS}/24"
            await host.endpoint(network, ENDPOINT, f"{ADDRESS}/24")
        async with hosts.host("h") as host:
            with pytest.raises(ConflictError, match=f"endpoint {ENDPOINT} on host h has it"):
                await host.request(pool, ADDRESS)

    async def test_of_two_containers_that_were_answered_one_is_made(self, hosts: Hosts) -> None:
        async with hosts.host("h") as host:
            network = await host.network_create(SUBNET)
            pool = network.pool_ids[0]
            await host.request(pool, ADDRESS)
        async with hosts.host("h") as host:
            await host.request(pool, ADDRESS)
            await host.endpoint(network, ENDPOINT, f"{ADDRESS}/24")
            with pytest.raises(ConflictError, match=f"{ADDRESS}: endpoint {ENDPOINT} on host h has it"):
                await host.endpoint(network, "b1" * 32, f"{ADDRESS}/24")
            await host.release(pool, ADDRESS)
            assert (hosts.rows("lease"), hosts.ports()) == ([ADDRESS], [ENDPOINT])

    async def test_under_another_network_driver_docker_has_to_name_the_container(self, hosts: Hosts) -> None:
        async with hosts.host("h") as host:
            pool = await foreign_network(host)
            await host.request(pool, ADDRESS)
            await host.request(pool, "10.0.0.10", named("web"))
        async with hosts.host("h") as host:
            with pytest.raises(ConflictError, match="on host h has it"):
                await host.request(pool, ADDRESS)
            assert await host.request(pool, "10.0.0.10", named("web")) == "10.0.0.10/24"


class TestALeaseThatNobodyReleased:
    """The host lost its power, or this driver did not run when Docker took the container down."""

    async def test_an_endpoint_whose_link_is_gone_has_nothing(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            network = await host.network_create(SUBNET)
            old = await host.run(network, ADDRESS)
            with pytest.raises(ConflictError, match=f"endpoint {old.endpoint_id} on host h0 has it$"):
                await host.request(network.pool_ids[0], ADDRESS)
            await plug(host, network.network_id, old.endpoint_id, ADDRESS)
            new = await host.run(network, ADDRESS)
            assert (hosts.ports(), hosts.rows("lease")) == ([new.endpoint_id], [ADDRESS])
            await new.rm()
            assert (hosts.ports(), hosts.rows("lease")) == ([], [])

    async def test_an_endpoint_that_was_never_joined_has_nothing_after_a_while(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (host,):
            network = await host.network_create(SUBNET)
            old = await host.run(network, ADDRESS)
            await change(host, ADDRESS, {CREATED: "2020-01-02T03:04:05Z"})
            new = await host.run(network, ADDRESS)
            assert new.endpoint_id != old.endpoint_id
            assert (hosts.ports(), hosts.rows("lease")) == ([new.endpoint_id], [ADDRESS])

    async def test_another_hosts_is_left_to_it_and_the_error_says_how_to_free_it(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            network = await host.network_create(SUBNET)
            old = await host.run(network, ADDRESS)
            await change(host, ADDRESS, {CREATED: "2020-01-02T03:04:05Z"})
            holder = f"endpoint {old.endpoint_id} on host h0 has it"
            remedy = "if that host will not come back, free what it has with 'ovn-docker gc --host h0'"
            theirs = await other.network_create(SUBNET)
            away = "; the driver of host h0 is away: "
            with pytest.raises(ConflictError, match=f"{holder}{away}{remedy}$"):
                await other.run(theirs, ADDRESS)
            await host.client.transact([registered("h0"), seen_set("h0", "2030-01-02T03:04:05Z")])
            away = "; the driver of host h0 has been away since about 2030-01-02 03:04 UTC: "
            with pytest.raises(ConflictError, match=f"{holder}{away}{remedy}$"):
                await other.run(theirs, ADDRESS)
            await host.client.transact([seen_set("h0", "2030-01-02T03:09:59Z", stopped=True)])
            away = "; the driver of host h0 has been away since 2030-01-02 03:09 UTC: "
            with pytest.raises(ConflictError, match=f"{holder}{away}{remedy}$"):
                await other.run(theirs, ADDRESS)
            async with host.client.lock(presence_lock("h0"), steal=True):
                with pytest.raises(ConflictError, match=f"{holder}$"):
                    await other.run(theirs, ADDRESS)
            assert hosts.ports() == [old.endpoint_id]

    async def test_containers_that_are_refused_at_once_all_say_so(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            network = await host.network_create(SUBNET)
            await host.run(network, ADDRESS)
            theirs = await other.network_create(SUBNET)
            runs = [other.run(theirs, ADDRESS) for _ in range(8)]
            refused = await asyncio.gather(*runs, return_exceptions=True)
            assert {type(each) for each in refused} == {TakenError}
            assert all("the driver of host h0 is away" in str(each) for each in refused)
            async with host.client.lock(presence_lock("h0"), steal=True):
                runs = [other.run(theirs, ADDRESS) for _ in range(20)]
                refused = await asyncio.gather(*runs, return_exceptions=True)
            assert not [each for each in refused if not str(each).endswith("on host h0 has it")]

    async def test_an_address_that_dockers_own_ipam_chose_twice_is_reported_alike(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (host, other):
            shared = {"create": "true"}
            one, two = [await each.plain_network_create(SUBNET, options=shared) for each in (host, other)]
            await host.endpoint(one, ENDPOINT, f"{ADDRESS}/24")
            with pytest.raises(ConflictError, match=r"on host h0 has it; .* 'ovn-docker gc --host h0'$"):
                await other.endpoint(two, "b0" * 32, f"{ADDRESS}/24")

    async def test_a_swarms_task_takes_the_place_of_one_that_is_gone(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            own = await node_network(worker, network)
            old = await worker.run(own, address)
            with pytest.raises(ConflictError, match=f"endpoint {old.endpoint_id} on host h1 has it"):
                await worker.run(own, address)
            await plug(worker, own.network_id, old.endpoint_id, address)
            new = await worker.run(own, address)
            assert (hosts.ports(), hosts.rows("lease")) == ([new.endpoint_id], [address])


async def plug(host: Host, network_id: str, endpoint_id: str, address: str) -> None:
    """An interface as Join makes it, and as it outlives its container's link."""
    root = host.open_vswitch.rows("Open_vSwitch", "_uuid")[0]["_uuid"]
    ids = {open_vswitch.NETWORK: network_id, open_vswitch.ADDRESSES: address}
    outside, _ = addressing.link_names(endpoint_id)
    host.open_vswitch.transact(
        {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": {"name": "br-int"}},
        {
            "op": "update",
            "table": "Open_vSwitch",
            "where": [["_uuid", "==", root]],
            "row": {"bridges": ["named-uuid", "b"]},
        },
        *open_vswitch.add_port("br-int", endpoint_id, outside, {open_vswitch.IFACE_ID: endpoint_id, **ids}),
    )
    await until(lambda: host.shared.database.attachments.plugged(endpoint_id), "plugged in")


async def change(host: Host, address: str, ids: dict[str, str]) -> None:
    """Write marks of a lease."""
    await host.client.transact([leases.change([("cidr", "==", address)], ids)])
