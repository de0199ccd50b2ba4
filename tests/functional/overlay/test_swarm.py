"""Swarm: what the leader allocates outlives it, and a switch serves all nodes until the last has left."""

from ipaddress import ip_network

import pytest

from ovn_docker.errors import ConflictError, RequestError
from ovn_docker.health.host_cleanup import HostCleanup
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.ipam_driver import GLOBAL_SPACE
from ovn_docker.overlay.network_spec import SWARM
from tests.functional.overlay import docker_side
from tests.functional.overlay.shared_host import GATEWAY_OPTIONS, SUBNET, Host, Hosts, Network
from tests.functional.overlay.swarm_side import (
    SERIAL,
    Leader,
    SwarmNetwork,
    holders,
    node_network,
    start,
    users,
)

GATEWAY = "10.0.0.1"


async def delete(host: Host, network: Network) -> None:
    """A node goes off a network: DeleteNetwork behind what its IPAM was given back."""
    await host.network_rm(network)


async def give_up(by: Host, host: str) -> None:
    """What `ovn-docker gc` does about a dead host."""
    await HostCleanup(by.client, host, []).run()


class TestLeases:
    async def test_a_node_has_the_address_that_the_leader_leased(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            assert holders(hosts) == {address: ("swarm",)}
            task = await start(worker, await node_network(worker, network), address)
            assert (task.ip, holders(hosts)) == (address, {address: ("swarm", "h1")})
            await task.rm()
            assert holders(hosts) == {address: ("swarm",)}
            await leader.task_rm(network, address)
            assert holders(hosts) == {}

    async def test_the_leader_is_a_node_too(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (only,):
            leader = Leader(only)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            own = await node_network(only, network)
            task = await start(only, own, address)
            with pytest.raises(ConflictError, match="on host h0 has it"):
                await only.request(own.pool_ids[0], address)
            await leader.task_rm(network, address)  # too early: the host has it still
            assert holders(hosts) == {address: ("h0",)}
            await task.rm()
            assert holders(hosts) == {}
            address = await leader.task(network)
            await only.request(own.pool_ids[0], address)
            await leader.task_rm(network, address)  # before there is an endpoint
            assert holders(hosts) == {address: ("h0",)}
            await only.release(own.pool_ids[0], address)
            assert holders(hosts) == {}

    async def test_each_request_and_release_may_be_repeated(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            own = await node_network(worker, network)
            for _ in range(2):
                assert await worker.request(own.pool_ids[0], address) == f"{address}/24"
                assert await leader.task(network, address) == address
            assert holders(hosts) == {address: ("swarm", "h1")}
            for _ in range(2):
                await worker.release(own.pool_ids[0], address)
            for _ in range(2):
                await leader.task_rm(network, address)
            assert holders(hosts) == {}

    async def test_an_address_is_used_on_one_node_at_a_time(self, hosts: Hosts) -> None:
        async with hosts.several(3) as (manager, one, other):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            await start(one, await node_network(one, network), address)
            theirs = await node_network(other, network)
            with pytest.raises(ConflictError, match=r"endpoint \w+ on host h1 has it"):
                await other.request(theirs.pool_ids[0], address)
            await leader.task_rm(network, address)  # the leader believes that the node is gone
            assert holders(hosts) == {address: ("h1",)}
            assert await leader.task(network) != address
            with pytest.raises(ConflictError, match="on host h1 has it"):
                await other.request(theirs.pool_ids[0], address)

    async def test_what_the_leader_leased_is_no_other_networks(self, hosts: Hosts) -> None:
        """A network of global scope outside the swarm, on the same switch, takes from the same space."""
        async with hosts.several(2) as (manager, outside):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            request = messages.RequestPoolRequest(address_space=GLOBAL_SPACE, pool=SUBNET)
            pool = (await outside.ipam.request_pool(request)).pool_id
            await outside.request(pool, "", GATEWAY_OPTIONS)
            await outside.ipam.opened({ip_network(SUBNET): ()})
            with pytest.raises(ConflictError, match="a swarm has given it to a task"):
                await outside.request(pool, address)
            own = (await outside.request(pool)).partition("/")[0]
            assert holders(hosts) == {address: ("swarm",), own: ("h1",)}
            await outside.release(pool, own)
            assert holders(hosts) == {address: ("swarm",)}
            await outside.ipam.release_pool(messages.PoolRequest(pool_id=pool))

    async def test_a_new_leader_takes_over_all_that_the_swarm_has(self, hosts: Hosts) -> None:
        async with hosts.several(3) as (first, second, worker):
            old, new = Leader(first), Leader(second)
            network = await old.network_create(SUBNET)
            running, waiting = await old.task(network), await old.task(network)
            await start(worker, await node_network(worker, network), running)
            before = holders(hosts), users(hosts)
            await new.allocate(network)
            for each in (running, waiting):
                assert await new.task(network, each) == each
            assert (holders(hosts), users(hosts)) == before
            assert before == (
                {running: ("swarm", "h2"), waiting: ("swarm",)},
                {SUBNET: sorted(["h2", network.network_id]), GATEWAY: sorted(["h2", network.network_id])},
            )
            await give_up(worker, "h0")
            assert (holders(hosts), users(hosts)) == before
            assert await new.task(network) not in {running, waiting}

    async def test_a_dead_node_loses_its_use_and_the_swarm_keeps_its_lease(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            await start(worker, await node_network(worker, network), address)
            await give_up(manager, "h1")
            assert (holders(hosts), hosts.ports()) == ({address: ("swarm",)}, [])
            assert users(hosts) == {SUBNET: [network.network_id], GATEWAY: [network.network_id]}
            await leader.task_rm(network, address)  # ``docker node rm``
            assert holders(hosts) == {}

    async def test_a_lease_that_a_node_entered_itself_is_the_leaders_when_it_asks(self, hosts: Hosts) -> None:
        """As after Northbound was restored: the node's health check was quicker than a new leader."""
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            own = await node_network(worker, network)
            task = await worker.run(own, "10.0.0.9")
            assert holders(hosts) == {"10.0.0.9": ("h1",)}
            assert await leader.task(network, "10.0.0.9") == "10.0.0.9"
            await task.rm()
            assert holders(hosts) == {"10.0.0.9": ("swarm",)}

    async def test_a_leader_asks_at_once_also_where_another_driver_has_the_network(
        self, hosts: Hosts
    ) -> None:
        """An address that Docker names behind RequestPool is else a network's auxiliary one."""
        async with hosts.several(1) as (manager,):
            request = messages.RequestPoolRequest(address_space=GLOBAL_SPACE, pool=SUBNET)
            pool = (await manager.ipam.request_pool(request)).pool_id
            assert await manager.request(pool, "10.0.0.7", SERIAL) == "10.0.0.7/24"
            assert holders(hosts) == {"10.0.0.7": ("swarm",)}

    async def test_a_node_that_was_removed_and_is_back_has_its_address_again(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET)
            address = await leader.task(network)
            own = await node_network(worker, network)
            task = await start(worker, own, address)
            await give_up(manager, "h1")
            docker = docker_side.Docker(worker, [(own, network.options)], [task])
            await docker_side.repaired(worker, docker.state())
            assert (holders(hosts), hosts.ports()) == ({address: ("swarm", "h1")}, [task.endpoint_id])

    async def test_the_gateway_stays_reserved_while_no_node_has_the_network(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, worker):
            leader = Leader(manager)
            network = await leader.network_create("10.0.0.0/30")
            own = await node_network(worker, network)
            await delete(worker, own)
            assert users(hosts) == {"10.0.0.0/30": [network.network_id], GATEWAY: [network.network_id]}
            assert await leader.task(network) == "10.0.0.2"
            with pytest.raises(ConflictError, match="gateway"):
                await leader.task(network, GATEWAY)

    async def test_two_networks_of_one_subnet_share_its_pool_until_the_last_is_gone(
        self, hosts: Hosts
    ) -> None:
        async with hosts.several(1) as (manager,):
            leader = Leader(manager)
            one = await leader.network_create(SUBNET)
            before = users(hosts)
            text = (
                f"Pool overlaps with .* network {one.network_id} of the swarm has {SUBNET} of context default"
            )
            with pytest.raises(ConflictError, match=text):
                await leader.network_create(SUBNET)
            assert users(hosts) == before
            other = await leader.network_create(SUBNET, context="default")
            for each in (one, other):  # as a new leader does
                await Leader(manager).allocate(each)
            await leader.network_rm(other)
            assert users(hosts) == {SUBNET: [one.network_id], GATEWAY: [one.network_id]}
            await leader.network_rm(one)
            assert users(hosts) == {}

    async def test_a_removed_network_leaves_nothing_after_several_leaders(self, hosts: Hosts) -> None:
        """Also of an address that the first leader had leased and died before it told the others."""
        async with hosts.several(3) as managers:
            leaders = [Leader(each) for each in managers]
            network = await leaders[0].network_create(SUBNET)
            await leaders[0].task(network)
            for each in (*leaders[1:], Leader(managers[0])):
                await each.allocate(network)
            await leaders[-1].network_rm(network)
            assert hosts.rows("pool") + hosts.rows("reserved") + hosts.rows("lease") == []

    async def test_an_ipv6_pool_is_the_networks_and_its_addresses_are_the_nodes(self, hosts: Hosts) -> None:
        """Swarm allocates a task's IPv4 address only, and each node asks for the other."""
        v6 = "fd00::/64"
        async with hosts.several(3) as (first, *nodes):
            leader = Leader(first)
            network = await leader.network_create(SUBNET, v6)
            assert users(hosts)[v6] == users(hosts)["fd00::1"] == [network.network_id]
            addresses = [await leader.task(network) for _ in nodes]
            tasks = [
                await start(each, await node_network(each, network), address)
                for each, address in zip(nodes, addresses, strict=True)
            ]
            assert len({task.addresses[1] for task in tasks}) == len(nodes)
            for task, address in zip(tasks, addresses, strict=True):
                await task.rm()
                await delete(task.host, task.network)
                await leader.task_rm(network, address)
            other = Leader(nodes[0])
            await other.allocate(network)
            await other.network_rm(network)
            assert [hosts.rows(each) for each in ("pool", "reserved", "lease", "claim")] == [[]] * 4

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"contxt": "red"}, "unknown network option 'contxt': .*; did you mean context"),
            ({"create": "yes"}, "option 'create' is 'yes'"),
            ({messages.MTU: "9"}, "'9' is not a valid MTU"),
        ],
    )
    async def test_the_leader_refuses_an_option_that_no_node_could_use(
        self, hosts: Hosts, options: dict[str, str], text: str
    ) -> None:
        async with hosts.several(1) as (manager,):
            with pytest.raises(RequestError, match=text):
                await Leader(manager).allocate(
                    SwarmNetwork("z" * 25, {SUBNET: ""}, leased=True, options=options)
                )
        assert hosts.northbound.rows("DHCP_Options") == []

    @pytest.mark.parametrize(
        ("options", "ipam_options", "text"),
        [
            ({}, {"context": "red"}, "with --ipam-opt context=red give -o context=red as well"),
            ({"context": "red"}, {}, "with -o context=red give --ipam-opt context=red as well"),
        ],
    )
    async def test_addresses_of_another_context_than_the_switchs_are_refused(
        self, hosts: Hosts, options: dict[str, str], ipam_options: dict[str, str], text: str
    ) -> None:
        async with hosts.several(1) as (manager,):
            network = SwarmNetwork(
                "z" * 25, {SUBNET: ""}, leased=True, options=options, ipam_options=ipam_options
            )
            with pytest.raises(RequestError, match=text):
                await Leader(manager).allocate(network)
        assert hosts.northbound.rows("DHCP_Options") == []

    async def test_a_network_with_dockers_addresses_is_allocated_beside_an_older_pool(
        self, hosts: Hosts
    ) -> None:
        async with hosts.several(1) as (manager,):
            request = messages.RequestPoolRequest(pool=SUBNET, options={"context": "red"})
            await manager.ipam.request_pool(request)  # another network driver's
            await Leader(manager).network_create(SUBNET, leased=False)

    async def test_the_allocators_own_options_are_known(self, hosts: Hosts) -> None:
        async with hosts.several(1) as (manager,):
            leader = Leader(manager)
            network = await leader.network_create(leased=True)
            network.options = {"context": "red"}
            network.ipam_options = {"context": "red"}
            network.pools = {SUBNET: "", "10.0.1.0/24": ""}
            for _ in range(2):
                await leader.allocate(network)
            assert network.ipam_options == {"context": "red", **SERIAL}
            await node_network(manager, network)
            assert network.network_id in users(hosts)[SUBNET]


@pytest.mark.parametrize("leased", [True, False])
class TestSwitches:
    async def test_a_node_that_goes_off_leaves_the_switch_to_the_others(
        self, hosts: Hosts, *, leased: bool
    ) -> None:
        async with hosts.several(3) as (manager, one, other):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET, leased=leased)
            nets = [await node_network(each, network) for each in (one, other)]
            assert len(hosts.switches()) == 1
            addresses = ["10.0.0.2", "10.0.0.3"]
            if leased:
                addresses = [await leader.task(network) for _ in range(2)]
            tasks = [await start(*each) for each in zip((one, other), nets, addresses, strict=True)]
            await tasks[0].rm()
            await delete(one, nets[0])
            assert (len(hosts.switches()), len(hosts.ports())) == (1, 1)
            await tasks[1].rm()
            await delete(other, nets[1])
            assert (hosts.switches(), hosts.ports()) == ([], [])

    async def test_a_node_between_network_and_task_has_the_switch_made_again(
        self, hosts: Hosts, *, leased: bool
    ) -> None:
        async with hosts.several(3) as (manager, one, other):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET, leased=leased)
            first, second = [await node_network(each, network) for each in (one, other)]
            await delete(one, first)
            address = await leader.task(network) if leased else "10.0.0.2"
            await start(other, second, address)
            assert (len(hosts.switches()), len(hosts.ports())) == (1, 1)

    async def test_the_leader_removes_the_switch_that_a_dead_node_left(
        self, hosts: Hosts, *, leased: bool
    ) -> None:
        async with hosts.several(3) as (manager, one, dead):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET, leased=leased)
            nets = [await node_network(each, network) for each in (one, dead)]
            address = await leader.task(network) if leased else "10.0.0.2"
            await start(dead, nets[1], address)
            await delete(one, nets[0])
            await give_up(one, "h2")
            if leased:
                await leader.task_rm(network, address)
            await leader.network_rm(network)
            docker = docker_side.Docker(one)
            await docker_side.repaired(one, docker.state())
            assert (hosts.switches(), hosts.ports()) == ([], [])
            assert [hosts.rows(each) for each in ("pool", "reserved", "lease", "claim")] == [[]] * 4


class TestNetworks:
    async def test_a_dead_nodes_address_is_refused_to_another(self, hosts: Hosts) -> None:
        """Docker's own IPAM gives it anew when the node is removed from the swarm, dead or cut off."""
        async with hosts.several(3) as (manager, dead, other):
            network = await Leader(manager).network_create(SUBNET, leased=False)
            nets = [await node_network(each, network) for each in (dead, other)]
            await start(dead, nets[0], "10.0.0.2")
            with pytest.raises(ConflictError, match="on host h1 has it"):
                await start(other, nets[1], "10.0.0.2")
            await give_up(other, "h1")
            await start(other, nets[1], "10.0.0.2")

    async def test_options_reach_the_nodes_and_internal_does_too(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, node):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET, leased=False, port_security="false")
            assert network.options == {"port_security": "false", SWARM: "true"}
            own = await node_network(node, network)
            await start(node, own, "10.0.0.2")
            assert list(hosts.port_security().values()) == [""]
            await leader.allocate(network)
            assert network.options == {"port_security": "false", SWARM: "true"}

    async def test_freeing_leaves_a_switch_that_has_ports(self, hosts: Hosts) -> None:
        async with hosts.several(2) as (manager, node):
            leader = Leader(manager)
            network = await leader.network_create(SUBNET, leased=False)
            task = await start(node, await node_network(node, network), "10.0.0.2")
            await leader.network_rm(network)
            assert hosts.switches() == [network.network_id]
            await task.rm()
            await leader.network_rm(network)
            assert hosts.switches() == []
