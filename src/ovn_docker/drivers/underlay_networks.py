"""Where each Docker network of this host is in Neutron: made by us, or somebody else's that is used.

Docker tells a driver its NetworkID and no name, and tells the options of a network once. So this host has to
remember, in a small file, which Neutron network is used for which of Docker's. Ours can be found again
without it, by their name and description. All else is read from Neutron whenever it is needed.
"""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.drivers.underlay_options import Asked
from ovn_docker.drivers.underlay_undo import Undoing
from ovn_docker.errors import ConflictError, NeutronError, NotFoundError, RequestError
from ovn_docker.neutron import resources
from ovn_docker.neutron.client import Neutron
from ovn_docker.neutron.resources import Network, Subnet
from ovn_docker.state import StateFile

NETWORKS = "neutron_networks"


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


class UnderlayNetworks:
    """The networks of this host."""

    def __init__(self, neutron: Neutron, host: str, file: StateFile, undoing: Undoing) -> None:
        """Take up what the file says; `host` is the id of this machine's Neutron port."""
        self._neutron = neutron
        self._host = host
        self._file = file
        self._undoing = undoing
        self._stamp: object = object()
        self._known: dict[str, Place] = {}

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

    def _remember(self, place: Place) -> None:
        entry = asdict(place)

        def change(content: dict[str, Any]) -> dict[str, Any]:
            return {**content, NETWORKS: {**content.get(NETWORKS, {}), place.network_id: entry}}

        if self.all().get(place.network_id) != place:
            self._file.update(change)

    def _forget(self, network_id: str) -> None:
        def change(content: dict[str, Any]) -> dict[str, Any]:
            left = {key: each for key, each in content.get(NETWORKS, {}).items() if key != network_id}
            return {**content, NETWORKS: left}

        if network_id in self.all():
            self._file.update(change)

    def forget(self, network_id: str) -> None:
        """Forget where a network is, so that it is looked for or made anew."""
        self._forget(network_id)

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
        place = await (self._use(asked) if asked.existing else self._make(asked))
        place = replace(place, groups=groups, port_security=asked.port_security)
        if known is not None and known != place:
            raise ConflictError(f"network {asked.network_id} exists with other pools or options")
        self._remember(place)
        return place

    async def _make(self, asked: Asked) -> Place:
        name = asked.network_id
        network = await self._own(name)
        try:
            if network is None:
                body = resources.new_network(name, self._host, asked.port_security)
                network = resources.read_network((await self._neutron.post("networks", body))["network"])
            subnets = await self._make_subnets(asked, network)
            words = resources.tags(self._host, network=name)
            await self._neutron.put(f"networks/{network.id}/tags", words)
        except BaseException:
            if name not in self.all():  # Docker will not ask to delete what it could not create
                self._undoing.later(name, lambda: self._remove_own(name))
            raise
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
        self._forget(network_id)

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

    async def _remove_own(self, network_id: str) -> None:
        network = await self._own(network_id)
        if network is not None and network_id not in self.all():
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


def _place(entry: Mapping[str, Any]) -> Place:
    groups = entry.get("groups")
    return Place(**{**entry, "groups": None if groups is None else tuple(groups)})


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
