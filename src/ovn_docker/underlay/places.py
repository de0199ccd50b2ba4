"""Which Neutron network each Docker network of this host is on, in a small file.

Knows nothing of what Neutron has.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ovn_docker.addressing import IPAddress
from ovn_docker.errors import RequestError, UnreachableError
from ovn_docker.state_file import StateFile

NETWORKS = "neutron_networks"

LIMIT = 5.0
"""Seconds for a change of the file, which an `ovn-docker repair` may be changing."""

Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a Docker network is.

    Attributes:
        network_id: Docker's NetworkID.
        neutron: the id of the Neutron network.
        subnets: pool in CIDR form to id of the Neutron subnet.
        made: whether this driver made it, and so removes it.
        internal: no way out.
        mtu: that was asked for in bytes, or None.
        leased: whether the addresses come from our IPAM.
        groups: ids of security groups, or None for the project's default.
        port_security: or None for what the network says.
    """

    network_id: str
    neutron: str
    subnets: Mapping[str, str]
    made: bool
    internal: bool = False
    mtu: int | None = None
    leased: bool = False
    groups: tuple[str, ...] | None = None
    port_security: bool | None = None

    def subnet_of(self, address: IPAddress) -> str:
        """The id of the subnet that an address is of.

        Raises:
            RequestError: of none of them.
        """
        for cidr, subnet_id in self.subnets.items():
            if address in ipaddress.ip_network(cidr):
                return subnet_id
        pools = ", ".join(self.subnets)
        raise RequestError(f"address {address} lies outside the pools of network {self.network_id}: {pools}")


class Places:
    """What is remembered."""

    def __init__(self, path: Path) -> None:
        """Take up what the file there says."""
        self._path, self._file = path, StateFile(path)
        self._stamp: object = object()
        self._known: dict[str, Place] = {}
        self._changing: asyncio.Future[None] | None = None

    def all(self) -> Mapping[str, Place]:
        """What is remembered, by NetworkID; `ovn-docker repair` may have changed it."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._stamp, self._known = stamp, self._read(self._file.load())
        return self._known

    def _read(self, content: Mapping[str, Any]) -> dict[str, Place]:
        try:
            return {network_id: _place(each) for network_id, each in content.get(NETWORKS, {}).items()}
        except (AttributeError, TypeError, ValueError) as error:
            self._file.put_aside(f"it does not hold networks: {type(error).__name__}: {error}")
            return {}

    async def remember(self, place: Place) -> None:
        """Note where a network is; raises as `forget`, and may be carried out all the same."""
        entry = asdict(place)

        def change(networks: dict[str, Any]) -> dict[str, Any]:
            return {**networks, place.network_id: entry}

        if self.all().get(place.network_id) != place:
            await self._change(change)

    async def forget(self, network_id: str) -> None:
        """Forget where a network is, so that it is looked for or made anew.

        Raises:
            HostError: the file cannot be written.
            UnreachableError: another process is changing it for long.
        """

        def change(networks: dict[str, Any]) -> dict[str, Any]:
            return {key: each for key, each in networks.items() if key != network_id}

        if self._changing is not None or network_id in self.all():
            await self._change(change)

    async def _change(self, change: Change) -> None:
        """Write the file on a thread, for its lock and the disk may be waited for; one change at a time.

        A thread cannot be ended, so that one which was given up is waited for before there is another.
        """

        def changed(content: dict[str, Any]) -> Mapping[str, Any]:
            return {**content, NETWORKS: change(content.get(NETWORKS, {}))}

        try:
            async with asyncio.timeout(LIMIT):
                while self._changing is not None:
                    await asyncio.wait({self._changing})
                self._changing = asyncio.ensure_future(asyncio.to_thread(self._file.update, changed))
                self._changing.add_done_callback(self._changed)
                await asyncio.shield(self._changing)
        except TimeoutError:
            raise UnreachableError(
                f"the state file {self._path} is being changed by another process for more than"
                f" {LIMIT:g} s: see whether an 'ovn-docker repair' was stopped"
            ) from None

    def _changed(self, done: asyncio.Future[None]) -> None:
        self._changing = None
        if not done.cancelled():
            done.exception()  # of one that was given up nobody asks


def _place(entry: Mapping[str, Any]) -> Place:
    groups = entry.get("groups")
    return Place(**{**entry, "groups": None if groups is None else tuple(groups)})
