"""The HTTP front of Docker's plugin API: path to request to the driver's method to reply.

Owns the time that a verb may take and the one place where an exception becomes Docker's error. The table of
paths is api.py's, the sockets are listeners.py's. Knows no driver and no OVN.

Source: moby pkg/plugins/client.go.
"""

import asyncio
import ipaddress
import logging
import platform
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from aiohttp import web

from ovn_docker.errors import OvnDockerError, RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.api import (
    PLUGIN_TYPE,
    IpamDriver,
    NetworkDriver,
    Reply,
    Verb,
    database_verb,
    table,
)
from ovn_docker.logs import fields

# --- Who may speak to the plugin, and how: what is refused before a body is read. Pure. ---------------------
# Plain TCP serves this host only, and nothing that a web page could make a browser send. Knows no verb.
# Source: RFC 9110 sections 7.1 (target), 7.2 (Host) and 8.3 (Content-Type), RFC 6454 section 7 (Origin), W3C
# Fetch Metadata, RFC 6761 section 6.3 (localhost); moby pkg/plugins/client.go for what dockerd sends: an
# address as Host over TCP, a placeholder over a unix socket, and no Content-Type at all.


IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

FOREIGN_PEER = "plain TCP serves this host only: call from the host itself, or have TLS served (--tls-cert)"
_LOCAL_SITES = {"none", "same-origin"}

_HOST = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)(%25[^]]+)?\]|(?P<name>[^][:]+?)\.?)(:\d*)?")
"""RFC 3986 section 3.2.2, and RFC 6874 for the zone; a name's final dot is no part of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What of a request's head decides.

    Attributes:
        has_body: whether a body follows.
        hosts: every Host header.
        target: the request's target as it came.
        origin: the Origin header, or None.
        fetch_site: the Sec-Fetch-Site header, or None.
        content_type: the Content-Type header as it came, or None.
    """

    has_body: bool
    hosts: tuple[str, ...]
    target: str = "/"
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the one that was asked for; `text` is one line."""

    status: HTTPStatus
    text: str


def is_this_host(peer: str, local: str) -> bool:
    """Whether the other end of a TCP connection is on this host, in this network namespace.

    It is when its address is the loopback's or the very one that it called: a host that calls an address of
    its own has that address as its source too, and the kernel takes neither from a wire (it would send the
    handshake's answer to itself).

    Args:
        peer: IP address of the other end; an IPv6 address may carry a zone, or map an IPv4 one.
        local: of this end.
    """
    there = _address(peer)
    return there.is_loopback or there == _address(local)


def _address(text: str) -> IPAddress:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def judge(head: Head, names: frozenset[str] | None) -> Refusal | None:
    """Say why a request is refused, or None.

    Args:
        head: of the request.
        names: lower-case names that this host may be called by, beside addresses and localhost; None where no
            Host is wrong: no browser reaches a unix socket, and TLS has proved who is asked for.
    """
    if head.origin is not None or (head.fetch_site or "none").lower() not in _LOCAL_SITES:
        return Refusal(
            HTTPStatus.FORBIDDEN, "a web page may not use the plugin: Origin or Sec-Fetch-Site is set"
        )
    if not head.target.startswith("/"):
        return Refusal(
            HTTPStatus.BAD_REQUEST, "the request's target is not a path: the plugin is not a proxy"
        )
    if len(head.hosts) > 1:
        return Refusal(HTTPStatus.BAD_REQUEST, "the request has more than one Host header")
    if names is not None and head.hosts and not _is_own_name(head.hosts[0], names):
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"Host '{head.hosts[0][:80]}' is not a name of this host: use an IP address or localhost",
        )
    if head.has_body and head.content_type is not None and not _is_json(head.content_type):
        return Refusal(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type '{head.content_type[:80]}' is not JSON: send application/json, or none",
        )
    return None


def _is_own_name(host: str, names: frozenset[str]) -> bool:
    """A page's own name cannot be an address, so that an address cannot have been rebound."""
    parts = _HOST.fullmatch(host.lower())
    if parts is None:
        return False
    name = parts["name"] or ""
    try:
        ipaddress.ip_address(parts["v6"] or name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost") or name in names
    return True


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


# --- What a line of the log says of a request besides its verb. It waits for nothing and asks nobody. -------


LONGEST = 200
"""Characters of one value; who asks chooses them."""

MOST_NAMES = 4096
"""So many endpoints are remembered with the name of their container; the one noted longest ago goes first."""


class ContainerNames:
    """Whose endpoints are: what Docker said of its own accord or to the health check, in memory only.

    Docker names no container in Join, Leave or DeleteEndpoint, and may not be asked inside a request.
    """

    def __init__(self) -> None:
        """No name is known yet."""
        self._names: dict[str, str] = {}

    def note(self, endpoint_id: str, name: str) -> None:
        """Remember a container's name."""
        self._names.pop(endpoint_id, None)
        self._names[endpoint_id] = name
        if len(self._names) > MOST_NAMES:
            del self._names[next(iter(self._names))]

    def of(self, endpoint_id: str) -> str:
        """The name of an endpoint's container, or ""."""
        return self._names.get(endpoint_id, "")


def nobody(_endpoint_id: str) -> str:
    """Know no container."""
    return ""


def subject(
    message: messages.Message | None, reply: Reply, container_of: Callable[[str], str] = nobody
) -> dict[str, str]:
    """Network and endpoint, or pool, address and container, as far as request and reply name them.

    Args:
        message: the request, or None.
        reply: what was answered; None after an error.
        container_of: asked for the name of an endpoint's container, or "".
    """
    options = getattr(message, "options", None) or {}
    interface = getattr(message, "interface", None) or messages.EndpointInterface()
    told = {
        "network_id": getattr(message, "network_id", ""),
        "endpoint_id": getattr(message, "endpoint_id", ""),
        "pool": _first((reply, "pool_id"), (message, "pool_id"), (message, "pool")),
        "address": _first((reply, "address"), (message, "address"), (interface, "address")),
        "address_ipv6": interface.address_ipv6,
        "container": options.get(messages.ENDPOINT_NAME, "")
        or container_of(getattr(message, "endpoint_id", "")),
    }
    return {name: str(value)[:LONGEST] for name, value in told.items() if value}


def _first(*places: tuple[object, str]) -> str:
    """The first of attributes that is there and not empty."""
    return next((value for each, name in places if (value := getattr(each, name, ""))), "")


# ------------------------------------------------------------------------------------------------------------
# Bodies of requests: how long one may be, how long it may take, and how many large ones arrive at a time.
# Knows no verb. What is in a body is messages.py's.


BODY_LIMIT = 1 << 20
"""Bytes."""

SMALL = 64 << 10
"""Bytes; dockerd's are far below."""

LARGE_AT_A_TIME = 16
"""Bodies that are larger, or do not say how large they are; the others wait, so that memory has a bound."""


class BodyTooLargeError(RequestError):
    """The body is longer than any request of Docker's."""


class Bodies:
    """Reads the bodies of one application."""

    def __init__(self) -> None:
        self._large = asyncio.Semaphore(LARGE_AT_A_TIME)

    async def read(self, request: web.Request, give_up_at: float) -> bytes:
        """A request's body.

        Args:
            request: whose.
            give_up_at: when it must have arrived, by the event loop's clock.

        Raises:
            RequestError: it is too long, or does not arrive whole and in time.
        """
        length = request.content_length
        try:
            async with asyncio.timeout_at(give_up_at):
                if length is not None and length <= SMALL:
                    return await request.read()
                async with self._large:
                    return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise BodyTooLargeError(f"the body is longer than {BODY_LIMIT} bytes") from error
        except (TimeoutError, OSError, web.PayloadAccessError, web.RequestPayloadError) as error:
            # The body's stream keeps the error, whose frames hold what had arrived: a cycle, which would stay
            # in memory until a garbage collection that megabytes do not hasten.
            raise RequestError("the body did not arrive whole and in time") from error.with_traceback(None)


# --- What the plugin's listener tells those who watch it: /healthz and /metrics. ----------------------------
# Owns the two paths and the form of their answers; what is in them is handed in as plain functions, which
# must not wait. Knows no database and no health check. Source: Prometheus "Exposition formats", text format
# 0.0.4.


METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
UNCACHED = {"Cache-Control": "no-store"}


def _uncounted(_verb: str, _outcome: str, _seconds: float) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Who is told of requests, and who is asked how the driver is.

    Attributes:
        verb_done: told of each request's verb, its outcome (``ok``, ``refused``, ``failed``, ``overdue``) and
            its seconds.
        problems: what is wrong just now, one line for each; none when all is well.
        exposition: all metrics in Prometheus's text format.
        container_of: the name of an endpoint's container, for the log, or "".
        in_flight: makes a context that lasts from a request's head to its reply.
    """

    verb_done: Callable[[str, str, float], None] = _uncounted
    problems: Callable[[], Sequence[str]] = tuple
    exposition: Callable[[], bytes] = bytes
    container_of: Callable[[str], str] = nobody
    in_flight: Callable[[], AbstractContextManager[object]] = nullcontext


def routes(observation: Observation) -> list[web.RouteDef]:
    """Both pages, for GET; they are answered at once, whatever is down."""
    return [
        web.get("/healthz", _healthz(observation.problems), allow_head=False),
        web.get("/metrics", _metrics(observation.exposition), allow_head=False),
    ]


def _healthz(problems: Callable[[], Sequence[str]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        lines = [" ".join(line.split()) for line in problems()]
        body = msgspec.json.encode({"status": "failing" if lines else "ok", "problems": lines})
        return web.Response(
            body=body + b"\n",
            status=503 if lines else 200,
            content_type="application/json",
            headers=UNCACHED,
        )

    return handle


def _metrics(exposition: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": METRICS_TYPE} | UNCACHED)

    return handle


DEADLINE = 10.0
FAILED = 500
"""From this status on it is not the request that was at fault, and the log warns."""

ROLLBACK = 1.0

TEXT_LIMIT = 4000
"""Characters of an error, in the answer and in the log: what was sent may be quoted in it, more than once."""

_log = logging.getLogger(__name__)


class DeadlineError(OvnDockerError):
    """A verb has used up its time."""


def create_application(
    driver: NetworkDriver,
    ipam: IpamDriver | None = None,
    *,
    deadline: float = DEADLINE,
    observation: Observation | None = None,
) -> web.Application:
    """The web application that serves a driver to dockerd.

    Args:
        driver: whom to ask.
        ipam: whom to ask for addresses, or None to leave them to Docker.
        deadline: seconds that a request may take, from its head to its reply. dockerd waits for a plugin
            without end (moby pkg/plugins/client.go), so that each verb is ended here: it is cancelled
            `ROLLBACK` seconds before, to undo what it began.
        observation: who counts requests, and what /healthz and /metrics tell; by default nobody and nothing.
    """
    observation = observation or Observation()
    application = web.Application(client_max_size=BODY_LIMIT, middlewares=[_explain_refusals, _admit])
    front = _Front(driver, deadline, observation)
    database = database_verb(driver)
    for verb in (*table(driver, ipam), database):
        application.router.add_post(f"/{verb.name}", front.handler(verb), expect_handler=_continue)
    application.router.add_get(f"/{database.name}", front.handler(database), allow_head=False)
    application.add_routes(routes(observation))
    return application


class _Front:
    """Runs verbs, within their time."""

    def __init__(self, driver: NetworkDriver, deadline: float, observation: Observation) -> None:
        self._driver = driver
        self._deadline = deadline
        self._in_flight, self._verb_done = observation.in_flight, observation.verb_done
        self._container_of = observation.container_of
        self._bodies = Bodies()
        self._rollback = min(ROLLBACK, deadline / 2)
        self._running: set[asyncio.Task[Reply]] = set()  # the loop itself holds tasks weakly

    def handler(self, verb: Verb) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            with self._in_flight():
                return await self._handle(verb, request)

        return handle

    async def _handle(self, verb: Verb, request: web.Request) -> web.Response:
        started = time.monotonic()
        cancel_at = asyncio.get_running_loop().time() + self._deadline - self._rollback
        message: messages.Message | None = None
        reply: Reply = None
        try:
            message = await _message(verb, request, self._bodies, cancel_at)
            reply = await self._reply(verb, message, cancel_at)
            body, status = messages.encode(reply), 200
            outcome = text = "ok"
        except Exception as error:  # noqa: BLE001 - whatever it is, dockerd needs an answer
            text, outcome = _shortened(_error_text(verb, error)), _outcome(error)
            body, status = messages.encode_error(text), _status(error)
        seconds = time.monotonic() - started
        level = logging.WARNING if status >= FAILED else verb.level
        told = subject(message, reply, self._container_of)
        _log_outcome(verb, told, text, seconds, level=level)
        self._verb_done(verb.name, outcome, seconds)
        return web.Response(body=body, status=status, content_type=verb.content_type)

    async def _reply(self, verb: Verb, message: messages.Message | None, cancel_at: float) -> Reply:
        """Run the verb as a task of its own, which neither a client that leaves nor a stop cancels."""
        task = asyncio.create_task(_call(verb, message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        remaining = cancel_at - asyncio.get_running_loop().time()
        await asyncio.wait({task}, timeout=max(0.0, remaining))
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait({task}, timeout=self._rollback * 0.9)  # the rest is for the reply itself
        if not task.done():
            _follow(verb, task)
        elif not task.cancelled() and task.exception() is None:
            return task.result()
        raise DeadlineError(self._overdue_text(verb, task))

    def _overdue_text(self, verb: Verb, task: asyncio.Task[Reply]) -> str:
        text = f"not done within {self._deadline:g} s and given up"  # dockerd puts the verb in front
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None:
            _log.warning("%s failed while it was given up: %s: %s", verb.name, type(error).__name__, error)
        reason = self._driver.outage() or (str(error) if isinstance(error, OvnDockerError) else "")
        return f"{text}: {reason}" if reason else text


def _follow(verb: Verb, task: asyncio.Task[Reply]) -> None:
    """Tell in the log of a verb that does not heed its cancellation, and of how it ends."""

    def ended(task: asyncio.Task[Reply]) -> None:
        error = None if task.cancelled() else task.exception()
        _log.warning("%s, which was given up, has ended now: %s", verb.name, error or "without an error")

    task.add_done_callback(ended)
    _log.warning("%s does not heed its cancellation and goes on", verb.name)


async def _call(verb: Verb, message: messages.Message | None) -> Reply:
    """Call the driver; a cancellation that is not ours must not pass for the server's."""
    task = asyncio.current_task()
    try:
        return await verb.call(message)
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        raise RuntimeError("a part of the verb was cancelled from inside") from error


async def _message(
    verb: Verb, request: web.Request, bodies: Bodies, give_up_at: float
) -> messages.Message | None:
    """The request, or None where the verb takes none.

    Raises:
        RequestError: the body is too long, does not arrive whole and in time, or is no such request.
    """
    if verb.request_type is None:
        return None
    try:
        return messages.decode(verb.request_type, await bodies.read(request, give_up_at))
    except RequestError as error:
        raise type(error)(f"{verb.name}: {error}") from error


def _status(error: Exception) -> int:
    """Never 404: to dockerd the plugin would lack the verb (moby pkg/plugins/errors.go IsNotFound)."""
    if isinstance(error, BodyTooLargeError):
        return 413
    return 400 if isinstance(error, RequestError) else 500


def _outcome(error: Exception) -> str:
    if isinstance(error, DeadlineError):
        return "overdue"
    return "refused" if isinstance(error, RequestError) else "failed"


def _error_text(verb: Verb, error: Exception) -> str:
    """What Docker's user reads; an error that nobody expected goes to the log with its traceback."""
    if isinstance(error, OvnDockerError):
        return str(error)
    text = _shortened(f"{verb.name} failed inside the driver: {type(error).__name__}: {error}")
    _log.error("%s", text)
    _log.debug("%s", verb.name, exc_info=error)
    return text


def _shortened(text: str) -> str:
    """A text without its middle, if it is long: its end says what to do."""
    half = TEXT_LIMIT // 2
    return text if len(text) <= TEXT_LIMIT else f"{text[:half]} [...] {text[-half:]}"


def _log_outcome(verb: Verb, told: Mapping[str, str], outcome: str, seconds: float, *, level: int) -> None:
    if not _log.isEnabledFor(level):
        return
    line = fields(**told, duration_ms=f"{seconds * 1000:.1f}", outcome=outcome)
    _log.log(level, "%s %s", verb.name, line)


@web.middleware
async def _explain_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Say in Docker's words what the router says in HTML: an unknown path, a wrong method."""
    try:
        return await handler(request)
    except web.HTTPException as refusal:
        text = f"{request.method} {request.path[:200]}: {refusal.reason}"
        allow = {name: refusal.headers[name] for name in ("Allow",) if name in refusal.headers}
        body = messages.encode_error(text)
        return web.Response(body=body, status=refusal.status, headers=allow, content_type=PLUGIN_TYPE)


OWN_NAMES = frozenset({platform.node().lower()})


@web.middleware
async def _admit(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse what no Docker sends and a browser may, before its body is read."""
    refusal = _refusal(request)
    if refusal is None:
        return await handler(request)
    body = messages.encode_error(f"{request.method} {request.path[:200]}: {refusal.text}")
    return web.Response(body=body, status=refusal.status, content_type=PLUGIN_TYPE)


def _refusal(request: web.Request) -> Refusal | None:
    transport, headers = request.transport, request.headers
    if transport is None:
        return None  # it has gone already
    plain_tcp = isinstance(transport.get_extra_info("sockname"), tuple) and not request.secure
    head = Head(
        has_body=request.can_read_body,
        hosts=tuple(headers.getall("Host", ())),
        target=request.raw_path,
        origin=headers.get("Origin"),
        fetch_site=headers.get("Sec-Fetch-Site"),
        content_type=headers.get("Content-Type"),
    )
    return judge(head, OWN_NAMES if plain_tcp else None)


async def _continue(request: web.Request) -> None:
    """Ask for the body, where the client waits to be asked (RFC 9110 section 10.1.1) and is not refused.

    An expectation that nobody knows is ignored.
    """
    awaits = request.headers.get("Expect", "").lower() == "100-continue"
    if awaits and request.transport is not None and _refusal(request) is None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
