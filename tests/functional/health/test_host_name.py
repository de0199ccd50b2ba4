"""Two machines with one system-id: the second changes nothing, says who has it, and may take it over."""

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator

import pytest

from ovn_docker.errors import ConflictError
from ovn_docker.health.host_identity import Standing
from ovn_docker.ovn.hosts import presence_lock, session_lock
from ovn_docker.ovsdb.operations import mapping, to_map
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import Databases, task
from tests.functional.health.whole_host import Driver, WholeHost
from tests.functional.overlay.overlay_host import at, endpoint, network, of
from tests.functional.servers import connected, until

pytestmark = pytest.mark.functional

FIRST, SECOND = "127.0.0.1", "::1"
"""Tunnel addresses that this machine has."""


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    return Databases(make_server)


@pytest.fixture
async def hosts(databases: Databases) -> AsyncIterator[tuple[WholeHost, WholeHost]]:
    """Two hosts of one name, each with a Docker."""
    made = [WholeHost(databases.open_vswitch("h1", encap_ip=each)) for each in (FIRST, SECOND)]
    async with contextlib.AsyncExitStack() as stack:
        for each in made:
            await stack.enter_async_context(each.docker())
        yield made[0], made[1]


async def populate(driver: Driver) -> None:
    await driver.parts.driver.create_network(network("10.0.0.0/24"))
    await driver.parts.driver.create_endpoint(endpoint())


async def standing(driver: Driver) -> Standing:
    async with asyncio.timeout(10):
        return (await driver.presence.prove()).standing


def user(databases: Databases) -> str:
    """The tunnel address of whoever the row of h1 says uses that name."""
    return marks_of(databases)["ovn-docker-encap-ip"]


def marks_of(databases: Databases) -> dict[str, str]:
    """All that the row of h1 says."""
    rows = databases.northbound.rows("DHCP_Options", "external_ids")
    [ids] = [each for each in (mapping(row["external_ids"]) for row in rows) if each["ovn-docker"] == "host"]
    return ids


@pytest.mark.parametrize("copied", [False, True], ids=["a name that was pasted", "a copy of the machine"])
async def test_the_second_host_of_a_name_finds_only_that_and_removes_nothing(
    databases: Databases,
    hosts: tuple[WholeHost, WholeHost],
    copied: bool,  # noqa: FBT001
) -> None:
    first, second = hosts
    async with first.driver() as one:
        await populate(one)
        if copied:
            shutil.copy(first.state_file, second.state_file)
        async with second.driver() as two:
            [finding] = await two.findings()
            assert (finding.kind, finding.subject, finding.repair) == ("name-taken", "h1", "")
            assert f"(tunnel address {FIRST}) has the name h1" in finding.text
            assert "its driver is connected" in finding.text
            assert two.presence.problem() == finding.text == two.parts.driver.outage()
            assert {each.kind for each in await one.findings()} == {"network-stale", "endpoint-stale"}
            assert one.presence.problem() == ""
    assert len(databases.ports()) == 1


async def test_no_verb_of_the_second_host_changes_what_is_the_firsts(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    """The Docker of a copy forgets the containers that it was copied with, and asks for their removal."""
    first, second = hosts
    async with first.driver() as one, second.driver() as two:
        await populate(one)
        driver = two.parts.driver
        for verb in (
            driver.delete_endpoint(of()),
            driver.delete_network(at()),
            driver.create_endpoint(endpoint("10.0.0.3/24", endpoint_id="f" * 64)),
        ):
            with pytest.raises(ConflictError, match=r"has the name h1 .* in OVN too"):
                await verb
        assert (await driver.database())["networks"] == {}
        assert len(databases.ports()) == 1


async def test_the_first_host_keeps_its_name_when_northbound_was_away(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, second = hosts
    async with first.driver() as one, second.driver() as two:
        assert await standing(one) is Standing.OWN
        assert await standing(two) is Standing.TAKEN
        for _ in range(3):
            databases.northbound.kill()
            await until(lambda: not one.parts.northbound.connected, "the first has noticed")
            await until(lambda: not two.parts.northbound.connected, "the second has noticed")
            databases.northbound.start()
            assert await standing(one) is Standing.OWN
            assert await standing(two) is Standing.TAKEN
    assert user(databases) == FIRST


async def test_the_first_host_stays_present_when_the_second_comes_and_goes(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, second = hosts
    lock = presence_lock("h1")
    async with first.driver() as one, connected([databases.northbound.remote], "OVN_Northbound") as other:
        assert await standing(one) is Standing.OWN
        async with second.driver() as two:
            assert await standing(two) is Standing.TAKEN
            async with other.lock(lock) as wanted:
                assert (wanted.requested, wanted.held) == (True, False)
        async with other.lock(lock) as wanted:
            assert (wanted.requested, wanted.held) == (True, False)


async def test_a_host_has_its_name_again_at_once_when_its_driver_starts_again(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, _ = hosts
    for _ in range(3):
        async with first.driver() as one:
            assert await standing(one) is Standing.OWN
            assert user(databases) == FIRST


@pytest.mark.slow
async def test_a_command_takes_the_name_over_when_the_other_is_away(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, second = hosts
    async with first.driver() as one:
        await populate(one)
        done = await second.run("check")
        assert done.returncode == 1
        assert done.stdout.startswith("name-taken: ")
        refused = await second.run("repair", "--take-over")
        assert refused.returncode == 3
        assert "the name h1 cannot be taken over" in refused.stderr
    done = await second.run("repair")
    assert (done.returncode, "run 'ovn-docker repair --take-over' here" in done.stdout) == (1, True)
    assert (user(databases), len(databases.ports())) == (FIRST, 1)
    with databases.northd():
        second.state_file.unlink()  # of a machine that never ran a driver
        dry = await second.run("repair", "--take-over", "--dry-run")
        loser = f"{socket.gethostname()} (tunnel address {FIRST})"
        would = f"\nthis host's name would be taken over from {loser}, whose driver is away"
        assert (dry.returncode, would in dry.stdout) == (1, True), dry.stdout
        assert (user(databases), len(databases.ports())) == (FIRST, 1)
        assert not second.state_file.exists()
        done = await second.run("repair", "--take-over")
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"\nthis host's name was taken over from {loser}" in done.stdout
        again = await second.run("repair", "--take-over", "--dry-run")
        assert again.stdout.endswith("no other machine has this host's name: there is nothing to take over\n")
    assert (user(databases), databases.ports()) == (SECOND, [])
    assert json.loads(second.state_file.read_text())["machine"] == marks_of(databases)["ovn-docker-machine"]
    async with second.driver() as two:
        assert await standing(two) is Standing.OWN
    async with first.driver() as one:
        assert await standing(one) is Standing.TAKEN


async def test_commands_and_a_second_driver_of_a_host_are_no_other_machine(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, _ = hosts
    async with first.driver() as one:
        with databases.northd():
            done = await first.run("check")
        assert done.returncode == 0, done.stdout + done.stderr
        other = str(first.state_file.with_name("other.json"))
        async with first.driver("--driver-name", "other", "--state-file", other) as two:
            assert await standing(one) is await standing(two) is Standing.OWN


async def test_a_machine_that_was_installed_anew_has_its_name_at_once(
    databases: Databases, hosts: tuple[WholeHost, WholeHost]
) -> None:
    first, _ = hosts
    async with first.driver() as one:
        await populate(one)
    first.state_file.unlink()
    async with first.driver() as one:
        assert {each.kind for each in await one.findings()} == {"network-stale", "endpoint-stale"}
    assert user(databases) == FIRST


async def test_a_host_that_is_given_a_name_of_its_own_is_free_at_once(
    hosts: tuple[WholeHost, WholeHost],
) -> None:
    first, second = hosts
    async with first.driver() as one, second.driver() as two:
        await populate(one)
        await until(two.presence.problem, "the second knows")
        ids = to_map({"system-id": "h2"})
        row = second.open_vswitch.rows("Open_vSwitch", "external_ids")[0]
        named = to_map(mapping(row["external_ids"]) | mapping(ids))
        change = {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"external_ids": named}}
        await asyncio.to_thread(second.open_vswitch.transact, change)
        await until(lambda: not two.presence.problem(), "the second is free")
        assert await two.findings() == []


async def test_a_copy_with_the_firsts_tunnel_address_in_its_settings_is_another(
    databases: Databases,
) -> None:
    """Its database names an address that only the first has; its own hostname was not changed yet."""
    server = await asyncio.to_thread(databases.open_vswitch, "h1", encap_ip="192.0.2.1")
    copy = await asyncio.to_thread(databases.open_vswitch, "h1", encap_ip="192.0.2.99")
    async with databases.process(server) as one, databases.process(copy) as two:
        first = one.presence(interval=0.05)
        async with task(first.run()):
            await until(databases.registered, "it is registered")
            shutil.copy(one.directory / "state.json", two.directory / "state.json")
            second = two.presence(interval=0.05)
            async with task(second.run()):
                await until(second.problem, "the copy knows")
                assert first.problem() == ""


async def test_processes_of_a_copy_do_not_take_each_other_for_the_first(
    databases: Databases,
) -> None:
    """Its driver and a `check`: each asks its Open vSwitch for the lock of the first one's session."""
    server = await asyncio.to_thread(databases.open_vswitch, "h1", encap_ip="192.0.2.1")
    copy = await asyncio.to_thread(databases.open_vswitch, "h1", encap_ip="192.0.2.2")
    async with databases.process(server) as one, task(one.presence("first").run()):
        await until(databases.registered, "it is registered")
        session = marks_of(databases)["ovn-docker-session"]
        async with databases.process(copy) as two, databases.process(copy) as three:
            checked = two.presence("second")
            async with three.ovs.lock(session_lock(session)) as asked:
                assert asked.held
                verdict = asyncio.create_task(checked.prove())
                async with three.ovs.lock(session_lock("another")):
                    pass  # so that the other one was refused by now
                await asyncio.wait({verdict}, timeout=0.1)
            assert (await verdict).standing is Standing.TAKEN
