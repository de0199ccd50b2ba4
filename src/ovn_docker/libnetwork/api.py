"""What a driver must offer, one method per verb of Docker's remote API, and the table of its paths.

The HTTP front (server.py) knows this and no driver; a driver knows this and no HTTP. Source: moby
daemon/libnetwork/docs/remote.md and ipam.md.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ovn_docker.libnetwork import messages

LOG = logging.getLogger(__name__)


class NetworkDriver(Protocol):
    """Docker's NetworkDriver, as moby daemon/libnetwork/drivers/remote/driver.go calls it.

    A method returns a value, or None where the API wants an empty object, or raises an OvnDockerError, whose
    text Docker's user reads. Every method may be repeated with the same arguments, and every delete succeeds
    if the object is gone already: remote.md asks for neither, but Docker's restarts need both.
    """

    @property
    def scope(self) -> str:
        """``local`` or ``global``: where Docker allocates networks."""

    def outage(self) -> str:
        """What cannot be reached just now, as one line, or "": the reason given for a verb that timed out."""

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """Called on a swarm manager; every worker gets the options that it returns."""

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """Called on a swarm manager."""

    async def create_network(self, request: messages.CreateNetworkRequest) -> None: ...

    async def delete_network(self, request: messages.NetworkRequest) -> None: ...

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        """Make a port for one interface of a container."""

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Remove the port, and whatever a failed Join left of it."""

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse: ...

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        """Make the link that Docker moves into the container."""

    async def leave(self, request: messages.EndpointRequest) -> None:
        """Remove the link."""

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """The endpoint is from now on its container's gateway to other networks."""

    async def database(self) -> dict[str, Any]:
        """The plugin's configuration and state, for people (NetworkDriver.Database)."""


def warn_of_published_ports(request: messages.ProgramExternalConnectivityRequest, way_out: str) -> None:
    """Log that the ports that a container publishes stay closed, for its way out is not this host's.

    Docker asks for them only where Join named a gateway.
    """
    if messages.publishes(request.options):
        LOG.warning(
            "endpoint %s: published ports are not opened, its way out is %s", request.endpoint_id, way_out
        )


class IpamDriver(Protocol):
    """Docker's IpamDriver, as moby daemon/libnetwork/ipams/remote/remote.go calls it."""

    def default_address_spaces(self) -> messages.AddressSpacesResponse: ...

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Add a network to a pool, which is created if it does not exist."""

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Remove the network from the pool, and the pool with its last network."""

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease an address, or reserve a gateway or an auxiliary address."""

    async def release_address(self, request: messages.AddressRequest) -> None: ...


PLUGIN_TYPE = "application/vnd.docker.plugins.v1.2+json"
DATABASE_TYPE = "application/json"

Reply = messages.Message | dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verb:
    """One path of the API.

    Attributes:
        name: the path without its slash, ``NetworkDriver.Join``.
        request_type: of the body; None where the body is ignored, because dockerd sends none.
        call: the driver's method, given the request.
        content_type: of the reply.
        level: of the line in the log.
    """

    name: str
    request_type: type[messages.Message] | None
    call: Callable[[Any], Awaitable[Reply]]
    content_type: str = PLUGIN_TYPE
    level: int = logging.INFO


def verbs(driver: NetworkDriver, ipam: IpamDriver | None) -> list[Verb]:
    """Every verb that dockerd may call; without `ipam` those of a network driver only.

    The first two must be answered whatever is down, or dockerd ignores the driver until its own next start.
    """

    async def activate(_: None) -> dict[str, Any]:
        return {"Implements": ["NetworkDriver", *(["IpamDriver"] if ipam is not None else [])]}

    async def capabilities(_: None) -> messages.CapabilitiesResponse:
        return messages.CapabilitiesResponse(
            scope=driver.scope, connectivity_scope="global", gw_alloc_checker=True
        )

    return [
        Verb("Plugin.Activate", None, activate),
        Verb("NetworkDriver.GetCapabilities", None, capabilities),
        *_driver_verbs(driver),
        *(_ipam_verbs(ipam) if ipam is not None else []),
    ]


async def _reserve_gateway(_: messages.GwAllocCheckRequest) -> messages.GwAllocCheckResponse:
    """Always: a router may be attached to a network at any time and takes the gateway's address."""
    return messages.GwAllocCheckResponse(skip_ipv4=False, skip_ipv6=False)


async def _nothing_to_do(_: messages.Message) -> None:
    """OVN and Neutron know their hosts without Docker, and nothing was programmed for a way out."""


def _driver_verbs(driver: NetworkDriver) -> list[Verb]:
    table: list[tuple[str, type[messages.Message], Callable[[Any], Awaitable[Reply]]]] = [
        ("AllocateNetwork", messages.AllocateNetworkRequest, driver.allocate_network),
        ("FreeNetwork", messages.NetworkRequest, driver.free_network),
        ("GwAllocCheck", messages.GwAllocCheckRequest, _reserve_gateway),
        ("CreateNetwork", messages.CreateNetworkRequest, driver.create_network),
        ("DeleteNetwork", messages.NetworkRequest, driver.delete_network),
        ("CreateEndpoint", messages.CreateEndpointRequest, driver.create_endpoint),
        ("DeleteEndpoint", messages.EndpointRequest, driver.delete_endpoint),
        ("EndpointOperInfo", messages.EndpointRequest, driver.endpoint_info),
        ("Join", messages.JoinRequest, driver.join),
        ("Leave", messages.EndpointRequest, driver.leave),
        ("DiscoverNew", messages.DiscoverRequest, _nothing_to_do),
        ("DiscoverDelete", messages.DiscoverRequest, _nothing_to_do),
        (
            "ProgramExternalConnectivity",
            messages.ProgramExternalConnectivityRequest,
            driver.program_external_connectivity,
        ),
        ("RevokeExternalConnectivity", messages.EndpointRequest, _nothing_to_do),
    ]
    return [Verb(f"NetworkDriver.{name}", request_type, call) for name, request_type, call in table]


def _ipam_verbs(ipam: IpamDriver) -> list[Verb]:
    async def capabilities(_: None) -> messages.IPAMCapabilitiesResponse:
        return messages.IPAMCapabilitiesResponse()

    async def default_address_spaces(_: None) -> messages.AddressSpacesResponse:
        return ipam.default_address_spaces()

    return [
        Verb("IpamDriver.GetCapabilities", None, capabilities),
        Verb("IpamDriver.GetDefaultAddressSpaces", None, default_address_spaces),
        Verb("IpamDriver.RequestPool", messages.RequestPoolRequest, ipam.request_pool),
        Verb("IpamDriver.ReleasePool", messages.PoolRequest, ipam.release_pool),
        Verb("IpamDriver.RequestAddress", messages.AddressRequest, ipam.request_address),
        Verb("IpamDriver.ReleaseAddress", messages.AddressRequest, ipam.release_address),
    ]


def database_verb(driver: NetworkDriver) -> Verb:
    """NetworkDriver.Database, which is for people, by GET too."""

    async def database(_: None) -> dict[str, Any]:
        return await driver.database()

    return Verb("NetworkDriver.Database", None, database, DATABASE_TYPE, logging.DEBUG)
