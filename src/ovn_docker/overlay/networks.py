"""The networks of this host that are on a switch shared with others, and what makes sharing safe.

Docker gives a network another NetworkID on each host, so this host has to remember which switch each of its
networks is on; that is the one thing kept in a file. The switch itself, and who has which address on it, is
Northbound's to say.
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
from ovn_docker.libnetwork.network_options import without_effect
from ovn_docker.overlay import network_spec
from ovn_docker.overlay.ipam.ipam_driver import OverlayIpam
from ovn_docker.overlay.network_spec import SharedNetwork, SharingPolicy, auxiliary, generic, switch_for
from ovn_docker.overlay.northbound import Northbound
from ovn_docker.ovn import switches
from ovn_docker.ovn import switches as northbound
from ovn_docker.ovn.switches import Switch
from ovn_docker.ovsdb.operations import Row, mapping, members
from ovn_docker.state_file import StateFile, StateSection

LOG = logging.getLogger(__name__)

NETWORKS = "networks"

ATTEMPTS = 5
"""So often a switch is looked for and made, while others make and remove it at the same time."""

LOOKED_AT = 100
"""So many ports of a switch that stays are looked at, to tell whose it is."""


class SharedNetworks:
    """What this host shares."""

    def __init__(self, database: Northbound, file: StateFile) -> None:
        self.database = self._northbound = database
        self._file = file
        self._section = StateSection(file, NETWORKS, SharedNetwork.from_json)
        self._section.current()  # so that a file that cannot be read is reported at the start

    def get(self, network_id: str) -> SharedNetwork | None:
        """The network, or None if it is not a shared one."""
        return self._section.current().get(network_id)

    def all(self) -> Sequence[SharedNetwork]:
        """All of them."""
        return list(self._section.current().values())

    def switches_of(self, pool: Pool) -> list[str]:
        """The names of the switches on which this host's networks lease from a pool.

        Before the network is made, that is the switch of the pool's subnet and context.
        """
        return sorted({each.switch for each in self._leasing_from(pool)}) or [pool.key]

    def beside(self, network: SharedNetwork) -> SharedNetwork | None:
        """Another network of this host that leases from one of the network's pools; None for one known."""
        if not network.leased or network.network_id in self._section.current():
            return None
        return next(
            (
                each
                for each in self._section.current().values()
                if each.leased and each.context == network.context and {*each.pools} & {*network.pools}
            ),
            None,
        )

    def lease_from(self, pool: Pool) -> bool:
        """Whether a network of this host leases from a pool."""
        return bool(self._leasing_from(pool))

    def _leasing_from(self, pool: Pool) -> list[SharedNetwork]:
        return [
            each
            for each in self._section.current().values()
            if each.leased and str(pool.subnet) in each.pools and each.context in {"", pool.context}
        ]

    async def create(self, asked: SharedNetwork, switch: Switch) -> None:
        """Put the network on its switch, which is made only if the network asks for it.

        Raises:
            NotFoundError: the switch does not exist; the text says how to make it.
            ConflictError: the switch is for another subnet or gateway or not for this host, or the network is
                known otherwise.
        """
        known = self.get(asked.network_id)
        if known is not None and replace(known, row="") != asked:
            raise ConflictError(f"network {asked.network_id} exists with other pools or options")
        found = await self._resolve(asked, switch)
        try:
            await self._remember(replace(asked, row=str(found)))
        except BaseException:
            if known is None and asked.create:  # Docker will not ask to delete what it could not create
                self._northbound.client.take_back([switches.ls_del(switches.switch_id(asked.switch))])
            raise

    async def delete(self, network: SharedNetwork) -> None:
        """Forget the network; a switch that we made goes if no port is left on it, whoever's.

        A host with the network but without containers makes the switch again when it needs it. The network
        is forgotten last, so that a stop in between leaves a DeleteNetwork that can be repeated.
        """
        if network.create:
            switch = switches.switch_id(network.switch)
            [deleted] = await self._northbound.transact([switches.ls_del(switch)])
            if not deleted["count"]:
                await self._tell_what_stays(network.switch, switch)
        await self._save(lambda networks: _without(networks, network.network_id))

    async def _tell_what_stays(self, name: str, switch: UUID) -> None:
        """Log that a switch of ours is an administrator's to remove, if nobody but its ports keep it."""
        [held] = await self._northbound.transact([switches.ls_ports(switch)])
        ports = [port for row in held["rows"] for port in members(row["ports"])][:LOOKED_AT]
        owners = (
            await self._northbound.transact([switches.lsp_owner(port) for port in ports]) if ports else []
        )
        rows = [row for each in owners for row in each["rows"]]
        if rows and not any(map(switches.is_endpoint, rows)):
            LOG.warning(
                "logical switch %s stays in OVN because only port(s) of others are on it, %s among them: when"
                " they are not needed any more, run 'ovn-nbctl ls-del %s'",
                name,
                rows[0]["name"],
                name,
            )

    async def locate(self, network: SharedNetwork) -> SharedNetwork:
        """Find the switch again after its row has changed, and make it if the network may.

        Raises:
            NotFoundError, ConflictError: as `create`.
        """
        found = await self._resolve(network, network.as_switch())
        located = replace(network, row=str(found))
        await self._remember(located)
        return located

    async def _resolve(self, network: SharedNetwork, switch: Switch) -> UUID:
        """Find the switch by its name, or make it if the network may, while others make and remove it."""
        for _ in range(ATTEMPTS):
            row = await self._find(network) or await self._make(network, switch)
            if row is not None:
                return row
        raise ConflictError(f"logical switch {network.switch} is made and removed all the time: try again")

    async def _find(self, network: SharedNetwork) -> UUID | None:
        """The switch of that name; None where the network is to make it.

        Raises:
            NotFoundError, ConflictError: as `create`.
        """
        [result] = await self._northbound.transact([switches.ls_find(network.switch)])
        rows = result["rows"]
        if len(rows) > 1:
            raise ConflictError(
                f"OVN has {len(rows)} logical switches named {network.switch}: rename all but one"
            )
        if rows:
            mark = await self._northbound.mark()
            _agree(network, mapping(rows[0]["external_ids"]), mark.host)
            return switches.read_uuid(rows[0])
        if not network.create:
            raise NotFoundError(_how_to_make(network))
        return None

    async def _make(self, network: SharedNetwork, switch: Switch) -> UUID | None:
        """Make the switch; None where another host was quicker.

        Raises:
            ConflictError: it is there under another name.
        """
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
        """Refuse a switch that was made for this name and has another now."""
        row = switches.switch_id(name)
        [found] = await self._northbound.transact([switches.ls_name(row)])
        other = next((str(each["name"]) for each in found["rows"]), name)
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
        """Write what is known from now on; if that fails, it is not."""

        def changed(content: dict[str, Any]) -> Mapping[str, Any]:
            networks = change(self._section.read(content))
            known = {network_id: each.to_json() for network_id, each in networks.items()}
            return {**content, NETWORKS: known}

        await asyncio.to_thread(self._file.update, changed)

    def describe(self) -> dict[str, Any]:
        """For people: what is shared, by network."""
        return {
            each.network_id: {
                "Logical_Switch": each.switch,
                "NetworkID": each.network_id,
                "Subnet": each.pools[0],
                "Context": each.context,
            }
            for each in self.all()
        }


def _without(networks: Mapping[str, SharedNetwork], network_id: str) -> dict[str, SharedNetwork]:
    """Without one of them, whichever row its switch has by now."""
    return {key: each for key, each in networks.items() if key != network_id}


def _agree(network: SharedNetwork, ids: dict[str, str], host: str) -> None:
    """Refuse a switch that its owner did not mean for this network, or meant for something else.

    By its name and description a switch is meant for its subnet and context. One that was named with ``-o
    switch`` need not say what it is for, but that this host may use it.
    """
    _allowed(network, ids, host)
    name, subnet, gateway = network.switch, network.pools[0], network.gateway
    told = {switches.SUBNET, *([switches.GATEWAY] if gateway else [])} <= ids.keys()
    if network.context and not told:
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
    """The network's switch, of the rows that were found for it.

    Raises:
        NotFoundError: there is none.
    """
    if not rows:
        raise NotFoundError(no_network(network_id))
    return northbound.read_switch(network_id, rows[0])


def no_network(network_id: str) -> str:
    """The text for a network whose switch is gone."""
    return f"OVN has no logical switch for network {network_id}: remove the network and create it again"


# ------------------------------------------------------------------------------------------------------------
# CreateNetwork and AllocateNetwork of the overlay driver: which switch a network gets, and who makes it.


class NetworkMaking:
    """Makes networks on switches of their own and on shared ones."""

    def __init__(self, shared: SharedNetworks, policy: SharingPolicy, ipam: OverlayIpam) -> None:
        """Make them by that policy, and tell our own IPAM."""
        self._northbound = shared.database
        self._shared = shared
        self._policy = policy
        self._ipam = ipam
        self._one_by_one = asyncio.Lock()

    async def allocate(self, request: messages.AllocateNetworkRequest) -> messages.AllocateNetworkResponse:
        """Enter a swarm's network into its pools, and echo its options with the mark of a swarm's.

        What CreateNetwork would refuse on each node is refused here, for there only tasks tell it.

        Raises:
            RequestError: an option cannot be used, or the pools are of another context than the switch.
            ConflictError: the swarm has a network with one of the pools, and this one does not name a switch.
        """
        options = request.options or {}
        asked = messages.CreateNetworkRequest(
            network_id=request.network_id,
            options={messages.GENERIC: options},
            ipv4_data=request.ipv4_data,
            ipv6_data=request.ipv6_data,
        )
        switch = switch_for(asked)
        if switch.pools:
            network_spec.shared(switch, options, leased=False, policy=self._policy)  # for what it refuses
        subnets = [addressing.network(each.pool, "pool") for each in request.ipv4_data or []]
        self._check_context(subnets, options, swarm=True)
        alone = not network_spec.is_named(options)
        await self._ipam.allocated(request.network_id, subnets, alone=alone)
        return messages.AllocateNetworkResponse(options={**options, network_spec.SWARM: "true"})

    async def create(self, request: messages.CreateNetworkRequest) -> None:
        """Make the switch, or go on a shared one. A repeat finds it there, and equal."""
        switch = switch_for(request)
        data = [*(request.ipv4_data or []), *(request.ipv6_data or [])]
        leased = any(each.address_space in self._policy.address_spaces for each in data)
        options = generic(request.options or {})
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
            return
        if leased and self._shared.get(network.network_id) is None:
            self._check_context(switch.pools, options)
        async with self._one_by_one:
            if not network_spec.is_named(options):
                await self._check_alone(network)
            await self._ipam.opened(auxiliary(request))
            await self._shared.create(network, switch)

    def _check_context(
        self, subnets: Sequence[IPNetwork], options: Mapping[str, Any], *, swarm: bool = False
    ) -> None:
        """Refuse addresses of one context on the switch of another, where they may be another container's.

        A switch that is named is of no context.
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
        """Refuse a second network of this host in a pool.

        Docker refuses it for its own pools, on one host. Hosts share a pool by naming the same subnet, and a
        second project on one host that happens to choose it shall not find itself on the first one's network.
        The file may name a network that Docker has no more, for DeleteNetwork comes once and may have failed;
        then its hold on the pool is gone.
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
