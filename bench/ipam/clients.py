"""Clients that keep asking for addresses, each over one connection, all in one event loop.

They stand in for dockerds and use no HTTP library: on a small machine what clients use is taken from what is
measured.
"""

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.plugin import TIMEOUT, dial_unix
from ovn_docker.errors import HostError

_END_OF_HEADERS, _LENGTH = b"\r\n\r\n", b"content-length:"


@dataclass(frozen=True, slots=True)
class Answer:
    """One lease.

    Attributes:
        host: the driver's system-id.
        address: without prefix length.
        took: milliseconds.
    """

    host: str
    address: str
    took: float


@dataclass(slots=True)
class Client:
    """One connection to one driver, with at most one request under way.

    Attributes:
        host: the driver's system-id.
        connection: to the driver.
        request: what is sent again and again.
        sent: when it was sent last, by time.perf_counter().
        received: of its answer, so far.
    """

    host: str
    connection: socket.socket
    request: bytes
    sent: float = 0
    received: bytes = b""

    def send(self) -> None:
        """Ask for the next address."""
        self.received = b""
        self.sent = time.perf_counter()
        self.connection.sendall(self.request)

    def receive(self) -> bytes | None:
        """The answer's body, once it is complete."""
        data = self.connection.recv(1 << 16)
        if not data:
            raise HostError(f"driver {self.host} closed the connection")
        self.received += data
        headers, _, body = self.received.partition(_END_OF_HEADERS)
        if len(headers) == len(self.received) or len(body) < _body_length(headers):
            return None
        if not headers.startswith(b"HTTP/1.1 200 "):
            raise HostError(f"RequestAddress of driver {self.host} failed: {body.decode(errors='replace')}")
        return body


def client(host: str, path: Path, pool_id: str) -> Client:
    """A client that is connected."""
    content = json.dumps({"PoolID": pool_id, "Address": "", "Options": None}).encode()
    head = (
        f"POST /IpamDriver.RequestAddress HTTP/1.1\r\nHost: plugin\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return Client(host, dial_unix(path)(), head.encode() + content)


def lease(clients: Sequence[Client], count: int) -> tuple[list[Answer], float]:
    """Have the clients take `count` leases together, each the same number, as fast as they get answers.

    Returns:
        All leases, and the seconds from the first request to the last answer.
    """
    open_requests = dict.fromkeys(range(len(clients)), count // len(clients))
    bodies: list[tuple[str, bytes, float]] = []
    with selectors.DefaultSelector() as selector:
        for number, client in enumerate(clients):
            selector.register(client.connection, selectors.EVENT_READ, number)
        started = time.perf_counter()
        for client in clients:
            client.send()
        while open_requests:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise HostError(f"no driver answered within {TIMEOUT:g} s")
            now = time.perf_counter()
            for key, _ in ready:
                one = clients[key.data]
                body = one.receive()
                if body is None:
                    continue
                bodies.append((one.host, body, (now - one.sent) * 1000))
                open_requests[key.data] -= 1
                if open_requests[key.data]:
                    one.send()
                else:
                    del open_requests[key.data]
        seconds = time.perf_counter() - started
    return [Answer(host, address(body), took) for host, body, took in bodies], seconds


def address(body: bytes) -> str:
    """The address of a RequestAddress response, without prefix length."""
    reply = json.loads(body)
    if not reply.get("Address"):
        raise HostError(f"RequestAddress failed: {reply.get('Err') or reply}")
    return str(reply["Address"].partition("/")[0])


def _body_length(headers: bytes) -> int:
    at = headers.lower().index(_LENGTH) + len(_LENGTH)
    return int(headers[at:].split(b"\r\n", 1)[0])
