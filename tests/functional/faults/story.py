"""What dockerd asks of a driver for one network and one container, one verb after the other."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from ovn_docker import addressing
from ovn_docker.libnetwork import messages
from ovn_docker.overlay.ipam.ipam_driver import ADDRESS_SPACE

OWN = ("CreateNetwork", "CreateEndpoint", "Join", "Leave", "DeleteEndpoint", "DeleteNetwork")
SHARED = (
    *("RequestPool", "RequestGateway", "CreateNetwork", "RequestAddress", "CreateEndpoint", "Join"),
    *("Leave", "DeleteEndpoint", "ReleaseAddress", "DeleteNetwork", "ReleaseGateway", "ReleasePool"),
)
"""The verbs of a network of its own, and of one on a shared switch with addresses of ours, in their order."""


class Failure(Exception):  # noqa: N818
    """What dockerd would tell its user."""


async def call(socket: Path, verb: str, body: Any) -> dict[str, Any]:  # noqa: ANN401
    """Ask a driver as dockerd does.

    Raises:
        Failure: it refused.
        aiohttp.ClientError: it died.
    """
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post(f"http://plugin/{verb}", json=body) as response,
    ):
        reply = json.loads(await response.read())
        if response.status != 200:
            raise Failure(f"{verb}: {reply['Err']}")
        assert isinstance(reply, dict)
        return reply


class Story:
    """One network and one container; every story has ids and a subnet of its own."""

    def __init__(self, socket: Path, number: int, verbs: Sequence[str]) -> None:
        self.verbs = verbs
        self._socket = socket
        self._network_id, self._endpoint_id = f"{number:04x}" * 16, f"{number + 0x1000:04x}" * 16
        self._subnet = f"10.{number // 250}.{number % 250}"
        self._pool_id = self._address = ""
        self._shared = "RequestPool" in verbs

    @property
    def link(self) -> str:
        """The link of its container that stays on the host."""
        return addressing.link_names(self._endpoint_id)[0]

    async def tell(self, verbs: Sequence[str]) -> None:
        """Ask for these verbs."""
        for verb in verbs:
            await self.ask(verb)

    async def ask(self, verb: str) -> None:
        """Ask for one verb, and keep of its answer what dockerd keeps."""
        name = verb.replace("Gateway", "Address")
        service = "IpamDriver" if name.endswith(("Pool", "Address")) else "NetworkDriver"
        reply = await call(self._socket, f"{service}.{name}", self._body(verb))
        if verb == "RequestPool":
            self._pool_id = reply["PoolID"]
        if verb == "RequestAddress":
            self._address = reply["Address"]

    def _body(self, verb: str) -> dict[str, Any]:
        ids = {"NetworkID": self._network_id, "EndpointID": self._endpoint_id}
        pool = {"PoolID": self._pool_id}
        gateway = {messages.ADDRESS_TYPE: messages.GATEWAY_TYPE}
        space = ADDRESS_SPACE if self._shared else "LocalDefault"
        address = self._address or f"{self._subnet}.2/24"
        bodies: dict[str, dict[str, Any]] = {
            "RequestPool": {"AddressSpace": ADDRESS_SPACE, "Pool": f"{self._subnet}.0/24"},
            "RequestGateway": pool | {"Address": f"{self._subnet}.1", "Options": gateway},
            "CreateNetwork": ids
            | {
                "IPv4Data": [
                    {
                        "AddressSpace": space,
                        "Pool": f"{self._subnet}.0/24",
                        "Gateway": f"{self._subnet}.1/24",
                    }
                ]
            },
            "RequestAddress": pool,
            "CreateEndpoint": ids | {"Interface": {"Address": address}},
            "Join": ids | {"SandboxKey": "/var/run/docker/netns/0123456789ab"},
            "ReleaseAddress": pool | {"Address": address.partition("/")[0]},
            "ReleaseGateway": pool | {"Address": f"{self._subnet}.1"},
            "ReleasePool": pool,
        }
        return bodies.get(verb, ids)
