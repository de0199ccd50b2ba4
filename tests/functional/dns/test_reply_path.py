"""Two containers with one address, on links of their own: each gets its own answer."""

import asyncio
import ipaddress
import subprocess
import sys
from collections.abc import Mapping, Sequence
from uuid import UUID

import dns.message
import pytest

from ovn_docker.dns.responder import Asker, Network, Responder, bind
from tests.functional.dns.test_responder import FRONT, World, serving
from tests.functional.private_network import in_private_network, ip, other_network

pytestmark = pytest.mark.functional

ASK = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.send(bytes.fromhex(sys.argv[3]))
print(sock.recv(1232).hex())
"""
"""A client; the kernel lets it have an answer only from the address that it asked."""


async def asked_in(pid: int, where: str, port: int) -> list[str]:
    """The addresses of ``web``, asked in another namespace."""
    wire = dns.message.make_query("web", "A").to_wire().hex()
    words = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", ASK, where, str(port), wire]
    process = await asyncio.create_subprocess_exec(*words, stdout=subprocess.PIPE)
    answer, _ = await process.communicate()
    assert process.returncode == 0
    return [
        item.to_text()
        for rrset in dns.message.from_wire(bytes.fromhex(answer.decode())).answer
        for item in rrset
    ]


def connect(pid: int, name: str) -> None:
    """A link to another namespace, the same addresses on each such link."""
    inside = ["nsenter", "--target", str(pid), "--net", "ip"]
    ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    for address in ("192.0.2.1/24", "192.0.2.3/24", "fd00:2::1/64"):
        ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
    ip("link", "set", name, "up")
    for words in (
        ["link", "set", "lo", "up"],
        ["address", "add", "192.0.2.2/24", "dev", "eth0"],
        ["address", "add", "fd00:2::2/64", "dev", "eth0", "nodad"],
        ["link", "set", "eth0", "up"],
    ):
        subprocess.run([*inside, *words], check=True, timeout=10)


@in_private_network
async def test_the_answer_leaves_by_the_link_of_the_query() -> None:
    world = World()
    networks = {
        name: Network((ipaddress.ip_network(pool),), lambda _: FRONT)
        for name, pool in (("one", "10.77.0.0/24"), ("two", "10.78.0.0/24"))
    }

    async def who(source: str, link: str) -> Asker | None:
        world.asked.append((source, link))
        return Asker((networks[link],))

    class Names:
        async def get(self, keys: Sequence[UUID]) -> list[Mapping[str, str]]:
            return [{"one": "10.77.0.5", "two": "10.78.0.5"} for _ in keys]

    async def forward(*_: object) -> bytes | None:
        return None

    world.responder = Responder(who, Names(), forward)
    with other_network() as first, other_network() as second:
        connect(first, "one")
        connect(second, "two")
        async with serving(world, bind(0)):
            for pid, found in ((first, ["10.77.0.5"]), (second, ["10.78.0.5"])):
                for where in ("192.0.2.1", "192.0.2.3", "fd00:2::1"):
                    assert await asked_in(pid, where, world.port) == found
    sources = ["192.0.2.2", "192.0.2.2", "fd00:2::2"]
    assert world.asked == [(source, link) for link in ("one", "two") for source in sources]
