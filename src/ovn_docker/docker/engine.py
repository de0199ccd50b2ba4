"""The Engine API of this host's Docker, for the health check: never called inside a request of Docker's.

Owns the connection and the API version; what an answer means is models.py's.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from urllib.parse import urlencode

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ovn_docker.docker import models
from ovn_docker.docker.models import Container, DockerState, Event, Network, Stopped, Swarm
from ovn_docker.errors import ConfigError, HostError, NotFoundError, OvnDockerError, UnreachableError

NEWEST = (1, 45)
"""The newest version of the Engine API that this was tried with."""

ANSWER_TIMEOUT = 20.0
"""Seconds for one answer; dockerd holds some back while it starts a container."""

START_TIMEOUT = 120.0
"""Seconds for a container to start. dockerd may break a start off when whoever asked for it goes away."""

HELD_BACK = 2.0
"""Seconds after which a container of which Docker says nothing is taken for one that it is just starting."""

BUILT_IN = frozenset({"bridge", "host", "null"})
"""Drivers whose networks are never of interest, unless a plugin gives their addresses."""

SWARM_HEADER, MANAGER = "Swarm", "active/manager"
"""Of SystemPing, since API version 1.42."""

GLOBAL_ANYWHERE = (1, 43)
"""The first version of the API whose Docker, 24, makes networks of global scope outside a swarm too."""

NODES_TIMEOUT = 5.0
"""Seconds for a manager to say the nodes; one that is cut off from the others never does."""

LONGEST_EVENT = 1 << 20
SUCCESS, NOT_MODIFIED, NOT_FOUND = range(200, 300), 304, 404


def socket_path(address: str) -> str:
    """The path of ``unix:///var/run/docker.sock``, and of the guide's ``unix://var/run/docker.sock``.

    Raises:
        ConfigError: it is no unix socket.
    """
    scheme, separator, path = address.partition("://")
    if not separator:
        scheme, path = "unix", address
    if scheme != "unix" or not path.strip("/"):
        raise ConfigError(
            f"--docker-socket '{address}' is not the address of a unix socket: write unix:///PATH"
        )
    return "/" + path.lstrip("/")


class Engine:
    """This host's Docker.

    Attributes:
        path: of its socket.
        named: told of each endpoint that is read with the name of its container: EndpointID, name.
    """

    def __init__(self, address: str, version: str | None, patience: float = ANSWER_TIMEOUT) -> None:
        """Connect to nothing yet.

        Args:
            address: ``unix:///PATH``.
            version: of the API, as ``1.45``; None for the newest that both sides know.
            patience: seconds for one answer.

        Raises:
            ConfigError: the address is no unix socket.
        """
        self.path = socket_path(address)
        self.named: Callable[[str, str], object] = lambda _endpoint_id, _name: None
        self._asked_version = version
        self._version = version
        self._patience = patience
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def network_ids(self) -> dict[str, str]:
        """NetworkID to driver, of all networks."""
        return models.read_network_list(await self._get("/networks"))

    async def read(self) -> DockerState:
        """All that may concern a plugin; a network that goes meanwhile is left out.

        Raises:
            UnreachableError: Docker does not answer.
            HostError: it answers with an error; nothing is returned by halves.
        """
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
                self._tell_names(network, containers)
        return DockerState(networks, containers, elsewhere, await self._swarm(), ended)

    def _tell_names(self, network: Network, containers: Mapping[str, Container]) -> None:
        for each in network.endpoints.values():
            if each.container_id in containers:
                self.named(each.endpoint_id, containers[each.container_id].name)

    async def _all_ended(self) -> tuple[Stopped, ...]:
        """Containers that have ended and may be on a plugin's network."""
        listed = await self._get(f"/containers/json?{urlencode({'filters': json.dumps(models.FILTER)})}")
        found = await asyncio.gather(*map(self.ended, models.read_ended(listed)))
        return tuple(each for each in found if each is not None)

    async def ended(self, container_id: str) -> Stopped | None:
        """One of them; None where it is gone, or nothing can be learnt: nothing is done about it then."""
        try:
            async with asyncio.timeout(HELD_BACK):
                return models.read_stopped(await self._get(f"/containers/{container_id}/json"))
        except (NotFoundError, HostError, TimeoutError):
            return None

    async def _swarm(self) -> Swarm | None:
        """The swarm that this host is an active node of; a swarm without a leader cannot say its nodes."""
        state_of_node = await self._ping(SWARM_HEADER)  # unlike /info, this asks no leader
        if not state_of_node.startswith("active"):
            return None
        known = Swarm(models.read_plugins(await self._get("/plugins")))
        if state_of_node == MANAGER:
            with contextlib.suppress(OvnDockerError, TimeoutError):
                async with asyncio.timeout(NODES_TIMEOUT):
                    return replace(known, nodes=models.read_nodes(await self._get("/nodes")))
        return known

    async def refuses_global(self) -> str:
        """Which API it has, where it makes networks of global scope in a swarm only and is in none; or "".

        Raises:
            UnreachableError: Docker does not answer.
            HostError: it answers with an error.
        """
        said = await self._ping("Api-Version")
        if self._numbers(said) >= GLOBAL_ANYWHERE:
            return ""
        return "" if models.read_node_state(await self._get("/info")) == "active" else said

    async def container(self, container_id: str) -> Container:
        """One container.

        Raises:
            NotFoundError: it is gone.
        """
        container = models.read_container(await self._get(f"/containers/{container_id}/json"))
        for _, endpoint_id in container.endpoints:
            self.named(endpoint_id, container.name)
        return container

    async def start(self, container_id: str) -> None:
        """Start a container; one that runs is fine.

        Raises:
            OvnDockerError: it does not start.
        """
        await self._ask("POST", f"/containers/{container_id}/start", START_TIMEOUT)

    async def events(self, types: Mapping[str, list[str]]) -> AsyncIterator[Event | None]:
        """Docker's events as they happen, and None first, when they are being listened to.

        Ends when Docker closes the connection.

        Args:
            types: filters, as SystemEvents takes them: ``{"type": ["container"]}``.

        Raises:
            UnreachableError: Docker does not answer.
        """
        await self._negotiate()
        url = self._url("/events")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._patience)
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
        return await self._ask("GET", path, self._patience)

    async def _ask(self, method: str, path: str, patience: float) -> bytes:
        await self._negotiate()
        timeout = aiohttp.ClientTimeout(total=patience)
        try:
            async with self._client().request(method, self._url(path), timeout=timeout) as reply:
                body = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._version = self._asked_version  # it may be another Docker when it is back
            raise self._unreachable(error) from error
        if reply.status == NOT_FOUND:
            raise NotFoundError(f"Docker has no {path}: {models.read_message(body)}")
        if reply.status not in SUCCESS and reply.status != NOT_MODIFIED:
            raise HostError(f"Docker refused {path}: {models.read_message(body)}")
        return body

    async def _negotiate(self) -> None:
        """Agree on a version: dockerd refuses what is too old, and what is newer than itself."""
        if self._version is not None:
            return
        said = self._numbers(await self._ping("Api-Version"))
        self._version = ".".join(map(str, min(NEWEST, said)))

    def _numbers(self, version: str) -> tuple[int, int]:
        try:
            major, minor = map(int, version.split("."))
        except ValueError:
            raise HostError(
                f"what answers at {self.path} is not Docker: its answer has no Api-Version header"
            ) from None
        return major, minor

    async def _ping(self, header: str) -> str:
        """What SystemPing says under a header, or ""."""
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
                timeout=aiohttp.ClientTimeout(total=self._patience),
                read_bufsize=LONGEST_EVENT,
            )
        return self._session

    def _unreachable(self, error: BaseException) -> UnreachableError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        why = " ".join(why.split())
        text = "it does not answer" if isinstance(error, asyncio.TimeoutError) else why
        return UnreachableError(
            f"Docker cannot be reached at {self.path}: {text or type(error).__name__}: see whether dockerd"
            " runs, or name its socket with --docker-socket"
        )
