"""Stands between a driver and Neutron: counts requests, times them, and lets a test act at one of them.

It is the endpoint of a region of its own in Keystone's catalogue, where OS_REGION_NAME sends the driver.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.underlay.identity import NEUTRON_PORT, Namespace, Project

REGION, PORT = "Proxied", 9697

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Passed:
    """A request that went through, and when it came and was answered."""

    method: str
    path: str
    began: float
    ended: float


def register(
    admin: Project, url: str, region: str = REGION, *, interface: str = "public", service: str = "network"
) -> None:
    """Enter it into Keystone's catalogue.

    Args:
        admin: who may do so.
        url: where it is.
        region: that leads to it.
        interface: ``public``, ``internal`` or ``admin``.
        service: that it serves.
    """
    [identity] = [
        entry["id"]
        for entry in admin.call("identity", "GET", "/services")["services"]
        if entry["type"] == service
    ]
    if admin.call("identity", "GET", "/endpoints", region_id=region)["endpoints"]:
        return
    admin.call("identity", "POST", "/regions", {"region": {"id": region}})
    endpoint = {"service_id": identity, "interface": interface, "region_id": region, "url": url}
    admin.call("identity", "POST", "/endpoints", {"endpoint": endpoint})


class Proxy:
    """One for a session.

    Attributes:
        passed: the requests that were answered.
        after: called with method and path when Neutron has answered and the driver does not know yet.
        answer: gives a status to answer a request with in Neutron's place, or None.
        instead: likewise, but Neutron does what it was asked.
        delay: seconds that pass before Neutron is asked.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        port: int = PORT,
        target: int = NEUTRON_PORT,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Stand at a port of an address before another one, with TLS if there is a context for it."""
        self._namespace = namespace
        self._address = address
        self._port, self._target = port, target
        self._tls = tls
        self.passed: list[Passed] = []
        self.reset()

    def reset(self) -> None:
        self.passed.clear()
        self.after: Callable[[str, str], None] = lambda *_: None
        self.answer: Callable[[str, str], int | None] = lambda *_: None
        self.instead: Callable[[str, str], int | None] = lambda *_: None
        self.delay = 0.0

    @contextlib.contextmanager
    def serve(self) -> Iterator["Proxy"]:
        server = self._namespace.run(
            lambda: ThreadingHTTPServer((self._address, self._port), self._handler())
        )
        server.daemon_threads = True
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(5)
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
                """Say nothing."""

            def _pass(self) -> None:
                try:
                    proxy._forward(self)
                except OSError:
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815

        return Handler

    def _forward(self, request: BaseHTTPRequestHandler) -> None:
        began = time.monotonic()
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status = self.answer(request.command, request.path)
        if status is None:
            time.sleep(self.delay)  # as a slow Neutron, which does it anyway
            status, reply, content = self._ask(request, body)
            lie = self.instead(request.command, request.path)
        else:
            lie = status
        if lie is not None:
            status, reply, content = lie, {"Content-Type": "text/plain"}, b"broken"
        self.after(request.command, request.path)
        request.send_response(status)
        for name, value in reply.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
        self.passed.append(Passed(request.command, request.path, began, time.monotonic()))

    def _ask(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self._address, self._target, timeout=60)
        connection.sock = self._namespace.run(
            lambda: socket.create_connection((self._address, self._target), 60)
        )
        try:
            headers = {
                name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP
            }
            if self._tls is not None:  # so that links in the answer lead here
                headers["X-Forwarded-Proto"] = "https"
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            answered = {
                name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP
            }
            return answer.status, answered, content
        finally:
            connection.close()
