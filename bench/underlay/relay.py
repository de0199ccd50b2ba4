"""A relay of TCP between the driver and Neutron, which notes when each request and each answer passed.

It changes no byte and keeps each connection, so that it is seen how many the driver opens.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

from bench.underlay.shares import Exchange

CHUNK = 65536

Connect = Callable[[], socket.socket]


class Relay:
    """Between a listening socket and where `connect` leads.

    Attributes:
        connections: how many were opened so far.
    """

    def __init__(self, listener: socket.socket, connect: Connect) -> None:
        self._listener = listener
        self._connect = connect
        self._exchanges: list[Exchange] = []
        self._noting = threading.Lock()
        self._relayed: list[_Connection] = []
        self.connections = 0

    @contextlib.contextmanager
    def serve(self) -> Iterator["Relay"]:
        """Relay for as long as this context lasts."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            self._listener.close()
            for connection in self._relayed:
                connection.close()

    def take(self) -> list[Exchange]:
        """What was exchanged since this was called last."""
        with self._noting:
            taken, self._exchanges = self._exchanges, []
        return taken

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._relayed.append(_Connection(client, self._connect(), self.connections, self._note))
            self._relayed[-1].start()

    def _note(self, exchange: Exchange) -> None:
        with self._noting:
            self._exchanges.append(exchange)


class _Connection:
    """One connection: what the client sends next, once there is an answer, is another request."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        number: int,
        note: Callable[[Exchange], None],
    ) -> None:
        self._client, self._server = client, server
        self._number = number
        self._note = note
        self._threads = [
            threading.Thread(target=self._until_closed, args=(work,), daemon=True)
            for work in (self._requests, self._answers)
        ]
        self._head = b""
        self._began = 0.0

    def start(self) -> None:
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._end()
        for thread in self._threads:
            thread.join(5)
        for end in (self._client, self._server):
            end.close()

    def _until_closed(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            work()
        self._end()

    def _end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _requests(self) -> None:
        while data := self._client.recv(CHUNK):
            if not self._head:
                self._began = time.perf_counter()
                self._head = data
            self._server.sendall(data)

    def _answers(self) -> None:
        answer = b""
        while data := self._server.recv(CHUNK):
            answer += data
            whole = _is_whole(answer)
            if whole:  # noted before it is passed on: the next request may come at once
                line = self._head.partition(b"\r\n")[0].decode("latin-1")
                self._head, answer = b"", b""
                self._note(Exchange(line, self._began, time.perf_counter(), self._number))
            self._client.sendall(data)


def _is_whole(answer: bytes) -> bool:
    """Whether this is all of an HTTP answer; Neutron says how long each is."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return len(body) >= int(value)
    return head.split(b" ", 2)[1] in {b"204", b"304"}
