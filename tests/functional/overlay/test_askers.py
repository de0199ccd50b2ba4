"""Who asks for a name is known by the link and the address of the query, and by Docker where need be."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from uuid import UUID

import pytest

from ovn_docker.daemon.components import cancel
from ovn_docker.dns.responder import Asker
from ovn_docker.docker.engine import GATEWAY_BRIDGE, Engine
from ovn_docker.errors import HostError, UnreachableError
from ovn_docker.host import open_vswitch, ovn_settings
from ovn_docker.host.open_vswitch import GatewayLink
from ovn_docker.overlay import name_service
from ovn_docker.overlay.name_service import Askers, read_servers
from ovn_docker.ovn import names, switches
from tests.functional.overlay.named_host import a_network, run
from tests.functional.overlay.shared_host import BRIDGE, SUBNET, Container, Host, Hosts, Network
from tests.functional.servers import until

pytestmark = pytest.mark.functional

SANDBOX, OTHER_SANDBOX = "fc2ac21230fc", "0123456789ab"
SERVERS = "192.0.2.53 2001:db8::53"


class Docker(Engine):
    """One that says who is on docker_gwbridge.

    Attributes:
        members: sandboxes by address.
        asked: how often it was asked.
        error: why it does not say so.
        silent: whether it never answers.
    """

    def __init__(self, members: Mapping[str, str] | None = None) -> None:
        super().__init__("unix:///none", None)
        self.members = dict(members or {})
        self.asked = 0
        self.error = ""
        self.silent = False

    async def askers(self) -> Mapping[str, str]:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.error:
            raise UnreachableError(self.error)
        return dict(self.members)


def askers(host: Host, docker: Docker | None = None) -> Askers:
    return Askers(host.ovs, host.shared, docker or Docker(), host.naming)


def switch_of(network: Network) -> UUID:
    return switches.switch_id(network.pool.key)


async def gateway(host: Host, network: Network, name: str) -> str:
    """A link of this host that is the gateway of a network; its name."""
    link = GatewayLink(str(switch_of(network)), "gateway", name, "openvswitch")
    host.into_bridge(open_vswitch.add_gateway_link(BRIDGE, link))
    known = lambda: name in {each.name for each in open_vswitch.gateway_links(host.ovs.replica)}  # noqa: E731
    await until(known, "the link is known")
    return name


def sees(asker: Asker | None) -> set[UUID]:
    """The rows of the name "web" that it may read."""
    assert asker is not None
    return {network.key("web") for network in asker.networks}


def rows(*networks: Network) -> set[UUID]:
    return {names.name_id(switch_of(network), "web") for network in networks}


@contextlib.asynccontextmanager
async def one(hosts: Hosts, *subnets: str) -> AsyncIterator[tuple[Host, list[Network]]]:
    async with hosts.host("h0") as host:
        yield host, [await a_network(host, subnet) for subnet in subnets or (SUBNET,)]


# --- By the gateway of a network ----------------------------------------------------------------------------


async def test_a_container_sees_all_of_its_shared_networks_and_no_others(hosts: Hosts) -> None:
    async with one(hosts, SUBNET, "10.1.0.0/24", "10.2.0.0/24") as (host, [here, there, elsewhere]):
        box = await run(host, "web", here, there, sandbox=SANDBOX)
        await run(host, "other", elsewhere, sandbox=OTHER_SANDBOX)
        for endpoint, network, name in zip(box.endpoints, (here, there), ("og-1", "og-2"), strict=True):
            link = await gateway(host, network, name)
            asker = await askers(host).who(endpoint.ip, link)
            assert sees(asker) == rows(here, there)
            assert asker is not None
            assert {str(pool) for each in asker.networks for pool in each.pools} == {SUBNET, "10.1.0.0/24"}


async def test_a_container_asks_by_each_of_its_addresses(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        network = await host.network_create(SUBNET, "fd00::/64", options={"egress": "docker"})
        box = await run(host, "web", network, sandbox=SANDBOX)
        link = await gateway(host, network, "og-1")
        for address in box.endpoints[0].addresses:
            assert sees(await askers(host).who(address.partition("/")[0], link)) == rows(network)


async def test_an_address_on_the_gateway_of_another_network_is_a_strangers(hosts: Hosts) -> None:
    async with one(hosts, SUBNET, "10.1.0.0/24") as (host, [here, there]):
        box = await run(host, "web", here, sandbox=SANDBOX)
        link, other = await gateway(host, here, "og-1"), await gateway(host, there, "og-2")
        who = askers(host).who
        assert sees(await who(box.ip, link)) == rows(here)
        for source, by in ((box.ip, other), (box.ip, "eth0"), (box.ip, ""), ("10.0.0.200", link), ("", link)):
            assert await who(source, by) is None, (source, by)


async def test_of_two_containers_with_one_address_each_sees_its_own_network(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        here = await a_network(host, SUBNET)
        there = await host.network_create(
            SUBNET, ipam_options={"context": "b"}, options={"egress": "docker", "context": "b"}
        )
        mine, others = await run(host, "a", here, sandbox=SANDBOX), await run(host, "b", there)
        assert mine.ip == others.ip
        link, other = await gateway(host, here, "og-1"), await gateway(host, there, "og-2")
        assert sees(await askers(host).who(mine.ip, link)) == rows(here)
        assert sees(await askers(host).who(mine.ip, other)) == rows(there)


async def test_a_network_that_hosts_do_not_share_has_no_names_to_see(hosts: Hosts) -> None:
    async with one(hosts) as (host, [shared]):
        plain = await host.plain_network_create("10.9.0.0/24")
        await run(host, "web", shared, sandbox=SANDBOX)
        alone = Container(host, plain, "e0" * 32, ["10.9.0.2/24"])
        await host.endpoint(plain, alone.endpoint_id, *alone.addresses)
        await host.plug(alone, SANDBOX)
        link = GatewayLink(str(switches.switch_id(plain.network_id)), "gateway", "og-9", "openvswitch")
        host.into_bridge(open_vswitch.add_gateway_link(BRIDGE, link))
        await until(lambda: open_vswitch.gateway_links(host.ovs.replica), "the link is known")
        assert sees(await askers(host).who("10.9.0.2", "og-9")) == rows(shared)


async def test_a_container_that_was_repaired_is_known_by_its_address(hosts: Hosts) -> None:
    """Its interface has no sandbox any more."""
    async with one(hosts, SUBNET, "10.1.0.0/24") as (host, [here, there]):
        box = await run(host, "web", here)
        await run(host, "other", there)
        assert sees(await askers(host).who(box.ip, await gateway(host, here, "og-1"))) == rows(here)


async def test_who_comes_and_goes_is_known_at_once(hosts: Hosts) -> None:
    async with one(hosts) as (host, [network]):
        link, who = await gateway(host, network, "og-1"), askers(host).who
        assert await who("10.0.0.2", link) is None
        box = await run(host, "web", network, sandbox=SANDBOX)
        assert sees(await who(box.ip, link)) == rows(network)
        host.open_vswitch.transact(open_vswitch.del_port(box.endpoint_id))
        await until(lambda: not host.attachments.plugged(box.endpoint_id), "it is gone")
        assert await who(box.ip, link) is None


async def test_a_query_waits_for_open_vswitch_after_a_start(hosts: Hosts) -> None:
    async with one(hosts) as (host, [network]):
        box, link = await run(host, "web", network, sandbox=SANDBOX), await gateway(host, network, "og-1")
        ovs = ovn_settings.open_vswitch_client(str(host.open_vswitch.remote), None, 5.0)
        asking = asyncio.create_task(Askers(ovs, host.shared, Docker(), host.naming).who(box.ip, link))
        await asyncio.sleep(0)
        assert not asking.done()
        work = asyncio.create_task(ovs.run())
        try:
            async with asyncio.timeout(10):
                assert sees(await asking) == rows(network)
        finally:
            await cancel(work)


# --- By docker_gwbridge -------------------------------------------------------------------------------------


async def test_a_container_behind_docker_gwbridge_is_known_by_what_docker_says(hosts: Hosts) -> None:
    async with one(hosts, SUBNET, "10.1.0.0/24") as (host, [here, there]):
        await run(host, "web", here, there, sandbox=SANDBOX)
        await run(host, "other", there, sandbox=OTHER_SANDBOX)
        docker = Docker({"172.18.0.2": SANDBOX, "fd18::2": SANDBOX, "172.18.0.3": OTHER_SANDBOX})
        who = askers(host, docker).who
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(here, there)
        assert sees(await who("fd18::2", GATEWAY_BRIDGE)) == rows(here, there)
        assert sees(await who("172.18.0.3", GATEWAY_BRIDGE)) == rows(there)
        assert docker.asked == 1
        assert await who("172.18.0.2", "og-1") is None


async def test_who_is_on_docker_gwbridge_and_no_container_of_ours_is_a_stranger(hosts: Hosts) -> None:
    async with one(hosts) as (host, [network]):
        box = await run(host, "web", network)
        who = askers(host, Docker({"172.18.0.2": "abcdefabcdef", "172.18.0.4": ""})).who
        for source in ("172.18.0.2", "172.18.0.3", "172.18.0.4", box.ip):
            assert await who(source, GATEWAY_BRIDGE) is None


async def test_docker_is_asked_again_when_the_container_with_an_address_is_another(hosts: Hosts) -> None:
    async with one(hosts, SUBNET, "10.1.0.0/24") as (host, [here, there]):
        box = await run(host, "web", here, sandbox=SANDBOX)
        docker = Docker({"172.18.0.2": SANDBOX})
        who = askers(host, docker).who
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(here)
        host.open_vswitch.transact(open_vswitch.del_port(box.endpoint_id))
        await run(host, "other", there, sandbox=OTHER_SANDBOX)
        await until(lambda: not host.attachments.plugged(box.endpoint_id), "it is gone")
        docker.members = {"172.18.0.2": OTHER_SANDBOX}
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(there)
        assert docker.asked == 2


async def test_many_strangers_do_not_make_a_container_wait(hosts: Hosts) -> None:
    """All who ask while Docker is being asked share its next answer."""
    async with one(hosts) as (host, [network]):
        await run(host, "web", network, sandbox=SANDBOX)
        docker = Docker({"172.18.0.2": SANDBOX})
        who = askers(host, docker).who
        began = time.monotonic()
        strangers = [asyncio.create_task(who(f"172.18.1.{each}", GATEWAY_BRIDGE)) for each in range(60)]
        await asyncio.sleep(0)
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(network)
        assert await asyncio.gather(*strangers) == [None] * 60
        assert time.monotonic() - began < 5 * name_service.DOCKER_PAUSE
        assert docker.asked <= 3


async def test_a_docker_that_does_not_answer_is_an_error_and_asked_again(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_service, "DOCKER_PATIENCE", 0.1)
    async with one(hosts) as (host, [network]):
        await run(host, "web", network, sandbox=SANDBOX)
        docker = Docker({"172.18.0.2": SANDBOX})
        who = askers(host, docker).who
        docker.silent = True
        with pytest.raises(HostError, match="does not say who is on docker_gwbridge"):
            await who("172.18.0.2", GATEWAY_BRIDGE)
        docker.silent, docker.error = False, "no socket"
        with pytest.raises(UnreachableError, match="no socket"):
            await who("172.18.0.2", GATEWAY_BRIDGE)
        docker.error = ""
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(network)
        docker.error = "no socket"
        assert sees(await who("172.18.0.2", GATEWAY_BRIDGE)) == rows(network), "known is known"


# --- Other name servers -------------------------------------------------------------------------------------


async def test_a_container_has_its_own_name_servers_or_those_of_the_host(hosts: Hosts) -> None:
    async with one(hosts) as (host, [network]):
        own = await run(host, "own", network, sandbox=SANDBOX, dns=SERVERS)
        none = await run(host, "none", network, sandbox=OTHER_SANDBOX)
        link, who = await gateway(host, network, "og-1"), askers(host).who
        asker, other = await who(own.ip, link), await who(none.ip, link)
        assert asker is not None
        assert other is not None
        assert asker.servers == tuple(SERVERS.split())
        assert other.servers == host.naming.servers()


async def test_a_container_without_name_servers_is_noticed_on_shared_networks(hosts: Hosts) -> None:
    async with one(hosts) as (host, [network]):
        found = askers(host)
        assert not found.without_servers()
        await run(host, "own", network, sandbox=SANDBOX, dns=SERVERS)
        assert not found.without_servers()
        plain = await host.plain_network_create("10.9.0.0/24")
        alone = Container(host, plain, "e0" * 32, ["10.9.0.2/24"])
        await host.plug(alone, OTHER_SANDBOX)
        assert not found.without_servers()
        await run(host, "none", network, sandbox=OTHER_SANDBOX)
        assert found.without_servers()


@pytest.mark.parametrize(
    ("texts", "servers"),
    [
        (["192.0.2.53", "2001:DB8::53"], "192.0.2.53 2001:db8::53"),
        (["192.0.2.53", "x", "", None, 5, "1.2.3.4 5.6.7.8"], "192.0.2.53"),
        ([], ""),
        (None, ""),
        ("192.0.2.53", ""),
        ({"192.0.2.53": ""}, ""),
    ],
)
def test_name_servers_are_read_from_what_docker_gives(texts: object, servers: str) -> None:
    assert read_servers(texts) == servers


async def test_queries_of_a_sealed_network_stay_here(hosts: Hosts) -> None:
    async with hosts.host("h0") as host:
        sealed = await host.network_create(SUBNET, options={"egress": "none"})
        open_ = await a_network(host, "10.1.0.0/24")
        only = await run(host, "only", sealed, sandbox=SANDBOX, sealed="true")
        both = await run(host, "both", sealed, sandbox=OTHER_SANDBOX, sealed="true")
        more = await run(host, "both", open_, sandbox=OTHER_SANDBOX)
        repaired = await run(host, "repaired", sealed)
        inside, outside, who = (
            await gateway(host, sealed, "os-1"),
            await gateway(host, open_, "og-1"),
            askers(host).who,
        )
        told = {
            box.name: asker.sealed
            for box, link in ((only, inside), (both, inside), (more, outside), (repaired, inside))
            if (asker := await who(box.ip, link))
        }
        assert told == {"only": True, "both": False, "repaired": True}
