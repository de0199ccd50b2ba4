"""Requests to Neutron from the event loop, which never waits: each runs on one of a few threads.

A request whose caller has given up is still carried out: whoever makes something says how it is taken back.
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
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from ovn_docker.errors import NeutronError, OvnDockerError, UnreachableError
from ovn_docker.underlay.neutron.credentials import Credentials

# --- Requests to Neutron in the calling thread, logged in by Keystone: the only door to keystoneauth. -------
# Each request has a connection for itself, the one that was used last of those that are free: so calls that
# follow each other use one, and it stays open. The login is shared, and renewed when the token has expired.


LONGEST_IDLE = 3.0
"""Seconds after which a connection is not used again.

A server closes one that is idle, Apache after 5 s, and what is sent in that moment is lost.
"""

AT_ONCE = 1.0
"""Seconds within which a connection breaks that its server had closed before."""

Query = Mapping[str, str | list[str]]

_UNTRUSTED = re.compile(r"certificate verify failed: (.{1,100}?) \(_ssl")
"""In a text of Python's: what is wrong with a certificate."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the status of HTTP and the body, or None if that is not a JSON object."""

    status: int
    body: dict[str, Any] | None
    text: str


@dataclass(slots=True)
class _Connection:
    """A session of keystoneauth's, and when it was used last."""

    session: Any
    used: float = 0.0


class Sessions:
    """The Networking API of one project, for several threads."""

    def __init__(self, credentials: Credentials, timeout: float) -> None:
        """Log in with these at the first request; give each request `timeout` seconds."""
        self._credentials = credentials
        self._timeout = timeout
        self._changing, self._looking = threading.Lock(), threading.Lock()
        self._auth: Any = None
        self._free: list[_Connection] = []
        self._endpoint = ""

    def send(self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None) -> Reply:
        """Make a request and wait for its answer.

        Args:
            method: of HTTP.
            path: below ``/v2.0``.
            query: filters and ``fields``.
            body: or None.

        Raises:
            NeutronError: Keystone refused the login.
            UnreachableError: there was no answer.
        """
        with self._lent() as session:
            response = self._request(session, method, path, query, body)
        return _read(response.status_code, response.content)

    def project(self) -> str:
        """The id of the project that is logged in, or "" where the login is of none.

        Raises:
            NeutronError: Keystone refused the login.
            UnreachableError: there was no answer.
        """
        with self._lent() as session:
            return str(session.get_project_id() or "")

    @contextlib.contextmanager
    def _lent(self) -> Iterator[Any]:
        """A session that nobody else uses meanwhile; what goes wrong with it is told in our words."""
        try:
            connection = self._take()
            try:
                yield connection.session
            finally:
                self._give_back(connection)
        except Exception as error:
            raise _translated(error, self._credentials, self._timeout) from error

    def _request(
        self,
        session: Any,  # noqa: ANN401  (keystoneauth has its own types)
        method: str,
        path: str,
        query: Query | None,
        body: Mapping[str, Any] | None,
    ) -> Any:  # noqa: ANN401
        """The answer; what may safely be sent again is, when the connection breaks at once.

        A POST is not: it may have been carried out.
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

    def _take(self) -> _Connection:
        with self._changing:
            if self._free:
                connection = self._free.pop()
            else:
                if self._auth is None:
                    self._auth = _login(self._credentials)
                connection = _Connection(_session(self._auth, self._credentials, self._timeout))
        if time.monotonic() - connection.used > LONGEST_IDLE:
            connection.session.session.close()  # another one is opened when it is needed
        return connection

    def _give_back(self, connection: _Connection) -> None:
        connection.used = time.monotonic()
        with self._changing:
            self._free.append(connection)

    def _base(self, session: Any) -> str:  # noqa: ANN401
        """Where Neutron is, as Keystone's catalogue says."""
        with self._looking:
            if not self._endpoint:
                place = self._credentials
                with_region = {"region_name": place.region} if place.region else {}
                url = session.get_endpoint(service_type="network", interface=place.interface, **with_region)
                self._endpoint = str(url).rstrip("/").removesuffix("/v2.0")
            return self._endpoint


def _read(status: int, content: bytes) -> Reply:
    """The reply; its text is not asked of the library, which would guess its encoding for milliseconds."""
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        body = None
    return Reply(status, body if isinstance(body, dict) else None, content.decode(errors="replace"))


def _login(credentials: Credentials) -> Any:  # noqa: ANN401
    loading: Any = importlib.import_module("keystoneauth1.loading")
    for name in ("keystoneauth", "urllib3"):  # their lines hold requests, and say errors twice
        logging.getLogger(name).setLevel(logging.ERROR)
    loader = loading.get_plugin_loader(credentials.auth_type)
    known = {option.dest for option in loader.get_options()}
    return loader.load_from_options(**{key: each for key, each in credentials.auth.items() if key in known})


def _session(auth: Any, credentials: Credentials, timeout: float) -> Any:  # noqa: ANN401
    session: Any = importlib.import_module("keystoneauth1.session")
    return session.Session(
        auth=auth, verify=credentials.verify, cert=credentials.certificate, timeout=timeout
    )


def _connection_errors() -> Any:  # noqa: ANN401
    return importlib.import_module("keystoneauth1.exceptions.connection")


def _translated(error: Exception, credentials: Credentials, timeout: float) -> Exception:
    """One of our errors for one of keystoneauth's; its own text could hold a secret and is not shown."""
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
            f"Keystone at {where} knows no {credentials.interface} address of Neutron"
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
