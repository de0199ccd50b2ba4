"""A host's row says which machine uses its name, and names the host's rows: neither harms the other."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from uuid import UUID

import pytest

from ovn_docker.errors import ConflictError
from ovn_docker.host import open_vswitch
from ovn_docker.ovn import hosts as host_index
from ovn_docker.ovn import hosts as host_schema
from ovn_docker.ovn import leases
from ovn_docker.ovn.hosts import HostIdentity
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import row_is, select
from ovn_docker.state_file import StateFile
from tests.functional.health.cluster_of_hosts import Local, task
from tests.functional.overlay.docker_side import Docker, findings
from tests.functional.overlay.shared_host import SUBNET, Host, Hosts
from tests.functional.overlay.test_own_rows import index, is_whole, register, rows_of, scans, slow
from tests.functional.servers import Proxy, connected, until

pytestmark = pytest.mark.functional


def identity(hosts: Hosts) -> HostIdentity | None:
    """Who uses the name h, as its row says."""
    [found] = hosts.northbound.transact(host_schema.host_get("h"))
    return host_schema.read_identity(found["rows"])


@dataclass(frozen=True)
class Machine:
    """One that may have the name h, with its own state file."""

    hosts: Hosts
    host: Host
    local: Local

    @contextlib.asynccontextmanager
    async def driver(self, hostname: str) -> AsyncIterator[None]:
        """A driver's session, which has the name by the time that this is entered."""
        before = identity(self.hosts)
        presence = self.local.presence(hostname, interval=0.05)
        self.host.client.admit = presence.admit
        async with task(presence.run()):
            await until(lambda: identity(self.hosts) not in {None, before}, "the session is written")
            yield

    async def take_over(self, hostname: str) -> None:
        """What ``ovn-docker repair --take-over`` does."""
        presence = self.local.presence(hostname)
        await self.local.nb.ready()
        await presence.take_over()


@contextlib.asynccontextmanager
async def machine(hosts: Hosts, host: Host, directory: Path) -> AsyncIterator[Machine]:
    directory.mkdir()
    StateFile(directory / "state.json").update(lambda _: {"machine": directory.name})
    remote = host.open_vswitch.remote
    async with (
        connected([remote], "Open_vSwitch", dict(open_vswitch.WATCHES)) as ovs,
        connected([hosts.northbound.remote], "OVN_Northbound") as nb,
    ):
        await ovs.ready()
        yield Machine(hosts, host, Local(ovs, nb, directory))


async def test_an_index_names_the_same_rows_whoever_writes_its_hosts_identity(
    hosts: Hosts, short_path: Path
) -> None:
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with (
        proxy.serve(),
        hosts.host("h", remote=proxy.remote) as host,
        machine(hosts, host, short_path / "one") as one,
        machine(hosts, host, short_path / "two") as two,
    ):
        docker = Docker(host)
        async with one.driver("box"):
            first = identity(hosts)
            assert await findings(host, docker.state()) == []
            assert is_whole(hosts)
            network = await docker.create(SUBNET, "fd00::/64", leased=True)
            await docker.run(network)
            assert set(index(hosts)) == rows_of(hosts)
        async with one.driver("box"):
            again = identity(hosts)
            assert first is not None
            assert again is not None
            assert (first.machine, first.hostname) == (again.machine, again.hostname)
            assert first.session != again.session
            await docker.run(network)
        await two.take_over("another")
        async with two.driver("another"):
            taken = identity(hosts)
            assert taken is not None
            assert (first.machine, taken.machine) == ("one", "two")
            await docker.run(network)
            assert is_whole(hosts)
            assert set(index(hosts)) == rows_of(hosts)
            scans(proxy)
            assert await findings(host, docker.state()) == []
            assert scans(proxy) == 0


async def test_an_identity_that_lost_a_mark_loses_only_that_in_the_row(hosts: Hosts) -> None:
    register(hosts)
    mark = Mark("h", "2030-01-02T03:04:05Z")
    hosts.northbound.transact(host_index.index_finish(mark, {UUID(int=7): "port"}))
    for own in (HostIdentity("m", "box", "192.0.2.1", "s"), HostIdentity("m", "box", "", "t")):
        hosts.northbound.transact(*host_schema.host_claim("h", own)[1:])
        assert identity(hosts) == own
        assert is_whole(hosts)
        assert index(hosts) == {str(UUID(int=7)): "port"}
    [found] = hosts.northbound.transact(select(leases.TABLE, [], ["external_ids"]))
    assert host_schema.read_host(found["rows"][0]) == "h"


async def test_nothing_is_removed_from_the_index_of_another_machines_name(hosts: Hosts) -> None:
    hosts.indexed = True
    async with hosts.host("h") as host:
        network = await host.network_create(SUBNET)
        container = await host.run(network)
        lease = leases.lease_id(network.pool.key, ip_address(container.ip))
        before = index(hosts)

        async def refuse() -> None:
            raise ConflictError("another machine has the name")

        host.client.admit = refuse
        hosts.northbound.transact({"op": "delete", "table": leases.TABLE, "where": [row_is(lease)]})
        await host.shared.database.remove_entries({lease: "row"})
        with pytest.raises(ConflictError):
            await host.run(network)
        assert index(hosts) == before


async def test_what_is_taken_back_stays_in_the_index_until_a_pass_finds_it_gone(hosts: Hosts) -> None:
    hosts.indexed = True
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        address = ip_address((await host.request(network.pool_ids[0])).partition("/")[0])
        lease = leases.lease_id(network.pool.key, address)
        host.client.take_back([{"op": "delete", "table": leases.TABLE, "where": [row_is(lease)]}])
        await until(lambda: str(address) not in hosts.rows("lease"), "it is taken back")
        assert str(lease) in index(hosts)
        assert await findings(host, docker.state()) == []
        assert set(index(hosts)) == rows_of(hosts)


async def test_a_lease_that_becomes_a_reserved_address_keeps_its_entry(hosts: Hosts) -> None:
    hosts.indexed = True
    async with hosts.host("h") as host:
        docker = Docker(host)
        network = await docker.create(SUBNET, leased=True)
        await host.request(network.pool_ids[0], "10.0.0.9")
        address = ip_address("10.0.0.9")
        mark = await host.shared.database.mark()
        reserve = leases.lease_reserve(network.pool.key, address, network.pool.token, mark)
        [reserved] = await host.shared.database.transact([reserve])
        assert reserved["count"] == 1
        assert str(leases.lease_id(network.pool.key, address)) in index(hosts)
        assert "10.0.0.9" in {each.cidr for each in (await host.inventory.held([])).reserved}


async def test_a_scan_that_began_before_a_new_registration_completes_no_index(
    hosts: Hosts,
) -> None:
    """What it made while it was not registered is in no index, and may not have been there at the scan."""
    register(hosts)
    [done] = hosts.northbound.transact(host_index.index_finish(Mark("h", "2029-01-01T00:00:00Z"), {}))
    assert (done["count"], is_whole(hosts)) == (0, False)
    async with hosts.host("h") as host:
        slow(host, lambda: 0.0)
        assert await findings(host, Docker(host).state()) == []
        assert is_whole(hosts)
        hosts.northbound.transact(host_schema.host_del("h"))
        network = await host.network_create(SUBNET)
        register(hosts)
        assert not is_whole(hosts)
        await host.inventory.held([network.network_id])
        assert is_whole(hosts)
        assert set(index(hosts)) == rows_of(hosts)
