"""Who takes part in a verb of the overlay driver, besides the databases and the host. Types only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ovn_docker.address_pools import Pool
from ovn_docker.addressing import IPAddress, IPNetwork


class Pools(Protocol):
    """What our own IPAM is told and asked of a network's pools."""

    async def opened(self, made: Mapping[IPNetwork, Sequence[IPAddress]]) -> None:
        """A network with these pools is being made, and each has these auxiliary addresses."""

    async def unnamed(self, context: str, subnets: Sequence[IPNetwork]) -> Sequence[IPNetwork]:
        """Those of the subnets that it chose, for nobody named them."""

    def elsewhere(self, context: str, subnets: Sequence[IPNetwork], *, swarm: bool) -> Pool | None:
        """One of the pools of a network being made, if it was requested in another context only."""

    async def held_beside(self, subnets: Sequence[IPNetwork]) -> bool:
        """Whether a network of this host, besides one being made, may hold one of these pools."""

    async def allocated(self, network_id: str, subnets: Sequence[IPNetwork], *, alone: bool) -> None:
        """This manager has allocated a swarm's network with these, which it may want for itself alone."""

    async def freed(self, network_id: str) -> None:
        """A swarm's network is gone, and its switch may go."""


class Lookups(Protocol):
    """What IP lookups are told of an endpoint that goes, and asked of VTEPs."""

    def hurry(self) -> None:
        """An endpoint is unplugged now, and will be removed soon."""

    async def look(self) -> None:
        """Find out what is to be shown of VTEPs."""

    async def withdraw(self, endpoint_id: str) -> None:
        """Return when nothing leads to an endpoint any more, so that its port may be removed."""


@dataclass(frozen=True, slots=True)
class Followers:
    """All of them."""

    ipam: Pools
    lookups: Lookups
