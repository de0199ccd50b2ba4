"""What a CreateNetwork asks of the underlay driver, checked and in our types. Pure."""

from dataclasses import dataclass

from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages, network_options
from ovn_docker.libnetwork.messages import CreateNetworkRequest

NETWORK, SUBNET = "neutron.network", "neutron.subnet"
GROUPS, PORT_SECURITY = "neutron.security_groups", "neutron.port_security"

OPTIONS = (NETWORK, SUBNET, GROUPS, PORT_SECURITY)
"""What ``docker network create -o`` may name besides Docker's own options."""

_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Asked:
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


def read(request: CreateNetworkRequest, address_space: str) -> Asked:
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
    return Asked(
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
