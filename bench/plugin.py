"""Docker's calls to a driver, made the way Docker's Go client makes them: HTTP POST, the connection kept."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyroute2 import netns

from ovn_docker.errors import HostError

Dial = Callable[[], socket.socket]

TIMEOUT = 30.0
_CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"


def dial_unix(path: Path) -> Dial:
    """Connect to a Unix socket."""

    def dial() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
        except OSError:
            connection.close()
            raise
        return connection

    return dial


def dial_tcp(port: int, pid: int) -> Dial:
    """Connect to a port on the loopback of the network namespace of a process."""

    def dial() -> socket.socket:
        connection = _socket_in(pid)
        try:
            connection.settimeout(TIMEOUT)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        return connection

    return dial


def _socket_in(pid: int) -> socket.socket:
    """A TCP socket that belongs to another network namespace, made by a thread that goes there to do it."""
    made: list[socket.socket] = []

    def make() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            netns.setns(namespace)
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        finally:
            os.close(namespace)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"cannot enter the network namespace of process {pid}")
    return made[0]


class _Connection(http.client.HTTPConnection):
    def __init__(self, dial: Dial) -> None:
        super().__init__(
            "127.0.0.1"
        )  # as Docker's client says over TCP; the driver refuses a Host that is not its own
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial()


class Plugin:
    """One driver as Docker sees it; the connection lasts as long as the driver lets it."""

    def __init__(self, dial: Dial) -> None:
        self._connection = _Connection(dial)

    def call(self, verb: str, body: dict[str, Any] | None = None) -> float:
        """Make one call, as "CreateNetwork" (moby's remote.md), and return how many milliseconds it took."""
        took, _ = self.exchange(verb if verb.startswith("Plugin.") else f"NetworkDriver.{verb}", body)
        return took

    def exchange(self, path: str, body: dict[str, Any] | None = None) -> tuple[float, bytes]:
        """Make one call of any interface, as "IpamDriver.RequestPool"; returns the answer too."""
        content = json.dumps(body or {}).encode()
        started = time.perf_counter()
        self._connection.request("POST", f"/{path}", content, {"Content-Type": _CONTENT_TYPE})
        with self._connection.getresponse() as response:
            answer = response.read()
        took = (time.perf_counter() - started) * 1000
        reply = json.loads(answer) if answer.startswith(b"{") else {}
        if response.status != http.client.OK or reply.get("Err"):
            raise HostError(f"{path.rpartition('.')[2]} failed: {reply.get('Err') or response.status}")
        return took, answer

    def close(self) -> None:
        self._connection.close()


def network(network_id: str, subnet: str) -> dict[str, Any]:
    """A CreateNetwork request for an IPv4 subnet "10.1.0.0/16", gateway .0.1."""
    base, length = subnet.split("/")
    gateway = f"{base.rpartition('.')[0]}.1/{length}"
    return {
        "NetworkID": network_id,
        "Options": {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": {}},
        "IPv4Data": [{"AddressSpace": "LocalDefault", "Pool": subnet, "Gateway": gateway}],
        "IPv6Data": [],
    }


def endpoint(network_id: str, endpoint_id: str, address: str = "") -> dict[str, Any]:
    """A request about an endpoint; with an address "10.1.0.2/16" it is CreateEndpoint's."""
    request: dict[str, Any] = {"NetworkID": network_id, "EndpointID": endpoint_id}
    if address:
        interface = {"Address": address, "AddressIPv6": "", "MacAddress": ""}
        return request | {"Interface": interface, "Options": {}}
    return request


def join(network_id: str, endpoint_id: str) -> dict[str, Any]:
    """A Join request."""
    sandbox = f"/var/run/docker/netns/{endpoint_id[:12]}"
    return endpoint(network_id, endpoint_id) | {"SandboxKey": sandbox, "Options": {}}
