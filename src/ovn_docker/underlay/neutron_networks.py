"""The Neutron network of each Docker network of this host: one that the driver created, or an existing one.

Docker passes a NetworkID and no name, and a network's options only once. So a small file remembers which
Neutron network is used for which of Docker's. Those that the driver created are found without it, by name
and description. Everything else is read from Neutron when it is needed.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from http import HTTPStatus
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

# --- What a CreateNetwork requests of the underlay driver, checked and in our types. Pure. ------------------


NETWORK, SUBNET = "neutron.network", "neutron.subnet"
GROUPS, PORT_SECURITY = "neutron.security_groups", "neutron.port_security"

OPTIONS = (NETWORK, SUBNET, GROUPS, PORT_SECURITY)
"""Options of ``docker network create -o`` besides Docker's own."""

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class NeutronNetworkSpec:
    """A requested Docker network.

    Attributes:
        gateways: of each pool, or None.
        mtu: of containers' links in bytes, or None for Neutron's.
        leased: whether the addresses come from our IPAM.
        network: the Neutron network to use, by name or id, or "" for a new one.
        subnets: the Neutron subnets to use, by name or id; if empty, they are found by their CIDRs.
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
        """Whether an existing Neutron network is used."""
        return bool(self.network or self.subnets or self.leased)


def read(request: CreateNetworkRequest, address_space: str) -> NeutronNetworkSpec:
    """Read a CreateNetwork; `address_space` is that of our IPAM.

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
        leased=any(data.address_space == address_space for data in network_options.ipam_data(request)),
        network=str(generic.get(NETWORK, "")).strip(),
        subnets=names(generic.get(SUBNET, "")),
        groups=groups or None,
        port_security=port_security,
    )


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _boolean(text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in _BOOLEANS:
        raise RequestError(f"option '{PORT_SECURITY}' is '{text}': give true or false")
    return _BOOLEANS[text.lower()]


# --- The file that remembers which Neutron network each Docker network of this host is on. ------------------


NETWORKS = "neutron_networks"

FILE_TIMEOUT = 5.0
"""Seconds for a change of the file, which an `ovn-docker repair` may be changing too."""

Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class NeutronNetworkRef:
    """Where a Docker network is in Neutron.

    Attributes:
        network_id: Docker's NetworkID.
        neutron: the id of the Neutron network.
        subnets: the id of the Neutron subnet of each pool, by CIDR.
        made: whether this driver created it, and so deletes it.
        mtu: the requested one in bytes, or None.
        leased: whether the addresses come from our IPAM.
        groups: ids of security groups, or None for the project's default.
        port_security: or None for the network's.
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
        """The id of the subnet of an address."""
        for cidr, subnet_id in self.subnets.items():
            if address in ipaddress.ip_network(cidr):
                return subnet_id
        pools = ", ".join(self.subnets)
        raise RequestError(f"address {address} lies outside the pools of network {self.network_id}: {pools}")


class NeutronNetworkRefs:
    """The networks in the state file."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, StateFile(path)
        self._section = StateSection(self._file, NETWORKS, _read_ref)
        self._changing: asyncio.Future[None] | None = None

    def all(self) -> Mapping[str, NeutronNetworkRef]:
        """What is remembered, by NetworkID."""
        return self._section.current()

    async def remember(self, ref: NeutronNetworkRef) -> None:
        """Note where a network is; raises as `forget`, though the write may still happen."""
        entry = asdict(ref)

        def change(networks: dict[str, Any]) -> dict[str, Any]:
            return {**networks, ref.network_id: entry}

        if self.all().get(ref.network_id) != ref:
            await self._change(change)

    async def forget(self, network_id: str) -> None:
        """Forget where a network is, so that it is looked for or created anew.

        Raises:
            HostError: the file cannot be written.
            UnreachableError: another process keeps the file locked.
        """

        def change(networks: dict[str, Any]) -> dict[str, Any]:
            return {key: entry for key, entry in networks.items() if key != network_id}

        if self._changing is not None or network_id in self.all():
            await self._change(change)

    async def _change(self, change: Change) -> None:
        """Write the file on a thread, as its lock and the disk may block; one change at a time.

        A thread cannot be cancelled, so one that has timed out is waited for before the next change.
        """

        def changed(content: dict[str, Any]) -> Mapping[str, Any]:
            return {**content, NETWORKS: change(content.get(NETWORKS, {}))}

        try:
            async with asyncio.timeout(FILE_TIMEOUT):
                while self._changing is not None:
                    await asyncio.wait({self._changing})
                self._changing = asyncio.ensure_future(asyncio.to_thread(self._file.update, changed))
                self._changing.add_done_callback(self._changed)
                await asyncio.shield(self._changing)
        except TimeoutError:
            raise UnreachableError(
                f"the state file {self._path} is being changed by another process for more than"
                f" {FILE_TIMEOUT:g} s: see whether an 'ovn-docker repair' was stopped"
            ) from None

    def _changed(self, done: asyncio.Future[None]) -> None:
        self._changing = None
        if not done.cancelled():
            done.exception()  # after a timeout nobody retrieves it


def _read_ref(entry: Mapping[str, Any]) -> NeutronNetworkRef:
    groups = entry.get("groups")
    return NeutronNetworkRef(**{**entry, "groups": None if groups is None else tuple(groups)})


class UnderlayNetworks:
    """The networks of this machine; `host` is the id of its Neutron port."""

    def __init__(self, neutron: Neutron, host: str, refs: NeutronNetworkRefs, undoing: NeutronUndo) -> None:
        self._neutron = neutron
        self._host = host
        self._refs = refs
        self._undoing = undoing

    def all(self) -> Mapping[str, NeutronNetworkRef]:
        """Those that are remembered, by NetworkID."""
        return self._refs.all()

    async def forget(self, network_id: str) -> None:
        await self._refs.forget(network_id)

    async def locate(self, network_id: str) -> NeutronNetworkRef:
        """Where a network is; one that the driver created is found in Neutron even if it is not remembered.

        Raises:
            NotFoundError: there is no such network.
        """
        ref = self.all().get(network_id)
        if ref is not None:
            return ref
        network = await self._own(network_id)
        if network is None:
            raise NotFoundError(
                f"network {network_id} is not in Neutron: remove the network and create it again"
            )
        subnets = {str(subnet.cidr): subnet.id for subnet in await self.subnets(network.id)}
        return NeutronNetworkRef(network_id, network.id, subnets, made=True)

    async def create(self, spec: NeutronNetworkSpec) -> NeutronNetworkRef:
        """Create the network in Neutron, or find the existing one to use.

        Raises:
            ConflictError: it exists with other pools or options.
            NotFoundError, RequestError: the one to use does not exist, or does not fit.
        """
        self._undoing.forget(spec.network_id)
        known = self.all().get(spec.network_id)
        groups = None
        if spec.groups is not None:
            found = [await named(self._neutron, "security-group", group) for group in spec.groups]
            groups = tuple(str(group["id"]) for group in found)
        try:
            ref = await (self._use(spec) if spec.existing else self._make(spec))
            ref = replace(ref, groups=groups, port_security=spec.port_security)
            _check_same(known, ref)
            await self._refs.remember(ref)
        except BaseException:
            if known is None:  # Docker does not delete what it could not create
                self._undoing.later(spec.network_id, lambda: self._undo(spec.network_id))
            raise
        return ref

    async def _make(self, spec: NeutronNetworkSpec) -> NeutronNetworkRef:
        name = spec.network_id
        network = await self._own(name)
        if network is None:
            body = resources.new_network(name, self._host, spec.port_security)
            network = resources.read_network((await self._neutron.post("networks", body))["network"])
        subnets = await self._make_subnets(spec, network)
        words = resources.tags(self._host, network=name)
        await self._neutron.put(f"networks/{network.id}/tags", words)
        return NeutronNetworkRef(name, network.id, subnets, made=True, internal=spec.internal, mtu=spec.mtu)

    async def _make_subnets(self, spec: NeutronNetworkSpec, network: NeutronNetwork) -> dict[str, str]:
        subnets = await self.subnets(network.id) if network.subnets else []
        present = {subnet.cidr: subnet for subnet in subnets}
        if set(present) - set(spec.pools):
            raise ConflictError(f"network {spec.network_id} exists in Neutron with other pools")
        made = {}
        for pool, gateway in zip(spec.pools, spec.gateways, strict=True):
            if pool not in present:
                present[pool] = await self._make_subnet(spec, network, pool, gateway)
            made[str(pool)] = present[pool].id
        return made

    async def _make_subnet(
        self, spec: NeutronNetworkSpec, network: NeutronNetwork, pool: IPNetwork, gateway: IPAddress | None
    ) -> Subnet:
        way_out = None if spec.internal else gateway
        body = resources.new_subnet(network.id, f"docker-{spec.network_id}", self._host, pool, way_out)
        return resources.read_subnet((await self._neutron.post("subnets", body))["subnet"])

    async def _use(self, spec: NeutronNetworkSpec) -> NeutronNetworkRef:
        """Find an existing network, of which each pool is a subnet."""
        chosen = [resources.read_subnet(await named(self._neutron, "subnet", name)) for name in spec.subnets]
        if spec.network:
            network = resources.read_network(await named(self._neutron, "network", spec.network))
        elif chosen:
            found = await self._neutron.get(f"networks/{chosen[0].network_id}")
            network = resources.read_network(found["network"])
        else:
            network = await self._network_with(spec.pools)
        subnets = chosen or await self.subnets(network.id)
        return NeutronNetworkRef(
            network_id=spec.network_id,
            neutron=network.id,
            subnets=_match_subnets(spec, network, subnets),
            made=False,
            internal=spec.internal,
            mtu=spec.mtu,
            leased=spec.leased,
        )

    async def _network_with(self, pools: Sequence[IPNetwork]) -> NeutronNetwork:
        """The only network with a subnet of the first pool, from which our IPAM has leased addresses."""
        found = await self._neutron.get("subnets", {"cidr": str(pools[0])} if pools else {})
        networks = sorted({subnet["network_id"] for subnet in found["subnets"]})
        if len(networks) != 1:
            raise RequestError(
                f"{len(networks)} Neutron networks have the pool {', '.join(map(str, pools))}:"
                " say which with '-o neutron.network=NAME'"
            )
        return resources.read_network((await self._neutron.get(f"networks/{networks[0]}"))["network"])

    async def subnets(self, neutron: str) -> list[Subnet]:
        """All subnets of a Neutron network."""
        found = await self._neutron.get("subnets", {"network_id": neutron})
        return [resources.read_subnet(subnet) for subnet in found["subnets"]]

    async def own(self) -> list[NeutronNetwork]:
        """All networks that the driver created."""
        found = await self._neutron.get("networks", {"description": resources.mark(self._host)})
        return [resources.read_network(network) for network in found["networks"]]

    async def _own(self, network_id: str) -> NeutronNetwork | None:
        query = {"name": network_id, "description": resources.mark(self._host)}
        found = await self._neutron.get("networks", query)
        return next(map(resources.read_network, found["networks"]), None)

    async def delete(self, network_id: str, delete_ports: Callable[[str], Any]) -> None:
        """Delete a network that the driver created, or stop using an existing one.

        Args:
            network_id: Docker's.
            delete_ports: deletes our own ports on a Neutron network.

        Raises:
            ConflictError: ports of others are on it.
        """
        ref = self.all().get(network_id)
        if ref is None or ref.made:
            network = await self._own(network_id)
            if network is not None:
                await self._remove(network, delete_ports)
        await self._refs.forget(network_id)

    async def _remove(self, network: NeutronNetwork, delete_ports: Callable[[str], Any]) -> None:
        try:
            await self._neutron.delete(f"networks/{network.id}")
        except NeutronError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        else:
            return
        await delete_ports(network.id)
        try:
            await self._neutron.delete(f"networks/{network.id}")
        except NeutronError as error:
            raise ConflictError(
                f"network {network.name} stays in Neutron because others use it: {error}"
            ) from error

    async def _undo(self, network_id: str) -> None:
        await self._refs.forget(network_id)
        network = await self._own(network_id)
        if network is not None:
            await self._neutron.delete(f"networks/{network.id}")


async def named(neutron: Neutron, kind: str, name: str) -> dict[str, Any]:
    """The only resource with a name or id that this project sees.

    Args:
        neutron: the API.
        kind: ``network``, ``subnet`` or ``security-group``.
        name: or id.

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


def _check_same(known: NeutronNetworkRef | None, ref: NeutronNetworkRef) -> None:
    if known is not None and known != ref:
        raise ConflictError(f"network {ref.network_id} exists with other pools or options")


def _match_subnets(
    spec: NeutronNetworkSpec, network: NeutronNetwork, subnets: Sequence[Subnet]
) -> dict[str, str]:
    """The id of each pool's subnet, by CIDR.

    Raises:
        RequestError: a pool is not a subnet of the network, or Docker would use another gateway.
    """
    present = {subnet.cidr: subnet for subnet in subnets if subnet.network_id == network.id}
    fitting = {}
    for pool, gateway in zip(spec.pools, spec.gateways, strict=True):
        subnet = present.get(pool)
        if subnet is None:
            have = ", ".join(map(str, present)) or "none"
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
