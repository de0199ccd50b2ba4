"""A host with containers of ours, with Docker's, and with networks outside, all of them network namespaces.

The host is the namespace of the calling thread; each peer has one of its own, and in it servers that answer
with the address that they saw. A socket belongs to the namespace of the thread that made it.
"""

import asyncio
import contextlib
import ctypes
import functools
import ipaddress
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from ovn_docker.host.firewall import Firewall
from tests.functional.private_network import CLONE_NEWNET, ip, other_network
from tests.polling import POLL_INTERVAL, eventually

T = TypeVar("T")

NEEDS_NFT = pytest.mark.skipif(
    shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin") is None, reason="nftables is not installed"
)

FAMILIES = (0, 1)
"""Indices of what there is of each for IPv4 and IPv6."""

PORT = 80
"""On which every peer answers, over TCP and UDP."""

PATIENCE = 0.25
"""Seconds after which no answer comes any more; all is in one kernel."""


@dataclass(frozen=True)
class Peer:
    """A network namespace behind one link of the host.

    Attributes:
        pid: of a process in it.
        link: the host's end.
        gateway: the host's addresses on that link, IPv4 and IPv6.
        address: the peer's.
    """

    pid: int
    link: str
    gateway: tuple[str, str]
    address: tuple[str, str]

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of the peer's."""
        return _in_namespace(self.pid, lambda: socket.socket(family, kind, protocol))

    def run(self, *command: str) -> str:
        """What a program in the peer's namespace prints."""
        words = ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout


NETWORKS: Mapping[str, tuple[str, str, str]] = {
    "one": ("og-111111111111", "10.77.0", "fd00:77::"),
    "two": ("og-222222222222", "10.78.0", "fd00:78::"),
    "sealed": ("oi-333333333333", "10.79.0", "fd00:79::"),
    "docker": ("docker0", "172.17.0", "fd00:17::"),
    "gwbridge": ("docker_gwbridge", "172.18.0", "fd00:18::"),
    "custom": ("br-0123456789ab", "172.19.0", "fd00:19::"),
    "lan": ("br-lan", "198.18.1", "fd00:1981::"),
    "outside": ("uplink", "198.18.0", "fd00:198::"),
}
"""The host's link and the prefixes of each peer's network; the host is .1 there and the peer .8."""


@contextlib.contextmanager
def routed_host(*names: str, forwards: bool = True) -> Iterator[dict[str, Peer]]:
    """The host of the calling thread with these peers, one network each."""
    for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", setting).write_text("1" if forwards else "0")
    # Each refusal is told, and IPv6 is there at once.
    for setting in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit", "ipv6/conf/default/accept_dad"):
        Path("/proc/sys/net", setting).write_text("0")
    with contextlib.ExitStack() as stack:
        peers = {name: _join(stack, name) for name in names}
        for peer in peers.values():
            stack.enter_context(answering(peer))
            eventually(functools.partial(_answers, peer), 5, f"{peer} answers")
        yield peers


def _answers(peer: Peer) -> bool:
    """IPv6 is not there at once on a link that has just come up."""
    return ask(None, peer.address[1]).startswith("saw")


def _join(stack: contextlib.ExitStack, name: str) -> Peer:
    link, ipv4, ipv6 = NETWORKS[name]
    pid = stack.enter_context(other_network())
    peer = Peer(pid, link, (f"{ipv4}.1", f"{ipv6}1"), (f"{ipv4}.8", f"{ipv6}8"))
    peer.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("address", "add", f"{ipv4}.1/24", "dev", link)
    ip("address", "add", f"{ipv6}1/64", "dev", link, "nodad")
    ip("link", "set", link, "up")
    for words in (
        ("address", "add", f"{ipv4}.8/24", "dev", "eth0"),
        ("address", "add", f"{ipv6}8/64", "dev", "eth0", "nodad"),
        ("link", "set", "lo", "up"),
        ("link", "set", "eth0", "up"),
        ("route", "add", "default", "via", f"{ipv4}.1"),
        ("-6", "route", "add", "default", "via", f"{ipv6}1"),
    ):
        peer.run("ip", *words)
    return peer


@contextlib.contextmanager
def answering(peer: Peer | None, port: int = PORT, says: str = "saw ") -> Iterator[None]:
    """Servers of a peer, or of the host, that answer over TCP and UDP with `says` and who asked."""
    make = peer.socket if peer else socket.socket
    with make(socket.AF_INET6, socket.SOCK_STREAM) as stream, make(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        for each in (stream, udp):
            each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("::", port))
        stream.listen()
        stop, stopped = socket.socketpair()

        def serve() -> None:
            while stopped not in (ready := select.select([stream, udp, stopped], [], [])[0]):
                if stream in ready:
                    connection, source = stream.accept()
                    with connection:
                        connection.sendall(f"{says}{_plain(source[0])}".encode())
                if udp in ready:
                    _, source = udp.recvfrom(2048)
                    with contextlib.suppress(OSError):
                        udp.sendto(f"{says}{_plain(source[0])}".encode(), source)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.send(b".")
            thread.join()
            stop.close()
            stopped.close()


def ask(peer: Peer | None, address: str, port: int = PORT, *, udp: bytes = b"", source: int = 0) -> str:
    """What a peer, or the host, is answered over TCP, or to one datagram, from a source port of its own.

    "refused" if it is told that nobody answers, "silence" if it is told nothing.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    make = peer.socket if peer else socket.socket
    with make(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        client.bind(("", source))
        try:
            client.connect((address, port))
            if udp:
                client.send(udp)
            return client.recv(2048).decode()
        except TimeoutError:
            return "silence"
        except OSError:
            return "refused"


def _plain(address: str) -> str:
    parsed = ipaddress.IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed)


def _in_namespace(pid: int, work: Callable[[], T]) -> T:
    """Do something in the network namespace of a process; a thread of its own enters it, and ends."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            with Path(f"/proc/{pid}/ns/net").open() as namespace:
                assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0
            results.append(work())
        except BaseException as error:  # noqa: BLE001  (it is raised by the caller's thread)
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def run(*command: str, text: str = "") -> str:
    """A program in the namespace of the calling thread."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.asynccontextmanager
async def firewall(**settings: str) -> AsyncIterator[Firewall]:
    """A firewall that has been started."""
    made = Firewall(**settings, responder=True)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def flush() -> None:
    """As an administrator does it, or a start of nftables.service."""
    run("nft", "flush", "ruleset")


def forward_policy(policy: str) -> None:
    """As dockerd sets it: DROP if it was the one to turn forwarding on."""
    for program in ("iptables", "ip6tables"):
        run(program, "-P", "FORWARD", policy)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition while the event loop runs; it may block for as long as `ask` does."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  (it is a packet's fate)
            await asyncio.sleep(POLL_INTERVAL)
