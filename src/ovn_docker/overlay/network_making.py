"""CreateNetwork and AllocateNetwork of the overlay driver: which switch a network gets, and who makes it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ovn_docker import addressing
from ovn_docker.addressing import IPNetwork
from ovn_docker.errors import ConflictError, ConstraintError, RequestError, RequirementError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.network_options import without_effect
from ovn_docker.overlay import network_spec
from ovn_docker.overlay.followers import Pools
from ovn_docker.overlay.network_spec import Policy, Shared
from ovn_docker.overlay.networks import SharedNetworks
from ovn_docker.overlay.options import auxiliary, generic, switch_for
from ovn_docker.overlay.own_ports import read_switch
from ovn_docker.ovn import switches
from ovn_docker.ovn.switches import Switch

LOG = logging.getLogger(__name__)


class NetworkMaking:
    """Makes networks on switches of their own and on shared ones."""

    def __init__(self, shared: SharedNetworks, policy: Policy, ipam: Pools) -> None:
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

    async def _check_alone(self, network: Shared) -> None:
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
