"""A switch with more ports than a host reads for each lease: what others hold on it is known all the same."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ovn_docker.errors import ConflictError
from ovn_docker.overlay.ipam import foreign_addresses
from ovn_docker.ovsdb.operations import mapping, to_map
from tests.functional.overlay.shared_host import Host, Hosts, Network
from tests.functional.servers import Proxy, until

pytestmark = pytest.mark.functional

SUBNET = "10.0.0.0/24"
OTHERS = 10


SetInterval = Callable[[float], None]


@pytest.fixture
def set_interval(monkeypatch: pytest.MonkeyPatch) -> SetInterval:
    """Three ports are many; set for how many seconds a survey is recent, for each of them."""
    monkeypatch.setattr(foreign_addresses, "SMALL", 3)
    return lambda seconds: monkeypatch.setattr(foreign_addresses, "REREAD_INTERVAL", seconds)


def add_port(hosts: Hosts, network: Network, name: str, address: str = "") -> None:
    """What an administrator types."""
    words = ["lsp-add", network.pool.key, name]
    if address:
        words += ["--", "lsp-set-addresses", name, f"02:00:00:00:00:01 {address}"]
    hosts.nbctl(*words)


async def large(hosts: Hosts, host: Host) -> Network:
    """A network on a switch with many ports, of which one has 10.0.0.2."""
    network = await host.network_create(SUBNET)
    for number in range(OTHERS):
        add_port(hosts, network, f"vm{number}", "" if number else "10.0.0.2")
    return network


@contextlib.asynccontextmanager
async def two_hosts(
    hosts: Hosts, directory: Path
) -> AsyncIterator[tuple[Host, Host, Network, Network, Proxy]]:
    """Two hosts with a network each on one large switch, and the second one's way to Northbound."""
    proxy = Proxy(directory / "proxy", hosts.northbound.socket)
    async with hosts.host("h1") as one, proxy.serve(), hosts.host("h2", remote=proxy.remote) as other:
        yield one, other, await large(hosts, one), await other.network_create(SUBNET), proxy


def listings(proxy: Proxy) -> int:
    """How often the ports of a switch were read since the last question."""
    count = sum("ports" in op.get("columns", ()) for each in proxy.transactions for op in each)
    proxy.transactions.clear()
    return count


def survey(hosts: Hosts) -> dict[str, str]:
    """The survey's marks; empty where there is none."""
    marks = [mapping(row["external_ids"]) for row in hosts.northbound.rows("DHCP_Options", "external_ids")]
    return next((each for each in marks if each["ovn-docker"] == "survey"), {})


def is_up_to_date(hosts: Hosts) -> bool:
    [switch] = hosts.northbound.rows("Logical_Switch", "_version")
    return bool(survey(hosts).get("ovn-docker-version") == switch["_version"][1])


async def test_the_look_of_one_host_serves_all(
    hosts: Hosts, short_path: Path, set_interval: SetInterval
) -> None:
    set_interval(1000.0)
    async with two_hosts(hosts, short_path) as (one, other, network, same, proxy):
        assert await one.request(network.pool_ids[0]) == "10.0.0.3/24"
        assert is_up_to_date(hosts)
        assert await other.request(same.pool_ids[0]) == "10.0.0.4/24"
        with pytest.raises(ConflictError, match="logical switch port vm0 holds it"):
            await other.request(same.pool_ids[0], "10.0.0.2")
        assert listings(proxy) == 0


async def test_a_container_that_any_host_starts_costs_no_lease_a_look(
    hosts: Hosts,
    short_path: Path,
    set_interval: SetInterval,
) -> None:
    set_interval(1000.0)
    async with two_hosts(hosts, short_path) as (one, other, network, same, proxy):
        await one.request(network.pool_ids[0])
        for _ in range(3):
            await one.run(network)
            await other.request(same.pool_ids[0])
        assert not is_up_to_date(hosts)
        assert listings(proxy) == 0


async def test_the_survey_follows_a_container_that_starts_alone(
    hosts: Hosts,
    short_path: Path,
    set_interval: SetInterval,
) -> None:
    """The host that made the port looks once more, while nobody waits."""
    set_interval(0.0)
    async with two_hosts(hosts, short_path) as (one, other, network, same, proxy):
        await other.request(same.pool_ids[0])
        for change in ("started", "removed"):
            if change == "started":
                container = await one.run(network)
            else:
                await container.rm()
            await until(lambda: is_up_to_date(hosts), "the survey follows")
            listings(proxy)
            await other.request(same.pool_ids[0])
            assert listings(proxy) == 0, change


async def test_a_new_port_of_others_is_seen_when_the_last_look_is_old(
    hosts: Hosts, set_interval: SetInterval
) -> None:
    async with hosts.several(2) as (one, other):
        set_interval(0.0)
        network, same = await large(hosts, one), await other.network_create(SUBNET)
        await one.request(network.pool_ids[0])
        add_port(hosts, network, "new", "10.0.0.50")
        for host, pool_id in ((one, network.pool_ids[0]), (other, same.pool_ids[0])):
            with pytest.raises(ConflictError, match="logical switch port new holds it"):
                await host.request(pool_id, "10.0.0.50")
        set_interval(1000.0)
        hosts.nbctl("lsp-set-addresses", "vm1", "02:00:00:00:00:02 10.0.0.60")
        with pytest.raises(ConflictError, match="logical switch port vm1 holds it"):
            await other.request(same.pool_ids[0], "10.0.0.60")


@pytest.mark.parametrize(
    "wrong",
    [
        {"ovn-docker-taken": "2000000000"},
        {"ovn-docker-taken": "soon"},
        {"ovn-docker-size": "many"},
        {"ovn-docker-version": "none"},
    ],
)
async def test_a_survey_that_cannot_be_believed_is_made_again(
    hosts: Hosts,
    set_interval: SetInterval,
    wrong: dict[str, str],
) -> None:
    set_interval(0.0)
    async with hosts.host("h1") as host:
        network = await large(hosts, host)
        await host.request(network.pool_ids[0])
        good = survey(hosts)
        where = [["external_ids", "includes", to_map({"ovn-docker": "survey"})]]
        row = {"external_ids": to_map(good | wrong), "options": to_map({"no row id": ""})}
        hosts.northbound.transact({"op": "update", "table": "DHCP_Options", "where": where, "row": row})
        add_port(hosts, network, "new", "10.0.0.50")
        with pytest.raises(ConflictError, match="logical switch port new holds it"):
            await host.request(network.pool_ids[0], "10.0.0.50")
        assert is_up_to_date(hosts)


async def test_leases_at_the_same_time_wait_for_one_look(
    hosts: Hosts,
    short_path: Path,
    set_interval: SetInterval,
) -> None:
    set_interval(1000.0)
    proxy = Proxy(short_path / "proxy", hosts.northbound.socket)
    async with proxy.serve(), hosts.host("h1", remote=proxy.remote) as host:
        network = await large(hosts, host)
        listings(proxy)
        got = await asyncio.gather(*(host.request(network.pool_ids[0]) for _ in range(8)))
        assert len(set(got)) == 8
        assert listings(proxy) == 1


async def test_a_switch_that_is_made_again_is_looked_at_anew(hosts: Hosts, set_interval: SetInterval) -> None:
    set_interval(1000.0)
    async with hosts.host("h1") as host:
        network = await large(hosts, host)
        await host.request(network.pool_ids[0])
        name = network.pool.key
        hosts.nbctl("ls-del", name, "--", "ls-add", name)
        add_port(hosts, network, "new", "10.0.0.50")
        with pytest.raises(ConflictError, match="logical switch port new holds it"):
            await host.request(network.pool_ids[0], "10.0.0.50")
