"""What a host's driver gets in place of the host: a Docker, an Open vSwitch and links, in this process.

They answer at once and cost Northbound nothing, so all that is measured is the drivers' part towards OVN.
None of them touches this machine.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from ovn_docker.docker.engine import Engine
from ovn_docker.docker.models import DockerState, Endpoint, Event, Network, PoolConfig
from ovn_docker.errors import HostError
from ovn_docker.host import open_vswitch
from ovn_docker.host.veth import Links, VethPair
from ovn_docker.ovsdb.client import Client
from ovn_docker.ovsdb.operations import Operation, to_map

_ROW = str(UUID(int=1))
_DRIVER = "openvswitch"


class Docker(Engine):
    """A Docker that has the networks and endpoints that were added, and whose events never come."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere", "1.45")
        self._networks: dict[str, Network] = {}
        self._endpoints: dict[str, dict[str, Endpoint]] = {}

    def add_network(self, network_id: str, subnet: str, gateway: str) -> None:
        """Have a network with addresses of the driver's IPAM."""
        self._endpoints[network_id] = {}
        self._networks[network_id] = Network(
            network_id=network_id,
            name=network_id[:12],
            driver=_DRIVER,
            ipam_driver=_DRIVER,
            ipam_options={},
            pools=(PoolConfig(subnet, gateway, {}),),
            internal=False,
            ipv6=False,
            options={},
            endpoints=self._endpoints[network_id],
        )

    def add_endpoint(self, network_id: str, endpoint_id: str, mac: str, address: str) -> None:
        """Have an endpoint that is in no sandbox; the address with its prefix length."""
        endpoint = Endpoint(network_id, endpoint_id, mac, (address,), container_id="")
        self._endpoints[network_id][endpoint_id] = endpoint

    def endpoints(self) -> dict[str, list[str]]:
        """EndpointIDs by NetworkID, in the order in which they came."""
        return {network_id: list(endpoints) for network_id, endpoints in self._endpoints.items()}

    async def network_ids(self) -> dict[str, str]:
        return dict.fromkeys(self._networks, _DRIVER)

    async def read(self) -> DockerState:
        """What was added; no container, so that no names are compared."""
        return DockerState(self._networks, {})

    async def refuses_global(self) -> str:
        return ""

    async def events(self, types: Mapping[str, list[str]]) -> AsyncIterator[Event | None]:  # noqa: ARG002
        """Nothing happens; nor has Docker just come back, which would ask for a health check at once."""
        await asyncio.get_running_loop().create_future()
        yield None

    async def start(self, container_id: str) -> None:
        raise HostError(f"container {container_id} is not there to be started")

    async def close(self) -> None:
        """Nothing is open."""


class OpenVSwitch(Client):
    """A host's own database: its settings, and nothing plugged in."""

    def __init__(self, name: str) -> None:
        """Of a host of this name, not yet pointed to a Northbound."""
        super().__init__("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
        self._name = name
        self.point("")

    def point(self, northbound: str) -> None:
        """Set where Northbound is; "" for nowhere."""
        ids = {
            "system-id": self._name,
            "ovn-nb": northbound,
            "ovn-remote": "tcp:127.0.0.1:1",
            "ovn-encap-ip": "127.0.0.1",
            "ovn-bridge": "br-bench",
        }
        self.replica.update({open_vswitch.ROOT: {_ROW: {"initial": {"external_ids": to_map(ids)}}}})

    @property
    def connected(self) -> bool:
        return True

    def outage(self) -> str:
        return ""

    async def ready(self) -> None:
        """It always is."""

    async def available(self) -> None:
        """It always is."""

    async def run(self) -> None:
        """Be connected from now on."""
        for call in self._when_connected:
            call()
        await asyncio.get_running_loop().create_future()

    async def transact(
        self,
        operations: Sequence[Operation],
        undo: Sequence[Operation] = (),  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """Find no row, and change none."""
        return [{"rows": [], "count": 0} for _ in operations]

    async def request(
        self, operations: Sequence[Operation], undo: Sequence[Operation] = ()
    ) -> list[dict[str, Any]]:
        return await self.transact(operations, undo)


class NoLinks(Links):
    """A network namespace in which this host has its tunnel address and no link of the driver."""

    def __init__(self) -> None:
        """Open nothing."""

    async def open(self) -> None:
        """Nothing is to be opened."""

    def close(self) -> None:
        """Nothing is open."""

    async def guard(self) -> None:
        """Nothing comes from links that are not there."""

    async def guarded(self) -> bool:
        return True

    async def create(self, pair: VethPair) -> None:
        raise HostError(f"no link {pair.outside} is made here")

    async def delete(self, outside: str) -> None:
        """It is gone already."""

    async def own_names(self) -> frozenset[str]:
        return frozenset()

    async def holding(self, address: str) -> str | None:  # noqa: ARG002
        """Any address is here."""
        return "lo"
