"""The command scripts/bench underlay without measuring: whose time is whose, and what its relay sees."""

import socket
from pathlib import Path

import pytest

from bench.figures import Figure, Machine, Results
from bench.run import write
from bench.underlay.cli import PAGE, main
from bench.underlay.measure import DRIVER, VERBS
from bench.underlay.relay import Relay
from bench.underlay.shares import Exchange, at_once, pauses, shares

MACHINE = Machine(cores=2, memory_gb=8, kernel="6.1.0", versions={})
LOOK = "GET /v2.0/ports/x?fields=status HTTP/1.1"


def exchange(began: float, ended: float, line: str = "GET / HTTP/1.1") -> Exchange:
    return Exchange(line, began, ended, 1)


def test_what_overlaps_is_counted_once_and_the_rest_is_the_drivers() -> None:
    found = shares(0.0, 1.0, [exchange(0.1, 0.3), exchange(0.2, 0.5), exchange(0.6, 0.9)], pauses(0.05, 0.5))
    assert (found.neutron, found.waiting, found.driver) == pytest.approx((700, 0, 300))


def test_the_pauses_before_looks_at_a_port_are_not_the_drivers() -> None:
    looks = [exchange(0.0, 0.1), exchange(0.17, 0.2, LOOK), exchange(0.31, 0.4, LOOK)]
    found = shares(0.0, 0.4, looks, pauses(0.05, 0.5))
    assert (found.neutron, found.waiting, found.driver) == pytest.approx((220, 150, 30))
    assert list(zip(range(5), pauses(0.1, 0.5), strict=False)) == [
        (0, 0.1),
        (1, 0.2),
        (2, 0.4),
        (3, 0.5),
        (4, 0.5),
    ]


def test_what_neutron_does_after_the_answer_is_nobodys() -> None:
    found = shares(0.0, 1.0, [exchange(0.9, 1.5)], pauses(0.05, 0.5))
    assert (found.neutron, found.driver) == pytest.approx((100, 900))


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
                client.sendall(f"PUT /{number} HTTP/1.1\r\n\r\n".encode())
                client.sendall(b"body")
                taken = b""
                while not taken.endswith(b"body"):
                    taken += peer.recv(100)
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
                peer.sendall(b"done")
                answer = b""
                while not answer.endswith(b"done"):
                    answer += client.recv(100)
    found = relay.take()
    assert [each.line for each in found] == ["PUT /0 HTTP/1.1", "PUT /1 HTTP/1.1"]
    assert all(each.began <= each.ended for each in found)
    assert relay.connections == 1
    assert relay.take() == []


def test_earlier_results_are_put_into_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure(section=VERBS, item="Join", contestant=DRIVER, p50=4.0, p99=8.0)
    results = Results(command="c", date="d", machine=MACHINE, figures=[figure], complete=True)
    write(results, tmp_path / "results.json")
    page = tmp_path / "page.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*PAGE.marks))
    arguments = ["--from", str(tmp_path / "results.json"), "--document", str(page), "--markdown"]
    assert main(arguments) == 0
    assert "| Join, ms | 4.00 / 8.00 |" in page.read_text()
    assert "≤ 10 | 4.00 | reached" in capsys.readouterr().out
