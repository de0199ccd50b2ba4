"""What Docker says that it has: networks, their endpoints, and the containers these belong to. Pure.

The only module that knows the JSON of the Engine API. Nothing is judged here.

Source: the Engine API's reference, NetworkInspect, ContainerInspect, SystemEvents; moby
api/server/router/network/network_routes.go buildDetailedNetworkResources, which knows who is on a network
on this node, and daemon/cluster/convert/network.go, which for one that is not leaves them null.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ovn_docker.errors import HostError

# --- How an answer of the Engine API becomes a value, or an error of one line. Pure. ------------------------


UNREADABLE = (UnicodeDecodeError, RecursionError)
"""What msgspec raises besides its own error: bytes that are no UTF-8, arrays in arrays without end."""


def decode(body: bytes, shape: type[Any]) -> Any:  # noqa: ANN401  (of that shape)
    """An answer of Docker's as a value.

    Raises:
        HostError: it is not valid JSON, or has another shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, *UNREADABLE) as error:
        raise unreadable(error) from error


def unreadable(error: Exception) -> HostError:
    """The exception for an answer that cannot be understood."""
    return HostError(f"Docker's answer cannot be read: {error}")


# --- What Docker says of the swarm that it is a node of, and of its own managed plugins. Pure. --------------
# Source: the Engine API's reference, PluginList, NodeList, SystemInfo.


NETWORK_PLUGIN = "docker.networkdriver/"


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the swarm.

    Attributes:
        name: its host name.
        plugins: the network drivers that it has.
        usable: whether tasks may start there just now.
    """

    name: str
    plugins: frozenset[str]
    usable: bool


@dataclass(frozen=True, slots=True)
class Swarm:
    """The swarm that this host is a node of.

    Attributes:
        plugins: this Docker's managed plugins for networks, ``NAME:TAG``, and whether each is enabled.
        nodes: all nodes, where this one is a manager and the swarm has a leader.
    """

    plugins: Mapping[str, bool]
    nodes: tuple[Node, ...] = ()


class _Interface(msgspec.Struct, rename="pascal"):
    types: list[str] | None = None


class _PluginConfig(msgspec.Struct, rename="pascal"):
    interface: _Interface = msgspec.field(default_factory=_Interface)


class _Plugin(msgspec.Struct, rename="pascal"):
    name: str
    enabled: bool = False
    config: _PluginConfig = msgspec.field(default_factory=_PluginConfig)


class _NodePlugin(msgspec.Struct, rename="pascal"):
    type: str = ""
    name: str = ""


class _NodeEngine(msgspec.Struct, rename="pascal"):
    plugins: list[_NodePlugin] | None = None


class _Description(msgspec.Struct, rename="pascal"):
    hostname: str = ""
    engine: _NodeEngine = msgspec.field(default_factory=_NodeEngine)


class _NodeSpec(msgspec.Struct, rename="pascal"):
    availability: str = ""


class _NodeStatus(msgspec.Struct, rename="pascal"):
    state: str = ""


class _Node(msgspec.Struct, rename="pascal"):
    description: _Description = msgspec.field(default_factory=_Description)
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class _SwarmInfo(msgspec.Struct):
    state: str = msgspec.field(name="LocalNodeState", default="")


class _Info(msgspec.Struct, rename="pascal"):
    swarm: _SwarmInfo = msgspec.field(default_factory=_SwarmInfo)


def read_plugins(body: bytes) -> dict[str, bool]:
    """PluginList: the managed plugins that are network drivers, and whether each is enabled."""
    return {
        each.name: each.enabled
        for each in decode(body, list[_Plugin])
        if any(kind.startswith(NETWORK_PLUGIN) for kind in each.config.interface.types or ())
    }


def read_node_state(body: bytes) -> str:
    """SystemInfo: ``active`` on a node of a swarm."""
    info: _Info = decode(body, _Info)
    return info.swarm.state


def read_nodes(body: bytes) -> tuple[Node, ...]:
    """NodeList."""
    return tuple(
        Node(
            name=each.description.hostname,
            plugins=frozenset(
                plugin.name for plugin in each.description.engine.plugins or () if plugin.type == "Network"
            ),
            usable=each.status.state == "ready" and each.spec.availability == "active",
        )
        for each in decode(body, list[_Node])
    )


# --- Containers that have ended, and what Docker says of their last start. Pure. ----------------------------
# Source: the Engine API's reference, ContainerInspect. moby daemon/start.go, containerStart: the error of a
# start that failed stays until the next start. daemon/daemon.go, restore, and daemon/monitor.go,
# handleContainerExit: a start that a restart policy asks for is tried once. libnetwork/network.go,
# addEndpoint, and pkg/plugins: the texts; Docker 28 puts "failed to set up container networking: " before
# them.


ALWAYS = frozenset({"always", "unless-stopped"})
"""Restart policies that ask for a start whenever dockerd would have to start the container."""

ON_FAILURE, TASK, SHARED = "on-failure", "com.docker.swarm.task.id", "container:"

_WITHOUT_PLUGIN = frozenset({"bridge", "host", "none"})
"""Networks that Docker always has, by name; no plugin is asked about them."""

_OF_A_VERB = re.compile(r"(^|[ /])(NetworkDriver|IpamDriver)\.[A-Z]")
_OF_NO_PLUGIN = re.compile(
    r"(failed to set up container networking: )?"
    r"(failed to add endpoint: |failed to get driver during join: |legacy plugin: |plugin \S+ (not )?found)"
)
_ON_NETWORK = re.compile(r"failed to create endpoint \S+ on network (.+?): ")
_OF_SHARING = re.compile(r"(.*: )?cannot join network (namespace )?of a non running container")


@dataclass(frozen=True, slots=True)
class Stopped:
    """A container that has run and does not run.

    Attributes:
        container_id: 64 hex digits.
        name: without a slash.
        networks: name to NetworkID, of those that it is to be on.
        shares: the container whose network it is to share, or "".
        policy: its restart policy.
        wanted: whether that asks for it to be started.
        error: why its last start failed, in one line, or "": it did not.
    """

    container_id: str
    name: str
    networks: Mapping[str, str]
    shares: str
    policy: str
    wanted: bool
    error: str

    @property
    def failed_by_plugin(self) -> bool:
        """Whether its last start failed by what a network or IPAM plugin answered, or by there being none."""
        return bool(_OF_A_VERB.search(self.error) or _OF_NO_PLUGIN.match(self.error))

    @property
    def failed_by_sharing(self) -> bool:
        """Whether its last start failed because the container whose network it shares did not run."""
        return bool(self.shares and _OF_SHARING.match(self.error))

    @property
    def failed_on(self) -> str:
        """The name of the network on which its last start failed, or "" where Docker does not say it."""
        found = _ON_NETWORK.search(self.error)
        return found[1] if found else ""


class _Policy(msgspec.Struct):
    name: str = msgspec.field(name="Name", default="")
    most: int = msgspec.field(name="MaximumRetryCount", default=0)


class _HostConfig(msgspec.Struct):
    network_mode: str = msgspec.field(name="NetworkMode", default="")
    policy: _Policy = msgspec.field(name="RestartPolicy", default_factory=_Policy)


class _EndedConfig(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class _State(msgspec.Struct):
    status: str = msgspec.field(name="Status", default="")
    error: str = msgspec.field(name="Error", default="")


class _EndedAttachment(msgspec.Struct):
    network_id: str = msgspec.field(name="NetworkID", default="")


class _EndedSettings(msgspec.Struct):
    networks: dict[str, _EndedAttachment] | None = msgspec.field(name="Networks", default=None)


class _EndedInspected(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    state: _State = msgspec.field(name="State", default_factory=_State)
    restarts: int = msgspec.field(name="RestartCount", default=0)
    config: _EndedConfig = msgspec.field(name="Config", default_factory=_EndedConfig)
    host: _HostConfig = msgspec.field(name="HostConfig", default_factory=_HostConfig)
    settings: _EndedSettings = msgspec.field(name="NetworkSettings", default_factory=_EndedSettings)


class _EndedListed(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    host: _HostConfig = msgspec.field(name="HostConfig", default_factory=_HostConfig)
    settings: _EndedSettings = msgspec.field(name="NetworkSettings", default_factory=_EndedSettings)


FILTER = {"status": ["exited"]}
"""Of ContainerList: those that have been started once, and do not run."""


def read_ended(body: bytes) -> list[str]:
    """ContainerList with `FILTER`: the ids of those that a plugin's network may have to do with.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    return [
        each.container_id
        for each in decode(body, list[_EndedListed])
        if each.host.network_mode.startswith(SHARED) or set(each.settings.networks or ()) - _WITHOUT_PLUGIN
    ]


def read_stopped(body: bytes) -> Stopped | None:
    """ContainerInspect; None for one that has not ended, or runs again.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    read: _EndedInspected = decode(body, _EndedInspected)
    if read.state.status != "exited":
        return None
    mode = read.host.network_mode
    return Stopped(
        container_id=read.container_id,
        name=read.name.lstrip("/"),
        networks={name: each.network_id for name, each in (read.settings.networks or {}).items()},
        shares=mode.removeprefix(SHARED) if mode.startswith(SHARED) else "",
        policy=read.host.policy.name,
        wanted=_is_wanted(read),
        error=" ".join(read.state.error.split()),
    )


def _is_wanted(read: _EndedInspected) -> bool:
    """As moby restartmanager/restartmanager.go, ShouldRestart; a swarm sees to its tasks itself.

    A container that its user stopped has no error: it was taken away when it last began to run.
    """
    if TASK in (read.config.labels or {}):
        return False
    policy = read.host.policy
    if policy.name == ON_FAILURE:
        return not policy.most or read.restarts < policy.most
    return policy.name in ALWAYS


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
