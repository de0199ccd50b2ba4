"""One reading of all that is compared, without judgement. Pure: the types only.

What a driver holds comes from its `Inventory`; the check knows no driver, and no OVN but what stands in the
host's Open_vSwitch.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from ovn_docker.docker.models import DockerState, Endpoint, Network
from ovn_docker.health.findings import Finding
from ovn_docker.host.open_vswitch import Attached, Bridge, OvnSettings

# --- Which daemons of Open vSwitch and OVN run on this host, told by the sockets that they listen on. -------
# The kernel lists the unix sockets of this network namespace, to everybody (proc(5), /proc/net/unix), and
# forgets those of a process with it. Each daemon listens on ``NAME.PID.ctl`` (ovs-appctl(8)). ovs-vswitchd
# listens on ``BRIDGE.mgmt`` for each bridge (ovs-vswitchd(8)), where ovn-controller is connected.


LISTENS, CONNECTED = "01", "03"
"""States of a socket (linux/net.h, SS_UNCONNECTED and SS_CONNECTED)."""

COLUMNS = 8
"""Of a line with a path: number, references, protocol, flags, type, state, inode, path."""

CONTROL = re.compile(r".*/([a-z-]+)\.\d+\.ctl")
BRIDGE = re.compile(r".*/([^/]+)\.mgmt")


@dataclass(frozen=True, slots=True)
class Daemons:
    """What runs.

    Attributes:
        running: names, as ``ovs-vswitchd``.
        controlled: how many connections there are to the OpenFlow socket of each bridge.
    """

    running: frozenset[str] = frozenset()
    controlled: Mapping[str, int] = field(default_factory=dict)


def read_daemons(lines: str) -> Daemons:
    """What the kernel's list of sockets shows."""
    running, controlled = set(), Counter[str]()
    for line in lines.splitlines()[1:]:
        columns = line.split(maxsplit=COLUMNS - 1)
        if len(columns) < COLUMNS:
            continue
        state, path = columns[5], columns[7]
        if state == LISTENS and (control := CONTROL.fullmatch(path)):
            running.add(control[1])
        elif state == CONNECTED and (bridge := BRIDGE.fullmatch(path)):
            controlled[bridge[1]] += 1
    return Daemons(frozenset(running), controlled)


def running_here() -> Daemons:
    """What runs on this host; nothing where the kernel does not tell."""
    try:
        return read_daemons(Path("/proc/self/net/unix").read_text(errors="replace"))
    except OSError:
        return Daemons()


# --- What a host needs so that OVN serves it, as one look found it, without judgement. Pure: types only. ----


@dataclass(frozen=True, slots=True)
class HostSetup:
    """One look at this host, which asks nobody else.

    Attributes:
        settings: how it takes part in OVN.
        daemons: of Open vSwitch and OVN, that run here.
        addresses: each of ``ovn-encap-ip``, with the link that holds it, or None.
        capabilities: of that bridge's datapath, ``"true"`` or ``"false"`` by name.
    """

    settings: OvnSettings
    daemons: Daemons
    addresses: Mapping[str, str | None]
    capabilities: Mapping[str, str] = field(default_factory=dict)


# --- What an OpenStack machine needs once, as one reading found it, without judgement. Pure: types only. ----


@dataclass(frozen=True, slots=True)
class Vif:
    """The Neutron port of the machine's interface.

    Attributes:
        mac: the only MAC address that the cloud lets pass.
        project: whose it is.
        enabled: whether its owner has it switched on.
        status: ``ACTIVE`` when packets pass.
        mtu: of its network in bytes, or None where that is not to be seen.
    """

    mac: str
    project: str
    enabled: bool
    status: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class VifTrunk:
    """The trunk of that port.

    Attributes:
        id: Neutron's.
        enabled: whether its owner has it switched on.
        status: ``ACTIVE``, or ``DOWN``, ``BUILD``, ``DEGRADED``, ``ERROR``.
    """

    id: str
    enabled: bool
    status: str


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that was set up once.

    Attributes:
        vif_id: the id of the machine's port, as it was told (OS_VIF_ID).
        vif: that port, or None where Neutron shows the project none.
        project: that is logged in, or "" where that is not to be seen.
        lacks: aliases of Neutron's extensions that are needed and are not there.
        trunk: of the port, or None.
        trunked: whether containers' ports are to be under a trunk.
        bridge: the name of the bridge that the machine's interface is to be on.
        bridges: all of the machine.
        links: name to MAC address of all links of the machine.
        networks: name to MTU in bytes of the Neutron network of each network in use.
    """

    vif_id: str
    vif: Vif | None
    project: str
    lacks: tuple[str, ...]
    trunk: VifTrunk | None
    bridge: str
    bridges: tuple[Bridge, ...]
    links: Mapping[str, str]
    networks: Mapping[str, int]
    trunked: bool = True


EndpointIds = tuple[str, str]
"""Docker's NetworkID and EndpointID."""

Names = Mapping[EndpointIds, Mapping[str, str]]
"""By endpoint, what its port is to say of its container."""


@dataclass(frozen=True, slots=True)
class OwnedNetwork:
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
class OwnedEndpoint:
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
class OwnedLease:
    """An address that this host has, and what tells this lease from a later one of the same address."""

    row: UUID
    key: str
    address: str
    endpoint_id: str
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LostAddress:
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
class OwnedPool:
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
class OwnedSwitch:
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
class Owned:
    """All that carries this host's mark, in one reading; and what others have that this host should have."""

    networks: Mapping[str, OwnedNetwork]
    endpoints: tuple[OwnedEndpoint, ...]
    switches: tuple[OwnedSwitch, ...] = ()
    leases: tuple[OwnedLease, ...] = ()
    pools: tuple[OwnedPool, ...] = ()
    reserved: tuple[OwnedPool, ...] = ()
    taken: tuple[LostAddress, ...] = ()

    @property
    def cut_off(self) -> frozenset[str]:
        """The endpoints that have no port, for an address of theirs is another's."""
        return frozenset(each.endpoint_id for each in self.taken)


@dataclass(frozen=True, slots=True)
class LookupState:
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
    held: Owned
    attached: tuple[Attached, ...]
    links: frozenset[str]
    pool_key: Callable[[Network, str], str]
    lookups: LookupState = LookupState()
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

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read all that carries this host's mark, and those networks.

        Raises:
            OvnDockerError: it cannot be read, or not all of it.
        """

    async def complete(self, held: Owned, missing: Sequence[Finding]) -> Owned:
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

    async def remove_switch(self, switch: OwnedSwitch) -> None:
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

    async def release(self, lease: OwnedLease) -> None:
        """Give a lease up, unless it has changed since it was read."""

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Enter a network into its pool, which is made if it is gone."""

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Strike these holds out of a pool, or of a reserved address."""
