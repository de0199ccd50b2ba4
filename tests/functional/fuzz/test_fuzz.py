"""Thousands of hostile requests to a real driver process: it answers, logs no surprise and leaves nothing.

``OVN_DOCKER_FUZZ_REQUESTS`` says how many, ``OVN_DOCKER_FUZZ_SEED`` which ones. A failure names the seed.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from ovn_docker.ovn.gateway_ports import GATEWAY
from ovn_docker.ovn.switches import read_uuid
from ovn_docker.ovsdb.operations import mapping
from tests.functional.faults.hosts import configure, held
from tests.functional.faults.killing import DriverProcess, driver_process
from tests.functional.faults.story import call
from tests.functional.fuzz.author import VERBS, Author
from tests.functional.fuzz.client import Connect, FuzzClient, Journal, is_one_line
from tests.functional.fuzz.ledger import Ledger
from tests.functional.overlay.overlay_host import SwitchDaemons
from tests.functional.private_network import in_private_network, links
from tests.functional.servers import OvsdbServer, until

REQUESTS = int(os.environ.get("OVN_DOCKER_FUZZ_REQUESTS", "4000"))
SEED = int(os.environ.get("OVN_DOCKER_FUZZ_SEED", "5"))
CLIENTS = 8
PORT = 5000
PARTS, MOST_GROWTH = 8, 5_000
"""KiB of resident memory in three quarters of the requests, as far as it grows in most parts of them.

What is kept of each request grows in all parts. What an interpreter takes once, for the first long request
say, it takes in one: 5,000 on Python 3.13, 10,000 on 3.14.
"""

LOG = logging.getLogger(__name__)

pytestmark = [pytest.mark.functional, pytest.mark.timeout(120 + REQUESTS / 50)]


def resident(pid: int) -> int:
    """KiB of memory that a process has now."""
    [line] = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")
    ]
    return int(line.split()[1])


def steady_growth(sizes: Sequence[int]) -> int:
    """How much larger the last is than the first, if it had grown in each part as in a usual one."""
    grown = [after - before for before, after in itertools.pairwise(sizes)]
    return round(statistics.median(grown) * len(grown))


@contextlib.asynccontextmanager
async def fuzzers(driver: DriverProcess, journal: Journal) -> AsyncIterator[list[FuzzClient]]:
    """Clients, every second of them over TCP."""
    ways: tuple[Connect, ...] = (
        functools.partial(asyncio.open_unix_connection, str(driver.socket)),
        functools.partial(asyncio.open_connection, "127.0.0.1", PORT),
    )
    clients = [FuzzClient(number, ways[number % 2], journal) for number in range(1, CLIENTS + 1)]
    try:
        yield clients
    finally:
        for client in clients:
            await client.close()


async def together(clients: list[FuzzClient], requests: int) -> None:
    """Let all clients ask at the same time; the first failure ends it."""
    asking = [asyncio.ensure_future(task.ask(requests // CLIENTS)) for task in clients]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def check_rows(clients: list[FuzzClient], journal: Journal, nb: OvsdbServer, ovs: OvsdbServer) -> None:
    """All rows were made by requests that were accepted, or whose answer nobody read."""
    unheard = [ids for client in clients for ids in client.ledger.uncertain]
    networks = {ids["NetworkID"] for ids in unheard} | {
        n for client in clients for n in client.ledger.networks
    }
    perhaps = {ids["EndpointID"] for ids in unheard if "EndpointID" in ids}
    endpoints = {endpoint for client in clients for _, endpoint in client.ledger.endpoints}
    joined = {endpoint for client in clients for endpoint in client.ledger.joined}
    switches = {row["name"] for row in nb.rows("Logical_Switch", "name")}
    own = {name for name in switches if not re.fullmatch("[0-9a-f]{64}", name)}  # the others are shared
    ports = {row["name"] for row in nb.ports("name")}
    marks = [mapping(row["external_ids"]) for row in ovs.rows("Interface", "external_ids")]
    plugged = {each["iface-id"] for each in marks if GATEWAY not in each}
    made = endpoints | perhaps  # client of which is plugged in before its Join
    strays = (own - networks) | (ports - made) | (plugged - joined - made)
    rows = {str(read_uuid(row)) for row in nb.rows("Logical_Switch", "_uuid")}
    strays |= {each[GATEWAY] for each in marks if GATEWAY in each} - rows
    missing = (endpoints - ports) | (joined - plugged)
    assert strays == set(), "not made by a request:\n" + "\n".join(map(journal.about, sorted(strays)[:3]))
    assert missing == set(), "made and gone:\n" + "\n".join(map(journal.about, sorted(missing)[:3]))


def left(nb: OvsdbServer, ovs: OvsdbServer) -> list[str]:
    """What is left of the driver anywhere."""
    found = [str(row["name"]) for table in TABLES for row in nb.rows(table, "name")]
    return [*found, *held(nb), *(row["name"] for row in ovs.rows("Interface", "name")), *sorted(links())]


TABLES = ("Logical_Switch", "Logical_Switch_Port")


def check_log(driver: DriverProcess, journal: Journal) -> None:
    """One line for each event, and none of them a surprise."""
    text = driver.log.read_bytes().decode()
    assert "Traceback" not in text
    bad = [line for line in text.splitlines() if "|ERR|" in line or "failed inside" in line]
    assert bad == [], f"seed {journal.seed}: {bad[:5]}"
    strange = [line for line in text.split("\n") if not is_one_line(line)]
    assert strange == [], f"seed {journal.seed}: {strange[:5]!r}"


def report(clients: list[FuzzClient], journal: Journal, seconds: float, memory: tuple[int, int]) -> None:
    """Log what was done."""
    LOG.info(
        "%d requests in %.0f s; the slowest answer took %.2f s; %d KiB of memory, and %d more at the end",
        *(journal.count, seconds, max(client.slowest for client in clients), *memory),
    )
    LOG.info("answers: %s", sum((client.statuses for client in clients), Counter[int]()))
    LOG.info("accepted: %s", sum((client.accepted for client in clients), Counter[str]()))


@in_private_network
async def test_no_hostile_request_harms_the_driver_or_leaves_anything(
    northbound: OvsdbServer, open_vswitch: OvsdbServer, short_path: Path
) -> None:
    configure(open_vswitch, str(northbound.remote))
    flags = ("--bind-ip", "127.0.0.1", "--bind-port", str(PORT))
    journal = Journal(short_path / "requests", SEED)
    started = time.monotonic()
    with driver_process(short_path, str(open_vswitch.remote), *flags) as driver:
        await until(lambda: list((short_path / "plugins").glob("*.spec")), "Docker finds the driver")
        # Answered once Northbound is connected, before which /healthz says that something is wrong.
        await call(driver.socket, "NetworkDriver.DeleteNetwork", {"NetworkID": "n"})
        async with SwitchDaemons(open_vswitch).serve(), fuzzers(driver, journal) as clients:
            sizes = []
            for _ in range(PARTS):
                await together(clients, REQUESTS // PARTS)
                sizes.append(resident(driver.pid))
            memory = sizes[1], steady_growth(sizes[PARTS // 4 - 1 :])
            seconds = time.monotonic() - started
            check_rows(clients, journal, northbound, open_vswitch)
            for client in clients:
                await client.clean_up()
            assert (await call(driver.socket, "Plugin.Activate", {}))["Implements"]
        check_log(driver, journal)
        report(clients, journal, seconds, memory)
        found = left(northbound, open_vswitch)
    assert found == [], f"seed {SEED}: {found[:20]}" + "".join(map(journal.about, found[:3]))
    assert memory[1] < MOST_GROWTH, f"seed {SEED}: {memory[1]} KiB more than {memory[0]}"
    accepted = set().union(*(client.accepted for client in clients))
    assert accepted == set(VERBS), "a verb of which all requests are refused is not tried"


def test_what_each_request_leaves_is_growth_and_what_is_taken_once_is_not() -> None:
    assert steady_growth([0, 1000, 2000, 3000, 4000, 5000, 6000]) == 6000
    assert steady_growth([0, 10, 20, 10_030, 10_040, 10_050, 10_060]) == 60
    assert steady_growth([5000, 6000, 16_000, 17_000, 18_000, 19_000, 20_000]) == 6000


def test_the_same_seed_gives_the_same_requests_and_every_verb_is_asked_for() -> None:
    first, second = (Author(random.Random(7), 1, Ledger()) for _ in range(2))  # noqa: S311 - repeatable
    written = [first.next() for _ in range(500)]
    assert written == [second.next() for _ in range(500)]
    assert {call.verb for call in written} == set(VERBS)
