"""The HTTP front of Docker's plugin API: a path and a body become a call of the driver, its result the reply.

Owns whose requests are served, the time that a verb may take, the one place where an exception becomes
Docker's error, and /healthz and /metrics. The table of paths is api.py's, the sockets are listeners.py's.
Knows no driver and no OVN.
"""

import asyncio
import ipaddress
import logging
import platform
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
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
    verbs,
)
from ovn_docker.logs import fields

# --- Who may use the plugin, and how: what is refused before a body is read. Pure. --------------------------
# Plain TCP serves this host only, and nothing that a web page could make a browser send. Source: RFC 9110
# sections 7.1 (target), 7.2 (Host) and 8.3 (Content-Type), RFC 6454 section 7 (Origin), W3C Fetch Metadata,
# RFC 6761 section 6.3 (localhost); moby pkg/plugins/client.go for what dockerd sends: an address as Host over
# TCP, a placeholder over a unix socket, and no Content-Type at all.


IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

FOREIGN_PEER = "plain TCP serves this host only: call from the host itself, or serve TLS (--tls-cert)"
_LOCAL_SITES = {"none", "same-origin"}

_HOST = re.compile(r"(\[(?P<v6>[0-9a-f:.]+)(%25[^]]+)?\]|(?P<name>[^][:]+?)\.?)(:\d*)?")
"""RFC 3986 section 3.2.2, and RFC 6874 for the zone; a name's final dot is not part of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a decision needs of a request's head.

    Attributes:
        hosts: every Host header.
        target: the request's target as it came.
        fetch_site: the Sec-Fetch-Site header.
    """

    has_body: bool
    hosts: tuple[str, ...]
    target: str = "/"
    origin: str | None = None
    fetch_site: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """HTTP status, and one line for the client."""

    status: int
    text: str


def is_this_host(peer: str, local: str) -> bool:
    """Whether the other end of a TCP connection is on this host, in this network namespace.

    It is when its address is a loopback's or the one that it called: a host that calls an address of its own
    has that address as its source too, and the kernel accepts neither from a wire (it would send the
    handshake's answer to itself).

    Args:
        peer: IP address of the other end; an IPv6 address may carry a zone, or map an IPv4 one.
        local: likewise, of this end.
    """
    remote = _address(peer)
    return remote.is_loopback or remote == _address(local)


def _address(text: str) -> IPAddress:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def check_head(head: Head, names: frozenset[str] | None) -> Refusal | None:
    """Why a request is refused, or None.

    Args:
        head: of the request.
        names: lower-case names of this host, besides its addresses and localhost; None where any Host will
            do: no browser reaches a unix socket, and TLS has proved the name.
    """
    if head.origin is not None or (head.fetch_site or "none").lower() not in _LOCAL_SITES:
        return Refusal(403, "a web page may not use the plugin: Origin or Sec-Fetch-Site is set")
    if not head.target.startswith("/"):
        return Refusal(400, "the request's target is not a path: the plugin is not a proxy")
    if len(head.hosts) > 1:
        return Refusal(400, "the request has more than one Host header")
    if names is not None and head.hosts and not _is_own_name(head.hosts[0], names):
        return Refusal(
            403, f"Host '{head.hosts[0][:80]}' is not a name of this host: use an IP address or localhost"
        )
    if head.has_body and head.content_type is not None and not _is_json(head.content_type):
        return Refusal(
            415, f"Content-Type '{head.content_type[:80]}' is not JSON: send application/json, or none"
        )
    return None


def _is_own_name(host: str, names: frozenset[str]) -> bool:
    """An address will do: a page's own name cannot be one, so it cannot have been rebound."""
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


# --- What a line of the log says of a request besides its verb; it waits for nothing and asks nobody. -------


VALUE_LIMIT = 200
"""Characters of one value, which the client chooses."""

MAX_NAMES = 4096
"""Endpoints whose container's name is remembered; the one noted longest ago goes first."""


class ContainerNames:
    """The containers of endpoints, as Docker named them in requests or to the health check; in memory only.

    Docker names no container in Join, Leave or DeleteEndpoint, and may not be asked inside a request.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def note(self, endpoint_id: str, name: str) -> None:
        """Remember a container's name."""
        self._names.pop(endpoint_id, None)
        self._names[endpoint_id] = name
        if len(self._names) > MAX_NAMES:
            del self._names[next(iter(self._names))]

    def of(self, endpoint_id: str) -> str:
        """The name of an endpoint's container, or ""."""
        return self._names.get(endpoint_id, "")


def unknown_container(_endpoint_id: str) -> str:
    """Stands in for `ContainerNames.of`."""
    return ""


def subject(
    message: messages.Message | None, reply: Reply, container_of: Callable[[str], str] = unknown_container
) -> dict[str, str]:
    """Network and endpoint, or pool, address and container, as far as request and reply name them."""
    options = getattr(message, "options", None) or {}
    interface = getattr(message, "interface", None) or messages.EndpointInterface()
    endpoint_id = getattr(message, "endpoint_id", "")
    named = {
        "network_id": getattr(message, "network_id", ""),
        "endpoint_id": endpoint_id,
        "pool": _first((reply, "pool_id"), (message, "pool_id"), (message, "pool")),
        "address": _first((reply, "address"), (message, "address"), (interface, "address")),
        "address_ipv6": interface.address_ipv6,
        "container": options.get(messages.ENDPOINT_NAME, "") or container_of(endpoint_id),
    }
    return {name: str(value)[:VALUE_LIMIT] for name, value in named.items() if value}


def _first(*attributes: tuple[object, str]) -> str:
    """The first attribute that exists and is not empty."""
    return next((value for holder, name in attributes if (value := getattr(holder, name, ""))), "")


# --- Requests, from the body to the reply. ------------------------------------------------------------------


BODY_LIMIT = 1 << 20
"""Bytes."""

SMALL_BODY = 64 << 10
"""Bytes; dockerd's are far below."""

MAX_LARGE_BODIES = 16
"""Larger bodies, or bodies of unstated length, that are read at a time; others wait, so memory is bounded."""

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus "Exposition formats", text format 0.0.4."""

UNCACHED = {"Cache-Control": "no-store"}

DEADLINE = 10.0
ROLLBACK = 1.0

TEXT_LIMIT = 4000
"""Characters of an error, in the answer and in the log: it may quote what was sent, more than once."""

_log = logging.getLogger(__name__)


class BodyTooLargeError(RequestError):
    """The body is longer than any request of Docker's."""


class DeadlineError(OvnDockerError):
    """A verb has used up its time."""


def _uncounted(_verb: str, _outcome: str, _seconds: float) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What counts requests, and what knows how the driver is. None of these may wait.

    Attributes:
        verb_done: called after each request with its verb, its outcome (``ok``, ``refused``, ``failed``,
            ``overdue``) and its seconds.
        problems: what is wrong just now, one line each; none when all is well.
        exposition: all metrics in Prometheus's text format.
        container_of: the name of an endpoint's container, for the log, or "".
        in_flight: makes a context that lasts from a request's head to its reply.
    """

    verb_done: Callable[[str, str, float], None] = _uncounted
    problems: Callable[[], Sequence[str]] = tuple
    exposition: Callable[[], bytes] = bytes
    container_of: Callable[[str], str] = unknown_container
    in_flight: Callable[[], AbstractContextManager[object]] = nullcontext


def create_application(
    driver: NetworkDriver,
    ipam: IpamDriver | None = None,
    *,
    deadline: float = DEADLINE,
    observation: Observation | None = None,
) -> web.Application:
    """The web application that serves a driver to dockerd.

    Args:
        driver: its network driver.
        ipam: its IPAM driver, or None to leave addresses to Docker.
        deadline: seconds that a request may take, from its head to its reply. dockerd waits for a plugin
            without limit (moby pkg/plugins/client.go), so that each verb is ended here: it is cancelled
            `ROLLBACK` seconds before, to undo what it began.
        observation: by default nothing is counted, and /healthz and /metrics are empty.
    """
    application = web.Application(client_max_size=BODY_LIMIT, middlewares=[_admit])
    front = _Front(driver, deadline, observation or Observation())
    database = database_verb(driver)
    for verb in (*verbs(driver, ipam), database):
        handler = partial(front.handle, verb)
        application.router.add_post(f"/{verb.name}", handler, expect_handler=_continue)
    application.router.add_get(f"/{database.name}", partial(front.handle, database), allow_head=False)
    application.router.add_get("/healthz", front.healthz, allow_head=False)
    application.router.add_get("/metrics", front.metrics, allow_head=False)
    return application


class _Front:
    """Runs verbs within their time, and answers monitors at once, whatever is down."""

    def __init__(self, driver: NetworkDriver, deadline: float, observation: Observation) -> None:
        self._driver = driver
        self._deadline = deadline
        self._observation = observation
        self._large_bodies = asyncio.Semaphore(MAX_LARGE_BODIES)
        self._rollback = min(ROLLBACK, deadline / 2)
        self._running: set[asyncio.Task[Reply]] = set()  # the loop itself holds tasks weakly

    async def handle(self, verb: Verb, request: web.Request) -> web.Response:
        with self._observation.in_flight():
            started = time.monotonic()
            cancel_at = asyncio.get_running_loop().time() + self._deadline - self._rollback
            message: messages.Message | None = None
            reply: Reply = None
            try:
                message = await self._message(verb, request, cancel_at)
                reply = await self._reply(verb, message, cancel_at)
                body, status = messages.encode(reply), 200
                outcome = text = "ok"
            except Exception as error:  # noqa: BLE001 - whatever it is, dockerd needs an answer
                status, outcome = _classify(error)
                text = _shortened(_error_text(verb, error))
                body = messages.encode_error(text)
            seconds = time.monotonic() - started
            # From 500 on it is not the request that was at fault.
            level = logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else verb.level
            if _log.isEnabledFor(level):
                named = subject(message, reply, self._observation.container_of)
                line = fields(**named, duration_ms=f"{seconds * 1000:.1f}", outcome=text)
                _log.log(level, "%s %s", verb.name, line)
            self._observation.verb_done(verb.name, outcome, seconds)
            return web.Response(body=body, status=status, content_type=verb.content_type)

    async def healthz(self, _: web.Request) -> web.Response:
        lines = [" ".join(line.split()) for line in self._observation.problems()]
        body = msgspec.json.encode({"status": "failing" if lines else "ok", "problems": lines})
        return web.Response(
            body=body + b"\n",
            status=503 if lines else 200,
            content_type="application/json",
            headers=UNCACHED,
        )

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._observation.exposition(), headers={"Content-Type": METRICS_TYPE} | UNCACHED
        )

    async def _message(self, verb: Verb, request: web.Request, give_up_at: float) -> messages.Message | None:
        """The request, or None where the verb takes none.

        Raises:
            RequestError: the body is too long, does not arrive whole before `give_up_at` (of the event loop's
                clock), or is not such a request.
        """
        if verb.request_type is None:
            return None
        try:
            return messages.decode(verb.request_type, await self._body(request, give_up_at))
        except RequestError as error:
            raise type(error)(f"{verb.name}: {error}") from error

    async def _body(self, request: web.Request, give_up_at: float) -> bytes:
        length = request.content_length
        try:
            async with asyncio.timeout_at(give_up_at):
                if length is not None and length <= SMALL_BODY:
                    return await request.read()
                async with self._large_bodies:
                    return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise BodyTooLargeError(f"the body is longer than {BODY_LIMIT} bytes") from error
        except (TimeoutError, OSError, web.PayloadAccessError, web.RequestPayloadError) as error:
            # The body's stream keeps the error, whose frames hold what had arrived: a cycle, which would stay
            # in memory until a garbage collection that megabytes do not hasten.
            raise RequestError("the body did not arrive whole and in time") from error.with_traceback(None)

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
        text = f"timed out after {self._deadline:g} s"  # dockerd puts the verb in front
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None:
            _log.warning("%s timed out, and failed then: %s: %s", verb.name, type(error).__name__, error)
        cause = self._driver.outage() or (str(error) if isinstance(error, OvnDockerError) else "")
        return f"{text}: {cause}" if cause else text


def _follow(verb: Verb, task: asyncio.Task[Reply]) -> None:
    """Log that a verb ignores its cancellation, and how it ends."""

    def ended(task: asyncio.Task[Reply]) -> None:
        error = None if task.cancelled() else task.exception()
        _log.warning("%s, which timed out, has ended: %s", verb.name, error or "without an error")

    task.add_done_callback(ended)
    _log.warning("%s ignores its cancellation and goes on", verb.name)


async def _call(verb: Verb, message: messages.Message | None) -> Reply:
    """Call the driver; a cancellation that is not ours must not be taken for the server's."""
    task = asyncio.current_task()
    try:
        return await verb.call(message)
    except asyncio.CancelledError as error:
        if task is None or task.cancelling():
            raise
        raise RuntimeError("a part of the verb was cancelled from inside") from error


def _classify(error: Exception) -> tuple[int, str]:
    """HTTP status and outcome of a failed verb.

    Never 404: to dockerd that means that the plugin lacks the verb (moby pkg/plugins/errors.go IsNotFound).
    """
    if isinstance(error, RequestError):
        return 413 if isinstance(error, BodyTooLargeError) else 400, "refused"
    return 500, "overdue" if isinstance(error, DeadlineError) else "failed"


def _error_text(verb: Verb, error: Exception) -> str:
    """What Docker's user reads; an unexpected error goes to the log with its traceback."""
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


OWN_NAMES = frozenset({platform.node().lower()})


@web.middleware
async def _admit(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse, before its body is read, what Docker never sends and a browser may.

    What the router refuses (an unknown path, a wrong method) is answered in Docker's form too, not in HTML.
    """
    allow = {}
    refusal = _refusal(request)
    if refusal is None:
        try:
            return await handler(request)
        except web.HTTPException as error:
            refusal = Refusal(error.status, error.reason)
            allow = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    body = messages.encode_error(f"{request.method} {request.path[:200]}: {refusal.text}")
    return web.Response(body=body, status=refusal.status, headers=allow, content_type=PLUGIN_TYPE)


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
    return check_head(head, OWN_NAMES if plain_tcp else None)


async def _continue(request: web.Request) -> None:
    """Ask for the body, where the client waits to be asked (RFC 9110 section 10.1.1) and is not refused.

    Any other expectation is ignored.
    """
    waits = request.headers.get("Expect", "").lower() == "100-continue"
    if waits and request.transport is not None and _refusal(request) is None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
