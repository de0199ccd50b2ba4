"""Requests to Neutron, logged in by Keystone: the only door to keystoneauth.

keystoneauth waits with a thread, so each request runs on one of a few, and the event loop never waits. The
library keeps the connection open and logs in again when the token has expired. A request whose caller has
given up is still carried out: whoever makes something says how it is taken back.
"""

import asyncio
import importlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ovn_docker.errors import NeutronError, OvnDockerError, UnreachableError
from ovn_docker.neutron.credentials import Credentials

LOG = logging.getLogger(__name__)

REQUEST_TIMEOUT = 8.0
"""Seconds for one request; a verb of Docker's has 9 (libnetwork/server.py)."""

THREADS = 8
"""Requests at the same time; each has a connection."""

PROBE_PAUSE = 5.0
"""Seconds between two looks at a Neutron that did not answer."""

LONGEST_REASON = 400

Query = Mapping[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class _Reply:
    """What came back: the status of HTTP and the body."""

    status: int
    body: dict[str, Any]
    text: str


class Neutron:
    """The Networking API of one project.

    Attributes:
        database: what metrics call it.
        requests: how many were answered so far, and in how many seconds altogether.
    """

    database = "Neutron"

    def __init__(self, credentials: Credentials, timeout: float = REQUEST_TIMEOUT) -> None:
        """Log in with these at the first request; give each request `timeout` seconds."""
        self._credentials = credentials
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="neutron")
        self._opening = threading.Lock()
        self._session: Any = None
        self._endpoint = ""
        self._outage = ""
        self._lost = asyncio.Event()
        self._when_connected: list[Callable[[], object]] = []
        self.requests, self.seconds = 0, 0.0

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
        """Read.

        Args:
            path: below ``/v2.0``, such as ``ports`` or ``ports/ID``.
            query: filters and ``fields``.

        Raises:
            NeutronError: it was refused.
            UnreachableError: there was no answer, or one that means that Neutron does not work.
        """
        return await self._request("GET", path, query=query)

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
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._project)

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
            reply = await loop.run_in_executor(self._threads, lambda: self._send(method, path, query, body))
        except (UnreachableError, NeutronError) as error:  # the latter from Keystone: nothing works without
            self._note(str(error))
            raise
        if reply.status >= 500:  # noqa: PLR2004
            broken = UnreachableError(f"Neutron does not work: it answered {what} with {_reason(reply)[0]}")
            self._note(str(broken))
            raise broken
        self._note("")
        if reply.status >= 400:  # noqa: PLR2004
            text, kind = _reason(reply)
            raise NeutronError(f"Neutron refused: {text}", reply.status, kind)
        return reply.body

    def _note(self, outage: str) -> None:
        was, self._outage = self._outage, outage
        if outage and not was:
            LOG.warning("%s", outage)
            self._lost.set()
        elif was and not outage:
            LOG.info("Neutron answers again")
            for call in self._when_connected:
                call()

    # --- In a thread ----------------------------------------------------------------------------------------

    def _send(self, method: str, path: str, query: Query | None, body: Mapping[str, Any] | None) -> _Reply:
        started = time.monotonic()
        try:
            response = self._open().request(
                f"{self._base()}/v2.0/{path}",
                method,
                params=query,
                json=body,
                raise_exc=False,
                connect_retries=0,
                log=False,
            )
        except Exception as error:
            raise _translated(error, self._credentials, self._timeout) from error
        self.requests += 1
        self.seconds += time.monotonic() - started
        try:
            content = response.json() if response.content else {}
        except ValueError:
            content = {}
        return _Reply(response.status_code, content if isinstance(content, dict) else {}, response.text)

    def _project(self) -> str:
        try:
            return str(self._open().get_project_id() or "")
        except Exception as error:
            raise _translated(error, self._credentials, self._timeout) from error

    def _open(self) -> Any:  # noqa: ANN401  (keystoneauth has its own types)
        """The session, which no two threads make."""
        with self._opening:
            if self._session is None:
                self._session = _session(self._credentials, self._timeout)
            return self._session

    def _base(self) -> str:
        """Where Neutron is, as Keystone's catalogue says."""
        with self._opening:
            if not self._endpoint:
                place = self._credentials
                with_region = {"region_name": place.region} if place.region else {}
                url = self._session.get_endpoint(
                    service_type="network", interface=place.interface, **with_region
                )
                self._endpoint = str(url).rstrip("/").removesuffix("/v2.0")
            return self._endpoint


def _translated(error: Exception, credentials: Credentials, timeout: float) -> Exception:
    """One of our errors for one of keystoneauth's; its own text could hold a secret and is not shown."""
    errors: Any = importlib.import_module("keystoneauth1.exceptions")
    connection: Any = importlib.import_module("keystoneauth1.exceptions.connection")
    where = credentials.where
    if isinstance(error, connection.ConnectTimeout):
        return UnreachableError(f"OpenStack did not answer within {timeout:g} s (login at {where})")
    if isinstance(error, connection.SSLError):
        return UnreachableError(f"OpenStack's certificate is not trusted (login at {where}): see OS_CACERT")
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
        return NeutronError(f"OS_AUTH_TYPE '{credentials.auth_type}' is no way to log in")
    if isinstance(error, errors.ClientException):
        kind = type(error).__name__
        return UnreachableError(f"login at {where} failed ({kind}): see OS_AUTH_URL")
    return error


def _session(credentials: Credentials, timeout: float) -> Any:  # noqa: ANN401
    loading: Any = importlib.import_module("keystoneauth1.loading")
    session: Any = importlib.import_module("keystoneauth1.session")
    for name in ("keystoneauth", "urllib3"):  # their lines hold requests, and say errors twice
        logging.getLogger(name).setLevel(logging.ERROR)
    loader = loading.get_plugin_loader(credentials.auth_type)
    known = {option.dest for option in loader.get_options()}
    auth = loader.load_from_options(**{key: each for key, each in credentials.auth.items() if key in known})
    return session.Session(
        auth=auth, verify=credentials.verify, cert=credentials.certificate, timeout=timeout
    )


def _reason(reply: _Reply) -> tuple[str, str]:
    """Neutron's own text, on one line, and its name of the reason."""
    error = reply.body.get("NeutronError")
    if isinstance(error, dict):
        text, kind = str(error.get("message") or error.get("type")), str(error.get("type") or "")
    else:
        text, kind = str(error or f"{reply.status} {reply.text}"), ""
    return " ".join(text.split())[:LONGEST_REASON], kind
