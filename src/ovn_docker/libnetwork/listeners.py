"""The plugin API's sockets, a unix socket and a TCP port, from binding to the graceful stop.

Owns who may connect to each, and the limits that keep slow, idle or many clients from shutting dockerd out.
What is served, and a request's own time, are server.py's.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.certificates import Certificates, reason
from ovn_docker.libnetwork.plugin_discovery import BACKLOG, bind_tcp, bind_unix
from ovn_docker.libnetwork.server import FOREIGN_PEER, is_this_host

CAPACITY = 1024

HEAD_TIMEOUT = 10.0
"""Seconds for a request's head to arrive, from the start of the connection or the head's first byte."""

# A day, which is as good as for ever: if we closed an idle connection, a request could be on its way at that
# moment, and dockerd would repeat it without its body (moby issue 35459).
KEEPALIVE = 86400.0

LINGER = 5.0
"""Seconds for which the rest of a refused body is read and dropped, so that its sender reads the answer."""

READ_AHEAD = 16 << 10
"""Bytes of a body that are read before the handler asks for them; reading pauses at twice as much."""

LIMITS: dict[str, Any] = {"max_line_size": 4096, "max_field_size": 4096, "max_headers": 32}
"""Bytes of a head's line, bytes of a header, and headers."""

LISTENER_OPTIONS: dict[str, Any] = {
    "auto_decompress": False,  # nobody compresses, and a small body must not become a large one
    "access_log": None,
    "keepalive_timeout": KEEPALIVE,
    "lingering_time": LINGER,
    "read_bufsize": READ_AHEAD,
    **LIMITS,
}

HANDSHAKE_TIMEOUT = 5.0
MAX_HANDSHAKES = 128
"""Handshakes at a time from this host, and as many from others: asyncio allocates 256 KiB for each."""

MAX_REJECTED = 64
REJECTION_TIMEOUT = 2.0
"""Seconds that a client of another host may stay connected to plain TCP."""

END_OF_HEAD = b"\r\n\r\n"
HEAD_LIMIT = 16384

REFUSAL_LOG_INTERVAL = 10.0
"""Seconds in which the same refusal of the same client is logged once."""

REFUSAL_LOG_LIMIT = 64
"""Different refusals that are logged in that time."""

REFRESH = 5.0
"""Seconds between two looks at the TLS files."""

INSPECTION = 600
"""Every so many looks it is also checked whether a certificate has expired: about once an hour."""

_log = logging.getLogger(__name__)


class ConnectionPool:
    """A limited number of connections; the one that has been idle longest makes room for a new one.

    Those on which no request has been answered yet go first: dockerd keeps its connections, slow clients have
    none to show.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._members: dict[HttpConnection | UnservedConnection, None] = {}  # the longest idle first

    def __iter__(self) -> "Iterator[HttpConnection | UnservedConnection]":
        return iter(tuple(self._members))

    def enter(self, connection: "HttpConnection | UnservedConnection") -> bool:
        """Admit a connection, if need be in place of another; False when all others are busy."""
        if len(self._members) >= self._capacity:
            idle = (member for member in self._members if not member.busy)
            evicted = min(idle, key=lambda member: member.proven, default=None)
            if evicted is None:
                return False
            self.leave(evicted)
            evicted.end()
        self._members[connection] = None
        return True

    def touch(self, connection: "HttpConnection") -> None:
        """Note that the connection has just been active."""
        if connection in self._members:
            del self._members[connection]
            self._members[connection] = None

    def leave(self, connection: "HttpConnection | UnservedConnection") -> None:
        self._members.pop(connection, None)


class HttpConnection(web.RequestHandler):
    """A connection that speaks HTTP, within the limits above.

    aiohttp's own handler closes idle connections, gives a head any amount of time, and has no hook for
    either; hence the subclass of what aiohttp does not document.
    """

    __slots__ = ("_head_timer", "_pool", "_request", "_retired", "proven")

    def __init__(self, server: web.Server, pool: ConnectionPool) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **LISTENER_OPTIONS)
        self._pool = pool
        self._request: web.Request | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._retired = False
        self.proven = False

    @property
    def busy(self) -> bool:
        """Whether a whole request has arrived, so that a verb may be under way."""
        return self._request is not None and self._request.content.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._pool.enter(self):
            transport.set_protocol(asyncio.Protocol())
            transport.write(response(503, "too many requests at the same time: try again"))
            transport.close()
            return
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._request is None and self._head_timer is None:
            self._await_head()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._pool.leave(self)
        self._stop_head_timer()
        super().connection_lost(exc)

    @contextmanager
    def serving(self, request: web.Request) -> Iterator[None]:
        """A context that lasts from the arrival of a request's head to its answer."""
        self._stop_head_timer()
        self._request = request
        self._pool.touch(self)
        try:
            yield
        finally:
            self._request = None
            self.proven = True
            self._pool.touch(self)
            if self._retired:
                self.close()

    def retire(self) -> None:
        """Close as soon as no request is under way."""
        self._retired = True
        if self._request is None:
            self.force_close()

    def end(self) -> None:
        """Close at once."""
        transport = self.transport
        self._stop_head_timer()
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in Docker's form what is not valid HTTP, and what failed outside every verb."""
        if isinstance(exc, UnicodeEncodeError):  # aiohttp quotes an Expect header sent to an unknown path
            status, message = 400, "a header is not valid Unicode text"
        if status >= 500 and not isinstance(exc, ConnectionError):  # noqa: PLR2004
            _log.error("a request failed inside the front: %s: %s", type(exc).__name__, exc)
        _log.debug("a request that no verb answered", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun when it failed")
        cause = " ".join((message or "").split())[:200]
        text = f"the request is not valid HTTP: {cause}" if status < 500 else "the request failed"  # noqa: PLR2004
        answer = web.Response(
            body=messages.encode_error(text), status=status, content_type="application/json"
        )
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - as aiohttp has it
        """Log in one line what aiohttp could not answer; its traceback is at debug.

        A client's mistakes are not logged: whoever may connect could fill the log with them.
        """
        error = kw.get("exc_info")
        if not isinstance(error, HttpProcessingError):
            _log.error("a connection failed inside the front: %s: %s", type(error).__name__, error)
        _log.debug(*args, **kw)

    def _await_head(self) -> None:
        self._head_timer = asyncio.get_running_loop().call_later(HEAD_TIMEOUT, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.write(response(408, "the request's head did not arrive in time"))
            self.transport.close()


def response(status: int, text: str) -> bytes:
    """A whole HTTP response that closes its connection, for where no request was read."""
    body = messages.encode_error(text)
    phrase = {403: "Forbidden", 408: "Request Timeout", 503: "Service Unavailable"}[status]
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


@web.middleware
async def _mark_serving(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    connection = request.protocol
    assert isinstance(connection, HttpConnection)
    with connection.serving(request):
        return await handler(request)


class UnservedConnection(asyncio.Protocol):
    """A TCP connection that may not speak HTTP, or not yet; in its pool it makes room for any other."""

    busy = False
    proven = False

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pool.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        self._transport = None
        self._pool.leave(self)

    def end(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class RejectedConnection(UnservedConnection):
    """Answers 403 to a client of another host without parsing its request.

    The answer waits for the end of the request's head, without which a client would not read it.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        super().__init__(pool)
        self._timer = asyncio.get_running_loop().call_later(REJECTION_TIMEOUT, self.end)
        self._head: bytes | None = b""  # None once it is answered

    def data_received(self, data: bytes) -> None:
        """Look for the end of the head; what follows the answer is dropped, so that it can be read."""
        if self._head is None or self._transport is None:
            return
        self._head += data
        if END_OF_HEAD in self._head or len(self._head) > HEAD_LIMIT:
            self._head = None
            self._transport.write(response(403, FOREIGN_PEER))
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._timer.cancel()


class Handshake(UnservedConnection):
    """Negotiates TLS on a connection, and hands it on once the client's certificate is accepted."""

    def __init__(
        self,
        pool: ConnectionPool,
        certificates: Certificates,
        make_connection: Callable[[], HttpConnection],
        log_refusal: Callable[[str], None],
    ) -> None:
        super().__init__(pool)
        self._certificates = certificates
        self._make_connection = make_connection
        self._log_refusal = log_refusal
        self._early: list[bytes] = []
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._task = asyncio.ensure_future(self._negotiate(transport))

    def data_received(self, data: bytes) -> None:
        """Keep what a client sends along with the handshake's last message."""
        self._early.append(data)

    async def _negotiate(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        self._certificates.refresh()
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                self,
                self._certificates.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            )
        except (OSError, EOFError) as error:
            peer = (transport.get_extra_info("peername") or ("?",))[0]
            self._log_refusal(f"TLS: client {peer} is refused: {reason(error)}")
            secure = None
            # The frames of asyncio's handshake keep the error, and the error keeps them and their 256 KiB: a
            # cycle for each client that is refused, which only a garbage collection would free.
            error.__traceback__ = None
        finally:
            self._pool.leave(self)
        if secure is None or secure.is_closing():
            transport.abort()
            return
        connection = self._make_connection()
        secure.set_protocol(connection)
        connection.connection_made(secure)
        for data in self._early:
            connection.data_received(data)


class _Door(asyncio.Protocol):
    """Chooses the protocol of a new connection by its addresses, before anything is read."""

    def __init__(self, choose: Callable[[asyncio.Transport], asyncio.Protocol]) -> None:
        self._choose = choose

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        protocol = self._choose(transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


class Listeners:
    """An application's sockets.

    Attributes:
        tcp_address: (ip, port) as bound, with the port that the kernel chose for 0; None without TCP.
    """

    def __init__(
        self, application: web.Application, *, grace: float = 10.0, capacity: int = CAPACITY
    ) -> None:
        """Prepare to serve an application.

        Args:
            application: what is served.
            grace: seconds that a stop waits for requests in flight: the application's deadline.
            capacity: connections at a time, at each socket.
        """
        application.middlewares.insert(0, _mark_serving)
        # A client that goes away must not end a verb half-way: dockerd will ask again.
        self._runner = web.AppRunner(
            application, handler_cancellation=False, shutdown_timeout=grace, **LISTENER_OPTIONS
        )
        self._unix_pool, self._tcp_pool = ConnectionPool(capacity), ConnectionPool(capacity)
        self._rejected = ConnectionPool(MAX_REJECTED)
        # Two pools, so that Docker's handshakes do not make room for those of other hosts.
        self._local_handshakes = ConnectionPool(min(MAX_HANDSHAKES, capacity))
        self._foreign_handshakes = ConnectionPool(min(MAX_HANDSHAKES, capacity))
        self._logged_refusals: dict[str, float] = {}
        self._servers: list[asyncio.Server] = []
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
            unix_path: its directory is made; only its owner may connect.
            tcp: (IPv4 or IPv6 address, port).
            tls: for the TCP port, which then serves every client that its CA has signed; plain TCP serves
                this host only.
            bound: a socket that `bind_unix` has bound to `unix_path` already.

        Raises:
            ConfigError: a path or an address cannot be listened on; then none is.
        """
        await self._runner.setup()
        try:
            if unix_path is not None:
                sock = bound or bind_unix(unix_path)
                self._unix = (unix_path, unix_path.stat().st_ino)
                await self._serve(sock, lambda: self._http(self._unix_pool))
            if tcp is not None:
                sock = bind_tcp(*tcp)
                self.tcp_address = sock.getsockname()[:2]
                if tls is not None:
                    tls.when_changed(self._retire_clients)
                    self._watch_files(tls)
                await self._serve(sock, lambda: _Door(lambda transport: self._protocol(transport, tls)))
        except BaseException:
            await self.stop()
            raise

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
        for unserved in (*self._rejected, *self._local_handshakes, *self._foreign_handshakes):
            unserved.end()
        await self._runner.cleanup()

    async def _serve(self, sock: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        sock.settimeout(0)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(make, sock=sock, backlog=BACKLOG))

    def _http(self, pool: ConnectionPool) -> HttpConnection:
        server = self._runner.server
        assert server is not None
        return HttpConnection(server, pool)

    def _protocol(self, transport: asyncio.Transport, tls: Certificates | None) -> asyncio.Protocol:
        """What serves a new TCP connection."""
        peer, local = map(transport.get_extra_info, ("peername", "sockname"))
        is_local = peer is not None and local is not None and is_this_host(peer[0], local[0])
        if tls is not None:
            pool = self._local_handshakes if is_local else self._foreign_handshakes
            return Handshake(pool, tls, lambda: self._http(self._tcp_pool), self._log_refusal)
        if is_local:
            return self._http(self._tcp_pool)
        if peer:
            self._log_refusal(f"client {peer[0]} is refused: {FOREIGN_PEER}")
        return RejectedConnection(self._rejected)

    def _log_refusal(self, text: str) -> None:
        """Log a refused client, within limits: clients must not be able to fill the disk."""
        now = asyncio.get_running_loop().time()
        recent = {line: at for line, at in self._logged_refusals.items() if now - at < REFUSAL_LOG_INTERVAL}
        if text not in recent and len(recent) < REFUSAL_LOG_LIMIT:
            recent[text] = now
            _log.warning("%s", text)
        self._logged_refusals = recent

    def _retire_clients(self) -> None:
        """Have the clients reconnect that were admitted by files no longer in use."""
        for connection in self._tcp_pool:
            if isinstance(connection, HttpConnection):
                connection.retire()

    def _watch_files(self, tls: Certificates, looks: int = 0) -> None:
        """Look at the files now and then, for otherwise only a new connection does."""
        tls.refresh()
        if looks % INSPECTION == INSPECTION - 1:
            tls.inspect()
        self._refresh = asyncio.get_running_loop().call_later(REFRESH, self._watch_files, tls, looks + 1)
