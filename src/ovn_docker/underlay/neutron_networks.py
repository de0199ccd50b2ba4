"""Where each Docker network of this host is in Neutron: made by us, or somebody else's that is used.

Docker tells a driver its NetworkID and no name, and tells the options of a network once. So this host has to
remember, in a small file, which Neutron network is used for which of Docker's. Ours can be found again
without it, by their name and description. All else is read from Neutron whenever it is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConflictError, NeutronError, NotFoundError, RequestError
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import Network, Subnet
from ovn_docker.underlay.neutron_options import Asked
from ovn_docker.underlay.neutron_undo import Undoing
from ovn_docker.underlay.places import Place, Places


class UnderlayNetworks:
    """The networks of this host."""

    def __init__(self, neutron: Neutron, host: str, places: Places, undoing: Undoing) -> None:
        """Look there; `host` is the id of this machine's Neutron port."""
        self._neutron = neutron
        self._host = host
        self._places = places
        self._undoing = undoing

    def all(self) -> Mapping[str, Place]:
        """What is remembered, by NetworkID."""
        return self._places.all()

    async def forget(self, network_id: str) -> None:
        """Forget where a network is, so that it is looked for or made anew."""
        await self._places.forget(network_id)

    async def locate(self, network_id: str) -> Place:
        """Where a network is; one that we made is found in Neutron even if nothing is remembered.

        Raises:
            NotFoundError: there is no such network.
        """
        place = self.all().get(network_id)
        if place is not None:
            return place
        network = await self._own(network_id)
        if network is None:
            raise NotFoundError(
                f"network {network_id} is not in Neutron: remove the network and create it again"
            )
        subnets = {str(each.cidr): each.id for each in await self.subnets(network.id)}
        return Place(network_id, network.id, subnets, made=True)

    async def create(self, asked: Asked) -> Place:
        """Make the network in Neutron, or find the one that is to be used.

        Raises:
            ConflictError: it exists with other pools or options.
            NotFoundError, RequestError: what is to be used does not exist, or does not fit.
            NeutronError: Neutron refused.
        """
        self._undoing.forget(asked.network_id)
        known = self.all().get(asked.network_id)
        groups = None if asked.groups is None else tuple([await self._group(each) for each in asked.groups])
        try:
            place = await (self._use(asked) if asked.existing else self._make(asked))
            place = replace(place, groups=groups, port_security=asked.port_security)
            _check_same(known, place)
            await self._places.remember(place)
        except BaseException:
            if known is None:  # Docker will not ask to delete what it could not create
                self._undoing.later(asked.network_id, lambda: self._take_back(asked.network_id))
            raise
        return place

    async def _make(self, asked: Asked) -> Place:
        name = asked.network_id
        network = await self._own(name)
        if network is None:
            body = resources.new_network(name, self._host, asked.port_security)
            network = resources.read_network((await self._neutron.post("networks", body))["network"])
        subnets = await self._make_subnets(asked, network)
        words = resources.tags(self._host, network=name)
        await self._neutron.put(f"networks/{network.id}/tags", words)
        return Place(name, network.id, subnets, made=True, internal=asked.internal, mtu=asked.mtu)

    async def _make_subnets(self, asked: Asked, network: Network) -> dict[str, str]:
        there = {each.cidr: each for each in await self.subnets(network.id)} if network.subnets else {}
        if set(there) - set(asked.pools):
            raise ConflictError(f"network {asked.network_id} exists in Neutron with other pools")
        made = {}
        for pool, gateway in zip(asked.pools, asked.gateways, strict=True):
            if pool not in there:
                there[pool] = await self._make_subnet(asked, network, pool, gateway)
            made[str(pool)] = there[pool].id
        return made

    async def _make_subnet(
        self, asked: Asked, network: Network, pool: IPNetwork, gateway: IPAddress | None
    ) -> Subnet:
        way_out = None if asked.internal else gateway
        body = resources.new_subnet(network.id, f"docker-{asked.network_id}", self._host, pool, way_out)
        return resources.read_subnet((await self._neutron.post("subnets", body))["subnet"])

    async def _use(self, asked: Asked) -> Place:
        """The place of a network that Neutron has already: each pool is one of its subnets."""
        named = [resources.read_subnet(await self._named("subnet", each)) for each in asked.subnets]
        if asked.network:
            network = resources.read_network(await self._named("network", asked.network))
        elif named:
            found = await self._neutron.get(f"networks/{named[0].network_id}")
            network = resources.read_network(found["network"])
        else:
            network = await self._network_with(asked.pools)
        subnets = named or await self.subnets(network.id)
        return Place(
            network_id=asked.network_id,
            neutron=network.id,
            subnets=_fitting(asked, network, subnets),
            made=False,
            internal=asked.internal,
            mtu=asked.mtu,
            leased=asked.leased,
        )

    async def _network_with(self, pools: Sequence[IPNetwork]) -> Network:
        """The only network that has a subnet of the first pool, which our IPAM has leased from."""
        found = await self._neutron.get("subnets", {"cidr": str(pools[0])} if pools else {})
        networks = sorted({each["network_id"] for each in found["subnets"]})
        if len(networks) != 1:
            raise RequestError(
                f"{len(networks)} Neutron networks have the pool {', '.join(map(str, pools))}:"
                " say which with '-o neutron.network=NAME'"
            )
        return resources.read_network((await self._neutron.get(f"networks/{networks[0]}"))["network"])

    async def subnets(self, neutron: str) -> list[Subnet]:
        """All subnets of a Neutron network."""
        found = await self._neutron.get("subnets", {"network_id": neutron})
        return [resources.read_subnet(each) for each in found["subnets"]]

    async def _group(self, name: str) -> str:
        return str((await self._named("security-group", name))["id"])

    async def _named(self, kind: str, name: str) -> dict[str, Any]:
        """The only resource of a name or id that this project sees.

        Raises:
            NotFoundError: there is none.
            RequestError: there are several.
        """
        return await named(self._neutron, kind, name)

    async def own(self) -> list[Network]:
        """All networks that this host made."""
        found = await self._neutron.get("networks", {"description": resources.mark(self._host)})
        return [resources.read_network(each) for each in found["networks"]]

    async def _own(self, network_id: str) -> Network | None:
        query = {"name": network_id, "description": resources.mark(self._host)}
        found = await self._neutron.get("networks", query)
        return next(map(resources.read_network, found["networks"]), None)

    async def delete(self, network_id: str, leftovers: Callable[[str], Any]) -> None:
        """Remove what we made, and forget what we used.

        Args:
            network_id: Docker's.
            leftovers: removes this host's own ports from a Neutron network.

        Raises:
            ConflictError: ports of others are on it.
        """
        place = self.all().get(network_id)
        if place is None or place.made:
            network = await self._own(network_id)
            if network is not None:
                await self._remove(network, leftovers)
        await self._places.forget(network_id)

    async def _remove(self, network: Network, leftovers: Callable[[str], Any]) -> None:
        try:
            await self._neutron.delete(f"networks/{network.id}")
        except NeutronError as error:
            if error.status != 409:  # noqa: PLR2004
                raise
        else:
            return
        await leftovers(network.id)
        try:
            await self._neutron.delete(f"networks/{network.id}")
        except NeutronError as error:
            raise ConflictError(
                f"network {network.name} stays in Neutron because others use it: {error}"
            ) from error

    async def _take_back(self, network_id: str) -> None:
        await self._places.forget(network_id)
        network = await self._own(network_id)
        if network is not None:
            await self._neutron.delete(f"networks/{network.id}")


async def named(neutron: Neutron, kind: str, name: str) -> dict[str, Any]:
    """The only resource of a name or id that this project sees.

    Args:
        neutron: where it is.
        kind: ``network``, ``subnet`` or ``security-group``.
        name: its name or id.

    Raises:
        NotFoundError: there is none.
        RequestError: there are several.
    """
    what, key = kind.replace("-", " "), kind.replace("-", "_") + "s"
    found = (await neutron.get(f"{kind}s", {"id": name}))[key] if _is_id(name) else []
    found = found or (await neutron.get(f"{kind}s", {"name": name}))[key]
    if not found:
        raise NotFoundError(f"Neutron has no {what} '{name}' that this project sees")
    if len(found) > 1:
        raise RequestError(f"Neutron has {len(found)} {what}s named '{name}': give the id of one")
    resource: dict[str, Any] = found[0]
    return resource


def _check_same(known: Place | None, place: Place) -> None:
    if known is not None and known != place:
        raise ConflictError(f"network {place.network_id} exists with other pools or options")


def _fitting(asked: Asked, network: Network, subnets: Sequence[Subnet]) -> dict[str, str]:
    """Each pool's subnet.

    Raises:
        RequestError: a pool is no subnet of the network, or Docker would use another gateway.
    """
    there = {each.cidr: each for each in subnets if each.network_id == network.id}
    fitting = {}
    for pool, gateway in zip(asked.pools, asked.gateways, strict=True):
        subnet = there.get(pool)
        if subnet is None:
            have = ", ".join(map(str, there)) or "none"
            raise RequestError(
                f"Neutron network {network.name or network.id} has no subnet {pool}, it has {have}:"
                " name one of them with --subnet"
            )
        if subnet.gateway is not None and gateway != subnet.gateway:
            raise RequestError(
                f"the gateway of Neutron subnet {pool} is {subnet.gateway}, Docker has {gateway}:"
                f" give --gateway {subnet.gateway}"
            )
        fitting[str(pool)] = subnet.id
    return fitting


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
