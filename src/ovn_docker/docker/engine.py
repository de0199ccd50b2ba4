"""The client of this host's Engine API, for the health check: never called inside a request of Docker's.

Owns the connection and the API version; models.py reads the answers.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ovn_docker.docker import dns_names, models
from ovn_docker.docker.models import Container, DockerState, Event, Network, Stopped, Swarm
from ovn_docker.errors import ConfigError, HostError, NotFoundError, OvnDockerError, UnreachableError

NEWEST = (1, 45)
"""The newest version of the Engine API that was tested."""

ANSWER_TIMEOUT = 20.0
"""Seconds for one answer; dockerd delays some while it starts a container."""

START_TIMEOUT = 120.0
"""Seconds for a container to start. dockerd may abort a start when the client that asked for it goes away."""

INSPECT_TIMEOUT = 2.0
"""Seconds for Docker to answer about a container; it does not while it is starting it."""

BUILT_IN = frozenset({"bridge", "host", "null"})
"""Drivers whose networks are ignored, unless a plugin gives their addresses."""

SWARM_HEADER, MANAGER = "Swarm", "active/manager"
"""Of SystemPing, since API version 1.42."""

GLOBAL_ANYWHERE = (1, 43)
"""The API version of Docker 24, the first that creates networks of global scope outside a swarm too."""

NODES_TIMEOUT = 5.0
"""Seconds for a manager to list the nodes; one that is cut off from the others never answers."""

LONGEST_EVENT = 1 << 20
SUCCESS, NOT_MODIFIED, NOT_FOUND = range(200, 300), 304, 404


def socket_path(address: str) -> str:
    """The path of ``unix:///var/run/docker.sock``, and of the guide's ``unix://var/run/docker.sock``.

    Raises:
        ConfigError: it is not a unix socket.
    """
    scheme, separator, path = address.partition("://")
    if not separator:
        scheme, path = "unix", address
    if scheme != "unix" or not path.strip("/"):
        raise ConfigError(
            f"--docker-socket '{address}' is not the address of a unix socket: write unix:///PATH"
        )
    return "/" + path.lstrip("/")


GATEWAY_BRIDGE = "docker_gwbridge"


class Engine:
    """This host's Docker; all its methods raise UnreachableError or HostError.

    Attributes:
        named: called with EndpointID and container name for each endpoint that is read.
    """

    def __init__(self, address: str, version: str | None, timeout: float = ANSWER_TIMEOUT) -> None:
        """Connect to nothing yet.

        Args:
            address: ``unix:///PATH``.
            version: of the API, as ``1.45``; None for the newest that both sides know.
            timeout: seconds for one answer.

        Raises:
            ConfigError: the address is not that of a unix socket.
        """
        self.path = socket_path(address)
        self.named: Callable[[str, str], object] = lambda _endpoint_id, _name: None
        self._wanted_version = version
        self._version = version
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def network_ids(self) -> dict[str, str]:
        """NetworkID to driver, for all networks."""
        return models.read_network_list(await self._get("/networks"))

    async def read(self) -> DockerState:
        """All that may concern a plugin, except networks that are deleted meanwhile."""
        ended = await self._all_ended()
        containers = models.read_container_list(await self._get("/containers/json"))
        networks: dict[str, Network] = {}
        elsewhere: dict[str, Network] = {}
        for network_id in await self.network_ids():
            try:
                network = models.read_network(await self._get(f"/networks/{network_id}"))
            except NotFoundError:
                continue
            if not network.config_only and (network.driver not in BUILT_IN or network.has_foreign_ipam):
                (elsewhere if network.elsewhere else networks)[network_id] = network
                for endpoint in network.endpoints.values():
                    if endpoint.container_id in containers:
                        self.named(endpoint.endpoint_id, containers[endpoint.container_id].name)
        return DockerState(networks, containers, elsewhere, await self._swarm(), ended)

    async def _all_ended(self) -> tuple[Stopped, ...]:
        """Containers that have ended and may be on a plugin's network."""
        listed = await self._get(
            f"/containers/json?{urlencode({'filters': json.dumps(models.EXITED_FILTER)})}"
        )
        found = await asyncio.gather(*map(self.ended, models.read_ended(listed)))
        return tuple(container for container in found if container is not None)

    async def ended(self, container_id: str) -> Stopped | None:
        """A container that has ended; None where it is gone, runs, or Docker does not answer about it."""
        try:
            async with asyncio.timeout(INSPECT_TIMEOUT):
                return models.read_stopped(await self._get(f"/containers/{container_id}/json"))
        except (NotFoundError, HostError, TimeoutError):
            return None

    async def _swarm(self) -> Swarm | None:
        """The swarm that this host is an active node of; without a leader its nodes are not known."""
        state_of_node = await self._ping(SWARM_HEADER)  # unlike /info, this asks no leader
        if not state_of_node.startswith("active"):
            return None
        swarm = Swarm(models.read_plugins(await self._get("/plugins")))
        if state_of_node == MANAGER:
            with contextlib.suppress(OvnDockerError, TimeoutError):
                async with asyncio.timeout(NODES_TIMEOUT):
                    return replace(swarm, nodes=models.read_nodes(await self._get("/nodes")))
        return swarm

    async def refuses_global(self) -> str:
        """The API version of a Docker that is too old for global networks outside a swarm, or ""."""
        version = await self._ping("Api-Version")
        if self._numbers(version) >= GLOBAL_ANYWHERE:
            return ""
        return "" if models.read_node_state(await self._get("/info")) == "active" else version

    async def docker_version(self) -> str:
        """As in ``docker version``, ``26.1.5``, by the header that each answer has; "" without it."""
        words = (await self._ping("Server")).split()
        return next((word.removeprefix("Docker/") for word in words if word.startswith("Docker/")), "")

    async def running(self) -> list[str]:
        """The ids of the containers that run."""
        return list(models.read_container_list(await self._get("/containers/json")))

    async def container(self, container_id: str) -> Container:
        """Read one container; NotFoundError when it is gone."""
        body = await self._get(f"/containers/{container_id}/json")
        container = models.read_container(body)
        for _, endpoint_id in container.endpoints:
            self.named(endpoint_id, container.name)
        return replace(container, dns_names=dns_names.read_names(body))

    async def askers(self) -> Mapping[str, str]:
        """The beginning of the sandbox id of each container on docker_gwbridge, by its addresses there."""
        try:
            return dns_names.read_askers(await self._get(f"/networks/{GATEWAY_BRIDGE}"))
        except NotFoundError:
            return {}

    async def start(self, container_id: str) -> None:
        """Start a container, unless it runs already."""
        await self._request("POST", f"/containers/{container_id}/start", START_TIMEOUT)

    async def events(self, types: Mapping[str, list[str]]) -> AsyncIterator[Event | None]:
        """Docker's events as they happen, after a first None that says that Docker will send them.

        Ends when Docker closes the connection.

        Args:
            types: filters, as SystemEvents takes them: ``{"type": ["container"]}``.
        """
        await self._negotiate()
        url = self._url("/events")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout)
        try:
            async with self._client().get(
                url, params={"filters": json.dumps(types)}, timeout=timeout
            ) as reply:
                if reply.status not in SUCCESS:
                    raise HostError(f"Docker refused its events: {models.read_message(await reply.read())}")
                yield None
                async for line in reply.content:
                    yield models.read_event(line)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    async def _get(self, path: str) -> bytes:
        return await self._request("GET", path, self._timeout)

    async def _request(self, method: str, path: str, limit: float) -> bytes:
        await self._negotiate()
        timeout = aiohttp.ClientTimeout(total=limit)
        try:
            async with self._client().request(method, self._url(path), timeout=timeout) as reply:
                body = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._version = self._wanted_version  # it may be another Docker when it is back
            raise self._unreachable(error) from error
        if reply.status == NOT_FOUND:
            raise NotFoundError(f"Docker has no {path}: {models.read_message(body)}")
        if reply.status not in SUCCESS and reply.status != NOT_MODIFIED:
            raise HostError(f"Docker refused {path}: {models.read_message(body)}")
        return body

    async def _negotiate(self) -> None:
        """Agree on a version: dockerd refuses one that is too old or newer than its own."""
        if self._version is None:
            offered = self._numbers(await self._ping("Api-Version"))
            self._version = ".".join(map(str, min(NEWEST, offered)))

    def _numbers(self, version: str) -> tuple[int, int]:
        try:
            major, minor = map(int, version.split("."))
        except ValueError:
            raise HostError(
                f"what answers at {self.path} is not Docker: its answer has no Api-Version header"
            ) from None
        return major, minor

    async def _ping(self, header: str) -> str:
        """A header of SystemPing's answer, or ""."""
        try:
            async with self._client().get("http://docker/_ping") as reply:
                return reply.headers.get(header, "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def _url(self, path: str) -> str:
        return f"http://docker/v{self._version}{path}"

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(self.path),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                read_bufsize=LONGEST_EVENT,
            )
        return self._session

    def _unreachable(self, error: BaseException) -> UnreachableError:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, asyncio.TimeoutError):
            reason = "it does not answer"
        return UnreachableError(
            f"Docker cannot be reached at {self.path}: {' '.join(reason.split()) or type(error).__name__}:"
            " check that dockerd is running, or name its socket with --docker-socket"
        )
