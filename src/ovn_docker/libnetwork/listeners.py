"""Where the plugin API is served: a unix socket, a TCP port, or both.

Owns the sockets from binding to removal, who is let in at each, and the graceful stop; knows nothing of what
is served.
"""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ovn_docker.libnetwork.admission import FOREIGN_PEER, is_this_host
from ovn_docker.libnetwork.certificates import Certificates
from ovn_docker.libnetwork.connections import LISTENER_OPTIONS, Connection, Pool, mark_serving
from ovn_docker.libnetwork.handshake import PLACES, Handshake, RefusalLog
from ovn_docker.libnetwork.sockets import BACKLOG, bind_tcp, bind_unix
from ovn_docker.libnetwork.strangers import Stranger

CAPACITY = 1024
STRANGERS = 64
REFRESH = 5.0
"""Seconds between two looks at the files of TLS."""

INSPECTION = 600
"""Looks between two that also see whether a certificate has expired: about an hour."""


class Listeners:
    """An application's sockets.

    Attributes:
        tcp_address: (ip, port) as bound, the port that the kernel chose if 0 was asked for; None without TCP.
    """

    def __init__(
        self, application: web.Application, *, grace: float = 10.0, capacity: int = CAPACITY
    ) -> None:
        """Make ready.

        Args:
            application: what is served.
            grace: seconds that a stop waits for requests in flight: the application's deadline.
            capacity: connections at a time, at each socket.
        """
        application.middlewares.insert(0, mark_serving)
        # A client that goes away must not end a verb half-way: dockerd will ask again.
        self._runner = web.AppRunner(
            application, handler_cancellation=False, shutdown_timeout=grace, **LISTENER_OPTIONS
        )
        self._capacity = capacity
        self._strangers: Pool[Stranger] = Pool(STRANGERS)
        # Docker's handshakes do not make room for those of other hosts.
        self._own: Pool[Handshake] = Pool(min(PLACES, capacity))
        self._foreign: Pool[Handshake] = Pool(min(PLACES, capacity))
        self._refusals = RefusalLog()
        self._servers: list[asyncio.Server] = []
        self._secure: Pool[Connection] = Pool(capacity)
        self._refresh: asyncio.TimerHandle | None = None
        self._unix: tuple[Path, int] | None = None
        self.tcp_address: tuple[str, int] | None = None

    async def start(
        self,
        unix_path: Path | None,
        tcp: tuple[str, int] | None,
        tls: Certificates | None = None,
        bound: socket.socket | None = None,
    ) -> None:
        """Listen.

        Args:
            unix_path: the unix socket's path, or None. Its directory is made; only its owner may connect.
            tcp: (IPv4 or IPv6 address, port), or None.
            tls: what the TCP port is served with, to whoever its CA has signed; None for plain TCP, which
                serves this host only.
            bound: a socket that `bind_unix` has bound to that path already.

        Raises:
            ConfigError: a path or an address cannot be listened on; then none is.
        """
        await self._runner.setup()
        try:
            if unix_path is not None:
                sock = bound or bind_unix(unix_path)
                self._unix = (unix_path, unix_path.stat().st_ino)
                pool: Pool[Connection] = Pool(self._capacity)
                await self._serve(sock, lambda: self._connection(pool))
            if tcp is not None:
                sock = bind_tcp(*tcp)
                self.tcp_address = sock.getsockname()[:2]
                await self._serve(sock, self._plain() if tls is None else self._encrypted(tls))
        except BaseException:
            await self.stop()
            raise

    async def _serve(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        sock.settimeout(0)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def _connection(self, pool: Pool[Connection]) -> Connection:
        server = self._runner.server
        assert server is not None
        return Connection(server, pool)

    def _plain(self) -> Callable[[], asyncio.Protocol]:
        pool: Pool[Connection] = Pool(self._capacity)

        def choose(transport: asyncio.Transport) -> asyncio.Protocol:
            if _is_of_this_host(transport):
                return self._connection(pool)
            if peer := transport.get_extra_info("peername"):
                self._refusals.tell(f"client {peer[0]} is refused: {FOREIGN_PEER}")
            return Stranger(self._strangers)

        return lambda: _Door(choose)

    def _encrypted(self, tls: Certificates) -> Callable[[], asyncio.Protocol]:
        tls.when_changed(self._retire)
        self._watch(tls)

        def choose(transport: asyncio.Transport) -> asyncio.Protocol:
            pool = self._own if _is_of_this_host(transport) else self._foreign
            return Handshake(pool, tls, lambda: self._connection(self._secure), self._refusals)

        return lambda: _Door(choose)

    def _retire(self) -> None:
        """Who came in by files that are in use no more comes in again."""
        for each in self._secure:
            each.retire()

    def _watch(self, tls: Certificates, looks: int = 0) -> None:
        """Look at the files now and then, for otherwise only a new connection does."""
        tls.refresh()
        if looks % INSPECTION == INSPECTION - 1:
            tls.inspect()
        self._refresh = asyncio.get_running_loop().call_later(REFRESH, self._watch, tls, looks + 1)

    async def stop(self) -> None:
        """Take no new requests, let those in flight end, close, and remove the socket file if it is ours."""
        if self._unix is not None:
            path, inode = self._unix
            self._unix = None
            if path.exists() and path.stat().st_ino == inode:
                path.unlink()
        if self._refresh is not None:
            self._refresh.cancel()
        for server in self._servers:
            server.close()
        for unknown in (*self._strangers, *self._own, *self._foreign):
            unknown.end()
        await self._runner.cleanup()


def _is_of_this_host(transport: asyncio.Transport) -> bool:
    peer, local = map(transport.get_extra_info, ("peername", "sockname"))
    return peer is not None and local is not None and is_this_host(peer[0], local[0])


class _Door(asyncio.Protocol):
    """Looks at who comes before anything is read, and hands the connection on."""

    def __init__(self, choose: Callable[[asyncio.Transport], asyncio.Protocol]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        protocol = self._choose(transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
