"""What a CreateNetwork asks of the overlay driver, and which switch it puts the network on. Pure.

Source: the guide, "Streching logical switch across multiple application clusters".
"""

import ipaddress
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any
from uuid import UUID

from ovn_docker import address_pools, addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.messages import CreateNetworkRequest
from ovn_docker.ovn import switches
from ovn_docker.ovn.switches import Switch

CONTEXT, CREATE, SWITCH, PORT_SECURITY, SWARM = "context", "create", "switch", "port_security", "swarm"
EGRESS = "egress"
OPTIONS = (CONTEXT, CREATE, SWITCH, PORT_SECURITY, EGRESS, SWARM)
"""A network's options besides Docker's own. AllocateNetwork adds the last, to mark a swarm's network."""


@dataclass(frozen=True, slots=True)
class SharingPolicy:
    """How this process shares switches.

    Attributes:
        distributed: ``--distributed``: every network is on the switch of its subnet and context.
        context: ``--routing-context``.
        address_spaces: those of our own IPAM; a network with addresses of one is shared.
    """

    distributed: bool
    context: str
    address_spaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SharedNetwork:
    """A network of this host on a switch that other hosts use too.

    Attributes:
        network_id: Docker's.
        switch: the switch's name.
        row: its row id, as text, when the network was created.
        context: the routing context; "" if the switch was named, or belongs to a swarm's network alone.
        pools: in CIDR form.
        gateway: the first pool's, or "".
        create: whether to create the switch if it does not exist.
        leased: whether our IPAM gave the addresses, so that each has a lease.
        mtu: bytes, or None to follow the encapsulation.
        gateways: of each pool, or "".
        egress: as `Switch.egress`.
    """

    network_id: str
    switch: str
    row: str
    context: str
    pools: tuple[str, ...]
    gateway: str
    create: bool
    leased: bool
    internal: bool
    mtu: int | None
    port_security: bool = True
    gateways: tuple[str, ...] = ()
    egress: str = switches.BY_DOCKER

    def as_switch(self) -> Switch:
        """What the network asks of its switch."""
        gateways = self.gateways or (self.gateway,)
        return Switch(
            network_id=self.network_id,
            pools=tuple(addressing.network(pool, "pool") for pool in self.pools),
            gateways=tuple(ipaddress.ip_address(text) if text else None for text in gateways),
            internal=self.internal,
            mtu=self.mtu,
            port_security=self.port_security,
            egress=self.egress,
        )

    @property
    def row_id(self) -> UUID:
        """The row id of the switch."""
        return UUID(self.row)

    @property
    def is_own(self) -> bool:
        """Whether the switch is this network's alone, on all nodes of its swarm."""
        return self.switch == self.network_id

    def key(self, address: IPAddress) -> str:
        """What the address is filed under: its pool's switch, or the switch that was named."""
        return next(
            (
                address_pools.switch_name(self.context, pool)
                for pool in self.as_switch().pools
                if self.context and address in pool
            ),
            self.switch,
        )

    def keys(self) -> dict[str, str]:
        """By pool in CIDR form, what its addresses are filed under."""
        return {str(pool): self.key(pool.network_address) for pool in self.as_switch().pools}

    def to_json(self) -> dict[str, Any]:
        """For the state file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SharedNetwork":
        """From the state file."""
        older: dict[str, Any] = {PORT_SECURITY: True, "gateways": (), EGRESS: switches.BY_DOCKER}
        content = {**older, **content}  # what an older version's file lacks
        known = {field.name: content[field.name] for field in fields(cls)}
        return cls(**known | {key: tuple(content[key]) for key in ("pools", "gateways")})


def shared(
    switch: Switch,
    options: Mapping[str, Any],
    leased: bool,  # noqa: FBT001
    policy: SharingPolicy,
) -> SharedNetwork | None:
    """The shared network that a CreateNetwork asks for; None for a network with a switch of its own.

    `options` are those of ``-o``; `leased` says whether the pools come from our IPAM.
    """
    name, context = options.get(SWITCH), options.get(CONTEXT)
    create = truth(CREATE, options.get(CREATE))
    if name == "":
        raise RequestError(f"option '{SWITCH}' is empty: name a logical switch")
    if name is not None and (context is not None or create):
        raise RequestError(f"option '{SWITCH}' names a switch that exists: it does not go with the others")
    own = name is None and context is None and create is None and not leased and not policy.distributed
    if own and not (switch.pools and truth(SWARM, options.get(SWARM))):
        return None
    if not switch.pools:
        raise RequestError("a shared network needs a subnet: name one with --subnet")
    if create is None:
        create = own or (leased and not policy.distributed and name is None)
    if own:  # each node of the swarm knows it by this id, and may be the last to leave it
        name = switch.network_id
    where = "" if name is not None else context_of(options, policy)
    gateway = next(iter(switch.gateways), None)
    return SharedNetwork(
        network_id=switch.network_id,
        switch=name if name is not None else address_pools.switch_name(where, switch.pools[0]),
        row="",
        context=where,
        pools=tuple(map(str, switch.pools)),
        gateway=str(gateway) if gateway is not None else "",
        create=create,
        leased=leased,
        internal=switch.internal,
        mtu=switch.mtu,
        port_security=switch.port_security,
        gateways=tuple(str(gateway) if gateway is not None else "" for gateway in switch.gateways),
        egress=switch.egress,
    )


def is_named(options: Mapping[str, Any]) -> bool:
    """Whether a network names what it shares: a switch, or a context."""
    return SWITCH in options or CONTEXT in options


def context_of(options: Mapping[str, Any], policy: SharingPolicy) -> str:
    """The routing context of a network whose switch is not named."""
    return address_pools.check_context(options.get(CONTEXT, policy.context))


def is_dual(switch: Switch) -> bool:
    """Whether a network has pools of both IP versions."""
    return len({pool.version for pool in switch.pools}) > 1


def named_first(switch: Switch, unnamed: Collection[IPNetwork]) -> Switch:
    """The network with the pools first that the user named: the first pool says which switch it is on.

    dockerd asks for an IPv4 pool even if only an IPv6 subnet was named, and then each host gets another one
    (moby daemon/libnetwork/network.go, ipamAllocate).
    """
    both = sorted(zip(switch.pools, switch.gateways, strict=True), key=lambda pair: pair[0] in unnamed)
    return replace(
        switch, pools=tuple(pool for pool, _ in both), gateways=tuple(gateway for _, gateway in both)
    )


def truth(option: str, text: object) -> bool | None:
    """Read ``true`` or ``false``; None if the option is absent."""
    if text is None:
        return None
    if text not in {"true", "false"}:
        raise RequestError(f"option '{option}' is '{text}': give true or false")
    return text == "true"


def switch_for(request: CreateNetworkRequest) -> Switch:
    """The switch that a CreateNetwork asks for."""
    options = request.options or {}
    own = network_options.generic(options, OPTIONS)
    pools, gateways = network_options.pools(request), network_options.gateways(request)
    return Switch(
        network_id=request.network_id,
        pools=pools,
        gateways=gateways,
        internal=options.get(messages.INTERNAL) is True,
        mtu=network_options.mtu(own, pools),
        port_security=truth(PORT_SECURITY, own.get(PORT_SECURITY)) is not False,
        egress=_egress(own, has_gateway=any(gateways)),
    )


def _egress(options: Mapping[str, Any], *, has_gateway: bool) -> str:
    """The way out of a network's containers.

    It is Docker's on a switch that others made, in a swarm, and where a network without an IPAM driver has
    no gateway.
    """
    choices = switches.BY_HOST, switches.BY_DOCKER, switches.NOWHERE
    chosen = _chosen(EGRESS, options.get(EGRESS, ""), ("", *choices))
    others = ""
    if SWITCH in options:
        others = f"logical switch '{options[SWITCH]}' was made by others"
    elif truth(SWARM, options.get(SWARM)):
        others = "a swarm needs docker"
    what = others or ("" if has_gateway else "the network has no gateway")
    if not what or (chosen == switches.NOWHERE and not others):
        return chosen or switches.BY_HOST
    if chosen in {switches.BY_HOST, switches.NOWHERE}:
        raise RequestError(f"option '{EGRESS}' is '{chosen}': {what}: leave the option out")
    return switches.BY_DOCKER


def _chosen(option: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise RequestError(f"option '{option}' is '{text}': give {' or '.join(filter(None, choices))}")
    return text


def auxiliary(request: CreateNetworkRequest) -> dict[IPNetwork, list[IPAddress]]:
    """The auxiliary addresses of each pool of a network."""
    found: dict[IPNetwork, list[IPAddress]] = {}
    for data, pool in zip(network_options.ipam_data(request), network_options.pools(request), strict=True):
        texts = (data.aux_addresses or {}).values()
        interfaces = [addressing.interface(text, "auxiliary address") for text in texts]
        found.setdefault(pool, []).extend(address.ip for address in interfaces if address is not None)
    return found
