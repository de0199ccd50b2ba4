"""Docker's place at the driver's socket: requests as dockerd sends them, and as it never would."""

import contextlib
import http.client
import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.exposition import Sample, read

VERBS = (
    "CreateNetwork",
    "CreateEndpoint",
    "EndpointOperInfo",
    "Join",
    "Leave",
    "DeleteEndpoint",
    "DeleteNetwork",
)
"""What needs OVN or Open vSwitch, in the order of a container's life."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the driver said, and after how many seconds."""

    status: int
    body: dict[str, Any]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether dockerd would take it for success."""
        return self.status == 200 and not self.error

    @property
    def error(self) -> str:
        """What Docker's user would read."""
        return str(self.body.get("Err", ""))


class Plugin:
    """A driver that listens on a unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, verb: str, body: object = None, *, timeout: float = 20) -> Answer:
        """Post a request, its body as JSON."""
        text = "{}" if body is None else json.dumps(body)
        return self.post(verb, text.encode(), timeout=timeout)

    def post(self, verb: str, body: bytes, *, method: str = "POST", timeout: float = 20) -> Answer:
        """Send a request with any body."""
        connection = _UnixConnection(self.path, timeout)
        started = time.monotonic()
        try:
            with contextlib.suppress(BrokenPipeError):  # it may answer before it has read all
                connection.request(method, f"/{path_of(verb)}", body or None)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return Answer(answer.status, json.loads(text), time.monotonic() - started)

    def serves(self) -> bool:
        """Whether it takes connections; a socket is there before that, if the last driver was killed."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def metrics(self) -> list[Sample]:
        """What Prometheus would read."""
        connection = _UnixConnection(self.path, 20)
        try:
            connection.request("GET", "/metrics")
            return read(connection.getresponse().read())
        finally:
            connection.close()

    def connect(self, timeout: float = 20) -> socket.socket:
        """A bare connection."""
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout)
        plain.connect(str(self.path))
        return plain


def path_of(verb: str) -> str:
    """The path of a verb, which is the network driver's where it names no other service."""
    return verb if "." in verb else f"NetworkDriver.{verb}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("plugin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
