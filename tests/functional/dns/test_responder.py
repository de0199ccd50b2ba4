"""The responder on loopback, asked by dnspython from addresses that stand for containers."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from ovn_docker.dns import responder
from ovn_docker.dns.forwarder import Forwarder
from ovn_docker.dns.name_cache import NameCache
from ovn_docker.dns.responder import Asker, Network, Responder, bind
from ovn_docker.errors import OvnDockerError, UnreachableError
from tests.functional.dns.name_server import NameServer, name_server, port_of

FRONT, BACK = UUID(int=1), UUID(int=2)
ASKER, SEALED, STRANGER, UNTOLD = "127.0.0.1", "127.0.0.11", "127.0.0.12", "127.0.0.13"


def network(switch: UUID, *pools: str) -> Network:
    return Network(tuple(ipaddress.ip_network(pool) for pool in pools), lambda name: uuid5(switch, name))


NETWORKS = (network(FRONT, "10.77.0.0/24", "fd00::/64"), network(BACK, "10.78.0.0/24"))


@dataclass
class World:
    """Rows of Northbound, a server outside, and a responder."""

    rows: dict[UUID, Mapping[str, str]] = field(default_factory=dict)
    away: bool = False
    slow: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0
    responder: Responder = field(init=False)
    outside: NameServer = field(init=False)

    def publish(self, switch: UUID, name: str, *values: str) -> None:
        self.rows[uuid5(switch, name)] = {f"endpoint{n}": value for n, value in enumerate(values)}

    async def read(self, keys: Sequence[UUID]) -> Mapping[UUID, Mapping[str, str]]:
        await self.slow.wait()
        if self.away:
            raise UnreachableError("OVN Northbound is away")
        return {key: self.rows[key] for key in keys if key in self.rows}

    async def who(self, source: str, link: str) -> Asker | None:
        self.asked.append((source, link))
        if source == UNTOLD:
            raise OvnDockerError("Docker does not say whose address that is")
        if source == STRANGER:
            return None
        return Asker(NETWORKS, ("127.0.0.1",), sealed=source == SEALED)

    async def ask(
        self,
        name: str,
        kind: str = "A",
        *,
        source: str = ASKER,
        where: str = "127.0.0.1",
        payload: int | None = None,
    ) -> dns.message.Message:
        """dnspython takes an answer only from the address that it asked."""
        query = dns.message.make_query(name, kind, payload=payload)
        source = "::1" if ":" in where else source
        return await dns.asyncquery.udp(query, where, timeout=5, port=self.port, source=source)


def outside(wire: bytes) -> list[bytes]:
    query = dns.message.from_wire(wire)
    message = dns.message.make_response(query, recursion_available=True)
    if query.question[0].name.to_text().lower().startswith("broken"):
        return []
    message.set_rcode(dns.rcode.NXDOMAIN)
    message.additional = []
    return [message.to_wire()]


@contextlib.asynccontextmanager
async def serving(world: World, sock: socket.socket) -> AsyncIterator[World]:
    world.port = sock.getsockname()[1]
    task = asyncio.create_task(world.responder.run(sock))
    try:
        yield world
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert sock.fileno() == -1


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.slow.set()
    clock = asyncio.get_running_loop().time
    async with name_server(outside) as world.outside:
        cache = NameCache(world.read, clock)
        forwarder = Forwarder(port_of(world.outside))
        world.responder = Responder(world.who, cache, forwarder.forward)
        async with serving(world, bind(0)):
            yield world
        await cache.close()


def texts(message: dns.message.Message) -> list[str]:
    return sorted(record.to_text() for rrset in message.answer for record in rrset)


@pytest.mark.parametrize("where", ["127.0.0.1", "::1"])
async def test_both_families_are_answered_by_both(world: World, where: str) -> None:
    world.publish(FRONT, "web", "10.77.0.5 fd00::5", "10.77.0.6")
    assert texts(await world.ask("web", where=where)) == ["10.77.0.5", "10.77.0.6"]
    assert texts(await world.ask("web", "AAAA", where=where)) == ["fd00::5"]
    assert texts(await world.ask("web", "ANY", where=where)) == ["10.77.0.5", "10.77.0.6", "fd00::5"]
    message = await world.ask("web", "MX", where=where)
    assert (message.rcode(), texts(message)) == (dns.rcode.NOERROR, [])
    assert set(world.asked) == {(where, "lo")}
    assert (world.responder.answered, world.responder.forwarded, world.responder.failed) == (4, 0, 0)
    assert world.outside.asked == []


@pytest.mark.parametrize("where", ["127.0.0.2", "127.1.2.3", "127.0.0.1"])
async def test_the_answer_comes_from_the_address_that_was_asked(world: World, where: str) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    assert texts(await world.ask("web", where=where)) == ["10.77.0.5"]


async def test_a_host_without_ipv6_answers(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    async with serving(world, bind(0, ipv6=False)):
        assert texts(await world.ask("web", where="127.0.0.2")) == ["10.77.0.5"]
    assert world.asked == [(ASKER, "lo")]


async def test_a_name_on_several_networks_has_the_addresses_of_all(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    world.publish(BACK, "web", "10.78.0.5", "10.78.0.6")
    assert texts(await world.ask("web")) == ["10.77.0.5", "10.78.0.5", "10.78.0.6"]


async def test_addresses_outside_of_the_pools_are_left_out(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5 192.0.2.1 nonsense", "10.78.0.5")
    assert texts(await world.ask("web")) == ["10.77.0.5"]
    world.publish(FRONT, "evil", "192.0.2.1")
    assert (await world.ask("evil", source=SEALED)).rcode() == dns.rcode.NXDOMAIN


async def test_case_does_not_matter_and_is_kept(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    message = await world.ask("WeB")
    assert message.question[0].name.to_text() == "WeB."
    assert texts(message) == ["10.77.0.5"]


async def test_the_order_changes(world: World) -> None:
    world.publish(FRONT, "web", *(f"10.77.0.{n}" for n in range(5, 15)))
    first = set()
    for _ in range(50):
        first.add((await world.ask("web")).answer[0][0].to_text())
    assert len(first) > 3


async def test_many_addresses_are_cut_to_the_size_of_the_client(world: World) -> None:
    world.publish(FRONT, "web", *(f"10.77.0.{n}" for n in range(5, 205)))
    for payload, most in ((None, 512), (1232, 1232)):
        message = await world.ask("web", payload=payload)
        assert not message.flags & dns.flags.TC
        assert (most - 40) // 16 <= len(texts(message)) <= most // 16


async def test_other_names_are_forwarded(world: World) -> None:
    for name in ("intranet", "two.labels"):
        message = await world.ask(name)
        assert message.rcode() == dns.rcode.NXDOMAIN
        assert not message.flags & dns.flags.AA
    assert len(world.outside.asked) == 2
    assert (world.responder.answered, world.responder.forwarded, world.responder.failed) == (0, 2, 0)


async def test_who_has_no_way_out_asks_nobody_outside(world: World) -> None:
    for name in ("intranet", "two.labels"):
        assert (await world.ask(name, source=SEALED)).rcode() == dns.rcode.NXDOMAIN
    assert (await world.ask("9.2.0.192.in-addr.arpa", "PTR", source=SEALED)).rcode() == dns.rcode.NXDOMAIN
    assert world.outside.asked == []


async def test_servers_that_do_not_answer_are_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovn_docker.dns.forwarder.SERVER_TIMEOUT", 0.1)
    assert (await world.ask("broken")).rcode() == dns.rcode.SERVFAIL
    assert (world.responder.forwarded, world.responder.failed) == (0, 1)


async def test_a_stranger_is_refused(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    message = await world.ask("web", source=STRANGER)
    assert (message.rcode(), texts(message)) == (dns.rcode.REFUSED, [])
    assert world.responder.failed == 1


async def test_addresses_have_names(world: World) -> None:
    world.publish(FRONT, "10.77.0.5", "web.front web", "other")
    message = await world.ask("5.0.77.10.in-addr.arpa", "PTR")
    assert texts(message) == ["other.", "web.", "web.front."]
    world.publish(FRONT, "fd00::5", "web")
    name = ipaddress.ip_address("fd00::5").reverse_pointer
    assert texts(await world.ask(name.upper(), "PTR")) == ["web."]
    assert world.outside.asked == []


async def test_an_address_without_a_name_is_asked_outside_if_it_is_not_ours(world: World) -> None:
    assert (await world.ask("9.0.77.10.in-addr.arpa", "PTR")).rcode() == dns.rcode.NXDOMAIN
    assert world.outside.asked == []
    await world.ask("9.2.0.192.in-addr.arpa", "PTR")
    assert len(world.outside.asked) == 1


async def test_an_outage_is_a_failure_for_names_not_known(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    await world.ask("web")
    world.away = True
    for _ in range(3):
        assert (await world.ask("mail")).rcode() == dns.rcode.SERVFAIL
        assert (await world.ask("9.0.77.10.in-addr.arpa", "PTR")).rcode() == dns.rcode.SERVFAIL
    assert texts(await world.ask("web")) == ["10.77.0.5"]
    assert world.outside.asked == [], "it might be a name of ours"
    ours = [record for record in caplog.records if record.name == "ovn_docker.dns.responder"]
    assert [record.levelname for record in ours] == ["WARNING"]


async def test_who_asks_cannot_be_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert (await world.ask("web", source=UNTOLD)).rcode() == dns.rcode.SERVFAIL
    assert len([record for record in caplog.records if "Docker does not say" in record.message]) == 1


async def test_a_query_has_a_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "DEADLINE", 0.1)
    world.slow.clear()
    assert (await world.ask("web")).rcode() == dns.rcode.SERVFAIL


async def test_garbage_and_answers_are_not_answered(world: World) -> None:
    world.publish(FRONT, "web", "10.77.0.5")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        client.connect(("127.0.0.1", world.port))
        wire = bytearray(dns.message.make_query("web", "A").to_wire())
        client.send(b"")
        client.send(b"garbage")
        client.send(bytes(wire) + bytes(5000))
        client.send(bytes([*wire[:2], wire[2] | 0x80, *wire[3:]]))
        assert texts(await world.ask("web")) == ["10.77.0.5"]
        with pytest.raises(BlockingIOError):
            client.recv(512)


async def test_more_than_so_many_at_once_are_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "MOST", 3)
    world.publish(FRONT, "web", "10.77.0.5")
    world.slow.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client:
        client.connect(("127.0.0.1", world.port))
        for _ in range(100):
            client.send(dns.message.make_query("web", "A").to_wire())
        await until(lambda: world.responder.dropped == 97)
        world.slow.set()
        await until(lambda: world.responder.answered == 3)


async def test_queries_under_way_end_with_the_responder(world: World) -> None:
    world.slow.clear()
    sock = bind(0)
    async with serving(world, sock):
        asking = asyncio.create_task(world.ask("web"))
        await until(lambda: world.asked)
    assert world.responder.answered == world.responder.failed == 0
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_fault_is_logged_and_others_are_answered(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    world.publish(FRONT, "web", "10.77.0.5")

    async def who(source: str, link: str) -> Asker | None:
        if source == UNTOLD:
            raise KeyError("fault")
        return await world.who(source, link)

    monkeypatch.setattr(world.responder, "_who", who)
    assert (await world.ask("web", source=UNTOLD)).rcode() == dns.rcode.SERVFAIL
    assert texts(await world.ask("web")) == ["10.77.0.5"]
    assert [record.message for record in caplog.records] == ["a DNS query failed"]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that a socket brings."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (nothing tells us)
            await asyncio.sleep(0.01)
