"""What Docker says of the swarm that it is a node of, and of its own managed plugins. Pure.

Source: the Engine API's reference, PluginList, NodeList, SystemInfo.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ovn_docker.docker.reading import decode

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
