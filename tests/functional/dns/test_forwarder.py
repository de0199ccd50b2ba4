"""Queries are asked of servers on loopback: honest ones, forgers, and those that fail."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack

import dns.message
import dns.rcode
import pytest

from ovn_docker.dns import forwarder
from ovn_docker.dns.forwarder import Forwarder
from tests.functional.dns.name_server import NameServer, Reply, name_server, port_of

FIRST, SECOND, THIRD = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def query(name: str = "Example") -> bytes:
    return dns.message.make_query(name, "A").to_wire()


def answer(asked: bytes, rcode: int = dns.rcode.NOERROR, name: str | None = None) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(asked))
    if name:
        message.question = dns.message.make_query(name, "A").question
    message.set_rcode(dns.rcode.Rcode(rcode))
    return message.to_wire()


def honest(asked: bytes) -> list[bytes]:
    return [answer(asked)]


def failing(asked: bytes) -> list[bytes]:
    return [answer(asked, dns.rcode.SERVFAIL)]


def refusing(asked: bytes) -> list[bytes]:
    return [answer(asked, dns.rcode.REFUSED)]


def silent(_: bytes) -> list[bytes]:
    return []


class Servers:
    """Servers on one port of several addresses."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.port = 0

    async def add(self, address: str, reply: Reply) -> NameServer:
        server = await self._stack.enter_async_context(name_server(reply, address, self.port))
        self.port = port_of(server)
        return server


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with AsyncExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "SERVER_TIMEOUT", 0.2)


async def test_the_answer_has_the_id_of_the_query(servers: Servers) -> None:
    server = await servers.add(FIRST, honest)
    asking = Forwarder(servers.port)
    wires = [query() for _ in range(20)]
    for wire in wires:
        assert await asking.forward(wire, [FIRST]) == answer(wire)
    assert [asked[2:] for asked in server.asked] == [wire[2:] for wire in wires]
    assert len({asked[:2] for asked in server.asked}) > 15
    assert len(set(server.ports)) > 15
    assert asking.under_way == 0


@pytest.mark.parametrize("reply", [failing, refusing, silent])
async def test_the_next_server_is_asked(servers: Servers, reply: Reply) -> None:
    await servers.add(FIRST, reply)
    await servers.add(SECOND, honest)
    wire = query()
    assert await Forwarder(servers.port).forward(wire, [FIRST, SECOND]) == answer(wire)


async def test_a_server_that_is_down_is_passed_over_at_once(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "SERVER_TIMEOUT", 30.0)
    await servers.add(SECOND, honest)
    wire = query()
    down = [FIRST, "nonsense", "fe80::1%nosuchlink", SECOND]
    async with asyncio.timeout(3):
        assert await Forwarder(servers.port).forward(wire, down) == answer(wire)


async def test_an_answer_with_no_such_name_is_an_answer(servers: Servers) -> None:
    await servers.add(FIRST, lambda asked: [answer(asked, dns.rcode.NXDOMAIN)])
    second = await servers.add(SECOND, honest)
    wire = query()
    assert await Forwarder(servers.port).forward(wire, [FIRST, SECOND]) == answer(wire, dns.rcode.NXDOMAIN)
    assert second.asked == []


async def test_the_last_failure_is_given_if_all_fail(servers: Servers) -> None:
    await servers.add(FIRST, failing)
    await servers.add(SECOND, refusing)
    await servers.add(THIRD, silent)
    wire = query()
    asking = Forwarder(servers.port)
    assert await asking.forward(wire, [FIRST, SECOND, THIRD]) == answer(wire, dns.rcode.REFUSED)
    assert await asking.forward(wire, [THIRD]) is None
    assert await asking.forward(wire, []) is None
    assert await asking.forward(b"nonsense", [FIRST]) is None


def _wrong_id(asked: bytes) -> Iterable[bytes]:
    yield bytes([asked[0] ^ 1]) + answer(asked)[1:]


def _wrong_question(asked: bytes) -> Iterable[bytes]:
    yield answer(asked, name="other")


def _wrong_type(asked: bytes) -> Iterable[bytes]:
    forged = bytearray(answer(asked))
    forged[-3] = 28
    yield bytes(forged)


def _echo(asked: bytes) -> Iterable[bytes]:
    yield asked


def _short(asked: bytes) -> Iterable[bytes]:
    yield answer(asked)[:11]
    yield b""


@pytest.mark.parametrize("forge", [_wrong_id, _wrong_question, _wrong_type, _echo, _short])
async def test_a_forged_answer_is_passed_over(servers: Servers, forge: Reply) -> None:
    await servers.add(FIRST, lambda asked: [*forge(asked), answer(asked, dns.rcode.NXDOMAIN)])
    await servers.add(SECOND, forge)
    wire = query()
    asking = Forwarder(servers.port)
    assert await asking.forward(wire, [FIRST]) == answer(wire, dns.rcode.NXDOMAIN)
    assert await asking.forward(wire, [SECOND]) is None


async def test_an_answer_from_elsewhere_is_passed_over(servers: Servers) -> None:
    """From another address, and from another port, to the very port that asked."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as address,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
    ):

        def forge(asked: bytes) -> list[bytes]:
            for forger in (address, port):
                forger.sendto(answer(asked), (FIRST, server.ports[-1]))
            return []

        server = await servers.add(FIRST, forge)
        address.bind((SECOND, servers.port))
        port.bind((FIRST, 0))
        assert await Forwarder(servers.port).forward(query(), [FIRST]) is None
    assert len(server.asked) == 1


async def test_the_case_of_the_name_is_not_compared(servers: Servers) -> None:
    await servers.add(FIRST, lambda asked: [answer(asked).replace(b"Example", b"example")])
    assert await Forwarder(servers.port).forward(query("Example"), [FIRST])


async def test_servers_by_ipv6(servers: Servers) -> None:
    await servers.add("::1", honest)
    wire = query()
    for server in ("::1", "::1%lo", "::1%1"):
        assert await Forwarder(servers.port).forward(wire, [server]) == answer(wire)


async def test_all_servers_together_have_a_limit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "TIMEOUT", 0.5)
    await servers.add(FIRST, silent)
    await servers.add(SECOND, failing)
    wire = query()
    many = [SECOND, *[FIRST] * 50]
    async with asyncio.timeout(3):
        assert await Forwarder(servers.port).forward(wire, many) == answer(wire, dns.rcode.SERVFAIL)


async def test_no_more_than_so_many_at_once(servers: Servers) -> None:
    await servers.add(FIRST, silent)
    asking = Forwarder(servers.port, most=2)
    first = [asyncio.create_task(asking.forward(query(), [FIRST])) for _ in range(2)]
    await asyncio.sleep(0)
    assert asking.under_way == 2
    await servers.add(SECOND, honest)
    assert await asking.forward(query(), [SECOND]) is None
    for task in first:
        task.cancel()
    await asyncio.wait(first)
    assert asking.under_way == 0
    assert await asking.forward(query(), [SECOND])
