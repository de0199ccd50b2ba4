"""Requests to Neutron from the event loop, which never waits: each runs on one of a few threads.

A request whose caller has given up is still carried out: whoever makes something says how it is taken back.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ovn_docker.errors import NeutronError, OvnDockerError, UnreachableError
from ovn_docker.underlay.neutron.credentials import Credentials
from ovn_docker.underlay.neutron.sessions import Query, Reply, Sessions

LOG = logging.getLogger(__name__)

REQUEST_TIMEOUT = 8.0
"""Seconds for one request; a verb of Docker's has 9 (libnetwork/server.py)."""

THREADS = 8
"""Requests at the same time; each has a connection."""

PROBE_PAUSE = 5.0
"""Seconds between two looks at a Neutron that did not answer."""

LONGEST_REASON = 400

LIST_ATTEMPTS = 5
"""How often a list is begun whose end was removed while it was read."""


class Neutron:
    """The Networking API of one project.

    Attributes:
        database: what metrics call it.
    """

    database = "Neutron"

    def __init__(self, credentials: Credentials, timeout: float = REQUEST_TIMEOUT) -> None:
        """Log in with these at the first request; give each request `timeout` seconds."""
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="neutron")
        self._sessions = Sessions(credentials, timeout)
        self._outage = ""
        self._lost = asyncio.Event()
        self._when_connected: list[Callable[[], object]] = []

    def outage(self) -> str:
        """Why Neutron cannot be used, as the last request found, or ""."""
        return self._outage

    def answers(self) -> bool:
        """Whether the last request was answered."""
        return not self._outage

    def when_connected(self, call: Callable[[], object]) -> None:
        """Call this each time that Neutron answers again."""
        self._when_connected.append(call)

    async def run(self) -> None:
        """Log in ahead of the first request, and look whether Neutron is back, until cancelled."""
        self._lost.set()
        while True:
            await self._lost.wait()
            try:
                await self.get("networks", {"limit": "1", "fields": "id"})
            except OvnDockerError as error:
                LOG.debug("a look at Neutron: %s", error)
                await asyncio.sleep(PROBE_PAUSE)
            else:
                self._lost.clear()

    async def close(self) -> None:
        """Let the threads go; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """Read; a list is read to its end, however many a page of Neutron's has, unless it says a ``limit``.

        Args:
            path: below ``/v2.0``, such as ``ports`` or ``ports/ID``.
            query: filters, ``fields`` and ``limit``.

        Raises:
            NeutronError: it was refused.
            UnreachableError: there was no answer, or one that means that Neutron does not work.
        """
        for _ in range(LIST_ATTEMPTS):
            whole = await self._list(path, query or {})
            if whole is not None:
                return whole
        raise UnreachableError(f"Neutron does not work: {path} cannot be read to the end, for it changes")

    async def _list(self, path: str, query: Query) -> dict[str, Any] | None:
        """All pages in one, or None where the last one of a page was removed before the next was read."""
        page = await self._request("GET", path, query=query)
        whole = dict(page)
        while "limit" not in query and (marker := next_marker(page)):
            try:
                page = await self._request("GET", path, query={**query, "marker": marker})
            except NeutronError as error:
                if error.status != 404:  # noqa: PLR2004
                    raise
                return None
            if next_marker(page) == marker:
                raise UnreachableError(f"Neutron does not work: its pages of {path} do not end")
            for key in whole.keys() & page.keys():
                whole[key] = [*whole[key], *page[key]]
        return whole

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Make something; raises as `get`."""
        return await self._request("POST", path, body=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change something; raises as `get`."""
        return await self._request("PUT", path, body=body)

    async def project(self) -> str:
        """The id of the project that is logged in, or "" where the login is of none.

        Raises:
            NeutronError: the login was refused.
            UnreachableError: Keystone does not answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._sessions.project)

    async def delete(self, path: str) -> None:
        """Remove something; what is gone is success. Raises as `get`."""
        try:
            await self._request("DELETE", path)
        except NeutronError as error:
            if error.status != 404:  # noqa: PLR2004
                raise

    async def _request(
        self, method: str, path: str, *, query: Query | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        what = f"{method} {path.partition('?')[0]}"
        try:
            reply = await loop.run_in_executor(
                self._threads, lambda: self._sessions.send(method, path, query, body)
            )
        except (UnreachableError, NeutronError) as error:  # the latter from Keystone: nothing works without
            self._note(str(error))
            raise
        if why := _broken(method, reply):
            broken = UnreachableError(f"Neutron does not work: it answered {what} with {why}")
            self._note(str(broken))
            raise broken
        self._note("")
        if reply.status >= 400:  # noqa: PLR2004
            text, kind = _reason(reply)
            raise NeutronError(f"Neutron refused: {text}", reply.status, kind)
        return reply.body or {}

    def _note(self, outage: str) -> None:
        was, self._outage = self._outage, outage
        if outage and not was:
            LOG.warning("%s", outage)
            self._lost.set()
        elif was and not outage:
            LOG.info("Neutron answers again")
            for call in self._when_connected:
                call()


def next_marker(page: Mapping[str, Any]) -> str:
    """Where the next page of a list begins, or "".

    The link is not followed itself: behind a proxy it may lead elsewhere (Networking API v2.0, "Pagination").
    """
    links = [link for key, links in page.items() if key.endswith("_links") for link in links]
    hrefs = [str(link["href"]) for link in links if link.get("rel") == "next"]
    return next((marker for href in hrefs for marker in parse_qs(urlsplit(href).query).get("marker", [])), "")


def _broken(method: str, reply: Reply) -> str:
    """Why a reply is not one of a Neutron that works, or ""."""
    if reply.status >= 500:  # noqa: PLR2004
        return _reason(reply)[0]
    if reply.body is None and reply.status < 400 and method != "DELETE":  # noqa: PLR2004
        return f"{reply.status} and no JSON, as a proxy's page is"
    return ""


def _reason(reply: Reply) -> tuple[str, str]:
    """Neutron's own text, on one line, and its name of the reason."""
    error = (reply.body or {}).get("NeutronError")
    if isinstance(error, dict):
        text, kind = str(error.get("message") or error.get("type")), str(error.get("type") or "")
    else:
        text, kind = str(error or f"{reply.status} {reply.text}"), ""
    return " ".join(text.split())[:LONGEST_REASON], kind
