"""How networks are created, and which switch each of this host's shared networks is on.

Docker gives a network another NetworkID on each host, so this host remembers the switch in a file. The switch
itself, and who has which address on it, are in Northbound.
"""

import asyncio
import logging
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.address_pools import Pool
from ovn_docker.addressing import IPNetwork
from ovn_docker.errors import ConflictError, ConstraintError, NotFoundError, RequestError, RequirementError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.network_options import generic, ipam_data, without_effect
from ovn_docker.overlay import network_spec
from ovn_docker.overlay.ipam.ipam_driver import OverlayIpam
from ovn_docker.overlay.network_spec import SharedNetwork, SharingPolicy, auxiliary, switch_for
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import switches
from ovn_docker.ovn.switches import Switch
from ovn_docker.ovsdb.operations import Row, mapping
from ovn_docker.state_file import StateFile, StateSection

LOG = logging.getLogger(__name__)

NETWORKS = "networks"

ATTEMPTS = 5
"""How often to look for a switch and create it while other hosts create and remove it."""

MAX_PORTS_SHOWN = 100
"""How many ports of a switch that stays are read to see whose they are."""


class SharedNetworks:
    """This host's networks on shared switches, by NetworkID."""

    def __init__(self, database: Northbound, file: StateFile) -> None:
        self.database = self._northbound = database
        self._file = file
        self._section = StateSection(file, NETWORKS, SharedNetwork.from_json)
        self._section.current()  # so that a file that cannot be read is reported at the start

    def get(self, network_id: str) -> SharedNetwork | None:
        """The network; None if it is not a shared one."""
        return self._section.current().get(network_id)

    def all(self) -> Sequence[SharedNetwork]:
        return list(self._section.current().values())

    def switches_of(self, pool: Pool) -> list[str]:
        """The names of the switches of this host's networks that lease from a pool.

        Before the network is created, it is the switch of the pool's subnet and context.
        """
        return sorted({network.switch for network in self._leasing_from(pool)}) or [pool.key]

    def beside(self, network: SharedNetwork) -> SharedNetwork | None:
        """Another network of this host that leases from a pool of this one, which must be new."""
        known = self._section.current()
        if not network.leased or network.network_id in known:
            return None
        for other in known.values():
            if other.leased and other.context == network.context and {*other.pools} & {*network.pools}:
                return other
        return None

    def lease_from(self, pool: Pool) -> bool:
        """Whether a network of this host leases from a pool."""
        return bool(self._leasing_from(pool))

    def _leasing_from(self, pool: Pool) -> list[SharedNetwork]:
        return [
            network
            for network in self._section.current().values()
            if network.leased and str(pool.subnet) in network.pools and network.context in {"", pool.context}
        ]

    async def create(self, network: SharedNetwork, switch: Switch) -> None:
        """Put the network on its switch, which is created only if the network asks for it.

        Raises:
            NotFoundError: the switch does not exist.
            ConflictError: the switch is not for this network or host, or the network exists and differs.
        """
        known = self.get(network.network_id)
        if known is not None and replace(known, row="") != network:
            raise ConflictError(f"network {network.network_id} exists with other pools or options")
        found = await self._resolve(network, switch)
        try:
            await self._remember(replace(network, row=str(found)))
        except BaseException:
            if known is None and network.create:  # Docker will not ask to delete what it could not create
                self._northbound.client.take_back(switches.ls_del(switches.switch_id(network.switch)))
            raise

    async def delete(self, network: SharedNetwork) -> None:
        """Forget the network, and remove the switch that it had created if no port, anyone's, is left on it.

        A host that still has the network creates the switch again when it needs it. The network is forgotten
        last, so that DeleteNetwork can be repeated after a stop in between.
        """
        if network.create:
            switch = switches.switch_id(network.switch)
            if not switches.was_deleted(await self._northbound.transact(switches.ls_del(switch))):
                await self._warn_of_foreign_ports(network.switch, switch)
        await self._save(
            lambda networks: {key: each for key, each in networks.items() if key != network.network_id}
        )

    async def _warn_of_foreign_ports(self, name: str, switch: UUID) -> None:
        """Log that an administrator has to remove the switch, if only ports of others keep it."""
        [held] = await self._northbound.transact([switches.ls_ports(switch)])
        ports = [port for row in held["rows"] for port in switches.read_occupants(row, switch)]
        ports = ports[:MAX_PORTS_SHOWN]
        owners = (
            await self._northbound.transact([switches.lsp_owner(port) for port in ports]) if ports else []
        )
        rows = [row for owner in owners for row in owner["rows"]]
        if rows and not any(map(switches.is_endpoint, rows)):
            LOG.warning(
                "logical switch %s stays in OVN because only port(s) of others are on it, %s among them: when"
                " they are not needed any more, run 'ovn-nbctl ls-del %s'",
                name,
                rows[0]["name"],
                name,
            )

    async def locate(self, network: SharedNetwork) -> SharedNetwork:
        """Find the switch again after its row has changed, or create it; fails as `create`."""
        found = await self._resolve(network, network.as_switch())
        located = replace(network, row=str(found))
        await self._remember(located)
        return located

    async def _resolve(self, network: SharedNetwork, switch: Switch) -> UUID:
        """Find the switch by its name, or create it, while other hosts create and remove it."""
        for _ in range(ATTEMPTS):
            row = await self._find(network) or await self._make(network, switch)
            if row is not None:
                return row
        raise ConflictError(
            f"other hosts keep creating and removing logical switch {network.switch}: try again"
        )

    async def _find(self, network: SharedNetwork) -> UUID | None:
        """The switch of that name; None if the network has to create it."""
        row = await switch_named(self._northbound, network.switch)
        if row is not None:
            mark = await self._northbound.mark()
            _agree(network, mapping(row["external_ids"]), mark.host)
            return switches.read_uuid(row)
        if not network.create:
            raise NotFoundError(_how_to_make(network))
        return None

    async def _make(self, network: SharedNetwork, switch: Switch) -> UUID | None:
        """Create the switch; None if another host was quicker."""
        mark = await self._northbound.mark()
        name = network.switch
        undo = switches.ls_add_undo(name, network.network_id, mark)
        try:
            await self._northbound.transact(switches.ls_add(switch, mark, name, network.context), undo)
        except ConstraintError:
            await self._check_name(name)
        except RequirementError:
            return None
        else:
            return switches.switch_id(name)
        return None

    async def _check_name(self, name: str) -> None:
        """Fail if the switch that was created under this name has another now."""
        row = switches.switch_id(name)
        [found] = await self._northbound.transact([switches.ls_name(row)])
        other = next((str(switch["name"]) for switch in found["rows"]), name)
        if other != name:
            raise ConflictError(
                f"logical switch {name} was renamed to {other}: name it as it was with"
                f" 'ovn-nbctl set Logical_Switch {row} name={shlex.quote(name)}'"
            )

    async def _remember(self, network: SharedNetwork) -> None:
        if self.get(network.network_id) == network:
            return
        await self._save(lambda networks: {**networks, network.network_id: network})

    async def _save(self, change: Callable[[dict[str, SharedNetwork]], dict[str, SharedNetwork]]) -> None:
        """Change what the file says, and so what is known; if that fails, nothing changes."""

        def changed(content: dict[str, Any]) -> Mapping[str, Any]:
            networks = change(self._section.read(content))
            return {**content, NETWORKS: {key: network.to_json() for key, network in networks.items()}}

        await asyncio.to_thread(self._file.update, changed)

    def describe(self) -> dict[str, Any]:
        """For people."""
        return {
            network.network_id: {
                "Logical_Switch": network.switch,
                "NetworkID": network.network_id,
                "Subnet": network.pools[0],
                "Context": network.context,
            }
            for network in self.all()
        }


async def switch_named(northbound: Northbound, name: str) -> Row | None:
    """The row of the only logical switch of that name, as `switches.ls_find` reads it, or None.

    Raises:
        ConflictError: there are several.
    """
    [found] = await northbound.transact([switches.ls_find(name)])
    rows: list[Row] = found["rows"]
    if len(rows) > 1:
        raise ConflictError(f"OVN has {len(rows)} logical switches named {name}: rename all but one")
    return rows[0] if rows else None


def _agree(network: SharedNetwork, ids: dict[str, str], host: str) -> None:
    """Fail if the switch is for another network or host.

    A switch found by subnet and context must say that it is for them. One that was named with ``-o switch``
    need not, but must allow this host.
    """
    _allowed(network, ids, host)
    name, subnet, gateway = network.switch, network.pools[0], network.gateway
    described = {switches.SUBNET, *([switches.GATEWAY] if gateway else [])} <= ids.keys()
    if network.context and not described:
        raise ConflictError(
            f"logical switch {name} does not say what it is for: set it with 'ovn-nbctl set Logical_Switch"
            f" {name} {_description(network)}'"
        )
    if ids.get(switches.SUBNET, subnet) not in network.pools:
        raise ConflictError(
            f"logical switch {name} is for subnet {ids[switches.SUBNET]}, not for {', '.join(network.pools)}"
        )
    context = ids.get(switches.CONTEXT, network.context)
    if network.context and context != network.context:
        raise ConflictError(f"logical switch {name} is for context {context}, not for {network.context}")
    other = ids.get(switches.GATEWAY, gateway)
    if gateway and other != gateway:
        raise ConflictError(
            f"logical switch {name} has the gateway {other}, not {gateway}: create the network with"
            f" --gateway {other}"
        )


def _allowed(network: SharedNetwork, ids: dict[str, str], host: str) -> None:
    name, allowed = network.switch, ids.get(switches.ALLOW, "")
    if network.is_own:
        return
    if not network.context and allowed != "true" and host not in re.split("[, ]+", allowed):
        raise ConflictError(
            f"logical switch {name} does not allow host {host} to use it: its owner allows all hosts with"
            f" 'ovn-nbctl set Logical_Switch {shlex.quote(name)} external_ids:{switches.ALLOW}=true'"
        )
    if not network.port_security and ids.get(switches.PORT_SECURITY) != "false":
        raise ConflictError(
            f"logical switch {name} does not allow containers without port security: its owner allows them"
            f" with 'ovn-nbctl set Logical_Switch {shlex.quote(name)}"
            f" external_ids:{switches.PORT_SECURITY}=false'"
        )


def _how_to_make(network: SharedNetwork) -> str:
    name = network.switch
    if not network.context:
        return f"OVN has no logical switch named '{name}': make it with 'ovn-nbctl ls-add'"
    return (
        f"OVN has no logical switch for subnet {network.pools[0]} in context {network.context}: make it with"
        f" 'ovn-nbctl ls-add {name} -- set Logical_Switch {name} {_description(network)}', or create the"
        " network with -o create=true"
    )


def _description(network: SharedNetwork) -> str:
    """The guide's keys of a switch, as ovn-nbctl takes them."""
    gateway = f" external_ids:gateway_ip={network.gateway}" if network.gateway else ""
    return f"external_ids:subnet={network.pools[0]}{gateway} external_ids:subnet_context={network.context}"


def read_switch(network_id: str, rows: Sequence[Row]) -> Switch:
    """The network's switch, from the rows found for it; a NotFoundError if there is none."""
    if not rows:
        raise NotFoundError(no_network(network_id))
    return switches.read_switch(network_id, rows[0])


def no_network(network_id: str) -> str:
    """The text for a network whose switch is gone."""
    return f"OVN has no logical switch for network {network_id}: remove the network and create it again"


# --- CreateNetwork and AllocateNetwork. ---------------------------------------------------------------------


class NetworkMaking:
    """Creates networks, on switches of their own and on shared ones."""

    def __init__(self, shared: SharedNetworks, policy: SharingPolicy, ipam: OverlayIpam) -> None:
        self._northbound = shared.database
        self._shared = shared
        self._policy = policy
        self._ipam = ipam
        self._one_by_one = asyncio.Lock()

    async def allocate(self, request: messages.AllocateNetworkRequest) -> messages.AllocateNetworkResponse:
        """Enter a swarm's network into its pools, and echo its options, marked as a swarm's.

        What CreateNetwork would refuse on each node is refused here, for there only tasks would fail.
        """
        options = request.options or {}
        create = messages.CreateNetworkRequest(
            network_id=request.network_id,
            options={messages.GENERIC: options},
            ipv4_data=request.ipv4_data,
            ipv6_data=request.ipv6_data,
        )
        switch = switch_for(create)
        if switch.pools:
            network_spec.shared(switch, options, leased=False, policy=self._policy)  # only to refuse
        subnets = [addressing.network(data.pool, "pool") for data in request.ipv4_data or []]
        self._check_context(subnets, options, swarm=True)
        alone = not network_spec.is_named(options)
        await self._ipam.allocated(request.network_id, subnets, alone=alone)
        return messages.AllocateNetworkResponse(options={**options, network_spec.SWARM: "true"})

    async def create(self, request: messages.CreateNetworkRequest) -> Switch | None:
        """Create the switch and return what it is; None for a shared one. A repeat finds it, and equal."""
        switch = switch_for(request)
        leased = any(data.address_space in self._policy.address_spaces for data in ipam_data(request))
        options = generic(request.options or {}, network_spec.OPTIONS)
        if names := without_effect(options):
            text = "network %s: these options are for Docker's own drivers and have no effect: %s"
            LOG.warning(text, request.network_id, ", ".join(names))
        if leased and network_spec.is_dual(switch):
            context = network_spec.context_of(options, self._policy)
            unnamed = await self._ipam.unnamed(context, switch.pools)
            switch = network_spec.named_first(switch, unnamed)
        network = network_spec.shared(switch, options, leased, self._policy)
        if network is None:
            await self._ipam.opened(auxiliary(request))
            await self._create_own(switch)
            return switch
        if leased and self._shared.get(network.network_id) is None:
            self._check_context(switch.pools, options)
        async with self._one_by_one:
            if not network_spec.is_named(options):
                await self._check_alone(network)
            await self._ipam.opened(auxiliary(request))
            await self._shared.create(network, switch)
            return None

    def _check_context(
        self, subnets: Sequence[IPNetwork], options: Mapping[str, Any], *, swarm: bool = False
    ) -> None:
        """Refuse addresses of one context on the switch of another, where they may be another container's.

        A switch that was named has no context.
        """
        if network_spec.SWITCH in options:
            return
        context = network_spec.context_of(options, self._policy)
        pool = self._ipam.elsewhere(context, subnets, swarm=swarm)
        if pool is None:
            return
        flags = f"--ipam-opt context={pool.context}", f"-o context={pool.context}"
        if network_spec.CONTEXT in options:
            flags = f"-o context={context}", f"--ipam-opt context={context}"
        raise RequestError(
            f"the addresses of {pool.subnet} are of context {pool.context}, and the network's switch is of"
            f" context {context}: with {flags[0]} give {flags[1]} as well"
        )

    async def _check_alone(self, network: SharedNetwork) -> None:
        """Refuse a second network of this host in a pool, as Docker does for its own pools.

        Hosts share a pool by naming the same subnet; a second project on one host that happens to choose it
        must not end up on the first one's network. The file may still name a network that Docker has deleted,
        because DeleteNetwork comes once and may have failed; such a network has no hold on the pool.
        """
        beside = self._shared.beside(network)
        if beside is not None and await self._ipam.held_beside(network.as_switch().pools):
            both = ", ".join(each for each in network.pools if each in beside.pools)
            raise ConflictError(
                f"Pool overlaps with other one on this address space: network {beside.network_id} of this"
                f" host has {both} of context {network.context}: choose another subnet, or name the context"
                f" with -o context={network.context} to put both on one switch; if Docker has no such"
                " network, run 'ovn-docker repair'"
            )

    async def _create_own(self, switch: Switch) -> None:
        mark = await self._northbound.mark()
        undo = switches.ls_add_undo(switch.network_id, switch.network_id, mark)
        try:
            await self._northbound.transact(switches.ls_add(switch, mark), undo)
        except ConstraintError:
            row = switches.switch_id(switch.network_id)
            [found] = await self._northbound.transact([switches.ls_get(row)])
            if not _alike(read_switch(switch.network_id, found["rows"]), switch):
                raise ConflictError(
                    f"network {switch.network_id} exists in OVN with other pools or options"
                ) from None
        except RequirementError:
            raise ConflictError(
                f"OVN has a logical switch named {switch.network_id} that this driver did not make"
            ) from None


def _alike(one: Switch, other: Switch) -> bool:
    return (set(one.pools), one.internal, one.mtu, one.port_security) == (
        set(other.pools),
        other.internal,
        other.mtu,
        other.port_security,
    )
