"""One connection to one OVSDB server: sockets, TLS, calls and their replies, and the inactivity probe.

Knows nothing of databases, leaders or retries; that is client.py's.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

from ovn_docker.errors import ConfigError, DatabaseError
from ovn_docker.ovsdb.jsonrpc import Decoder, Message, encode_request
from ovn_docker.ovsdb.operations import refusal
from ovn_docker.ovsdb.remotes import Remote, TlsFiles

# --- Whether the peer of a connection still answers. Pure. --------------------------------------------------
# Only replies count: a peer may go on sending parts of a message, or notifications, and not answer requests.


PROBE_INTERVAL = 5.0
"""Seconds without a reply before an echo is sent; after as long again without a byte the peer is gone."""

LONGEST_MESSAGE = 30.0
"""Minimum of seconds for the reply to the echo while bytes arrive: it may come after a long message."""


class Liveness:
    """One connection's peer; times are in seconds of any one clock.

    The interval is `PROBE_INTERVAL` by default; with 0 the peer is never probed.
    """

    def __init__(self, now: float, interval: float | None = None) -> None:
        self._interval = PROBE_INTERVAL if interval is None else interval
        self._longest = max(LONGEST_MESSAGE, self._interval)
        self._heard = self._replied = now
        self._probed: float | None = None

    def heard(self, now: float) -> None:
        """Note that bytes have arrived."""
        self._heard = now

    def replied(self, now: float) -> None:
        """Note that a reply has arrived, to whichever request."""
        self._replied, self._probed = now, None

    @property
    def due(self) -> float:
        """The latest time to call `probe`; infinity for never."""
        if not self._interval:
            return math.inf
        if self._probed is None:
            return self._replied + self._interval
        return min(max(self._heard, self._probed) + self._interval, self._probed + self._longest)

    def probe(self, now: float) -> bool:
        """Whether the caller must send an echo now.

        Raises:
            TimeoutError: the connection must be closed.
        """
        if now < self.due:
            return False
        if self._probed is None:
            self._probed = now
            return True
        if now < max(self._heard, self._probed) + self._interval:
            raise TimeoutError(f"the server has sent data for {self._longest:g} s without answering")
        raise TimeoutError("the server does not answer its probe")


CONNECT_TIMEOUT = 3.5
"""Seconds for a server to accept; a dead host costs no more before the next remote is tried.

ovsdb-server's backlog is 64 (ovs lib/socket-util.c); the kernel of a client beyond that repeats its SYN after
1 and after 3 seconds.
"""

READ_SIZE = 256 * 1024

CLOSED = "the server closed the connection"
UNANSWERED = f"{CLOSED} without an answer: check that the database behind it is running"
"""As by a proxy without a server."""

ECHO = "echo"
"""The id of the probe."""


class ConnectionLostError(Exception):
    """The connection ended before the reply; the request may or may not have been carried out."""


async def connect(remote: Remote, tls: TlsFiles | None, probe_interval: float | None = None) -> "Connection":
    """Open a connection.

    Raises:
        OSError: the server does not accept.
        ConfigError: ``ssl:`` without usable TLS files.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT):
        if remote.method == "unix":
            reader, writer = await asyncio.open_unix_connection(remote.address)
        elif remote.method == "tcp":
            reader, writer = await asyncio.open_connection(remote.address, remote.port)
        else:
            if tls is None:
                raise ConfigError(
                    f"{remote} needs TLS files: set them with 'ovs-vsctl set-ssl', or give --private-key,"
                    " --certificate and --ca-cert"
                )
            reader, writer = await asyncio.open_connection(
                remote.address, remote.port, ssl=tls.context(), server_hostname=remote.address
            )
    return Connection(reader, writer, probe_interval)


class Connection:
    """Calls and notifications over one stream."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        probe_interval: float | None = None,
    ) -> None:
        """Take over an open stream; nothing is read before `serve`."""
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._replies: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._asked_at: float | None = None
        self._reason = "closed"
        self._liveness = Liveness(self._now(), probe_interval)

    @property
    def silence(self) -> float:
        """Seconds since the first request after the last reply; 0 if no reply is due."""
        return 0.0 if self._asked_at is None else self._now() - self._asked_at

    async def call(self, method: str, params: list[Any]) -> Any:  # noqa: ANN401  (a JSON value)
        """Send a request and wait for its reply; several may be under way at once.

        Raises:
            ConnectionLostError: the connection ended first.
            DatabaseError: the server answered with an error, or a text cannot be sent.
        """
        if self._writer.is_closing():
            raise ConnectionLostError(self._reason)
        self._number += 1
        number = self._number
        # First of all: this refuses a text that cannot be sent, for which no reply is due.
        request = encode_request({"method": method, "params": params, "id": number})
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        self._asked_at = self._now() if self._asked_at is None else self._asked_at
        self._writer.write(request)
        try:
            return await reply
        finally:
            self._replies.pop(number, None)

    def post(self, method: str, params: list[Any]) -> None:
        """Send a request without waiting for its reply."""
        if not self._writer.is_closing():
            self._number += 1
            self._send({"method": method, "params": params, "id": self._number})

    async def serve(self, notify: Callable[[str, list[Any]], None]) -> None:
        """Read until the connection ends; OSError or DatabaseError say why, if not by `close`.

        `notify` is called with method and parameters of each notification, in order. An update comes before
        the reply of the transaction that made it (RFC 7047 section 4.1.6).
        """
        while not self._writer.is_closing():
            if self._liveness.probe(self._now()):
                self._send({"method": "echo", "params": [], "id": ECHO})
            try:
                async with asyncio.timeout_at(self._liveness.due):
                    data = await self._reader.read(READ_SIZE)
            except TimeoutError:
                continue
            if not data:
                raise OSError(CLOSED if self._asked_at is None else UNANSWERED)
            self._liveness.heard(self._now())
            for message in self._decoder.feed(data):
                self._take(message, notify)
                await asyncio.sleep(0)  # a caller acts on its reply before the next message is taken

    def close(self, reason: str) -> None:
        """End the connection; every call under way fails with `reason`."""
        self._reason = reason
        with contextlib.suppress(OSError):
            if self._writer.get_extra_info("ssl_object") is None:
                self._writer.close()
            else:
                self._writer.transport.abort()  # TLS would wait 30 s for the server to agree to the end
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionLostError(reason))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _send(self, message: Message) -> None:
        self._writer.write(encode_request(message))

    def _take(self, message: Message, notify: Callable[[str, list[Any]], None]) -> None:
        method = message.get("method")
        if method == "echo":
            self._send({"result": message.get("params", []), "error": None, "id": message.get("id")})
        elif method is not None:
            notify(method, message.get("params", []))
        else:
            self._settle(message)

    def _settle(self, message: Message) -> None:
        number = message.get("id", 0)
        reply = self._replies.get(number)
        if reply is not None or number == ECHO:
            self._liveness.replied(self._now())
            self._asked_at = None
        if reply is None or reply.done():
            return
        error = message.get("error")
        if error:
            reply.set_exception(_refusal(error))
        else:
            reply.set_result(message.get("result"))


def _refusal(error: Any) -> DatabaseError:  # noqa: ANN401  (a JSON value)
    if isinstance(error, dict):
        return refusal(str(error.get("error", "")), str(error.get("details", "")))
    return refusal(str(error), "")
