"""The connections of a listener: how many there are, how long each may take, and who has to leave for whom.

Owns the bounds that keep slow, idle or many clients from keeping dockerd out. A request's own time is
server.py's. Knows no verb; TLS is handshake.py's.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from aiohttp import web
from aiohttp.http import HttpProcessingError

from ovn_docker.libnetwork import codec

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

_log = logging.getLogger(__name__)


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


class Pool(Generic[MemberType]):
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


class Connection(web.RequestHandler):
    """One connection that speaks HTTP, within the bounds above."""

    __slots__ = ("_head_timer", "_pool", "_request", "_retired", "proven")

    def __init__(self, server: web.Server, pool: "Pool[Connection]") -> None:
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
        answer = web.Response(body=codec.encode_error(text), status=status, content_type="application/json")
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
    body = codec.encode_error(text)
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
    assert isinstance(connection, Connection)
    with connection.serving(request):
        return await handler(request)
