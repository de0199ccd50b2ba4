"""A blocking OVSDB client and a thread that watches interfaces: what a stopwatch needs, and no more."""

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovn_docker.errors import HostError
from ovn_docker.ovsdb.jsonrpc import Decoder, Message, encode
from ovn_docker.ovsdb.operations import Operation, check, mapping, optional

PLUGGED, OFPORT, INSTALLED = "plugged", "ofport", "ovn-installed"


class Database:
    """One OVSDB server over its Unix socket."""

    def __init__(self, path: Path, name: str, timeout: float | None = 120) -> None:
        """Connect.

        Args:
            path: the server's socket.
            name: the database, as "OVN_Northbound".
            timeout: limit in seconds for each wait, or None.
        """
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._decoder = Decoder()
        self._messages: list[Message] = []
        self._next = 0

    def transact(self, operations: Sequence[Operation]) -> list[dict[str, Any]]:
        """Carry out one transaction."""
        return check(self.call("transact", [self.name, *operations]), operations)

    def call(self, method: str, params: list[Any]) -> Any:  # noqa: ANN401 - a JSON-RPC result has any type
        """Send a request and return its result; what comes in between is dropped."""
        self._next += 1
        self._socket.sendall(encode({"method": method, "params": params, "id": self._next}))
        while True:
            message = self.receive()
            if message.get("id") == self._next and "result" in message:
                return message["result"]

    def receive(self) -> Message:
        """The next message; echo requests are answered on the way (RFC 7047 section 4.1.11)."""
        while True:
            while not self._messages:
                data = self._socket.recv(1 << 20)
                if not data:
                    raise OSError(f"the server of {self.name} closed the connection")
                self._messages = self._decoder.feed(data)
            message = self._messages.pop(0)
            if message.get("method") != "echo":
                return message
            self._socket.sendall(encode({"id": message["id"], "result": message["params"], "error": None}))

    def close(self) -> None:
        """Disconnect; a thread that waits in receive() gets an OSError."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        finally:
            self._socket.close()


class InterfaceWatch:
    """Notes when each endpoint's interface was plugged in, got its ofport and had its flows installed."""

    def __init__(self, path: Path) -> None:
        """Watch the Open_vSwitch database behind a socket."""
        self._database = Database(path, "Open_vSwitch", timeout=None)
        self._moments: dict[str, dict[str, float]] = {}
        self._changed = threading.Condition()
        columns = {"columns": ["external_ids", "ofport"]}
        self._database.call("monitor", ["Open_vSwitch", "watch", {"Interface": columns}])
        threading.Thread(target=self._read, daemon=True).start()

    def moments(self, endpoint_id: str, timeout: float = 20) -> Mapping[str, float]:
        """When PLUGGED, OFPORT and INSTALLED were seen, by time.perf_counter(), once all three were."""
        with self._changed:
            if not self._changed.wait_for(lambda: INSTALLED in self._moments.get(endpoint_id, {}), timeout):
                raise HostError(f"endpoint {endpoint_id[:12]}: no flows after {timeout:g} s")
            return dict(self._moments.pop(endpoint_id))

    def close(self) -> None:
        """Stop watching."""
        self._database.close()

    def _read(self) -> None:
        while True:
            try:
                message = self._database.receive()
            except OSError:
                return
            now = time.perf_counter()
            if message.get("method") == "update":
                with self._changed:
                    for change in message["params"][1].get("Interface", {}).values():
                        self._note(change.get("new"), now)
                    self._changed.notify_all()

    def _note(self, row: dict[str, Any] | None, now: float) -> None:
        if row is None:
            return
        ids = mapping(row["external_ids"])
        if "iface-id" not in ids:
            return
        moments = self._moments.setdefault(ids["iface-id"], {})
        moments.setdefault(PLUGGED, now)
        if (optional(row["ofport"]) or 0) > 0:
            moments.setdefault(OFPORT, now)
        if ids.get("ovn-installed") == "true":
            moments.setdefault(INSTALLED, now)
