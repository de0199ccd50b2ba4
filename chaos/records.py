"""What Docker, OVN, Open vSwitch and the kernel were found to hold; does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """A network of this driver, as Docker has it.

    Attributes:
        id: NetworkID.
        name: what its user calls it.
        subnet: its first pool in CIDR notation.
        leased: OVN gives its addresses (`--ipam-driver openvswitch`), and the hosts share its switch.
    """

    id: str
    name: str
    subnet: str
    leased: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running container's endpoint on a network, as Docker has it.

    Attributes:
        id: EndpointID.
        container: the container's name.
        network_id: NetworkID.
        mac: MAC address.
        address: IPv4 address.
    """

    id: str
    container: str
    network_id: str
    mac: str
    address: str


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the driver in a host's Open vSwitch.

    Attributes:
        name: of the interface.
        iface_id: `external_ids:iface-id`.
        network_id: `external_ids:ovn-docker-network`.
        mac: `external_ids:attached-mac`.
        error: why Open vSwitch cannot use it, or "".
        ofport: its OpenFlow port, -1 when it has none.
        installed: OVN has installed its flows.
        bridged: its port is on the integration bridge.
    """

    name: str
    iface_id: str
    network_id: str
    mac: str
    error: str
    ofport: int
    installed: bool
    bridged: bool


@dataclass(frozen=True, slots=True)
class Host:
    """All that stands on one host.

    Attributes:
        name: also its system-id.
        networks: of this driver, by NetworkID.
        endpoints: of running containers on these networks.
        running: how many containers run.
        interfaces: of the driver in Open vSwitch.
        links: names of the kernel's links in our group, outside of containers.
        gateways: row ids of the switches for which it has a gateway link.
        remembered: NetworkIDs in the driver's state file.
    """

    name: str
    networks: Mapping[str, Network]
    endpoints: tuple[Endpoint, ...]
    running: int
    interfaces: tuple[Interface, ...]
    links: tuple[str, ...]
    gateways: tuple[str, ...]
    remembered: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """A row of Logical_Switch.

    Attributes:
        uuid: row id.
        name: of the switch.
        ids: external_ids.
        gateways: how many gateway ports it has.
    """

    uuid: str
    name: str
    ids: Mapping[str, str]
    gateways: int


@dataclass(frozen=True, slots=True)
class Port:
    """A row of Logical_Switch_Port that is not a gateway port.

    Attributes:
        name: of the port.
        switch: name of the switch that it is on, or "".
        addresses: MAC and IP addresses.
        security: what it may send from.
        ids: external_ids.
        chassis: the host that has bound it in Southbound, or "".
    """

    name: str
    switch: str
    addresses: str
    security: str
    ids: Mapping[str, str]
    chassis: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A row of DHCP_Options of the driver: a pool, an address in it, a host, or the list of hosts.

    Attributes:
        kind: `external_ids:ovn-docker`: pool, lease, claim, reserved, host, hosts.
        cidr: the pool's subnet, or the address, or "".
        ids: external_ids.
        users: hosts whose networks use it, sorted; one that uses it twice is in it twice.
    """

    kind: str
    cidr: str
    ids: Mapping[str, str]
    users: tuple[str, ...]

    @property
    def pool(self) -> str:
        """What it is filed under."""
        return self.ids.get("ovn-docker-pool", "")


@dataclass(frozen=True, slots=True)
class Central:
    """All that stands in OVN."""

    switches: tuple[Switch, ...]
    ports: tuple[Port, ...]
    holds: tuple[Hold, ...]
