import ipaddress
import json
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import tables
from bench.figures import Figure, Machine, Results
from bench.ipam import cli, disk, page
from bench.ipam.clients import Answer, Client, address, lease
from bench.ipam.place import Network
from bench.ipam.plan import CLIENTS, DRIVERS, EMPTY, FULL, LEVELS, NINETY, QUICK, Level
from bench.ipam.pool import FilledPool
from bench.ovsdb import Database
from bench.targets import judge
from ovn_docker.address_pools import new_pool
from ovn_docker.errors import HostError
from ovn_docker.ovn.leases import LEASE, Lease, lease_add
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Operation

POOL = new_pool("default", "10.0.0.0/24", "", "t")


class Rows(Database):
    """Keeps rows by id as OVSDB does, without a server."""

    def __init__(self) -> None:
        self.rows: dict[str, object] = {}

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, object]]:
        return [self._one(each) for each in operations]

    def _one(self, operation: Operation) -> dict[str, object]:
        if operation["op"] == "insert":
            assert operation["uuid"] not in self.rows
            self.rows[operation["uuid"]] = operation["row"]
            return {}
        row = operation["where"][0][2][1]
        if operation["op"] == "delete":
            return {"count": 0 if self.rows.pop(row, None) is None else 1}
        return {"rows": [self.rows[row]] if row in self.rows else []}


def pool(scattered: bool = True) -> FilledPool:  # noqa: FBT001, FBT002
    return FilledPool(str(POOL), scattered=scattered)


def leased(database: Rows, text: str, host: str) -> None:
    lease_of = Lease(LEASE, host=host)
    operation = lease_add(POOL.key, ipaddress.ip_address(text), lease_of, Mark(host, "now"))
    database.transact([operation])


def figure(section: str, item: str, column: str, p50: float, ports: int = 0) -> Figure:
    return Figure(section=section, item=item, contestant=column, p50=p50, p99=p50, ports=ports)


def results(*figures: Figure) -> Results:
    machine = Machine(cores=2, memory_gb=8, kernel="6.1", disk="databases on ext4", versions={})
    return Results(
        command="scripts/bench ipam", date="2026-01-01T00:00:00Z", machine=machine, figures=list(figures)
    )


# --- Filling and checking a pool ----------------------------------------------------------------------------


@pytest.mark.parametrize("scattered", [True, False])
def test_a_pool_is_filled_to_its_share_and_each_level_adds_to_the_last(scattered: bool) -> None:  # noqa: FBT001
    database, filled = Rows(), pool(scattered)
    for share, rows in ((0.5, 127), (0.9, 229), (0.99, 251)):
        filled.fill(database, Level("", share, scattered=scattered))
        assert (filled.filled, len(database.rows)) == (rows, rows)
    filled.clear(database)
    assert (filled.filled, database.rows) == (0, {})


def test_an_address_that_is_answered_once_and_leased_is_no_duplicate() -> None:
    database, filled = Rows(), pool()
    leased(database, "10.0.0.9", "host-1")
    assert filled.duplicates(database, [Answer("host-1", "10.0.0.9", 1)]) == 0


def test_an_address_that_is_answered_twice_counts_for_both() -> None:
    database, filled = Rows(), pool()
    leased(database, "10.0.0.9", "host-1")
    assert filled.duplicates(database, [Answer("host-1", "10.0.0.9", 1)] * 2) == 2


@pytest.mark.parametrize("row_of", ["", "host-2"])
def test_an_address_whose_row_is_not_there_or_anothers_counts(row_of: str) -> None:
    database, filled = Rows(), pool()
    if row_of:
        leased(database, "10.0.0.9", row_of)
    assert filled.duplicates(database, [Answer("host-1", "10.0.0.9", 1)]) == 1


def test_an_address_that_others_were_filled_with_counts() -> None:
    database, filled = Rows(), pool(scattered=False)
    filled.fill(database, NINETY)
    assert filled.duplicates(database, [Answer("other-3", "10.0.0.9", 1)]) == 1


def test_a_lease_that_is_lost_is_told() -> None:
    with pytest.raises(HostError, match="1 leases were answered"):
        pool().empty(Rows(), [Answer("host-1", "10.0.0.9", 1)])


def test_one_percent_of_the_pool_is_enough_for_a_round() -> None:
    for plan in (FULL, QUICK):
        assert plan.leases < 65_533 * 0.01
        assert all(plan.leases % count == 0 for count in CLIENTS)


# --- Clients ------------------------------------------------------------------------------------------------


def answering(connection: socket.socket, cut: int) -> None:
    """A driver that answers each request with an address of its own, in pieces of `cut` bytes."""
    number = 0
    while connection.recv(1000):
        number += 1
        body = json.dumps({"Address": f"10.0.0.{number}/24"}).encode()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        for start in range(0, len(answer), cut):
            connection.sendall(answer[start : start + cut])


@pytest.mark.parametrize("cut", [7, 1000])
def test_clients_share_the_leases_evenly_and_keep_every_answer(cut: int) -> None:
    pairs = [socket.socketpair() for _ in range(4)]
    drivers = [threading.Thread(target=answering, args=(far, cut)) for _, far in pairs]
    for driver in drivers:
        driver.start()
    answers, seconds = lease([Client(f"h{n}", near, b"x") for n, (near, _) in enumerate(pairs)], 20)
    for driver, (near, far) in zip(drivers, pairs, strict=True):
        near.close()
        driver.join()
        far.close()
    assert sorted((each.host, each.address) for each in answers) == [
        (f"h{host}", f"10.0.0.{number}") for host in range(4) for number in range(1, 6)
    ]
    assert all(0 < each.took / 1000 <= seconds for each in answers)


@dataclass
class Listening:
    """A driver that lets connections wait."""

    name: str
    socket: Path


def test_a_client_connects_when_its_turn_comes(tmp_path: Path) -> None:
    doors = [Listening(f"h{number}", tmp_path / str(number)) for number in range(DRIVERS)]
    network = Network(doors, [str(POOL)] * DRIVERS, pool())
    clients = network.clients(DRIVERS)
    for door in doors:  # none of them could be connected to before
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(door.socket))
            listener.listen()
            each = next(clients)
            each.connection.close()
            assert each.host == door.name


def test_an_answer_that_is_an_error_is_told() -> None:
    with pytest.raises(HostError, match="exhausted"):
        address(b'{"Err": "pool is exhausted"}')


# --- What is shown ------------------------------------------------------------------------------------------


def test_more_leases_per_second_than_the_target_reach_it() -> None:
    column, section = page.clients(16), page.section(page.RATE, page.STANDALONE)
    text = "leases/s, 16 clients, standalone, empty pool"
    for measured, reached in ((999, False), (1000, True), (1500, True)):
        run = results(figure(section, EMPTY.title, column, measured))
        assert {each.target.text: each.reached for each in judge(run, page.TARGETS)}[text] is reached


def test_every_target_judges_a_figure_that_is_measured() -> None:
    every = [
        figure(page.section(kind, mode), level.title, page.clients(count), 1, ports)
        for kind in (page.TIME, page.RATE)
        for mode in page.MODES
        for level in LEVELS
        for count in CLIENTS
        for ports in FULL.ports
    ]
    every += [
        figure(page.DUPLICATES, page.LEASED_TWICE, mode, 0, ports)
        for mode in page.MODES
        for ports in FULL.ports
    ]
    assert None not in [each.reached for each in judge(results(*every), page.TARGETS)]


def test_the_tables_go_between_marks_of_their_own() -> None:
    document = f"{tables.BEGIN}\nkept\n{tables.END}\n{page.MARKS[0]}\nold\n{page.MARKS[1]}\n"
    shown = tables.put_into(document, results(), page.PAGE)
    assert "kept" in shown
    assert "old" not in shown
    assert "databases on ext4" in shown


def test_without_flags_100_000_other_ports_are_measured_too() -> None:
    assert cli.plan(cli.parser().parse_args([])).ports == (0, 100_000)
    assert cli.plan(cli.parser().parse_args(["--quick"])) == QUICK
    assert cli.plan(cli.parser().parse_args(["--ports=100_000"])).ports == (100_000,)


def test_the_file_system_is_that_of_the_nearest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\ntmpfs /var tmpfs rw 0 0\n/dev/b /var/tmp xfs rw 0 0\n"
    assert disk.filesystem(Path("/var/tmp/x"), mounts) == "xfs"  # noqa: S108
    assert disk.filesystem(Path("/var/lib"), mounts) == "tmpfs"
    assert disk.filesystem(Path("/home"), mounts) == "ext4"
