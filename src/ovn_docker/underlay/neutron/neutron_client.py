"""Requests to Neutron from the event loop, which never waits: each runs on one of a few threads.

A request whose caller has been cancelled is still carried out, so whoever creates something also undoes it.
"""

import asyncio
import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from ovn_docker.errors import NeutronError, OvnDockerError, UnreachableError
from ovn_docker.underlay.neutron.credentials import Credentials

# --- Requests to Neutron in the calling thread, logged in by Keystone: the only door to keystoneauth. -------
# All requests share one login, which is renewed when the token expires. A request has a session of
# keystoneauth's, and so a connection, to itself: the free one that was used last, so that successive calls
# share one that stays open.


LONGEST_IDLE = 3.0
"""Seconds after which a connection is not used again.

A server closes an idle one, Apache after 5 s, and a request that is sent at that moment is lost.
"""

AT_ONCE = 1.0
"""Seconds within which a request fails on a connection that the server has already closed."""

Query = Mapping[str, str | list[str]]

_UNTRUSTED = re.compile(r"certificate verify failed: (.{1,100}?) \(_ssl")
"""What is wrong with a certificate, in an error text of Python's."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response; `body` is None if it is not a JSON object."""

    status: int
    body: dict[str, Any] | None
    text: str


class Sessions:
    """The Networking API of one project, for several threads."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        """Log in at the first request; each request may take `timeout` seconds."""
        self._credentials = credentials
        self._timeout = timeout
        self._logging_in = threading.Lock()
        self._login: Any = None
        self._idle: list[tuple[Any, float]] = []  # and since when; pop and append need no lock
        self._endpoint = ""

    def send(self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None) -> Reply:
        """Send a request for a path below ``/v2.0`` and wait for the response.

        Raises:
            NeutronError: Keystone refused the login.
            UnreachableError: there was no response.
        """
        with self._session() as session:
            response = self._request(session, method, path, query, body)
        return _read(response.status_code, response.content)

    def project(self) -> str:
        """The id of the project of the login, or "" if it has none; raises as `send`."""
        with self._session() as session:
            return str(session.get_project_id() or "")

    @contextlib.contextmanager
    def _session(self) -> Iterator[Any]:
        """A session that no other thread uses meanwhile; its errors are translated to ours."""
        try:
            try:
                session, since = self._idle.pop()
            except IndexError:
                session, since = self._new_session(), time.monotonic()
            if time.monotonic() - since > LONGEST_IDLE:
                session.session.close()  # the next request opens another connection
            try:
                yield session
            finally:
                self._idle.append((session, time.monotonic()))
        except Exception as error:
            raise _translated(error, self._credentials, self._timeout) from error

    def _new_session(self) -> Any:  # noqa: ANN401  (keystoneauth has its own types)
        with self._logging_in:
            if self._login is None:
                self._login = _login(self._credentials)
        library: Any = importlib.import_module("keystoneauth1.session")
        verify, certificate = self._credentials.verify, self._credentials.certificate
        return library.Session(auth=self._login, verify=verify, cert=certificate, timeout=self._timeout)

    def _request(
        self,
        session: Any,  # noqa: ANN401
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
    ) -> Any:  # noqa: ANN401
        """The response; a request that breaks at once is sent again, unless it may have been carried out.

        That is a POST; the others are safe to repeat.
        """
        url = f"{self._base(session)}/v2.0/{path}"
        began = time.monotonic()
        options = {"params": query, "json": body, "raise_exc": False, "connect_retries": 0, "log": False}
        try:
            return session.request(url, method, **options)
        except _connection_errors().ConnectFailure:
            if method == "POST" or time.monotonic() - began > AT_ONCE:
                raise
        return session.request(url, method, **options)

    def _base(self, session: Any) -> str:  # noqa: ANN401
        """The address of Neutron in Keystone's catalogue."""
        if not self._endpoint:
            login = self._credentials
            with_region = {"region_name": login.region} if login.region else {}
            url = session.get_endpoint(service_type="network", interface=login.interface, **with_region)
            self._endpoint = str(url).rstrip("/").removesuffix("/v2.0")
        return self._endpoint


def _read(status: int, content: bytes) -> Reply:
    """The reply, decoded here: the library would spend milliseconds on guessing the encoding."""
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    return Reply(status, body if isinstance(body, dict) else None, content.decode(errors="replace"))


def _login(credentials: Credentials) -> Any:  # noqa: ANN401
    loading: Any = importlib.import_module("keystoneauth1.loading")
    for name in ("keystoneauth", "urllib3"):  # they log requests, and errors a second time
        logging.getLogger(name).setLevel(logging.ERROR)
    loader = loading.get_plugin_loader(credentials.auth_type)
    known = {option.dest for option in loader.get_options()}
    return loader.load_from_options(**{key: each for key, each in credentials.auth.items() if key in known})


def _connection_errors() -> Any:  # noqa: ANN401
    return importlib.import_module("keystoneauth1.exceptions.connection")


def _translated(error: Exception, credentials: Credentials, timeout: float) -> Exception:
    """Our error for one of keystoneauth's, whose text could hold a secret and is not shown."""
    errors: Any = importlib.import_module("keystoneauth1.exceptions")
    connection: Any = _connection_errors()
    where = credentials.where
    if isinstance(error, connection.ConnectTimeout):
        return UnreachableError(f"OpenStack did not answer within {timeout:g} s (login at {where})")
    if isinstance(error, connection.SSLError):
        reason = _UNTRUSTED.search(str(error))
        return UnreachableError(
            f"OpenStack's certificate is not trusted (login at {where}),"
            f" {reason[1] if reason else 'TLS failed'}: see OS_CACERT"
        )
    if isinstance(error, connection.ConnectionError):
        return UnreachableError(f"OpenStack cannot be reached (login at {where})")
    if isinstance(error, errors.Unauthorized):
        return NeutronError(
            f"Keystone at {where} refused the login: see the user, its password and the project", 401
        )
    if isinstance(error, errors.HttpError):
        return UnreachableError(f"Keystone at {where} answered the login with {error.http_status}")
    if isinstance(error, errors.CatalogException):
        return NeutronError(
            f"Keystone at {where} has no {credentials.interface} address of Neutron"
            f" in region {credentials.region or 'any'}: see OS_REGION_NAME and OS_INTERFACE"
        )
    if isinstance(error, errors.MissingRequiredOptions):
        lacks = ", ".join(option.dest for option in error.options)
        return NeutronError(f"login with '{credentials.auth_type}' lacks {lacks}")
    if isinstance(error, errors.NoMatchingPlugin):
        return NeutronError(f"OS_AUTH_TYPE '{credentials.auth_type}' is not a known way to log in")
    if isinstance(error, errors.ClientException):
        kind = type(error).__name__
        return UnreachableError(f"login at {where} failed ({kind}): see OS_AUTH_URL")
    return error


LOG = logging.getLogger(__name__)

REQUEST_TIMEOUT = 8.0
"""Seconds for one request; a call of Docker's has 9 (libnetwork/server.py)."""

THREADS = 8
"""Requests at the same time."""

RETRY_INTERVAL = 5.0
"""Seconds between two attempts to reach a Neutron that did not answer."""

LONGEST_REASON = 400

LIST_ATTEMPTS = 5
"""How often a list is read from the start because a page's last entry was removed meanwhile."""


class Neutron:
    """The Networking API of one project."""

    database = "Neutron"
    """Its name in metrics."""

    def __init__(self, credentials: Credentials, timeout: float = REQUEST_TIMEOUT) -> None:
        """Log in at the first request; each request may take `timeout` seconds."""
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="neutron")
        self._sessions = Sessions(credentials, timeout)
        self._outage = ""
        self._lost = asyncio.Event()
        self._when_connected: list[Callable[[], object]] = []

    def outage(self) -> str:
        """Why the last request failed, or ""."""
        return self._outage

    def answers(self) -> bool:
        """Whether the last request was answered by a Neutron that works."""
        return not self._outage

    def when_connected(self, call: Callable[[], object]) -> None:
        """Register a function to call each time Neutron answers again."""
        self._when_connected.append(call)

    async def run(self) -> None:
        """Log in ahead of the first request, and poll a Neutron that does not answer, until cancelled."""
        self._lost.set()
        while True:
            await self._lost.wait()
            try:
                await self.get("networks", {"limit": "1", "fields": "id"})
            except OvnDockerError as error:
                LOG.debug("polling Neutron: %s", error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._lost.clear()

    async def close(self) -> None:
        """Stop the threads without waiting for requests under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """Read a path such as ``ports`` or ``ports/ID``; of a list all pages, unless `query` has a ``limit``.

        Raises:
            NeutronError: it was refused.
            UnreachableError: there was no answer, or one that means that Neutron does not work.
        """
        for _ in range(LIST_ATTEMPTS):
            whole = await self._list(path, query or {})
            if whole is not None:
                return whole
        raise UnreachableError(f"Neutron does not work: {path} changes too often to be read to the end")

    async def find(self, path: str, query: Query | None = None) -> dict[str, Any] | None:
        """Read as `get` does; None where there is nothing (404)."""
        try:
            return await self.get(path, query)
        except NeutronError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    async def _list(self, path: str, query: Query) -> dict[str, Any] | None:
        """All pages as one, or None if the last entry of a page was removed before the next was read."""
        page = await self._request("GET", path, query=query)
        whole = dict(page)
        while "limit" not in query and (marker := next_marker(page)):
            try:
                page = await self._request("GET", path, query={**query, "marker": marker})
            except NeutronError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return None
            if next_marker(page) == marker:
                raise UnreachableError(f"Neutron does not work: its pages of {path} do not end")
            for key in whole.keys() & page.keys():
                whole[key] = [*whole[key], *page[key]]
        return whole

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create something; raises as `get`."""
        return await self._request("POST", path, body=body)

    async def put(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change something; raises as `get`."""
        return await self._request("PUT", path, body=body)

    async def project(self) -> str:
        """The id of the project of the login, or "" if it has none; raises as `get`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._sessions.project)

    async def delete(self, path: str) -> None:
        """Delete something, unless it is gone already; raises as `get`."""
        try:
            await self._request("DELETE", path)
        except NeutronError as error:
            if error.status != HTTPStatus.NOT_FOUND:
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
        except (UnreachableError, NeutronError) as error:
            self._note(str(error))
            raise
        if reason := _broken(method, reply):
            broken = UnreachableError(f"Neutron does not work: it answered {what} with {reason}")
            self._note(str(broken))
            raise broken
        self._note("")
        if reply.status >= HTTPStatus.BAD_REQUEST:
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
    """The ``marker`` of the next page of a list, or "".

    The link itself is not followed: behind a proxy it may lead elsewhere (Networking API v2.0, "Pagination").
    """
    links = [link for key, links in page.items() if key.endswith("_links") for link in links]
    hrefs = [str(link["href"]) for link in links if link.get("rel") == "next"]
    return next((marker for href in hrefs for marker in parse_qs(urlsplit(href).query).get("marker", [])), "")


def _broken(method: str, reply: Reply) -> str:
    """Why a reply cannot be that of a Neutron that works, or ""."""
    if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _reason(reply)[0]
    if reply.body is None and reply.status < HTTPStatus.BAD_REQUEST and method != "DELETE":
        return f"{reply.status} and no JSON, as from a proxy"
    return ""


def _reason(reply: Reply) -> tuple[str, str]:
    """Neutron's own error text, on one line, and its type."""
    error = (reply.body or {}).get("NeutronError")
    if isinstance(error, dict):
        text, kind = str(error.get("message") or error.get("type")), str(error.get("type") or "")
    else:
        text, kind = str(error or f"{reply.status} {reply.text}"), ""
    return " ".join(text.split())[:LONGEST_REASON], kind
