"""Sixteen processes lease and release on one pool while drivers and Northbound are killed.

No two clients ever have the same address, and no lease that was answered is lost. What requests that were
killed have left is found and removed by the health check, which knows what Docker has: nothing is leaked.

``OVN_DOCKER_CONTENTION_SECONDS`` says for how long each test does it; a release is checked with 60.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ovn_docker.daemon.components import assemble_overlay, running
from ovn_docker.docker.models import DockerState, Endpoint, Network, PoolConfig
from ovn_docker.health.checks import check as check_all
from ovn_docker.health.snapshot import Snapshot
from ovn_docker.libnetwork.messages import ADDRESS_TYPE, GATEWAY_TYPE
from ovn_docker.ovsdb.operations import mapping, to_map
from tests.flags import driver_settings
from tests.functional.conftest import MakeServer
from tests.functional.servers import Cluster, OvsdbServer
from tests.polling import eventually

SECONDS = float(os.environ.get("OVN_DOCKER_CONTENTION_SECONDS", "8"))
CLIENTS, HOSTS = 16, 3
SUBNET = "10.0.0.0/23"
PROGRAM = Path(sys.executable).with_name("ovn-docker-overlay-driver")
CLIENT = Path(__file__).with_name("leasing_client.py")

LOG = logging.getLogger(__name__)

pytestmark = [pytest.mark.functional, pytest.mark.timeout(60 + 2 * SECONDS)]


class Driver:
    """A real driver process with a host's database of its own, which can be killed and started again."""

    def __init__(self, server: OvsdbServer, name: str, northbound: str, directory: Path) -> None:
        self.name = name
        self.socket = directory / f"{name}.sock"
        self._command = [
            str(PROGRAM),
            *("--unix-socket", str(self.socket)),
            *("--plugin-dir", str(directory / f"{name}.plugins")),
            *("--state-file", str(directory / f"{name}.json")),
            *("--ovsdb", str(server.remote)),
            "-vconsole:off",
        ]
        self._ovsdb = server.remote
        ids = to_map({"system-id": name, "ovn-nb": northbound})
        server.transact({"op": "insert", "table": "Open_vSwitch", "row": {"external_ids": ids}})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        eventually(self._accepts, 20, f"driver {self.name} accepts connections")

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def pool(self) -> str:
        """A hold on the pool, with its gateway, as dockerd asks for it."""
        pool = str(self._call("RequestPool", Pool=SUBNET)["PoolID"])
        self._call("RequestAddress", PoolID=pool, Options={ADDRESS_TYPE: GATEWAY_TYPE})
        return pool

    def _call(self, verb: str, **body: object) -> dict[str, Any]:
        done = subprocess.run(
            [
                *("curl", "-sS", "--fail-with-body", "--unix-socket", str(self.socket)),
                *("-H", "Content-Type:", "-d", json.dumps(body), f"http://plugin/IpamDriver.{verb}"),
            ],
            capture_output=True,
            check=True,
            timeout=20,
        )
        content: dict[str, Any] = json.loads(done.stdout)
        return content

    def sweep(self, state: DockerState) -> Counter[str]:
        """The health check of this host, for as long as it finds something; the kinds of what it repaired."""
        return asyncio.run(self._sweep(state))

    async def _sweep(self, state: DockerState) -> Counter[str]:
        parts = assemble_overlay(driver_settings(self._ovsdb, self.socket.with_suffix(".json")), dict)
        repaired = Counter[str]()
        async with running(parts), asyncio.timeout(20):
            while True:
                held = await parts.inventory.held([])
                key = parts.inventory.pool_key
                findings = check_all(Snapshot("openvswitch", state, held, (), frozenset(), key))
                if not findings:
                    return repaired
                for finding in findings:
                    assert await parts.repairs.repair([finding]) == [""], finding
                repaired.update(finding.kind for finding in findings)


@dataclass
class Account:
    """What the clients wrote down."""

    leases: int = 0
    releases: int = 0
    unanswered: int = 0
    errors: list[str] = field(default_factory=list)
    events: list[tuple[float, str, str, int]] = field(default_factory=list)

    @classmethod
    def of(cls, texts: list[str]) -> "Account":
        account = cls()
        for number, text in enumerate(texts):
            for line in text.splitlines():
                account._note(number, line)
        account.events.sort()
        return account

    def _note(self, client: int, line: str) -> None:
        kind, _, rest = line.partition(" ")
        if kind == "?":
            self.unanswered += 1
        elif kind == "!":
            self.errors.append(rest)
        else:
            moment, address = rest.split()
            self.leases += kind == "+"
            self.releases += kind == "-"
            self.events.append((float(moment), kind, address, client))

    def holders(self) -> dict[str, int]:
        """Who has which address at the end; it fails if at any moment two had one."""
        held: dict[str, int] = {}
        for moment, kind, address, client in self.events:
            if kind == "+":
                assert address not in held, f"{address} is {held[address]}'s and {client}'s at {moment}"
                held[address] = client
            else:
                assert held.pop(address) == client
        return held


@pytest.fixture
def make_drivers(make_server: MakeServer, short_path: Path) -> Iterator[Callable[[str], list[Driver]]]:
    started: list[Driver] = []

    def make(northbound: str) -> list[Driver]:
        for number in range(HOSTS):
            driver = Driver(make_server("Open_vSwitch"), f"h{number}", northbound, short_path)
            started.append(driver)
            driver.start()
        return started

    yield make
    for process in started:
        process.kill()


def contend(drivers: list[Driver], directory: Path, disturb: list[Callable[[], None]]) -> Account:
    """Let the clients loose, and disturb at random moments until they are done."""
    pools = [driver.pool() for driver in drivers]
    files = [directory / f"client-{number}" for number in range(CLIENTS)]
    chance = random.Random(7)  # noqa: S311
    with contextlib.ExitStack() as stack:
        clients = []
        for number, file in enumerate(files):
            driver, pool = drivers[number % HOSTS], pools[number % HOSTS]
            arguments = [str(driver.socket), pool, str(SECONDS), str(number)]
            output = stack.enter_context(file.open("w"))
            client = subprocess.Popen([sys.executable, "-S", str(CLIENT), *arguments], stdout=output)
            stack.callback(client.wait)
            stack.callback(client.kill)
            clients.append(client)
        end = time.monotonic() + SECONDS - 1
        while time.monotonic() < end:
            until = time.monotonic() + chance.uniform(0.5, 1.5)
            eventually(lambda until=until: time.monotonic() > until, 5, "the next moment")  # type: ignore[misc]
            chance.choice(disturb)()
        assert [client.wait(40) for client in clients] == [0] * CLIENTS
    return Account.of([file.read_text() for file in files])


def check(account: Account, rows: list[dict[str, Any]]) -> None:
    """No duplicate at any moment; every answered lease is in Northbound, and little that was not answered."""
    held = account.holders()
    leases = {
        row["cidr"]: mapping(row["external_ids"])["ovn-docker-host"]
        for row in rows
        if mapping(row["external_ids"]).get("ovn-docker") == "lease"
    }
    lost = {address for address, client in held.items() if leases.get(address) != f"h{client % HOSTS}"}
    assert lost == set()
    left = leases.keys() - held.keys()
    LOG.info(
        "%d leases, %d releases, %d unanswered, %d errors %s, %d leases without an answer",
        *(account.leases, account.releases, account.unanswered),
        *(len(account.errors), set(account.errors), len(left)),
    )
    assert len(left) <= account.unanswered + len(account.errors)
    assert account.leases > 10 * SECONDS


def sweep(account: Account, drivers: list[Driver], rows: Callable[[], list[dict[str, Any]]]) -> None:
    """The owners come back: what was answered and not given back is leased, and at the end nothing is."""
    held = account.holders()
    repaired = Counter[str]()
    for number, driver in enumerate(drivers):
        driver.kill()
        here = sorted(address for address, client in held.items() if client % HOSTS == number)
        repaired += driver.sweep(docker_with(here))
    leases = {
        row["cidr"]: marks["ovn-docker-host"]
        for row in rows()
        if (marks := mapping(row["external_ids"])).get("ovn-docker") == "lease"
    }
    assert leases == {address: f"h{client % HOSTS}" for address, client in held.items()}
    for driver in drivers:
        repaired += driver.sweep(DockerState({}, {}))
    left = [row for row in rows() if mapping(row["external_ids"])["ovn-docker"] not in {"host", "hosts"}]
    LOG.info("the health check repaired %s, %d leaked", dict(repaired), len(left))
    assert left == []


def docker_with(addresses: list[str]) -> DockerState:
    """A network of another driver with our IPAM, whose containers have these addresses."""
    network_id, prefix = "b5082ded" * 8, SUBNET.partition("/")[2]
    endpoints = [
        Endpoint(network_id, address.ljust(64, "-"), "", (f"{address}/{prefix}",), "")
        for address in addresses
    ]
    network = Network(
        network_id=network_id,
        name="net",
        driver="macvlan",
        ipam_driver="openvswitch",
        ipam_options={},
        pools=(PoolConfig(SUBNET, "", {}),),
        internal=False,
        ipv6=False,
        options={},
        endpoints={endpoint.endpoint_id: endpoint for endpoint in endpoints},
    )
    return DockerState({network_id: network}, {})


def test_no_lease_is_lost_or_doubled_while_drivers_and_northbound_are_killed(
    northbound: OvsdbServer, make_drivers: Callable[[str], list[Driver]], tmp_path: Path
) -> None:
    drivers = make_drivers(str(northbound.remote))

    def restart() -> None:
        northbound.kill()
        northbound.start()

    account = contend(drivers, tmp_path, [*(driver.restart for driver in drivers), restart, restart])
    check(account, northbound.rows("DHCP_Options", "cidr", "external_ids"))
    sweep(account, drivers, lambda: northbound.rows("DHCP_Options", "cidr", "external_ids"))


@pytest.mark.slow
def test_no_lease_is_lost_or_doubled_while_drivers_and_leaders_are_killed(
    cluster: Cluster, make_drivers: Callable[[str], list[Driver]], tmp_path: Path
) -> None:
    drivers = make_drivers(",".join(map(str, cluster.remotes)))

    def leader() -> OvsdbServer:
        found = eventually(cluster.leader, 10, "the cluster has a leader")
        assert found is not None
        return found

    def new_leader() -> None:
        old = leader()
        old.kill()
        leader()
        old.start()

    account = contend(drivers, tmp_path, [*(driver.restart for driver in drivers), new_leader, new_leader])
    check(account, leader().rows("DHCP_Options", "cidr", "external_ids"))
    sweep(account, drivers, lambda: leader().rows("DHCP_Options", "cidr", "external_ids"))
