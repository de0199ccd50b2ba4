"""What the benches' figures mean: samples, duplicates, whose time a call takes."""

import ipaddress
import itertools
import socket
from collections import Counter
from collections.abc import Sequence

import pytest

from bench.containers import durations
from bench.figures import OURS, Samples, percentile
from bench.fill import transactions
from bench.ipam.clients import Answer
from bench.ipam.plan import NINETY, Level
from bench.ipam.pool import FilledPool
from bench.ovsdb import Database
from bench.scale.plan import FULL, QUICK, ScalePlan
from bench.underlay.relay import Relay
from bench.underlay.shares import Exchange, at_once, pauses, shares
from bench.vm.netperf import TCP
from ovn_docker.address_pools import new_pool
from ovn_docker.errors import HostError
from ovn_docker.ovn.leases import LEASE, Lease, lease_add
from ovn_docker.ovn.switches import Mark
from ovn_docker.ovsdb.operations import Operation

POOL = new_pool("default", "10.0.0.0/24", "", "t")
LINE = (
    "2026-01-01T00:00:00.605Z|{}|server|INFO|NetworkDriver.Join network_id=b4 endpoint_id=20"
    " duration_ms={} outcome=ok\n"
)


def test_samples_become_one_figure_per_cell() -> None:
    samples = Samples("verbs", 10)
    for value in (1.0, 9.0, 2.0, 4.0):
        samples.add(OURS, "Join", value)
    samples.add(OURS, "Leave", 7.0)
    join, leave = samples.figures()
    assert (join.item, join.ports, join.samples, join.p50, join.p99) == ("Join", 10, 4, 3.0, 9.0)
    assert (leave.item, leave.samples, leave.p50) == ("Leave", 1, 7.0)
    assert percentile(range(1, 201), 99) == 198


def test_a_call_that_is_logged_twice_counts_once() -> None:
    log = LINE.format("00013", "9.5") * 2 + LINE.format("00014", "1.5")
    assert durations(log, "b4") == [("Join", 9.5), ("Join", 1.5)]
    assert durations(log, "b") == []


@pytest.mark.parametrize(("ports", "switches"), [(0, 5), (7, 5), (10_000, 50)])
def test_every_port_is_inserted_once_and_belongs_to_a_switch(ports: int, switches: int) -> None:
    added: list[str] = []
    held: list[str] = []
    for operations in transactions(ports, switches):
        for operation in operations:
            if operation["op"] == "mutate":
                held += [member[1] for member in operation["mutations"][0][2][1]]
            elif operation["table"] == "Logical_Switch":
                held += [member[1] for member in operation["row"]["ports"][1]]
            else:
                added.append(operation["uuid"])
    assert len(added) == ports
    assert sorted(added) == sorted(held)


def test_netperf_without_a_figure_is_quoted() -> None:
    assert TCP.figure("THROUGHPUT=11159.11\n") == 11159.11
    with pytest.raises(HostError, match="gave no THROUGHPUT; it said: no route"):
        TCP.figure("no route")


# --- ipam: a pool that is filled, and addresses that are leased twice ---------------------------------------


class Rows(Database):
    """Keeps rows by id as OVSDB does, without a server."""

    def __init__(self) -> None:
        self.rows: dict[str, object] = {}

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, object]]:
        return [self._one(operation) for operation in operations]

    def _one(self, operation: Operation) -> dict[str, object]:
        if operation["op"] == "insert":
            assert operation["uuid"] not in self.rows
            self.rows[operation["uuid"]] = operation["row"]
            return {}
        row = operation["where"][0][2][1]
        if operation["op"] == "delete":
            return {"count": 0 if self.rows.pop(row, None) is None else 1}
        return {"rows": [self.rows[row]] if row in self.rows else []}


@pytest.mark.parametrize("scattered", [True, False])
def test_a_pool_is_filled_to_its_share_and_emptied(scattered: bool) -> None:  # noqa: FBT001
    database, filled = Rows(), FilledPool(str(POOL), scattered=scattered)
    for share, rows in ((0.5, 127), (0.9, 229), (0.99, 251)):
        filled.fill(database, Level("", share, scattered=scattered))
        assert (filled.filled, len(database.rows)) == (rows, rows)
    filled.clear(database)
    assert (filled.filled, database.rows) == (0, {})


@pytest.mark.parametrize(
    ("row_of", "answers", "duplicates"), [("host-1", 1, 0), ("host-1", 2, 2), ("", 1, 1), ("host-2", 1, 1)]
)
def test_an_address_that_is_not_leased_to_one_host_counts(row_of: str, answers: int, duplicates: int) -> None:
    database, filled = Rows(), FilledPool(str(POOL), scattered=True)
    if row_of:
        address, lease = ipaddress.ip_address("10.0.0.9"), Lease(LEASE, host=row_of)
        database.transact([lease_add(POOL.key, address, lease, Mark(row_of, "now"))])
    assert filled.duplicates(database, [Answer("host-1", "10.0.0.9", 1)] * answers) == duplicates


def test_an_address_that_others_were_filled_with_counts() -> None:
    database, filled = Rows(), FilledPool(str(POOL), scattered=False)
    filled.fill(database, NINETY)
    assert filled.duplicates(database, [Answer("other-3", "10.0.0.9", 1)]) == 1
    with pytest.raises(HostError, match="1 leases were answered"):
        filled.empty(Rows(), [Answer("host-1", "10.0.0.9", 1)])


# --- scale: which host has which containers -----------------------------------------------------------------


@pytest.mark.parametrize(
    "plan", [FULL, QUICK, ScalePlan(hosts=1, containers=1), ScalePlan(hosts=7, containers=13)]
)
def test_networks_have_room_and_do_not_overlap(plan: ScalePlan) -> None:
    used = {host: [plan.network_of(host, n) for n in range(plan.containers)] for host in range(plan.hosts)}
    assert all(set(networks) == set(plan.networks(host)) for host, networks in used.items())
    ports = Counter(itertools.chain.from_iterable(used.values()))
    assert max(ports.values()) + 3 <= plan.subnet(0).num_addresses
    assert plan.fits()
    subnets = [plan.subnet(network) for network in range(plan.hosts)]
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(subnets))


# --- underlay: whose time a call takes ----------------------------------------------------------------------

LOOK = "GET /v2.0/ports/x?fields=status HTTP/1.1"


def exchange(began: float, ended: float, line: str = "GET / HTTP/1.1") -> Exchange:
    return Exchange(line, began, ended, 1)


@pytest.mark.parametrize(
    ("ended", "exchanges", "parts"),
    [
        # What overlaps is counted once.
        (1.0, [exchange(0.1, 0.3), exchange(0.2, 0.5), exchange(0.6, 0.9)], (700, 0, 300)),
        # The pauses before looks at a port are not the driver's.
        (0.4, [exchange(0.0, 0.1), exchange(0.17, 0.2, LOOK), exchange(0.31, 0.4, LOOK)], (220, 150, 30)),
        # What Neutron does after the answer is nobody's.
        (1.0, [exchange(0.9, 1.5)], (100, 0, 900)),
    ],
)
def test_a_call_is_divided(ended: float, exchanges: list[Exchange], parts: tuple[float, ...]) -> None:
    found = shares(0.0, ended, exchanges, pauses(0.05, 0.5))
    assert (found.neutron, found.waiting, found.driver) == pytest.approx(parts)


def test_exchanges_at_the_same_time_are_counted() -> None:
    assert at_once([]) == 0
    assert at_once([exchange(0, 1), exchange(1, 2)]) == 1
    assert at_once([exchange(0, 1), exchange(0.5, 2), exchange(0.9, 3)]) == 3


def test_the_relay_sees_each_exchange_and_each_connection() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    listener = socket.create_server(("127.0.0.1", 0))
    relay = Relay(listener, lambda: socket.create_connection(server.getsockname(), 5))
    with server, relay.serve(), socket.create_connection(listener.getsockname(), 5) as client:
        peer, _ = server.accept()
        with peer:
            for number in range(2):
                client.sendall(f"PUT /{number} HTTP/1.1\r\n\r\nbody".encode())
                read_until(peer, b"body")
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                read_until(client, b"done")
    found = relay.take()
    assert [exchange.line for exchange in found] == ["PUT /0 HTTP/1.1", "PUT /1 HTTP/1.1"]
    assert relay.connections == 1


def read_until(connection: socket.socket, end: bytes) -> None:
    taken = b""
    while not taken.endswith(end):
        taken += connection.recv(100)
