"""Where each Docker network of this host is in Neutron: made by us, or somebody else's that is used.

Docker tells a driver its NetworkID and no name, and tells the options of a network once. So this host has to
remember, in a small file, which Neutron network is used for which of Docker's. Ours can be found again
without it, by their name and description. All else is read from Neutron whenever it is needed.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import ConflictError, NeutronError, NotFoundError, RequestError, UnreachableError
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.messages import CreateNetworkRequest
from ovn_docker.state_file import StateFile, StateSection
from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.neutron_client import Neutron
from ovn_docker.underlay.neutron.resources import NeutronNetwork, Subnet
from ovn_docker.underlay.neutron_undo import NeutronUndo

# --- What a CreateNetwork asks of the underlay driver, checked and in our types. Pure. ----------------------


NETWORK, SUBNET = "neutron.network", "neutron.subnet"
GROUPS, PORT_SECURITY = "neutron.security_groups", "neutron.port_security"

OPTIONS = (NETWORK, SUBNET, GROUPS, PORT_SECURITY)
"""What ``docker network create -o`` may name besides Docker's own options."""

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class NeutronNetworkSpec:
    """A Docker network as it is asked for.

    Attributes:
        network_id: Docker's NetworkID.
        pools: its pools.
        gateways: of each pool, or None.
        internal: no way out.
        mtu: of containers' links in bytes, or None for Neutron's.
        leased: whether the addresses come from our IPAM.
        network: the Neutron network to be used, by name or id, or "" for one of our own.
        subnets: the Neutron subnets to be used, by name or id; none means by their CIDRs.
        groups: names or ids of security groups, or None for the project's default.
        port_security: whether ports have anti-spoofing and security groups, or None for Neutron's default.
    """

    network_id: str
    pools: tuple[IPNetwork, ...]
    gateways: tuple[IPAddress | None, ...]
    internal: bool
    mtu: int | None
    leased: bool
    network: str
    subnets: tuple[str, ...]
    groups: tuple[str, ...] | None
    port_security: bool | None

    @property
    def existing(self) -> bool:
        """Whether Neutron has the network already."""
        return bool(self.network or self.subnets or self.leased)


def read(request: CreateNetworkRequest, address_space: str) -> NeutronNetworkSpec:
    """What a CreateNetwork asks for.

    Args:
        request: Docker's.
        address_space: what our IPAM calls its addresses.

    Raises:
        RequestError: a pool, a gateway or an option cannot be used; the text names it.
    """
    options = request.options or {}
    generic = network_options.generic(options, OPTIONS)
    pools = network_options.pools(request)
    groups = names(generic.get(GROUPS, ""))
    port_security = _boolean(generic.get(PORT_SECURITY))
    if groups and port_security is False:
        raise RequestError(f"options {GROUPS} and {PORT_SECURITY}=false exclude each other")
    return NeutronNetworkSpec(
        network_id=request.network_id,
        pools=pools,
        gateways=network_options.gateways(request),
        internal=options.get(messages.INTERNAL) is True,
        mtu=network_options.mtu(generic, pools),
        leased=any(each.address_space == address_space for each in network_options.ipam_data(request)),
        network=str(generic.get(NETWORK, "")).strip(),
        subnets=names(generic.get(SUBNET, "")),
        groups=groups or None,
        port_security=port_security,
    )


def names(text: str) -> tuple[str, ...]:
    """The names in a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _boolean(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise RequestError(f"option '{PORT_SECURITY}' is '{text}': give true or false")
    return _BOOLEANS[text.lower()]


# --- Which Neutron network each Docker network of this host is on, in a small file. -------------------------
# Knows nothing of what Neutron has.


NETWORKS = "neutron_networks"

LIMIT = 5.0
"""Seconds for a change of the file, which an `ovn-docker repair` may be changing."""

Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NeutronNetworkRef:
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


class NeutronNetworkRefs:
    """What is remembered."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, StateFile(path)
        self._section = StateSection(self._file, NETWORKS, _place)
        self._changing: asyncio.Future[None] | None = None

    def all(self) -> Mapping[str, NeutronNetworkRef]:
        """What is remembered, by NetworkID."""
        return self._section.current()

    async def remember(self, place: NeutronNetworkRef) -> None:
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


def _place(entry: Mapping[str, Any]) -> NeutronNetworkRef:
    groups = entry.get("groups")
    return NeutronNetworkRef(**{**entry, "groups": None if groups is None else tuple(groups)})


class UnderlayNetworks:
    """The networks of this host."""

    def __init__(self, neutron: Neutron, host: str, places: NeutronNetworkRefs, undoing: NeutronUndo) -> None:
        """Look there; `host` is the id of this machine's Neutron port."""
        self._neutron = neutron
        self._host = host
        self._places = places
        self._undoing = undoing

    def all(self) -> Mapping[str, NeutronNetworkRef]:
        """What is remembered, by NetworkID."""
        return self._places.all()

    async def forget(self, network_id: str) -> None:
        """Forget where a network is, so that it is looked for or made anew."""
        await self._places.forget(network_id)

    async def locate(self, network_id: str) -> NeutronNetworkRef:
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
        return NeutronNetworkRef(network_id, network.id, subnets, made=True)

    async def create(self, asked: NeutronNetworkSpec) -> NeutronNetworkRef:
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

    async def _make(self, asked: NeutronNetworkSpec) -> NeutronNetworkRef:
        name = asked.network_id
        network = await self._own(name)
        if network is None:
            body = resources.new_network(name, self._host, asked.port_security)
            network = resources.read_network((await self._neutron.post("networks", body))["network"])
        subnets = await self._make_subnets(asked, network)
        words = resources.tags(self._host, network=name)
        await self._neutron.put(f"networks/{network.id}/tags", words)
        return NeutronNetworkRef(name, network.id, subnets, made=True, internal=asked.internal, mtu=asked.mtu)

    async def _make_subnets(self, asked: NeutronNetworkSpec, network: NeutronNetwork) -> dict[str, str]:
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
        self, asked: NeutronNetworkSpec, network: NeutronNetwork, pool: IPNetwork, gateway: IPAddress | None
    ) -> Subnet:
        way_out = None if asked.internal else gateway
        body = resources.new_subnet(network.id, f"docker-{asked.network_id}", self._host, pool, way_out)
        return resources.read_subnet((await self._neutron.post("subnets", body))["subnet"])

    async def _use(self, asked: NeutronNetworkSpec) -> NeutronNetworkRef:
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
        return NeutronNetworkRef(
            network_id=asked.network_id,
            neutron=network.id,
            subnets=_fitting(asked, network, subnets),
            made=False,
            internal=asked.internal,
            mtu=asked.mtu,
            leased=asked.leased,
        )

    async def _network_with(self, pools: Sequence[IPNetwork]) -> NeutronNetwork:
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

    async def own(self) -> list[NeutronNetwork]:
        """All networks that this host made."""
        found = await self._neutron.get("networks", {"description": resources.mark(self._host)})
        return [resources.read_network(each) for each in found["networks"]]

    async def _own(self, network_id: str) -> NeutronNetwork | None:
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

    async def _remove(self, network: NeutronNetwork, leftovers: Callable[[str], Any]) -> None:
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


def _check_same(known: NeutronNetworkRef | None, place: NeutronNetworkRef) -> None:
    if known is not None and known != place:
        raise ConflictError(f"network {place.network_id} exists with other pools or options")


def _fitting(asked: NeutronNetworkSpec, network: NeutronNetwork, subnets: Sequence[Subnet]) -> dict[str, str]:
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
