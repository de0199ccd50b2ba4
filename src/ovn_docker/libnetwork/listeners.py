"""Where the plugin API is served: a unix socket, a TCP port, or both.

Owns the sockets from binding to removal, who is let in at each, and the graceful stop; knows nothing of what
is served.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web
from aiohttp.http import HttpProcessingError

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.certificates import Certificates, reason
from ovn_docker.libnetwork.plugin_discovery import BACKLOG, bind_tcp, bind_unix
from ovn_docker.libnetwork.server import FOREIGN_PEER, is_this_host

# ------------------------------------------------------------------------------------------------------------
# The connections of a listener: how many there are, how long each may take, and who has to leave for whom.
# Owns the bounds that keep slow, idle or many clients from keeping dockerd out. A request's own time is
# server.py's. Knows no verb; TLS is listeners.py's.


HEAD_TIME = 10.0
"""Seconds for a request's head to arrive, from the connection's begin or the head's first byte."""

# A day, which is for ever: were it we who close an idle connection, a request could be on its way just then,
# and dockerd would send it again without its body (moby issue 35459).
KEEPALIVE = 86400.0

LINGER = 5.0
"""Seconds in which the rest of a body that was refused is read and dropped, so that its sender reads why."""

READ_AHEAD = 16 << 10
"""Bytes of a body that are read before somebody asks for them; twice as much, and reading pauses."""

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


class Member(Protocol):
    """What a pool holds."""

    @property
    def busy(self) -> bool:
        """Whether it must not be ended for another's sake."""

    @property
    def proven(self) -> bool:
        """Whether it has been of use before, so that others make room first."""

    def end(self) -> None:
        """Close at once; `leave` of the pool follows."""


MemberType = TypeVar("MemberType", bound=Member)


class ConnectionPool(Generic[MemberType]):
    """At most so many connections; the one that has been idle the longest makes room for a new one.

    Those on which no request was answered yet go first: dockerd keeps its connections, slow clients have
    nothing to show.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._members: dict[MemberType, None] = {}  # the longest idle first

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[MemberType]:
        return iter(tuple(self._members))

    def enter(self, member: MemberType) -> bool:
        """Take it in, at another's cost if need be; False when all others are busy."""
        if len(self._members) >= self._capacity:
            idle = min((each for each in self._members if not each.busy), key=_proven, default=None)
            if idle is None:
                return False
            self.leave(idle)
            idle.end()
        self._members[member] = None
        return True

    def touch(self, member: MemberType) -> None:
        """It has done something just now."""
        if member in self._members:
            del self._members[member]
            self._members[member] = None

    def leave(self, member: MemberType) -> None:
        """It is no more."""
        self._members.pop(member, None)


def _proven(member: Member) -> bool:
    return member.proven


class HttpConnection(web.RequestHandler):
    """One connection that speaks HTTP, within the bounds above."""

    __slots__ = ("_head_timer", "_pool", "_request", "_retired", "proven")

    def __init__(self, server: web.Server, pool: "ConnectionPool[HttpConnection]") -> None:
        """Belong to a pool, and to aiohttp's server for the rest."""
        super().__init__(server, loop=asyncio.get_running_loop(), **LISTENER_OPTIONS)
        self._pool = pool
        self._request: web.Request | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._retired = False
        self.proven = False

    @property
    def busy(self) -> bool:
        """Whether a request has arrived whole, so that a verb may be under way."""
        return self._request is not None and self._request.content.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or answer 503 where every other connection is busy."""
        assert isinstance(transport, asyncio.Transport)
        if not self._pool.enter(self):
            transport.set_protocol(asyncio.Protocol())
            transport.write(response(503, "too many requests at the same time: try again"))
            transport.close()
            return
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Begin a head's time with its first byte."""
        if self._request is None and self._head_timer is None:
            self._await_head()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place in the pool up."""
        self._pool.leave(self)
        self._forget_head()
        super().connection_lost(exc)

    @contextmanager
    def serving(self, request: web.Request) -> Iterator[None]:
        """A request's head has arrived and it is being answered."""
        self._forget_head()
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
        self._forget_head()
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
        """Answer in Docker's words what is no HTTP, or what failed outside of every verb."""
        if isinstance(
            exc, UnicodeEncodeError
        ):  # aiohttp quotes an Expect header of a path that is none of ours
            status, message = 400, "a header is not valid Unicode text"
        if status >= 500 and not isinstance(exc, ConnectionError):  # noqa: PLR2004
            _log.error("a request failed inside the front: %s: %s", type(exc).__name__, exc)
        _log.debug("a request that has no answer of its own", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun when it failed")
        why = " ".join((message or "").split())[:200]
        text = f"the request is not valid HTTP: {why}" if status < 500 else "the request failed"  # noqa: PLR2004
        answer = web.Response(
            body=messages.encode_error(text), status=status, content_type="application/json"
        )
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401 - as aiohttp has it
        """Tell in one line of what aiohttp met and did not answer; its traceback is at debug.

        What a client sent wrong is no news: whoever may connect could fill the log with it.
        """
        error = kw.get("exc_info")
        if not isinstance(error, HttpProcessingError):
            _log.error("a connection failed inside the front: %s: %s", type(error).__name__, error)
        _log.debug(*args, **kw)

    def _await_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(HEAD_TIME, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.write(response(408, "the request's head did not arrive in time"))
            self.transport.close()


def response(status: int, text: str) -> bytes:
    """A whole HTTP response that ends its connection, for where no request was read."""
    body = messages.encode_error(text)
    reason = {403: "Forbidden", 408: "Request Timeout", 503: "Service Unavailable"}[status]
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


@web.middleware
async def mark_serving(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Tell the connection of its request."""
    connection = request.protocol
    assert isinstance(connection, HttpConnection)
    with connection.serving(request):
        return await handler(request)


# --- A connection's way through the TLS handshake, until it may speak HTTP. ---------------------------------
# Owns the handshake's time and the one line that tells of a client that was refused. certificates.py owns the
# files.


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
        pool: "ConnectionPool[Handshake]",
        certificates: Certificates,
        make: Callable[[], HttpConnection],
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


# --- Connections of those who may not speak to us: they are told so, and nothing of theirs is understood. ---
# Owns the answer to a peer of another host on plain TCP. No byte of its request reaches the web server.


PATIENCE = 2.0
"""Seconds that a stranger may stay."""

END_OF_HEAD = b"\r\n\r\n"
HEAD_LIMIT = 16384


class Stranger(asyncio.Protocol):
    """Waits for the head of a request, without which a client would not read an answer, and answers 403."""

    def __init__(self, pool: "ConnectionPool[Stranger]") -> None:
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
        self._strangers: ConnectionPool[Stranger] = ConnectionPool(STRANGERS)
        # Docker's handshakes do not make room for those of other hosts.
        self._own: ConnectionPool[Handshake] = ConnectionPool(min(PLACES, capacity))
        self._foreign: ConnectionPool[Handshake] = ConnectionPool(min(PLACES, capacity))
        self._refusals = RefusalLog()
        self._servers: list[asyncio.Server] = []
        self._secure: ConnectionPool[HttpConnection] = ConnectionPool(capacity)
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
                pool: ConnectionPool[HttpConnection] = ConnectionPool(self._capacity)
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

    def _connection(self, pool: ConnectionPool[HttpConnection]) -> HttpConnection:
        server = self._runner.server
        assert server is not None
        return HttpConnection(server, pool)

    def _plain(self) -> Callable[[], asyncio.Protocol]:
        pool: ConnectionPool[HttpConnection] = ConnectionPool(self._capacity)

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
