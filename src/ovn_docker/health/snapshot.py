"""One reading of all that is compared, without judgement: the types only. Pure but for `running_here`.

What a driver holds comes from its `Inventory`; the check knows no driver, and of OVN only what is in the
host's Open_vSwitch.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

from ovn_docker.docker.models import Container, DockerState, Endpoint, Network
from ovn_docker.health.findings import Finding
from ovn_docker.host.open_vswitch import Attached, Bridge, OvnSettings
from ovn_docker.ovn.names import Named

# --- Which daemons of Open vSwitch and OVN run on this host, by the sockets that they listen on -------------
# The kernel lists the unix sockets of this network namespace, to everybody (proc(5), /proc/net/unix), and
# removes those of a process when it ends. Each daemon listens on ``NAME.PID.ctl`` (ovs-appctl(8)).
# ovs-vswitchd listens on ``BRIDGE.mgmt`` for each bridge (ovs-vswitchd(8)); ovn-controller connects to it.


LISTENS, CONNECTED = "01", "03"
"""States of a socket (linux/net.h, SS_UNCONNECTED and SS_CONNECTED)."""

COLUMNS = 8
"""Of a line with a path: number, references, protocol, flags, type, state, inode, path."""

CONTROL = re.compile(r".*/([a-z-]+)\.\d+\.ctl")
BRIDGE = re.compile(r".*/([^/]+)\.mgmt")


@dataclass(frozen=True, slots=True)
class Daemons:
    """The daemons that run, as ``ovs-vswitchd``, and by bridge the connections to its OpenFlow socket."""

    running: frozenset[str] = frozenset()
    controlled: Mapping[str, int] = field(default_factory=dict)


def read_daemons(lines: str) -> Daemons:
    """Read the kernel's list of sockets."""
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
    """The daemons of this host; none where the kernel does not list sockets."""
    try:
        return read_daemons(Path("/proc/self/net/unix").read_text(errors="replace"))
    except OSError:
        return Daemons()


# --- What OVN needs of a host -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostSetup:
    """One look at this host, which asks no other host.

    Attributes:
        addresses: each of ``ovn-encap-ip``, with the link that holds it, or None.
        capabilities: of the integration bridge's datapath, ``"true"`` or ``"false"`` by name.
    """

    settings: OvnSettings
    daemons: Daemons
    addresses: Mapping[str, str | None]
    capabilities: Mapping[str, str] = field(default_factory=dict)


# --- What an OpenStack machine needs once -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Vif:
    """The Neutron port of the machine's interface.

    Attributes:
        mac: the only MAC address that the cloud lets pass.
        project: its owner.
        enabled: its ``admin_state_up``.
        status: ``ACTIVE`` when packets pass.
        mtu: of its network in bytes, or None where Neutron does not show it.
    """

    mac: str
    project: str
    enabled: bool
    status: str
    mtu: int | None


@dataclass(frozen=True, slots=True)
class VifTrunk:
    """The trunk of that port; its status is ``ACTIVE``, ``DOWN``, ``BUILD``, ``DEGRADED`` or ``ERROR``."""

    id: str
    enabled: bool
    status: str


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that was set up once.

    Attributes:
        vif_id: the id of the machine's port, OS_VIF_ID.
        vif: that port, or None where Neutron shows the project none.
        project: that is logged in, or "" where Neutron does not show it.
        lacks: aliases of extensions that are needed and that Neutron does not have.
        trunk: of the port, or None.
        bridge: the name of the bridge that the machine's interface is to be on.
        bridges: all of the machine.
        links: name to MAC address of all links of the machine.
        networks: name to MTU in bytes of the Neutron network of each network in use.
        trunked: whether containers' ports are to be under a trunk.
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


# --- What a driver holds ------------------------------------------------------------------------------------


EndpointIds = tuple[str, str]
"""Docker's NetworkID and EndpointID."""

Names = Mapping[EndpointIds, Mapping[str, str]]
"""By endpoint, what its port is to say of its container."""


@dataclass(frozen=True, slots=True)
class OwnedNetwork:
    """What a driver holds of a network on this host.

    Attributes:
        whole: whether nothing of it is missing.
        keys: pool in CIDR form to the key of the leases of the network's endpoints; empty where they need no
            lease.
    """

    network_id: str
    whole: bool
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnedEndpoint:
    """What a driver holds of an endpoint.

    Attributes:
        addresses: its MAC and IP addresses.
        names: its container's, or None where the driver does not keep all of them.
        vlan: of its port, or None where it has none.
    """

    network_id: str
    endpoint_id: str
    addresses: tuple[str, ...]
    names: Mapping[str, str] | None
    vlan: int | None = None


@dataclass(frozen=True, slots=True)
class OwnedLease:
    """An address that this host has; `marks` distinguish this lease from a later one of the address."""

    row: UUID
    key: str
    address: str
    endpoint_id: str
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LostAddress:
    """An address of an endpoint of this host that another host has leased, or that is reserved.

    Attributes:
        key: of the pool.
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
        key: of the pool.
        cidr: of the pool, or the address.
        tokens: this host's references to it.
    """

    row: UUID
    key: str
    cidr: str
    tokens: frozenset[str]


@dataclass(frozen=True, slots=True)
class OwnedSwitch:
    """A switch for several networks that this host created, without ports, that no network known here uses.

    Attributes:
        network_id: the network that it was created for, as Docker on this host calls it.
    """

    row: UUID
    name: str
    network_id: str


@dataclass(frozen=True, slots=True)
class Owned:
    """All that carries this host's mark, in one reading, and which of its addresses others have."""

    networks: Mapping[str, OwnedNetwork]
    endpoints: tuple[OwnedEndpoint, ...]
    switches: tuple[OwnedSwitch, ...] = ()
    leases: tuple[OwnedLease, ...] = ()
    pools: tuple[OwnedPool, ...] = ()
    reserved: tuple[OwnedPool, ...] = ()
    taken: tuple[LostAddress, ...] = ()
    names: tuple[Named, ...] = ()

    @property
    def cut_off(self) -> frozenset[str]:
        """The endpoints that have no port, for an address of theirs is another's."""
        return frozenset(lost.endpoint_id for lost in self.taken)


@dataclass(frozen=True, slots=True)
class LookupState:
    """How the flows of IP lookups in the switch differ from those that should be there.

    Attributes:
        missing: flows that are missing, or do something else.
        stale: flows of ours that should not exist.
        outage: why not every VTEP is served, or "".
        down: VTEPs that OVN should serve itself, each as its address and its network's switch, and what is
            wrong with it.
    """

    missing: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    outage: str = ""
    down: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NamesState:
    """What is wrong with the names that this host has published.

    Attributes:
        wrong: by EndpointID, a name of it that is not there or leads elsewhere.
        bypassed: the version of a Docker that asks name servers past the driver, or "".
        down: why nobody answers queries, or "".
    """

    wrong: Mapping[str, str] = field(default_factory=dict)
    bypassed: str = ""
    down: str = ""


@dataclass(frozen=True, slots=True)
class EgressState:
    """What the ways out of this host's networks lack.

    Attributes:
        rules: what the kernel's rules lack, for people.
        missing: NetworkID, and what can be made again.
        closed: NetworkID, what its containers do without a link for its gateway, and why there is none.
        stale: row id of a switch that no network of this host is on, and the name of its link here.
    """

    rules: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    closed: tuple[tuple[str, str, str], ...] = ()
    stale: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Central:
    """The servers that all hosts share.

    Attributes:
        seconds: that Northbound took for a query of one row.
        behind: seconds for which ovn-northd has been behind, or None when it is not.
        relay: whether the server of Northbound relays another.
    """

    seconds: float
    behind: float | None
    relay: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment; what Docker has was read last.

    Attributes:
        driver_name: whose networks are to be whole.
        held: what the driver holds.
        attached: interfaces in Open_vSwitch with our mark.
        links: names of the links of our group in this host's network namespace.
        pool_key: as `Inventory.pool_key`.
        store: where the driver keeps networks, for people.
        setup: None on a host that is not an OpenStack machine.
        refuses_global: the API version of a Docker that refuses the driver's scope, global, or "".
        host: None where it is not looked at.
        taken: this host's name and which other machine has it, as a text; then nothing else was read.
        unguarded: whether the host's kernel would accept what containers send past Open vSwitch.
        central: None where it is not looked at.
    """

    driver_name: str
    docker: DockerState
    held: Owned
    attached: tuple[Attached, ...]
    links: frozenset[str]
    pool_key: Callable[[Network, str], str]
    lookups: LookupState = LookupState()
    egress: EgressState = EgressState()
    names: NamesState = NamesState()
    store: str = "OVN"
    setup: Setup | None = None
    refuses_global: str = ""
    host: HostSetup | None = None
    taken: tuple[str, str] | None = None
    unguarded: bool = False
    central: Central | None = None


class Inventory(Protocol):
    """What the health check needs of a driver besides its verbs.

    What cannot be read or written, or not all of it, is an OvnDockerError.
    """

    @property
    def store(self) -> str:
        """Where it keeps networks, for people."""

    async def held(self, networks: Iterable[str]) -> Owned:
        """Read all that carries this host's mark, and those networks."""

    async def complete(self, held: Owned, missing: Sequence[Finding]) -> Owned:
        """What is held, with those things that seemed to be missing and are not."""

    async def setup(self) -> Setup | None:
        """Read what an OpenStack machine needs once; None on another host."""

    def pool_key(self, network: Network, subnet: str) -> str:
        """The key of a pool that our IPAM gave to a network, or "" where pools are not registered."""

    async def restore(self, network_id: str) -> bool:
        """Create again what is remembered of a network; False when nothing is."""

    async def remove_switch(self, switch: OwnedSwitch) -> None:
        """Remove a switch that nobody uses, unless it has a port by now."""

    async def readdress(self, endpoint: Endpoint) -> None:
        """Set the addresses of the endpoint's port again."""

    async def rename(self, names: Names) -> Mapping[EndpointIds, str]:
        """Write containers' names to their ports, except those that are gone; why some were not written."""

    async def publish(self, container: Container) -> None:
        """Let other hosts find a container by its names."""

    async def lease(self, key: str, address: str, endpoint: Endpoint, leased: bool) -> None:  # noqa: FBT001
        """Lease an address for an endpoint that has it; `leased`: our IPAM gave it."""

    async def release(self, lease: OwnedLease) -> None:
        """Release a lease, unless it has changed since it was read."""

    async def enter_pool(self, network: Network, subnet: str) -> None:
        """Register a network in its pool, which is created if it is gone."""

    async def leave_pool(self, pool: OwnedPool) -> None:
        """Remove these references from a pool, or a reserved address."""
