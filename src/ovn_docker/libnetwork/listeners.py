"""Where the plugin API is served: a unix socket, a TCP port, or both.

Owns the sockets from binding to removal, who is let in at each, and the graceful stop; knows nothing of what
is served.
"""

import asyncio
import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ovn_docker.errors import ConfigError
from ovn_docker.libnetwork.admission import FOREIGN_PEER, is_this_host
from ovn_docker.libnetwork.connections import LISTENER_OPTIONS, Connection, Pool, mark_serving
from ovn_docker.libnetwork.handshake import PLACES, Handshake, RefusalLog
from ovn_docker.libnetwork.strangers import Stranger
from ovn_docker.libnetwork.tls import Certificates

BACKLOG = 1024
CAPACITY = 1024
STRANGERS = 64
PORTS = range(65536)
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
        self, unix_path: Path | None, tcp: tuple[str, int] | None, tls: Certificates | None = None
    ) -> None:
        """Listen.

        Args:
            unix_path: the unix socket's path, or None. Its directory is made; only its owner may connect.
            tcp: (IPv4 or IPv6 address, port), or None.
            tls: what the TCP port is served with, to whoever its CA has signed; None for plain TCP, which
                serves this host only.

        Raises:
            ConfigError: a path or an address cannot be listened on; then none is.
        """
        await self._runner.setup()
        try:
            if unix_path is not None:
                sock = bind_unix(unix_path)
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


def bind_unix(path: Path) -> socket.socket:
    """A unix socket bound to a path, mode 0600; the socket file of a process that is gone is replaced.

    Raises:
        ConfigError: somebody listens there, the path is no socket, or it cannot be used.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_socket(path)
    except OSError as error:
        raise ConfigError(f"unix socket {path}: {error.strerror}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can connect before listen(), so that there is no moment of wider rights
    except OSError as error:
        sock.close()
        raise ConfigError(f"unix socket {path}: {error.strerror or error}") from error
    return sock


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"unix socket {path}: a file of another kind stands there; remove it or choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(0)
        answer = probe.connect_ex(str(path))
    if answer in {0, errno.EAGAIN}:  # EAGAIN: it lives, and its backlog is full
        raise ConfigError(f"unix socket {path}: another process serves it; stop it or choose another path")
    if answer != errno.ECONNREFUSED:
        raise OSError(answer, os.strerror(answer))
    path.unlink()


def bind_tcp(ip: str, port: int) -> socket.socket:
    """A TCP socket bound to an address of this host.

    Raises:
        ConfigError: the address is none, is not this host's, or the port is taken or not allowed.
    """
    try:
        version = ipaddress.ip_address(ip).version
    except ValueError as error:
        raise ConfigError(f"--bind-ip {ip}: no IP address") from error
    if port not in PORTS:
        raise ConfigError(f"--bind-port {port}: not in 0 to 65535")
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004
    try:
        return socket.create_server((ip, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"TCP {ip} port {port}: {_bind_failure(error)}") from error


def _bind_failure(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another process; choose another --bind-port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this host; choose another --bind-ip"
    return error.strerror or str(error)
