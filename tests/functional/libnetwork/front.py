"""What the tests of the HTTP front share: stub drivers, requests as dockerd sends them, and a client."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ovn_docker.errors import ConflictError
from ovn_docker.libnetwork import messages

NETWORK = {"NetworkID": "k9qz3h1x0v7p2m5n8r4t6w1y3"}
ENDPOINT = NETWORK | {"EndpointID": "e" * 64}
PLUGIN_TYPE = "application/vnd.docker.plugins.v1.2+json"

REQUESTS: dict[str, dict[str, Any]] = {
    "AllocateNetwork": NETWORK | {"Options": {"k": "v"}, "IPv4Data": [], "IPv6Data": None},
    "FreeNetwork": NETWORK,
    "GwAllocCheck": {"Options": {"com.docker.network.enable_ipv4": True}},
    "CreateNetwork": NETWORK | {"Options": {}, "IPv4Data": [{"Pool": "10.0.0.0/24"}], "IPv6Data": []},
    "DeleteNetwork": NETWORK,
    "CreateEndpoint": ENDPOINT | {"Interface": {"Address": "10.0.0.2/24"}, "Options": {}},
    "DeleteEndpoint": ENDPOINT,
    "EndpointOperInfo": ENDPOINT,
    "Join": ENDPOINT | {"SandboxKey": "/var/run/docker/netns/fc2ac21230fc", "Options": {}},
    "Leave": ENDPOINT,
    "DiscoverNew": {"DiscoveryType": 1, "DiscoveryData": {"Address": "10.0.0.2", "Self": False}},
    "DiscoverDelete": {"DiscoveryType": 1, "DiscoveryData": {"Address": "10.0.0.2", "Self": False}},
    "ProgramExternalConnectivity": ENDPOINT | {"Options": {}},
    "RevokeExternalConnectivity": ENDPOINT,
}
ALIKE = ("GwAllocCheck", "DiscoverNew", "DiscoverDelete", "RevokeExternalConnectivity")
"""What is answered without asking the driver."""

ANSWERS: dict[str, dict[str, Any]] = {
    "AllocateNetwork": {"Options": {"k": "v"}},
    "GwAllocCheck": {"SkipIPv4": False, "SkipIPv6": False},
    "CreateEndpoint": {"Interface": {"Address": "", "AddressIPv6": "", "MacAddress": "02:00:00:00:00:01"}},
    "EndpointOperInfo": {"Value": {"key": "value"}},
    "Join": {
        "InterfaceName": {"SrcName": "veth0", "DstPrefix": "eth"},
        "Gateway": "",
        "GatewayIPv6": "",
        "StaticRoutes": [],
        "DisableGatewayService": False,
    },
}

Behaviour = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """What a verb does beside answering."""


class StubIpam:
    """An IPAM driver with one pool of one address."""

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        return messages.AddressSpacesResponse(local="here", global_="there")

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        return messages.RequestPoolResponse(pool_id="p", pool=request.pool)

    async def release_pool(self, request: messages.PoolRequest) -> None:
        assert request.pool_id == "p"

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        assert (request.pool_id, request.options) == (
            "p",
            {"RequestAddressType": "com.docker.network.gateway"},
        )
        return messages.RequestAddressResponse(address=f"{request.address}/24")

    async def release_address(self, request: messages.AddressRequest) -> None:
        raise ConflictError(f"{request.address} is another's")


@dataclass
class StubDriver:
    """A driver that notes its calls, and does before each answer what a test wants it to do."""

    behaviour: Behaviour = nothing
    calls: list[messages.Message] = field(default_factory=list)
    out: str = ""
    scope: str = "local"

    async def _call(self, request: messages.Message) -> None:
        self.calls.append(request)
        await self.behaviour()

    def outage(self) -> str:
        return self.out

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        await self._call(request)
        return messages.AllocateNetworkResponse(options=request.options or {})

    async def free_network(self, request: messages.NetworkRequest) -> None:
        await self._call(request)

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        await self._call(request)

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        await self._call(request)

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        await self._call(request)
        return messages.CreateEndpointResponse(
            interface=messages.EndpointInterface(mac_address="02:00:00:00:00:01")
        )

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        await self._call(request)

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
        await self._call(request)
        return messages.EndpointInfoResponse(value={"key": "value"})

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        await self._call(request)
        return messages.JoinResponse(
            interface_name=messages.InterfaceName(src_name="veth0", dst_prefix="eth")
        )

    async def leave(self, request: messages.EndpointRequest) -> None:
        await self._call(request)

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        await self._call(request)

    async def database(self) -> dict[str, Any]:
        await self.behaviour()
        return {"networks": {}}


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        return json.loads(self.body)


class Client:
    """An HTTP client on one connection, which sends what a test wants, right or wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, path: str, body: bytes, *, method: str = "POST", length: int | None = None) -> None:
        """Send what Docker's client sends: no Content-Type."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: plugin.moby.localhost\r\nAccept: {PLUGIN_TYPE}\r\n"
            f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def receive(self) -> Reply:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Reply(int(head[0].split()[1]), headers, body)

    async def post(self, verb: str, message: dict[str, Any] | bytes = b"") -> Reply:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        await self.send(f"/{verb}", body)
        return await self.receive()

    async def line(self) -> bytes:
        """The next line, whatever it belongs to."""
        return await self._reader.readline()

    async def is_closed_by_the_server(self) -> bool:
        return await self._reader.read(1) == b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, five seconds at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
