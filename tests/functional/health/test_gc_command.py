"""`ovn-docker gc` as an operator types it."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.health import host_liveness
from ovn_docker.health.host_liveness import SignOfLife
from ovn_docker.ovn import hosts, leases, switches
from ovn_docker.ovn.leases import LEASE, Lease
from ovn_docker.ovn.switches import Mark, Switch
from tests.functional.conftest import MakeServer
from tests.functional.health.cluster_of_hosts import CREATED, Databases, task
from tests.functional.servers import OvsdbServer, connected, until

pytestmark = pytest.mark.functional

SB = "OVN_Southbound"
NETWORK = "k9qz3h1x0v7p2m5n8r4t6w1y3"
PROGRAM = Path(sys.executable).with_name("ovn-docker")


@pytest.fixture
def databases(make_server: MakeServer) -> Databases:
    made = Databases(make_server)
    made.chassis_add("h1", "h2")
    made.remains_of("h1", "h2", "h3")
    return made


@pytest.fixture
def here(databases: Databases) -> OvsdbServer:
    """The database of the host on which the command is typed."""
    return databases.open_vswitch("h1")


def gc(here: OvsdbServer, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "gc", "--ovsdb", str(here.remote), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def succeeded(here: OvsdbServer, *flags: str) -> str:
    done = gc(here, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(here: OvsdbServer, *flags: str) -> str:
    """The one line of an error."""
    done = gc(here, *flags)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("ovn-docker: ")
    return line


def test_without_a_host_it_lists_them(databases: Databases, here: OvsdbServer) -> None:
    databases.northbound.transact(hosts.seen_set("h2", "2030-01-02T03:04:05Z"))
    databases.northbound.transact(hosts.seen_set("h3", "2030-01-02T03:09:05Z", stopped=True))
    lines = [line.split(maxsplit=5) for line in succeeded(here).splitlines()]
    assert lines == [
        ["HOST", "CHASSIS", "DRIVER", "PORTS", "LEASES", "AWAY SINCE"],
        ["h1", "present", "away", "1", "0", "-"],
        ["h2", "present", "away", "1", "0", "about 2030-01-02 03:04 UTC"],
        ["h3", "absent", "away", "1", "0", "2030-01-02 03:09 UTC"],
    ]
    assert len(databases.ports()) == 3


async def test_the_list_as_json_says_which_driver_is_connected_or_away_since_when(
    databases: Databases, here: OvsdbServer
) -> None:
    databases.northbound.transact(hosts.seen_set("h3", "2030-01-02T03:09:05Z", stopped=True))
    async with databases.driver("h2") as local, task(local.presence().run()):
        await local.nb.transact([])
        listed = json.loads(await asyncio.to_thread(succeeded, here, "--json"))
    remains: dict[str, Any] = {"ports": 1, "leases": 0, "uses": 0, "switches": 1}
    unknown = {"away_since": None, "stopped": False}
    stopped = {"away_since": "2030-01-02T03:09:05Z", "stopped": True}
    assert listed == [
        {"host": "h1", "chassis": True, "driver": False, **unknown, **remains},
        {"host": "h2", "chassis": True, "driver": True, **unknown, **remains},
        {"host": "h3", "chassis": False, "driver": False, **stopped, **remains},
    ]


def test_a_host_that_is_gone_is_given_up(databases: Databases, here: OvsdbServer) -> None:
    line = "host h3 {} removed: 1 port, 0 leases, 0 uses of pools and reserved addresses, 1 switch\n"
    assert succeeded(here, "--host", "h3", "--dry-run") == line.format("would be")
    assert "port-of-h3" in databases.ports()
    assert succeeded(here, "--host", "h3") == line.format("is")
    assert databases.ports() == ["port-of-h1", "port-of-h2"]
    assert databases.registered() == ["h1", "h2"]
    assert databases.listed().names == ("h1", "h2")
    assert succeeded(here, "--host", "h3") == "OVN Northbound has nothing of host h3\n"


@pytest.mark.parametrize(("name", "meant"), [("h2.test", "h2"), ("H2", "h2"), ("H3", "h3")])
def test_a_name_that_means_another_host_is_refused_with_that(
    databases: Databases, here: OvsdbServer, name: str, meant: str
) -> None:
    text = f"ovn-docker: host {name} is not in OVN, but {meant} is: --host takes a system-id"
    assert refused(here, "--host", name) == text
    assert len(databases.ports()) == 3


def test_what_no_index_names_is_found_by_deep(databases: Databases, here: OvsdbServer) -> None:
    databases.northbound.transact(hosts.index_finish(Mark("h3", CREATED), {}))
    assert succeeded(here, "--host", "h3", "--dry-run") == "OVN Northbound has nothing of host h3\n"
    assert "1 port, " in succeeded(here, "--host", "h3", "--dry-run", "--deep")
    assert [line.split()[3] for line in succeeded(here).splitlines()[1:]] == ["1", "1", "0"]
    assert [line.split()[3] for line in succeeded(here, "--deep").splitlines()[1:]] == ["1", "1", "1"]
    assert "1 port, " in succeeded(here, "--host", "h3", "--deep")
    assert "port-of-h3" not in databases.ports()


def test_what_it_did_can_be_read_as_json(here: OvsdbServer) -> None:
    done = json.loads(succeeded(here, "--host", "h3", "--json"))
    remains = {"ports": 1, "leases": 0, "uses": 0, "switches": 1}
    assert done == {"host": "h3", "dry_run": False, "chassis": False, **remains}


def test_a_host_with_a_chassis_is_removed_when_it_alone_does_not_answer(
    databases: Databases, here: OvsdbServer
) -> None:
    with databases.answering("h1"):
        lines = succeeded(here, "--host", "h2").splitlines()
    assert lines[0].startswith("host h2 is removed: 1 port, ")
    assert lines[1:] == [
        "its chassis is still in OVN Southbound: 'ovn-sbctl chassis-del h2' removes the tunnels to it"
    ]
    assert databases.ports() == ["port-of-h1", "port-of-h3"]


def test_a_host_without_a_driver_whose_ovn_controller_answers_is_refused(
    databases: Databases, here: OvsdbServer
) -> None:
    databases.northbound.transact(hosts.seen_set("h2", "2030-01-02T03:09:05Z", stopped=True))
    with databases.answering("h1", "h2"):
        for flags in ((), ("--dry-run",)):
            text = refused(here, "--host", "h2", *flags)
            assert text == (
                "ovn-docker: the driver of host h2 has been away since 2030-01-02 03:09 UTC, but its"
                " ovn-controller answers, so containers may be running there: start the driver, stop the"
                " host, or give --force"
            )
        assert len(databases.ports()) == 3
        succeeded(here, "--host", "h2", "--force")
    assert "port-of-h2" not in databases.ports()


@pytest.mark.slow
def test_a_host_is_not_taken_for_dead_while_nobody_answers(databases: Databases, here: OvsdbServer) -> None:
    with databases.answering():
        text = refused(here, "--host", "h2")
    assert "cannot tell whether host h2 is dead, because no ovn-controller of any host answers" in text
    assert len(databases.ports()) == 3


async def test_a_host_has_as_long_to_answer_as_the_others_had(
    databases: Databases,
) -> None:
    async with databases.driver("h1") as local, connected([databases.southbound.remote], SB) as sb:

        async def ask(*alive: str, patience: float) -> SignOfLife:
            with databases.answering(*alive):
                return await host_liveness.ask(local.nb, sb, "h2", patience)

        assert await host_liveness.ask(local.nb, sb, "h2", 0.5) is SignOfLife.NOBODY, (
            "Northbound was never set up"
        )
        assert await ask("h1", "h2", patience=5) is SignOfLife.GIVEN
        assert await ask("h1", patience=1) is SignOfLife.MISSING
        assert await ask(patience=0.5) is SignOfLife.NOBODY


async def test_nobody_is_taken_for_dead_when_southbound_is_lost_meanwhile(databases: Databases) -> None:
    async with databases.driver("h1") as local, connected([databases.southbound.remote], SB) as sb:
        await asyncio.wait_for(sb.ready(), 5)
        with databases.answering():
            asked = asyncio.create_task(host_liveness.ask(local.nb, sb, "h2", 1))
            await until(lambda: databases.northbound.rows("NB_Global", "nb_cfg")[0]["nb_cfg"], "it is asked")
            databases.southbound.kill()
            assert await asked is SignOfLife.NOBODY


def test_force_does_it_all_the_same(databases: Databases, here: OvsdbServer) -> None:
    succeeded(here, "--host", "h2", "--force")
    assert "port-of-h2" not in databases.ports()


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_this_host_itself_is_refused_whatever_the_flags(
    databases: Databases, here: OvsdbServer, force: tuple[str, ...]
) -> None:
    assert "'ovn-docker repair'" in refused(here, "--host", "h1", *force)
    assert len(databases.ports()) == 3


@contextlib.contextmanager
def asking(databases: Databases, here: OvsdbServer, host: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `gc` that has asked a host for a sign of life, and waits for it."""
    command = [str(PROGRAM), "gc", "--ovsdb", str(here.remote), "--host", host]
    with databases.answering(), subprocess.Popen(command) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_host_that_is_asked_for_a_sign_of_life_is_not_taken_for_connected(
    databases: Databases, here: OvsdbServer
) -> None:
    with asking(databases, here, "h2") as other:
        await until(lambda: databases.northbound.rows("NB_Global", "nb_cfg")[0]["nb_cfg"], "it is asked")
        listed = json.loads(await asyncio.to_thread(succeeded, here, "--json"))
        assert [each["driver"] for each in listed] == [False] * 3
        async with databases.driver("h1") as local:
            assert "away" in await host_liveness.remedy(local.nb, "h2")
        assert other.poll() is None, "it waits still"


@pytest.mark.slow
async def test_a_host_that_comes_back_while_it_is_asked_is_refused(
    databases: Databases, here: OvsdbServer
) -> None:
    with databases.answering("h1"):
        removal = asyncio.create_task(asyncio.to_thread(refused, here, "--host", "h2"))
        await until(lambda: databases.northbound.rows("NB_Global", "nb_cfg")[0]["nb_cfg"], "it is asked")
        async with databases.driver("h2") as local, task(local.presence().run()):
            text = await removal
    assert "the driver of host h2 is connected to OVN Northbound" in text
    assert len(databases.ports()) == 3


async def test_a_host_whose_driver_is_connected_is_refused_unless_forced(
    databases: Databases, here: OvsdbServer
) -> None:
    async with databases.driver("h3") as local, task(local.presence().run()):
        await local.nb.transact([])
        text = await asyncio.to_thread(refused, here, "--host", "h3")
        assert "the driver of host h3 is connected to OVN Northbound" in text
        await asyncio.to_thread(succeeded, here, "--host", "h3", "--force")
        await until(lambda: "port-of-h3" not in databases.ports(), "it is given up")


@pytest.mark.slow
def test_without_southbound_a_host_is_removed_only_by_force(databases: Databases, here: OvsdbServer) -> None:
    databases.southbound.kill()
    assert [line.split()[1] for line in succeeded(here).splitlines()[1:]] == ["unknown"] * 3
    text = refused(here, "--host", "h3")
    assert "cannot tell whether host h3 is still in OVN: OVN Southbound cannot be reached" in text
    assert "port-of-h3" in databases.ports()
    succeeded(here, "--host", "h3", "--force")
    assert "port-of-h3" not in databases.ports()


def test_a_network_whose_swarm_is_no_more_is_freed(databases: Databases, here: OvsdbServer) -> None:
    subnet, key, token = ip_network("10.0.0.0/24"), "k", "0123456789ab"
    gateway, leased, used = subnet[1], subnet[2], subnet[3]
    mark = Mark("h1", CREATED)
    databases.northbound.transact(
        *leases.pool_add("default", subnet, key, {token: "h1"}, {"ovn-docker-created": CREATED}),
        *leases.reserved_add(key, gateway, token, mark),
        leases.network_enter(NETWORK, token, "h1"),
        leases.lease_add(key, leased, Lease(LEASE, swarm=True), mark),
        leases.lease_add(key, used, Lease(LEASE, "h2", "e", swarm=True), mark),
        *switches.ls_add(Switch(NETWORK), mark),
    )

    def left() -> list[str]:
        rows = databases.northbound.rows("DHCP_Options", "cidr")
        return sorted(row["cidr"] for row in rows if row["cidr"])

    line = f"network {NETWORK} {{}} removed from 10.0.0.0/24, 10.0.0.1\n"
    before = left()
    assert succeeded(here, "--swarm-network", NETWORK, "--dry-run") == line.format("would be")
    assert left() == before
    assert succeeded(here, "--swarm-network", NETWORK) == line.format("is")
    assert left() == ["10.0.0.3"], "a host uses it still"
    names = [row["name"] for row in databases.northbound.rows("Logical_Switch", "name")]
    assert NETWORK not in names
    assert "no pool in OVN Northbound is held by" in succeeded(here, "--swarm-network", NETWORK)
    done = json.loads(succeeded(here, "--swarm-network", NETWORK, "--json"))
    assert done == {"network": NETWORK, "dry_run": False, "pools": []}
    assert gc(here, "--swarm-network", NETWORK, "--host", "h3").returncode == 2


def test_what_cannot_be_reached_is_one_line(databases: Databases, here: OvsdbServer) -> None:
    databases.northbound.kill()
    assert "OVN Northbound cannot be reached" in refused(here)
    assert "--ovsdb: 'nonsense' is not a valid OVSDB remote" in refused(here, "--ovsdb", "nonsense")


def test_flags_that_cannot_be_read_are_status_2(here: OvsdbServer) -> None:
    assert gc(here, "--nonsense").returncode == 2
    assert gc(here, "--host", "").returncode == 2
