"""A small Keystone and Neutron that speak real HTTP; the real ones are in tests/underlay."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

from tests.functional.underlay.small_neutron import SmallNeutron

Answer = tuple[int, Any]


def token_of(url: str) -> dict[str, Any]:
    """What Keystone says of a token, whose catalogue has Neutron below an address."""
    endpoint = {"url": f"{url}/network/", "interface": "public", "region": "R", "region_id": "R"}
    domain = {"domain": {"id": "default", "name": "Default"}}
    return {
        "methods": ["password"],
        "expires_at": "2099-01-01T00:00:00.000000Z",
        "issued_at": "2020-01-01T00:00:00.000000Z",
        "user": {"id": "u", "name": "u", **domain},
        "project": {"id": "p", "name": "p", **domain},
        "catalog": [{"type": "network", "name": "neutron", "id": "n", "endpoints": [endpoint]}],
        "roles": [{"id": "m", "name": "member"}],
    }


class SmallOpenStack:
    """Answers as a test says.

    Attributes:
        tokens: the valid ones; a login adds one.
        logins: bodies of logins.
        requests: method, path and body of each request to Neutron.
        answer: what Neutron answers.
        neutron: answers in place of `answer`, or None.
        hang: seconds that Neutron waits before it answers.
        slow: the only method for which it waits, or "" for all.
    """

    def __init__(self) -> None:
        self.url = ""
        self.tokens: set[str] = set()
        self.logins: list[Any] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.answer: Callable[[str, str, Any], Answer] = lambda *_: (200, {"networks": []})
        self.neutron: SmallNeutron | None = None
        self.hang = 0.0
        self.slow = ""
        self.keystone_status = 201
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["SmallOpenStack"]:
        application = web.Application()
        application.router.add_post("/v3/auth/tokens", self._login)
        application.router.add_get("/v3", self._version)
        application.router.add_get("/", self._version)
        application.router.add_route("*", "/network/{path:.*}", self._neutron)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _version(self, _: web.Request) -> web.Response:
        links = [{"rel": "self", "href": f"{self.url}/v3"}]
        return web.json_response({"version": {"id": "v3.14", "status": "stable", "links": links}})

    async def _login(self, request: web.Request) -> web.Response:
        self.logins.append(await request.json())
        if self.keystone_status != 201:
            error = {"code": self.keystone_status, "message": "no", "title": "no"}
            return web.json_response({"error": error}, status=self.keystone_status)
        token = f"token-{next(self._numbers)}"
        self.tokens.add(token)
        body = {"token": token_of(self.url)}
        return web.json_response(body, status=201, headers={"X-Subject-Token": token})

    async def _neutron(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Auth-Token") not in self.tokens:
            return web.json_response({"error": {"code": 401}}, status=401)
        text = await request.text()
        method, path, content = request.method, request.match_info["path"], json.loads(text) if text else None
        self.requests.append((method, path, content))
        if self.hang and self.slow in {"", request.method}:
            await asyncio.sleep(self.hang)
        status, body = (
            self.neutron.answer(method, path, list(request.query.items()), content)
            if self.neutron
            else self.answer(method, path, content)
        )
        return web.json_response(body, status=status) if body is not None else web.Response(status=status)
