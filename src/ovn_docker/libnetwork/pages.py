"""What the plugin's listener tells those who watch it: /healthz and /metrics.

Owns the two paths and the form of their answers; what is in them is handed in as plain functions, which
must not wait. Knows no database and no health check.

Source: Prometheus "Exposition formats", text format 0.0.4.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import msgspec
from aiohttp import web

from ovn_docker.libnetwork.telling import nobody

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
