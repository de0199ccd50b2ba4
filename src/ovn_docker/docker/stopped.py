"""Containers that have ended, and what Docker says of their last start. Pure.

Source: the Engine API's reference, ContainerInspect. moby daemon/start.go, containerStart: the error of a
start that failed stays until the next start. daemon/daemon.go, restore, and daemon/monitor.go,
handleContainerExit: a start that a restart policy asks for is tried once. libnetwork/network.go, addEndpoint,
and pkg/plugins: the texts; Docker 28 puts "failed to set up container networking: " before them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from ovn_docker.docker.reading import decode

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


class _Config(msgspec.Struct):
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)


class _State(msgspec.Struct):
    status: str = msgspec.field(name="Status", default="")
    error: str = msgspec.field(name="Error", default="")


class _Attachment(msgspec.Struct):
    network_id: str = msgspec.field(name="NetworkID", default="")


class _Settings(msgspec.Struct):
    networks: dict[str, _Attachment] | None = msgspec.field(name="Networks", default=None)


class _Inspected(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    name: str = msgspec.field(name="Name")
    state: _State = msgspec.field(name="State", default_factory=_State)
    restarts: int = msgspec.field(name="RestartCount", default=0)
    config: _Config = msgspec.field(name="Config", default_factory=_Config)
    host: _HostConfig = msgspec.field(name="HostConfig", default_factory=_HostConfig)
    settings: _Settings = msgspec.field(name="NetworkSettings", default_factory=_Settings)


class _Listed(msgspec.Struct):
    container_id: str = msgspec.field(name="Id")
    host: _HostConfig = msgspec.field(name="HostConfig", default_factory=_HostConfig)
    settings: _Settings = msgspec.field(name="NetworkSettings", default_factory=_Settings)


FILTER = {"status": ["exited"]}
"""Of ContainerList: those that have been started once, and do not run."""


def read_ended(body: bytes) -> list[str]:
    """ContainerList with `FILTER`: the ids of those that a plugin's network may have to do with.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    return [
        each.container_id
        for each in decode(body, list[_Listed])
        if each.host.network_mode.startswith(SHARED) or set(each.settings.networks or ()) - _WITHOUT_PLUGIN
    ]


def read_stopped(body: bytes) -> Stopped | None:
    """ContainerInspect; None for one that has not ended, or runs again.

    Raises:
        HostError: the body is not what the Engine API says.
    """
    read: _Inspected = decode(body, _Inspected)
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


def _is_wanted(read: _Inspected) -> bool:
    """As moby restartmanager/restartmanager.go, ShouldRestart; a swarm sees to its tasks itself.

    A container that its user stopped has no error: it was taken away when it last began to run.
    """
    if TASK in (read.config.labels or {}):
        return False
    policy = read.host.policy
    if policy.name == ON_FAILURE:
        return not policy.most or read.restarts < policy.most
    return policy.name in ALWAYS
