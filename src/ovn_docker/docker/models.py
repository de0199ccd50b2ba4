"""What Docker says that it has: networks, their endpoints, and the containers these belong to. Pure.

The only module that knows the JSON of the Engine API. Nothing is judged here.

Source: the Engine API's reference, NetworkInspect, ContainerInspect, SystemEvents; moby
api/server/router/network/network_routes.go buildDetailedNetworkResources, which knows who is on a network
on this node, and daemon/cluster/convert/network.go, which for one that is not leaves them null.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ovn_docker.docker.reading import UNREADABLE, decode, unreadable
from ovn_docker.docker.stopped import Stopped
from ovn_docker.docker.swarm import Swarm

WITHOUT_SANDBOX = "ep-"
"""Before the endpoint's id, where a container's would stand: the endpoint is in no sandbox."""

SWARM_SCOPE = "swarm"

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Container:
    """A container.

    Attributes:
        container_id: 64 hex digits.
        name: without a slash.
        labels: of the container.
        endpoints: pairs of NetworkID and EndpointID, of its joined endpoints.
    """

    container_id: str
    name: str
    labels: Labels
    endpoints: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as Docker keeps it.

    Attributes:
        network_id: Docker's NetworkID.
        endpoint_id: Docker's EndpointID.
        mac: ``02:42:c0:a8:01:02``, or "".
        interfaces: its addresses with prefix length, IPv4 before IPv6, in canonical form.
        container_id: whose, or "" while it is in no sandbox.
    """

    network_id: str
    endpoint_id: str
    mac: str
    interfaces: tuple[str, ...]
    container_id: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses without prefix length."""
        return tuple(each.partition("/")[0] for each in self.interfaces)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool of a network as Docker was told or chose it; "" for what it does not say.

    Docker keeps a subnet as it was typed, ``FD50:0::/64``; here it stands in its one canonical form, and so
    do the addresses.
    """

    subnet: str
    gateway: str
    aux_addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Network:
    """A network as Docker keeps it.

    Attributes:
        network_id: Docker's NetworkID.
        name: what its user calls it.
        driver: as in ``docker network create -d``.
        ipam_driver: as in ``--ipam-driver``; ``default`` is Docker's own.
        ipam_options: ``--ipam-opt``.
        pools: its pools.
        internal: ``--internal``.
        ipv6: ``--ipv6``.
        options: ``-o``.
        endpoints: by EndpointID.
        config_only: ``--config-only``: a template for others, for which no driver is asked anything.
        elsewhere: a swarm's network that this Docker knows of as a manager, and that is not on this node: no
            driver of this node was asked to make it.
    """

    network_id: str
    name: str
    driver: str
    ipam_driver: str
    ipam_options: Mapping[str, str]
    pools: tuple[PoolConfig, ...]
    internal: bool
    ipv6: bool
    options: Mapping[str, str]
    endpoints: Mapping[str, Endpoint]
    config_only: bool = False
    elsewhere: bool = False

    def is_of(self, driver_name: str) -> bool:
        """Whether it is a network of a driver, be that a legacy plugin or a managed one with a tag."""
        return names(self.driver, driver_name)

    def is_leased_by(self, driver_name: str) -> bool:
        """Whether the addresses come from that driver's IPAM."""
        return names(self.ipam_driver, driver_name)

    @property
    def has_foreign_ipam(self) -> bool:
        """Whether the addresses come from a plugin, whichever."""
        return self.ipam_driver not in {"", "default", "null"}


@dataclass(frozen=True, slots=True)
class DockerState:
    """All that Docker has, in one reading.

    Attributes:
        networks: by NetworkID, those that are on this host.
        containers: by id, those that run.
        elsewhere: by NetworkID, a swarm's networks that are not on this node.
        swarm: the swarm, or None.
        stopped: containers that have ended, of those that may be on a plugin's network.
    """

    networks: Mapping[str, Network]
    containers: Mapping[str, Container]
    elsewhere: Mapping[str, Network] = field(default_factory=dict)
    swarm: Swarm | None = None
    stopped: tuple[Stopped, ...] = ()

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint of an id, on whichever network."""
        for network in self.networks.values():
            if endpoint_id in network.endpoints:
                return network.endpoints[endpoint_id]
        return None


def names(plugin: str, driver_name: str) -> bool:
    """Whether what Docker calls a plugin is a driver's name, or that and a tag."""
    return plugin == driver_name or plugin.startswith(driver_name + ":")


class _Pool(msgspec.Struct, rename="pascal"):
    subnet: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] | None = None


class _IPAM(msgspec.Struct, rename="pascal"):
    driver: str = ""
    options: dict[str, str] | None = None
    config: list[_Pool] | None = None


class _Member(msgspec.Struct):
    endpoint_id: str = msgspec.field(name="EndpointID", default="")
    mac: str = msgspec.field(name="MacAddress", default="")
    ipv4: str = msgspec.field(name="IPv4Address", default="")
    ipv6: str = msgspec.field(name="IPv6Address", default="")


class _Network(msgspec.Struct):
    network_id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    driver: str = msgspec.field(name="Driver", default="")
    ipam: _IPAM | None = msgspec.field(name="IPAM", default=None)
    internal: bool = msgspec.field(name="Internal", default=False)
    ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    options: dict[str, str] | None = msgspec.field(name="Options", default=None)
    members: dict[str, _Member] | None = msgspec.field(name="Containers", default=None)
    config_only: bool = msgspec.field(name="ConfigOnly", default=False)
    scope: str = msgspec.field(name="Scope", default="")
    peers: list[Any] | None = msgspec.field(name="Peers", default=None)


class _Attachment(msgspec.Struct):
    network_id: str = msgspec.field(name="NetworkID", default="")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")


class _Settings(msgspec.Struct):
    networks: dict[str, _Attachment] | None = msgspec.field(name="Networks", default=None)


class _Config(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class _Inspected(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    config: _Config = msgspec.field(name="Config", default_factory=_Config)
    settings: _Settings = msgspec.field(name="NetworkSettings", default_factory=_Settings)


class _Listed(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    names: list[str] | None = msgspec.field(name="Names", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class _Actor(msgspec.Struct):
    object_id: str = msgspec.field(name="ID", default="")
    attributes: dict[str, str] | None = msgspec.field(name="Attributes", default=None)


class Event(msgspec.Struct, frozen=True):
    """One of Docker's events: ``container`` ``start``, ``network`` ``connect`` and more."""

    type: str = msgspec.field(name="Type", default="")
    action: str = msgspec.field(name="Action", default="")
    actor: _Actor = msgspec.field(name="Actor", default_factory=_Actor)

    @property
    def container_id(self) -> str:
        """The container that it is about, or ""."""
        if self.type == "container":
            return self.actor.object_id
        return (self.actor.attributes or {}).get("container", "")


def read_network_list(body: bytes) -> dict[str, str]:
    """NetworkList: NetworkID to driver."""
    return {each.network_id: each.driver for each in decode(body, list[_Network])}


def read_network(body: bytes) -> Network:
    """NetworkInspect.

    Docker shows each subnet that was named, and asks for an IPv6 pool only with ``--ipv6`` (moby
    daemon/libnetwork/network.go, ipamAllocate): without it such a subnet is not a pool of the network.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    read = decode(body, _Network)
    ipam = read.ipam or _IPAM()
    members = (read.members or {}).items()
    endpoints = [_endpoint(read.network_id, key, member) for key, member in members]
    return Network(
        network_id=read.network_id,
        name=read.name,
        driver=read.driver,
        ipam_driver=ipam.driver,
        ipam_options=ipam.options or {},
        pools=tuple(
            PoolConfig(
                _subnet(each.subnet),
                _address(each.gateway),
                {name: _address(text) for name, text in (each.auxiliary_addresses or {}).items()},
            )
            for each in ipam.config or []
            if read.ipv6 or ":" not in each.subnet
        ),
        internal=read.internal,
        ipv6=read.ipv6,
        options=read.options or {},
        endpoints={each.endpoint_id: each for each in endpoints if each.endpoint_id},
        config_only=read.config_only,
        elsewhere=read.scope == SWARM_SCOPE and read.members is None and not read.peers,
    )


def _endpoint(network_id: str, key: str, member: _Member) -> Endpoint:
    return Endpoint(
        network_id=network_id,
        endpoint_id=member.endpoint_id,
        mac=member.mac,
        interfaces=tuple(_interface(each) for each in (member.ipv4, member.ipv6) if each),
        container_id="" if key.startswith(WITHOUT_SANDBOX) else key,
    )


def _subnet(text: str) -> str:
    try:
        return text and str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise unreadable(error) from error


def _address(text: str) -> str:
    try:
        return text and str(ipaddress.ip_interface(text).ip)
    except ValueError as error:
        raise unreadable(error) from error


def _interface(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text))
    except ValueError as error:
        raise unreadable(error) from error


def read_container(body: bytes) -> Container:
    """ContainerInspect.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    read = decode(body, _Inspected)
    joined = tuple(
        (each.network_id, each.endpoint_id)
        for each in (read.settings.networks or {}).values()
        if each.network_id and each.endpoint_id
    )
    return Container(read.container_id, read.name.lstrip("/"), read.config.labels or {}, joined)


def read_container_list(body: bytes) -> dict[str, Container]:
    """ContainerList, by id, without endpoints.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    return {
        each.container_id: Container(each.container_id, _own_name(each.names or ()), each.labels or {})
        for each in decode(body, list[_Listed])
    }


def _own_name(names: Iterable[str]) -> str:
    """The name of a container among those that others have for it by ``--link``: ``/other/alias``."""
    stripped = [each.removeprefix("/") for each in names]
    return next((each for each in stripped if "/" not in each), "")


def read_event(line: bytes) -> Event:
    """One line of SystemEvents.

    Raises:
        HostError: the line is not what the Engine API says.
    """
    event: Event = decode(line, Event)
    return event


def read_message(body: bytes) -> str:
    """The text of an error reply, or its beginning where it has another form."""
    try:
        message: Any = msgspec.json.decode(body)["message"]
    except (msgspec.DecodeError, KeyError, TypeError, *UNREADABLE):
        message = body[:200].decode(errors="replace")
    return " ".join(str(message).split())
