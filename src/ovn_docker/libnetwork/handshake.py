"""A connection's way through the TLS handshake, until it may speak HTTP.

Owns the handshake's time and the one line that tells of a client that was refused.
certificates.py owns the files.
"""

import asyncio
import logging
from collections.abc import Callable

from ovn_docker.libnetwork.certificates import Certificates, reason
from ovn_docker.libnetwork.connections import Connection, Pool

HANDSHAKE_TIME = 5.0
"""Seconds for the handshake."""

PLACES = 128
"""Handshakes at a time of this host, and as many of others: each holds 256 KiB of asyncio's."""

QUIET = 10.0
"""Seconds in which the same refusal of the same client is logged once."""

_log = logging.getLogger(__name__)


class RefusalLog:
    """Tells of refused clients, without letting them fill the disk."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._told: dict[str, float] = {}

    def tell(self, text: str) -> None:
        """Log a line unless it was logged a moment ago, or there are too many of its kind."""
        now = asyncio.get_running_loop().time()
        self._told = {line: at for line, at in self._told.items() if now - at < QUIET}
        if text not in self._told and len(self._told) < self._most:
            self._told[text] = now
            _log.warning("%s", text)


class Handshake(asyncio.Protocol):
    """Takes a connection, and hands it on once its certificate was accepted."""

    def __init__(
        self,
        pool: "Pool[Handshake]",
        certificates: Certificates,
        make: Callable[[], Connection],
        refusals: RefusalLog,
    ) -> None:
        """Belong to a pool of connections that nobody knows yet."""
        self._pool = pool
        self._certificates = certificates
        self._make = make
        self._refusals = refusals
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Never: a client that has shown nothing yet makes room for another."""
        return False

    @property
    def proven(self) -> bool:
        """Never, likewise."""
        return False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pool.enter(self)
        transport.pause_reading()
        self._task = asyncio.ensure_future(self._shake(transport))

    def data_received(self, data: bytes) -> None:
        """Keep what a client sends along with the handshake's last message."""
        self._early.append(data)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """Give the place up."""
        self._transport = None
        self._pool.leave(self)

    def end(self) -> None:
        """Close at once; the handshake ends with its transport."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        self._certificates.refresh()
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._certificates.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIME,
            )
        except (OSError, EOFError) as error:
            peer = (transport.get_extra_info("peername") or ("?",))[0]
            self._refusals.tell(f"TLS: client {peer} is refused: {reason(error)}")
            secure = None
            # The frames of asyncio's handshake keep the error, and the error keeps them and their 256 KiB: a
            # cycle for each client that is refused, which only a garbage collection would free.
            error.__traceback__ = None
        finally:
            self._pool.leave(self)
        if secure is None or secure.is_closing():
            transport.abort()
            return
        connection = self._make()
        secure.set_protocol(connection)
        connection.connection_made(secure)
        for data in self._early:
            connection.data_received(data)
