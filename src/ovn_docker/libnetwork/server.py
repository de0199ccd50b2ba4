"""The HTTP front of Docker's plugin API: path to request to the driver's method to reply.

Owns the time that a verb may take and the one place where an exception becomes Docker's error. The table of
paths is verbs.py's, the sockets are listeners.py's. Knows no driver and no OVN.

Source: moby pkg/plugins/client.go.
"""

import asyncio
import logging
import platform
import time
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from ovn_docker.errors import OvnDockerError, RequestError
from ovn_docker.libnetwork import codec, messages
from ovn_docker.libnetwork.admission import Head, Refusal, judge
from ovn_docker.libnetwork.api import IpamDriver, NetworkDriver
from ovn_docker.libnetwork.bodies import BODY_LIMIT, Bodies, BodyTooLargeError
from ovn_docker.libnetwork.pages import Observation, routes
from ovn_docker.libnetwork.telling import subject
from ovn_docker.libnetwork.verbs import PLUGIN_TYPE, Reply, Verb, database_verb, table
from ovn_docker.logs import fields

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
            body, status = codec.encode(reply), 200
            outcome = text = "ok"
        except Exception as error:  # noqa: BLE001 - whatever it is, dockerd needs an answer
            text, outcome = _shortened(_error_text(verb, error)), _outcome(error)
            body, status = codec.encode_error(text), _status(error)
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
        return codec.decode(verb.request_type, await bodies.read(request, give_up_at))
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
        body = codec.encode_error(text)
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
    body = codec.encode_error(f"{request.method} {request.path[:200]}: {refusal.text}")
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
