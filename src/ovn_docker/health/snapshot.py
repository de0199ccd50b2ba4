"""One reading of all that is compared, without judgement. Pure: the types only.

What a driver holds comes from its `Inventory`; the check knows no driver, and no OVN but what stands in the
host's Open_vSwitch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ovn_docker.docker.models import DockerState, Endpoint, Network
from ovn_docker.health.findings import Finding
from ovn_docker.health.host_setup import HostSetup
from ovn_docker.health.setup import Setup
from ovn_docker.host.open_vswitch import Attached

EndpointIds = tuple[str, str]
"""Docker's NetworkID and EndpointID."""

Names = Mapping[EndpointIds, Mapping[str, str]]
"""By endpoint, what its port is to say of its container."""


@dataclass(frozen=True, slots=True)
class HeldNetwork:
    """What a driver holds of a network on this host.

    Attributes:
        network_id: Docker's.
        whole: whether all of it is there.
        keys: pool in CIDR form to what the addresses of the network's endpoints are filed under; empty where
            they need no lease.
    """

    network_id: str
    whole: bool
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HeldEndpoint:
    """What a driver holds of an endpoint.

    Attributes:
        network_id: Docker's.
        endpoint_id: Docker's.
        addresses: its MAC and IP addresses.
        names: its container's, or None where the driver keeps less than all of them.
        vlan: of its port, or None where it has none.
    """

    network_id: str
    endpoint_id: str
    addresses: tuple[str, ...]
    names: Mapping[str, str] | None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """An address that this host has, and what tells this lease from a later one of the same address."""

    row: UUID
    key: str
    address: str
    endpoint_id: str
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Taken:
    """An address of an endpoint of this host that another host has leased, or that is reserved.

    Attributes:
        key: what the address is filed under.
        address: the one.
        endpoint_id: of this host.
        holder: who has it, for people.
    """

    key: str
    address: str
    endpoint_id: str
    holder: str


@dataclass(frozen=True, slots=True)
class HeldPool:
    """A pool, or an address that is reserved in one.

    Attributes:
        row: its id.
        key: what it is filed under.
        cidr: of the pool, or the address.
        tokens: this host's holds on it.
    """

    row: UUID
    key: str
    cidr: str
    tokens: frozenset[str]


@dataclass(frozen=True, slots=True)
class HeldSwitch:
    """A switch for several networks that this host made, without ports, and that no network known here is on.

    Attributes:
        row: its id.
        name: its name.
        network_id: the network that it was made for, as Docker on this host calls it.
    """

    row: UUID
    name: str
    network_id: str


@dataclass(frozen=True, slots=True)
class Held:
    """All that carries this host's mark, in one reading; and what others have that this host should have."""

    networks: Mapping[str, HeldNetwork]
    endpoints: tuple[HeldEndpoint, ...]
    switches: tuple[HeldSwitch, ...] = ()
    leases: tuple[HeldLease, ...] = ()
    pools: tuple[HeldPool, ...] = ()
    reserved: tuple[HeldPool, ...] = ()
    taken: tuple[Taken, ...] = ()

    @property
    def cut_off(self) -> frozenset[str]:
        """The endpoints that have no port, for an address of theirs is another's."""
        return frozenset(each.endpoint_id for each in self.taken)


@dataclass(frozen=True, slots=True)
class Lookups:
    """How the flows of IP lookups in the switch differ from those that should be there.

    Attributes:
        missing: flows that are not there, or do something else.
        stale: flows of ours that should not be there.
        outage: why not everything is served, or "".
        down: VTEPs that OVN should serve itself, each as its address and its network's switch, and what is
            wrong with it.
    """

    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    outage: str = ""
    down: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Central:
    """How the servers fare that all hosts share.

    Attributes:
        seconds: that the database took for a question of one row.
        behind: seconds for which what is computed of it has been out of date, or None when it is not.
        relay: whether the server hands on what another serves.
    """

    seconds: float
    behind: float | None
    relay: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; what Docker has was read last.

    Attributes:
        driver_name: whose networks are to be whole.
        docker: what Docker has.
        held: what the driver holds.
        attached: interfaces in Open_vSwitch with our mark.
        links: names of the links of our group in this host's network namespace.
        pool_key: what a pool is filed under that our IPAM gave to a network, by its subnet in CIDR form.
        lookups: of the switch; nothing differs where there are none.
        store: where the driver keeps networks, for people.
        setup: what an OpenStack machine needs once, or None on a host that is none.
        central: how the servers fare that all hosts share, or None where that is not looked at.
        refuses_global: the API of a Docker that makes no network of the driver's scope, global, or "".
        host: what this host needs so that OVN serves it, or None where that is not looked at.
        taken: this host's name and which other machine has it, as a text; then nothing else was read.
        unguarded: whether the host's kernel would serve what containers send past Open vSwitch.
    """

    driver_name: str
    docker: DockerState
    held: Held
    attached: tuple[Attached, ...]
    links: frozenset[str]
    pool_key: Callable[[Network, str], str]
    lookups: Lookups = Lookups()
    store: str = "OVN"
    setup: Setup | None = None
    refuses_global: str = ""
    host: HostSetup | None = None
    taken: tuple[str, str] | None = None
    unguarded: bool = False
    central: Central | None = None


class Inventory(Protocol):
    """What the health check asks of a driver, besides its verbs."""

    @property
    def store(self) -> str:
        """Where it keeps networks, for people."""

    async def held(self, networks: Iterable[str]) -> Held:
        """Read all that carries this host's mark, and those networks.

        Raises:
            OvnDockerError: it cannot be read, or not all of it.
        """

    async def complete(self, held: Held, missing: Sequence[Finding]) -> Held:
        """What is held, with what is there of that which seems to be missing.

        Raises:
            OvnDockerError: it cannot be read.
        """

    async def setup(self) -> Setup | None:
        """Read what an OpenStack machine needs once; None on a host that is none.

        Raises:
            OvnDockerError: it cannot be read, or not all of it.
        """

    def pool_key(self, network: Network, subnet: str) -> str:
        """What a pool is filed under that our IPAM gave to a network, or "" where nobody enters pools."""

    async def restore(self, network_id: str) -> bool:
        """Make again what is remembered of a network; False when nothing is."""

    async def remove_switch(self, switch: HeldSwitch) -> None:
        """Remove a switch that nobody uses, unless a port is on it by now."""

    async def readdress(self, endpoint: Endpoint) -> None:
        """Give the endpoint's port its addresses again."""

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Write containers' names to their ports; a port that is gone is passed over.

        Returns:
            Of those that could not be written, why.

        Raises:
            OvnDockerError: none could be written, or not all.
        """

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: FBT001
        """Lease an address for an endpoint that has it; `leased` where our IPAM gave it."""

    async def release(self, lease: HeldLease) -> None:
        """Give a lease up, unless it has changed since it was read."""

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Enter a network into its pool, which is made if it is gone."""

    async def leave_pool(self, pool: HeldPool) -> None:
        """Strike these holds out of a pool, or of a reserved address."""
