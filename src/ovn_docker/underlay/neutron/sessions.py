"""Requests to Neutron in the calling thread, logged in by Keystone: the only door to keystoneauth.

Each request has a connection for itself, the one that was used last of those that are free: so calls that
follow each other use one, and it stays open. The login is shared, and renewed when the token has expired.
"""

import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ovn_docker.errors import NeutronError, UnreachableError
from ovn_docker.underlay.neutron.credentials import Credentials

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
