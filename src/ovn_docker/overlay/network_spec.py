"""Which switch a network is on when it is not its own: by subnet and context, or by name. Pure.

The guide, "Streching logical switch across multiple application clusters".
"""

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ovn_docker import address_pools as pools
from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.messages import CreateNetworkRequest
from ovn_docker.ovn.switches import Switch

CONTEXT, CREATE, SWITCH = "context", "create", "switch"
OPTIONS = (CONTEXT, CREATE, SWITCH)
"""The options of a network that say which switch it is on."""
SWARM = "swarm"
"""The option that AllocateNetwork adds, so that each node knows a swarm's network."""
PORT_SECURITY = "port_security"


@dataclass(frozen=True, slots=True)
class SharingPolicy:
    """How this process shares switches.

    Attributes:
        distributed: ``--distributed``: every network is on the switch of its subnet and context.
        context: ``--routing-context``.
        address_spaces: what our own IPAM calls its addresses; a network that has some is shared.
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
        row: its row id, as text, as it was when the network was made.
        context: the routing context, or "" where the switch was named, or is a swarm's network's own.
        pools: in CIDR form.
        gateway: what IPAM keeps as the gateway of the first pool, or "".
        create: whether the switch is to be made where it is absent.
        leased: whether our IPAM gave the addresses, so that each has a lease already.
        internal: ``--internal``.
        mtu: bytes, or None to follow the encapsulation.
        port_security: whether its containers are held to their MAC and IP addresses.
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

    def as_switch(self) -> Switch:
        """What the network asked of its switch."""
        own = tuple(addressing.network(each, "pool") for each in self.pools)
        gateway = ipaddress.ip_address(self.gateway) if self.gateway else None
        return Switch(
            network_id=self.network_id,
            pools=own,
            gateways=(gateway,),
            internal=self.internal,
            mtu=self.mtu,
            port_security=self.port_security,
        )

    @property
    def is_own(self) -> bool:
        """Whether the switch is this network's only, on all nodes of its swarm."""
        return self.switch == self.network_id

    def key(self, address: IPAddress) -> str:
        """What the address is filed under: its pool's switch, or the switch that was named."""
        return next(
            (
                pools.switch_name(self.context, pool)
                for pool in self.as_switch().pools
                if self.context and address in pool
            ),
            self.switch,
        )

    def keys(self) -> dict[str, str]:
        """Pool in CIDR form to what its addresses are filed under."""
        return {str(pool): self.key(pool.network_address) for pool in self.as_switch().pools}

    def to_json(self) -> dict[str, Any]:
        """For the state file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SharedNetwork":
        """From the state file."""
        content = {PORT_SECURITY: True, **content}  # a file of a version that always had it
        known = {each.name: content[each.name] for each in fields(cls)}
        return cls(**{**known, "pools": tuple(content["pools"])})


def shared(
    switch: Switch,
    options: Mapping[str, Any],
    leased: bool,  # noqa: FBT001
    policy: SharingPolicy,
) -> SharedNetwork | None:
    """The sharing that a CreateNetwork asks for, or None for a network with a switch of its own.

    Args:
        switch: what was asked for, as a switch.
        options: those given with ``-o``.
        leased: whether the pools come from our IPAM.
        policy: this process's.

    Raises:
        RequestError: the options do not go together.
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
    if own:  # each node of the swarm knows it by this id, and may be the last to go off it
        name = switch.network_id
    where = "" if name is not None else context_of(options, policy)
    gateway = next(iter(switch.gateways), None)
    return SharedNetwork(
        network_id=switch.network_id,
        switch=name if name is not None else pools.switch_name(where, switch.pools[0]),
        row="",
        context=where,
        pools=tuple(map(str, switch.pools)),
        gateway=str(gateway) if gateway is not None else "",
        create=create,
        leased=leased,
        internal=switch.internal,
        mtu=switch.mtu,
        port_security=switch.port_security,
    )


def is_named(options: Mapping[str, Any]) -> bool:
    """Whether a network names what it is to share: a switch, or a context."""
    return SWITCH in options or CONTEXT in options


def context_of(options: Mapping[str, Any], policy: SharingPolicy) -> str:
    """The routing context of a network on a switch that is not named.

    Raises:
        RequestError: it is no name.
    """
    return pools.check_context(options.get(CONTEXT, policy.context))


def is_dual(switch: Switch) -> bool:
    """Whether a network has pools of both IP versions."""
    return len({each.version for each in switch.pools}) > 1


def named_first(switch: Switch, unnamed: Collection[IPNetwork]) -> Switch:
    """The network with those of its pools first that somebody named: the first says which switch it is on.

    dockerd asks for an IPv4 pool even where only an IPv6 subnet was named, and then each host is given
    another (moby daemon/libnetwork/network.go, ipamAllocate).
    """
    both = sorted(zip(switch.pools, switch.gateways, strict=True), key=lambda pair: pair[0] in unnamed)
    return replace(
        switch, pools=tuple(pool for pool, _ in both), gateways=tuple(gateway for _, gateway in both)
    )


def truth(option: str, text: object) -> bool | None:
    """Read ``true`` or ``false``; None where the option is absent.

    Raises:
        RequestError: it is something else.
    """
    if text is None:
        return None
    if text not in {"true", "false"}:
        raise RequestError(f"option '{option}' is '{text}': give true or false")
    return text == "true"


# --- What a CreateNetwork asks of the overlay driver, checked and in our types. Pure. -----------------------


KNOWN_OPTIONS = (*OPTIONS, PORT_SECURITY, SWARM)
"""What this driver knows beside Docker's own options."""


def switch_for(request: CreateNetworkRequest) -> Switch:
    """The switch that a CreateNetwork asks for.

    Raises:
        RequestError: a pool, a gateway or an option cannot be used; the text names it.
    """
    options = request.options or {}
    own = generic(options)
    pools = network_options.pools(request)
    return Switch(
        network_id=request.network_id,
        pools=pools,
        gateways=network_options.gateways(request),
        internal=options.get(messages.INTERNAL) is True,
        mtu=network_options.mtu(own, pools),
        port_security=truth(PORT_SECURITY, own.get(PORT_SECURITY)) is not False,
    )


def auxiliary(request: CreateNetworkRequest) -> dict[IPNetwork, list[IPAddress]]:
    """The pools of a network, and the auxiliary addresses of each; Docker writes them with prefix length.

    Raises:
        RequestError: one of them is none.
    """
    found: dict[IPNetwork, list[IPAddress]] = {}
    for data, pool in zip(network_options.ipam_data(request), network_options.pools(request), strict=True):
        texts = (data.aux_addresses or {}).values()
        interfaces = [addressing.interface(each, "auxiliary address") for each in texts]
        found.setdefault(pool, []).extend(each.ip for each in interfaces if each is not None)
    return found


def generic(options: dict[str, Any]) -> dict[str, Any]:
    """What was given with ``-o``; Docker may send null for none.

    Raises:
        RequestError: an option is not ours.
    """
    return network_options.generic(options, KNOWN_OPTIONS)
