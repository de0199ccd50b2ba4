"""Connections of those who may not speak to us: they are told so, and nothing of theirs is understood.

Owns the answer to a peer of another host on plain TCP. No byte of its request reaches the web server.
"""

import asyncio

from ovn_docker.libnetwork.admission import FOREIGN_PEER
from ovn_docker.libnetwork.connections import Pool, response

PATIENCE = 2.0
"""Seconds that a stranger may stay."""

END_OF_HEAD = b"\r\n\r\n"
HEAD_LIMIT = 16384


class Stranger(asyncio.Protocol):
    """Waits for the head of a request, without which a client would not read an answer, and answers 403."""

    def __init__(self, pool: "Pool[Stranger]") -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head = b""
        self._answered = False

    @property
    def busy(self) -> bool:
        """Never: a stranger makes room for the next."""
        return False

    @property
    def proven(self) -> bool:
        """Never, likewise."""
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place among the strangers."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pool.enter(self)
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self.end)

    def data_received(self, data: bytes) -> None:
        """Look for the head's end; what comes after the answer is dropped, so that it can be read."""
        if self._answered or self._transport is None:
            return
        self._head += data
        if END_OF_HEAD in self._head or len(self._head) > HEAD_LIMIT:
            self._answered, self._head = True, b""
            self._transport.write(response(403, FOREIGN_PEER))
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """Give the place up."""
        self._pool.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
