"""What Docker has: networks, endpoints, containers, and the swarm that this host is a node of. Pure.

The only module that knows the JSON of the Engine API. It judges nothing.

Source: the Engine API's reference, NetworkInspect, ContainerInspect, SystemEvents, PluginList, NodeList,
SystemInfo; moby api/server/router/network/network_routes.go buildDetailedNetworkResources, which knows who is
on a network on this node, and daemon/cluster/convert/network.go, which leaves them null for a network that is
not on this node.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ovn_docker.errors import HostError

WITHOUT_SANDBOX = "ep-"
"""Precedes the endpoint's id in place of a container's id: the endpoint is in no sandbox."""

SWARM_SCOPE = "swarm"

NETWORK_PLUGIN = "docker.networkdriver/"

ALWAYS = frozenset({"always", "unless-stopped"})
"""Restart policies that ask for a start whenever dockerd would have to start the container."""

ON_FAILURE, TASK, SHARED = "on-failure", "com.docker.swarm.task.id", "container:"

EXITED_FILTER = {"status": ["exited"]}
"""Of ContainerList: containers that have been started once, and do not run."""

_WITHOUT_PLUGIN = frozenset({"bridge", "host", "none"})
"""Networks that Docker always has, by name; they need no plugin."""

# The error of a start that failed stays until the next start (moby daemon/start.go, containerStart). A start
# that a restart policy asks for is tried once (daemon/daemon.go, restore; daemon/monitor.go,
# handleContainerExit). The texts: libnetwork/network.go, addEndpoint, and pkg/plugins; Docker 28 puts "failed
# to set up container networking: " before them.
_OF_A_VERB = re.compile(r"(^|[ /])(NetworkDriver|IpamDriver)\.[A-Z]")
_OF_NO_PLUGIN = re.compile(
    r"(failed to set up container networking: )?"
    r"(failed to add endpoint: |failed to get driver during join: |legacy plugin: |plugin \S+ (not )?found)"
)
_ON_NETWORK = re.compile(r"failed to create endpoint \S+ on network (.+?): ")
_OF_SHARING = re.compile(r"(.*: )?cannot join network (namespace )?of a non running container")


# --- Values -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the swarm.

    Attributes:
        plugins: its network drivers.
        usable: whether tasks may start there now.
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


@dataclass(frozen=True, slots=True)
class Stopped:
    """A container that has run and does not run now.

    Attributes:
        container_id: 64 hex digits.
        name: without a slash.
        networks: name to NetworkID, of those that it is to be on.
        shares: the container whose network it is to share, or "".
        policy: its restart policy.
        wanted: whether that policy asks for a start.
        error: why its last start failed, in one line, or "" if it did not fail.
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
        """Whether a network or IPAM plugin, or the lack of one, made its last start fail."""
        return bool(_OF_A_VERB.search(self.error) or _OF_NO_PLUGIN.match(self.error))

    @property
    def failed_by_sharing(self) -> bool:
        """Whether its last start failed because the container whose network it shares did not run."""
        return bool(self.shares and _OF_SHARING.match(self.error))

    @property
    def failed_on(self) -> str:
        """The name of the network on which its last start failed, or "" where Docker does not say."""
        found = _ON_NETWORK.search(self.error)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Container:
    """A container.

    Attributes:
        container_id: 64 hex digits.
        name: without a slash.
        endpoints: pairs of NetworkID and EndpointID, of its joined endpoints.
        dns_names: by EndpointID, as `dns_names.read_names`.
    """

    container_id: str
    name: str
    labels: Mapping[str, str]
    endpoints: tuple[tuple[str, str], ...] = ()
    dns_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as Docker keeps it.

    Attributes:
        mac: ``02:42:c0:a8:01:02``, or "".
        interfaces: its addresses with prefix length, IPv4 before IPv6, in canonical form.
        container_id: "" while it is in no sandbox.
    """

    network_id: str
    endpoint_id: str
    mac: str
    interfaces: tuple[str, ...]
    container_id: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses without prefix length."""
        return tuple(interface.partition("/")[0] for interface in self.interfaces)


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool of a network as it was given to Docker or chosen by it; "" for what Docker does not say.

    Docker keeps a subnet as it was typed, ``FD50:0::/64``; here subnets and addresses are in canonical form.
    """

    subnet: str
    gateway: str
    aux_addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Network:
    """A network as Docker keeps it.

    Attributes:
        driver: as in ``docker network create -d``.
        ipam_driver: as in ``--ipam-driver``; ``default`` is Docker's own.
        options: ``-o``.
        endpoints: by EndpointID.
        config_only: ``--config-only``: a template for others, of which drivers hear nothing.
        elsewhere: a swarm's network that this Docker, as a manager, knows of and that is not on this node: no
            driver of this node was asked to create it.
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
        """Whether that driver's IPAM gives its addresses."""
        return names(self.ipam_driver, driver_name)

    @property
    def has_foreign_ipam(self) -> bool:
        """Whether a plugin, whichever, gives its addresses."""
        return self.ipam_driver not in {"", "default", "null"}


@dataclass(frozen=True, slots=True)
class DockerState:
    """All that Docker has, in one reading.

    Attributes:
        networks: by NetworkID, those that are on this host.
        containers: by id, those that run.
        elsewhere: by NetworkID, a swarm's networks that are not on this node.
        stopped: containers that have ended and may be on a plugin's network.
    """

    networks: Mapping[str, Network]
    containers: Mapping[str, Container]
    elsewhere: Mapping[str, Network] = field(default_factory=dict)
    swarm: Swarm | None = None
    stopped: tuple[Stopped, ...] = ()

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint with this id, on any network."""
        for network in self.networks.values():
            if endpoint_id in network.endpoints:
                return network.endpoints[endpoint_id]
        return None


def names(plugin: str, driver_name: str) -> bool:
    """Whether Docker's name of a plugin is this driver's, with or without a tag."""
    return plugin == driver_name or plugin.startswith(driver_name + ":")


# --- How an answer becomes a value, or an error of one line -------------------------------------------------


UNREADABLE = (UnicodeDecodeError, RecursionError)
"""What msgspec raises besides its own error: for bytes that are not UTF-8, for arrays nested without end."""


def decode(body: bytes, shape: type[Any]) -> Any:  # noqa: ANN401  (of that shape)
    """Decode an answer of Docker's.

    Raises:
        HostError: it is not valid JSON, or has another shape. So do all readers below.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, *UNREADABLE) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> HostError:
    return HostError(f"Docker's answer cannot be read: {error}")


def _interface(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        return ipaddress.ip_interface(text)
    except ValueError as error:
        raise _unreadable(error) from error


def _address(text: str) -> str:
    return text and str(_interface(text).ip)


def read_message(body: bytes) -> str:
    """The text of an error reply, or its beginning where it has another form."""
    try:
        message: Any = msgspec.json.decode(body)["message"]
    except (msgspec.DecodeError, KeyError, TypeError, *UNREADABLE):
        message = body[:200].decode(errors="replace")
    return " ".join(str(message).split())


# --- Plugins and nodes of a swarm ---------------------------------------------------------------------------


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
        plugin.name: plugin.enabled
        for plugin in decode(body, list[_Plugin])
        if any(kind.startswith(NETWORK_PLUGIN) for kind in plugin.config.interface.types or ())
    }


def read_node_state(body: bytes) -> str:
    """SystemInfo: ``active`` on a node of a swarm."""
    info: _Info = decode(body, _Info)
    return info.swarm.state


def read_nodes(body: bytes) -> tuple[Node, ...]:
    """NodeList."""
    return tuple(
        Node(
            name=node.description.hostname,
            plugins=frozenset(
                plugin.name for plugin in node.description.engine.plugins or () if plugin.type == "Network"
            ),
            usable=node.status.state == "ready" and node.spec.availability == "active",
        )
        for node in decode(body, list[_Node])
    )


# --- Networks -----------------------------------------------------------------------------------------------


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


class _Network(msgspec.Struct, rename="pascal"):
    name: str
    network_id: str = msgspec.field(name="Id")
    driver: str = ""
    ipam: _IPAM | None = msgspec.field(name="IPAM", default=None)
    internal: bool = False
    ipv6: bool = msgspec.field(name="EnableIPv6", default=False)
    options: dict[str, str] | None = None
    members: dict[str, _Member] | None = msgspec.field(name="Containers", default=None)
    config_only: bool = False
    scope: str = ""
    peers: list[Any] | None = None


def read_network_list(body: bytes) -> dict[str, str]:
    """NetworkList: NetworkID to driver."""
    return {network.network_id: network.driver for network in decode(body, list[_Network])}


def read_network(body: bytes) -> Network:
    """NetworkInspect.

    Docker shows each subnet that was named, and asks for an IPv6 pool only with ``--ipv6`` (moby
    daemon/libnetwork/network.go, ipamAllocate): without it such a subnet is not a pool of the network.
    """
    read = decode(body, _Network)
    ipam = read.ipam or _IPAM()
    return Network(
        network_id=read.network_id,
        name=read.name,
        driver=read.driver,
        ipam_driver=ipam.driver,
        ipam_options=ipam.options or {},
        pools=tuple(
            PoolConfig(
                pool.subnet and str(_interface(pool.subnet).network),
                _address(pool.gateway),
                {name: _address(text) for name, text in (pool.auxiliary_addresses or {}).items()},
            )
            for pool in ipam.config or []
            if read.ipv6 or ":" not in pool.subnet
        ),
        internal=read.internal,
        ipv6=read.ipv6,
        options=read.options or {},
        endpoints={
            member.endpoint_id: Endpoint(
                network_id=read.network_id,
                endpoint_id=member.endpoint_id,
                mac=member.mac,
                interfaces=tuple(str(_interface(text)) for text in (member.ipv4, member.ipv6) if text),
                container_id="" if key.startswith(WITHOUT_SANDBOX) else key,
            )
            for key, member in (read.members or {}).items()
            if member.endpoint_id
        },
        config_only=read.config_only,
        elsewhere=read.scope == SWARM_SCOPE and read.members is None and not read.peers,
    )


# --- Containers ---------------------------------------------------------------------------------------------


class _RestartPolicy(msgspec.Struct, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class _HostConfig(msgspec.Struct, rename="pascal"):
    network_mode: str = ""
    restart_policy: _RestartPolicy = msgspec.field(default_factory=_RestartPolicy)


class _State(msgspec.Struct, rename="pascal"):
    status: str = ""
    error: str = ""


class _Attachment(msgspec.Struct):
    network_id: str = msgspec.field(name="NetworkID", default="")
    endpoint_id: str = msgspec.field(name="EndpointID", default="")


class _NetworkSettings(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Attachment] | None = None


class _ContainerConfig(msgspec.Struct, rename="pascal"):
    labels: dict[str, str] | None = None


class _Inspected(msgspec.Struct, rename="pascal"):
    name: str
    container_id: str = msgspec.field(name="Id")
    state: _State = msgspec.field(default_factory=_State)
    restart_count: int = 0
    config: _ContainerConfig = msgspec.field(default_factory=_ContainerConfig)
    host_config: _HostConfig = msgspec.field(default_factory=_HostConfig)
    network_settings: _NetworkSettings = msgspec.field(default_factory=_NetworkSettings)


class _Listed(msgspec.Struct, rename="pascal"):
    container_id: str = msgspec.field(name="Id")
    names: list[str] | None = None
    labels: dict[str, str] | None = None
    host_config: _HostConfig = msgspec.field(default_factory=_HostConfig)
    network_settings: _NetworkSettings = msgspec.field(default_factory=_NetworkSettings)


def read_container(body: bytes) -> Container:
    """ContainerInspect."""
    read = decode(body, _Inspected)
    joined = tuple(
        (attachment.network_id, attachment.endpoint_id)
        for attachment in (read.network_settings.networks or {}).values()
        if attachment.network_id and attachment.endpoint_id
    )
    return Container(read.container_id, read.name.lstrip("/"), read.config.labels or {}, joined)


def read_container_list(body: bytes) -> dict[str, Container]:
    """ContainerList, by id, without endpoints."""
    return {
        listed.container_id: Container(
            listed.container_id, _own_name(listed.names or ()), listed.labels or {}
        )
        for listed in decode(body, list[_Listed])
    }


def _own_name(names: Iterable[str]) -> str:
    """The name of a container among those that others have for it by ``--link``: ``/other/alias``."""
    stripped = [name.removeprefix("/") for name in names]
    return next((name for name in stripped if "/" not in name), "")


def read_ended(body: bytes) -> list[str]:
    """ContainerList with `EXITED_FILTER`: the ids of containers that may be on a plugin's network."""
    return [
        listed.container_id
        for listed in decode(body, list[_Listed])
        if listed.host_config.network_mode.startswith(SHARED)
        or set(listed.network_settings.networks or ()) - _WITHOUT_PLUGIN
    ]


def read_stopped(body: bytes) -> Stopped | None:
    """ContainerInspect; None for a container that has not ended, or runs again."""
    read: _Inspected = decode(body, _Inspected)
    if read.state.status != "exited":
        return None
    mode, networks = read.host_config.network_mode, read.network_settings.networks or {}
    return Stopped(
        container_id=read.container_id,
        name=read.name.lstrip("/"),
        networks={name: attachment.network_id for name, attachment in networks.items()},
        shares=mode.removeprefix(SHARED) if mode.startswith(SHARED) else "",
        policy=read.host_config.restart_policy.name,
        wanted=_is_wanted(read),
        error=" ".join(read.state.error.split()),
    )


def _is_wanted(read: _Inspected) -> bool:
    """As moby restartmanager/restartmanager.go, ShouldRestart; a swarm starts its tasks itself.

    A container that its user stopped has no error: it was cleared when the container last began to run.
    """
    if TASK in (read.config.labels or {}):
        return False
    policy = read.host_config.restart_policy
    if policy.name == ON_FAILURE:
        return not policy.maximum_retry_count or read.restart_count < policy.maximum_retry_count
    return policy.name in ALWAYS


# --- Events -------------------------------------------------------------------------------------------------


class _Actor(msgspec.Struct, rename="pascal"):
    object_id: str = msgspec.field(name="ID", default="")
    attributes: dict[str, str] | None = None


class Event(msgspec.Struct, frozen=True, rename="pascal"):
    """One of Docker's events: ``container`` ``start``, ``network`` ``connect`` and more."""

    type: str = ""
    action: str = ""
    actor: _Actor = msgspec.field(default_factory=_Actor)

    @property
    def container_id(self) -> str:
        """The container that it is about, or ""."""
        if self.type == "container":
            return self.actor.object_id
        return (self.actor.attributes or {}).get("container", "")


def read_event(line: bytes) -> Event:
    """One line of SystemEvents."""
    event: Event = decode(line, Event)
    return event
