"""The path table of Docker's plugin API: which verb takes which message and calls which method.

Knows no driver (api.py is what it calls), no HTTP and no OVN.

Source: moby daemon/libnetwork/docs/remote.md and ipam.md.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.api import IpamDriver, NetworkDriver

PLUGIN_TYPE = "application/vnd.docker.plugins.v1.2+json"
DATABASE_TYPE = "application/json"

Reply = messages.Message | dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verb:
    """One path of the API.

    Attributes:
        name: the path without its slash, ``NetworkDriver.Join``.
        request_type: what the body holds; None where the body is ignored, for dockerd sends none.
        call: the driver's method, which is handed the request.
        content_type: of the reply.
        level: of the line in the log.
    """

    name: str
    request_type: type[messages.Message] | None
    call: Callable[[Any], Awaitable[Reply]]
    content_type: str = PLUGIN_TYPE
    level: int = logging.INFO


def table(driver: NetworkDriver, ipam: IpamDriver | None) -> list[Verb]:
    """Every verb that dockerd may ask for; without `ipam` those of a network driver only."""
    ipam_verbs = _ipam_verbs(ipam) if ipam is not None else []
    implements = ["NetworkDriver", *(["IpamDriver"] if ipam is not None else [])]
    return _plugin_verbs(driver, implements) + _driver_verbs(driver) + ipam_verbs


def _plugin_verbs(driver: NetworkDriver, implements: Sequence[str]) -> list[Verb]:
    """What must be answered whatever is down, or dockerd does without the driver until its next start."""

    async def activate(_: None) -> dict[str, Any]:
        return {"Implements": list(implements)}

    async def capabilities(_: None) -> messages.CapabilitiesResponse:
        return driver.capabilities()

    return [
        Verb("Plugin.Activate", None, activate),
        Verb("NetworkDriver.GetCapabilities", None, capabilities),
    ]


def _driver_verbs(driver: NetworkDriver) -> list[Verb]:
    table: list[tuple[str, type[messages.Message], Callable[[Any], Awaitable[Reply]]]] = [
        ("AllocateNetwork", messages.AllocateNetworkRequest, driver.allocate_network),
        ("FreeNetwork", messages.NetworkRequest, driver.free_network),
        ("GwAllocCheck", messages.GwAllocCheckRequest, driver.gw_alloc_check),
        ("CreateNetwork", messages.CreateNetworkRequest, driver.create_network),
        ("DeleteNetwork", messages.NetworkRequest, driver.delete_network),
        ("CreateEndpoint", messages.CreateEndpointRequest, driver.create_endpoint),
        ("DeleteEndpoint", messages.EndpointRequest, driver.delete_endpoint),
        ("EndpointOperInfo", messages.EndpointRequest, driver.endpoint_info),
        ("Join", messages.JoinRequest, driver.join),
        ("Leave", messages.EndpointRequest, driver.leave),
        ("DiscoverNew", messages.DiscoverRequest, driver.discover_new),
        ("DiscoverDelete", messages.DiscoverRequest, driver.discover_delete),
        (
            "ProgramExternalConnectivity",
            messages.ProgramExternalConnectivityRequest,
            driver.program_external_connectivity,
        ),
        ("RevokeExternalConnectivity", messages.EndpointRequest, driver.revoke_external_connectivity),
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
    """NetworkDriver.Database, which people ask for, by GET too."""

    async def database(_: None) -> dict[str, Any]:
        return await driver.database()

    return Verb("NetworkDriver.Database", None, database, DATABASE_TYPE, logging.DEBUG)
