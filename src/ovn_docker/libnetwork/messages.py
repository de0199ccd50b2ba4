"""Requests and responses of Docker's remote driver API, with Docker's spelling of their JSON keys.

Source: moby daemon/libnetwork/docs/remote.md and daemon/libnetwork/drivers/remote/api/api.go. Go encodes an
absent slice or map as ``null``, so every list and mapping may be None on the wire. Unknown members are
ignored: a newer Docker sends more.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec

from ovn_docker import logs
from ovn_docker.errors import RequestError

ENABLE_IPV6 = "com.docker.network.enable_ipv6"
INTERNAL = "com.docker.network.internal"
GENERIC = "com.docker.network.generic"
MTU = "com.docker.network.driver.mtu"
DOCKER_OPTIONS = "com.docker.network."
PORT_MAP = "com.docker.network.portmap"
ADDRESS_TYPE = "RequestAddressType"
GATEWAY_TYPE = "com.docker.network.gateway"
SERIAL = "com.docker.network.ipam.serial"
"""An option of each RequestAddress of a swarm's allocator, and of no other (moby libnetwork/cnmallocator
networkallocator.go setIPAMSerialAlloc)."""
ENDPOINT_NAME = "com.docker.network.endpoint.name"
"""An option of each RequestAddress for a container, from Docker 29 on: the container's name (moby
daemon/libnetwork/network.go createEndpoint)."""
DNS_SERVERS = "com.docker.network.endpoint.dnsservers"
"""An option of CreateEndpoint: the name servers of ``--dns``, or else of daemon.json, as a list (moby
libnetwork/endpoint.go CreateOptionDNS)."""

Options = dict[str, Any]

# 64 hex digits from Docker, 25 of base36 from swarm. The ids become names of rows and files, hence the closed
# alphabet; ``\Z`` because ``$`` would accept a line feed.
Identifier = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all requests and responses."""


class IPAMData(Message, rename="pascal", frozen=True):
    """One pool of a network.

    Attributes:
        pool: the pool in CIDR form, ``192.168.1.0/24``.
        gateway: the gateway with the pool's prefix length, ``192.168.1.1/24``, or "".
        aux_addresses: name to address with prefix length, which IPAM keeps from containers.
    """

    address_space: str = ""
    pool: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] | None = None


class EndpointInterface(Message, frozen=True):
    """A container's interface.

    Attributes:
        address: IPv4 with prefix length, ``192.168.1.2/24``, or "".
        address_ipv6: IPv6 with prefix length, or "".
        mac_address: ``02:42:c0:a8:01:02``, or "" for the driver to choose.
    """

    address: str = msgspec.field(default="", name="Address")
    address_ipv6: str = msgspec.field(default="", name="AddressIPv6")
    mac_address: str = msgspec.field(default="", name="MacAddress")


class NetworkRequest(Message, frozen=True):
    """DeleteNetwork and FreeNetwork."""

    network_id: Identifier = msgspec.field(name="NetworkID")


class AllocateNetworkRequest(NetworkRequest, frozen=True):
    """A swarm manager sends it once per network; the options of the answer go to every node."""

    options: dict[str, str] | None = msgspec.field(default=None, name="Options")
    ipv4_data: list[IPAMData] | None = msgspec.field(default=None, name="IPv4Data")
    ipv6_data: list[IPAMData] | None = msgspec.field(default=None, name="IPv6Data")


class AllocateNetworkResponse(Message, frozen=True):
    """The options become generic options of the workers' CreateNetwork."""

    options: dict[str, str] = msgspec.field(name="Options")


class GwAllocCheckRequest(Message, frozen=True):
    """Docker 28 and newer ask, before CreateNetwork, whether a gateway address is needed at all."""

    options: Options | None = msgspec.field(default=None, name="Options")


class GwAllocCheckResponse(Message, frozen=True):
    """True where IPAM need not reserve a gateway address."""

    skip_ipv4: bool = msgspec.field(name="SkipIPv4")
    skip_ipv6: bool = msgspec.field(name="SkipIPv6")


class CreateNetworkRequest(NetworkRequest, frozen=True):
    """``docker network create``; ``-o`` options stand under `GENERIC`."""

    options: Options | None = msgspec.field(default=None, name="Options")
    ipv4_data: list[IPAMData] | None = msgspec.field(default=None, name="IPv4Data")
    ipv6_data: list[IPAMData] | None = msgspec.field(default=None, name="IPv6Data")


class EndpointRequest(NetworkRequest, frozen=True):
    """DeleteEndpoint, Leave, EndpointOperInfo, RevokeExternalConnectivity."""

    endpoint_id: Identifier = msgspec.field(name="EndpointID")


class CreateEndpointRequest(EndpointRequest, frozen=True):
    """One interface of one container is about to be made."""

    interface: EndpointInterface | None = msgspec.field(default=None, name="Interface")
    options: Options | None = msgspec.field(default=None, name="Options")


class CreateEndpointResponse(Message, omit_defaults=True, frozen=True):
    """Holds only what came empty: remote.md forbids a value for what Docker gave already."""

    interface: EndpointInterface | None = msgspec.field(default=None, name="Interface")


class EndpointInfoResponse(Message, frozen=True):
    """EndpointOperInfo: a mapping that ``docker network inspect -v`` shows."""

    value: dict[str, str] = msgspec.field(name="Value")


class JoinRequest(EndpointRequest, frozen=True):
    """The endpoint is about to be moved into the sandbox.

    Attributes:
        sandbox_key: path of the network namespace; its last part is the sandbox's random id.
    """

    sandbox_key: str = msgspec.field(default="", name="SandboxKey")
    options: Options | None = msgspec.field(default=None, name="Options")


class InterfaceName(Message, rename="pascal", frozen=True):
    """The link that Docker moves into the sandbox, and the prefix of its new name there."""

    src_name: str
    dst_prefix: str


class StaticRoute(Message, rename="pascal", frozen=True):
    """A route in the sandbox: type 0 goes through next_hop, type 1 is connected."""

    destination: str
    route_type: int
    next_hop: str = ""


class JoinResponse(Message, frozen=True):
    """How the sandbox is wired.

    Attributes:
        gateway: an IPv4 address without prefix length, or "" for none.
        gateway_ipv6: the same for IPv6.
        disable_gateway_service: True keeps Docker from adding its own gateway bridge.
    """

    interface_name: InterfaceName = msgspec.field(name="InterfaceName")
    gateway: str = msgspec.field(default="", name="Gateway")
    gateway_ipv6: str = msgspec.field(default="", name="GatewayIPv6")
    static_routes: list[StaticRoute] = msgspec.field(default_factory=list, name="StaticRoutes")
    disable_gateway_service: bool = msgspec.field(default=False, name="DisableGatewayService")


class ProgramExternalConnectivityRequest(EndpointRequest, frozen=True):
    """The endpoint becomes its container's gateway; the options name exposed and published ports."""

    options: Options | None = msgspec.field(default=None, name="Options")


def publishes(options: Options | None) -> bool:
    """Whether a container, by the options of its Join, publishes ports."""
    return bool((options or {}).get(PORT_MAP))


class DiscoverRequest(Message, frozen=True):
    """A swarm node joined (DiscoverNew) or left (DiscoverDelete); discovery type 1 is a node."""

    discovery_type: int = msgspec.field(default=0, name="DiscoveryType")
    discovery_data: Any = msgspec.field(default=None, name="DiscoveryData")


class CapabilitiesResponse(Message, frozen=True):
    """Where the driver allocates and how far it connects, each ``local`` or ``global``."""

    scope: str = msgspec.field(name="Scope")
    connectivity_scope: str = msgspec.field(name="ConnectivityScope")
    gw_alloc_checker: bool = msgspec.field(name="GwAllocChecker")


class IPAMCapabilitiesResponse(Message, frozen=True):
    """What the IPAM driver needs of Docker beyond the pool."""

    requires_mac_address: bool = msgspec.field(default=False, name="RequiresMACAddress")
    requires_request_replay: bool = msgspec.field(default=False, name="RequiresRequestReplay")


class AddressSpacesResponse(Message, frozen=True):
    """Names of the address spaces for networks of local and of global scope."""

    local: str = msgspec.field(name="LocalDefaultAddressSpace")
    global_: str = msgspec.field(name="GlobalDefaultAddressSpace")


class RequestPoolRequest(Message, frozen=True):
    """``docker network create``: one request for each pool.

    Attributes:
        address_space: as answered by GetDefaultAddressSpaces.
        pool: ``--subnet``, or "" for a pool of the driver's choice.
        sub_pool: ``--ip-range``, or "".
        options: ``--ipam-opt``.
        v6: whether a pool of the driver's choice is to be IPv6.
    """

    address_space: str = msgspec.field(default="", name="AddressSpace")
    pool: str = msgspec.field(default="", name="Pool")
    sub_pool: str = msgspec.field(default="", name="SubPool")
    options: dict[str, str] | None = msgspec.field(default=None, name="Options")
    v6: bool = msgspec.field(default=False, name="V6")


class RequestPoolResponse(Message, frozen=True):
    """The pool, and the id that Docker uses for it from now on."""

    pool_id: str = msgspec.field(name="PoolID")
    pool: str = msgspec.field(name="Pool")
    data: dict[str, str] = msgspec.field(default_factory=dict, name="Data")


class PoolRequest(Message, frozen=True):
    """ReleasePool."""

    pool_id: str = msgspec.field(name="PoolID")


class AddressRequest(PoolRequest, frozen=True):
    """RequestAddress and ReleaseAddress.

    Attributes:
        address: without prefix length; "" for an address of the driver's choice.
        options: what the address is for; see `ADDRESS_TYPE`.
    """

    address: str = msgspec.field(default="", name="Address")
    options: dict[str, str] | None = msgspec.field(default=None, name="Options")


class RequestAddressResponse(Message, frozen=True):
    """The address with its pool's prefix length."""

    address: str = msgspec.field(name="Address")
    data: dict[str, str] = msgspec.field(default_factory=dict, name="Data")


# --- Bytes to requests; responses and errors to bytes. ------------------------------------------------------


RequestType = TypeVar("RequestType", bound=Message)


@cache
def _decoder(request_type: type[RequestType]) -> msgspec.json.Decoder[RequestType]:
    return msgspec.json.Decoder(request_type)


def decode(request_type: type[RequestType], body: bytes) -> RequestType:
    """The request that a JSON body holds; RequestError names the wrong member by its JSON path.

    An empty body is refused: when a connection breaks, dockerd sends the request again, but without its body,
    which it has used up (moby issue 35459).
    """
    if not body.strip():
        raise RequestError(
            "the body is empty: after a broken connection dockerd repeats a request without it; try again"
        )
    try:
        request: RequestType = _decoder(request_type).decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(f"the body cannot be used: {error}") from error
    except RecursionError as error:
        raise RequestError("the body cannot be used: the JSON is nested too deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    return request


def encode(response: Message | Mapping[str, Any] | None) -> bytes:
    """A response as a JSON object; ``{}`` for None, since dockerd cannot decode an empty body."""
    return b"{}" if response is None else msgspec.json.encode(response)


def encode_error(text: str) -> bytes:
    """An error in the form of both services.

    A network driver's error is in ``Err``, an IPAM driver's in ``Error`` (moby
    daemon/libnetwork/drivers/remote/api/api.go and ipams/remote/api/api.go). The text becomes one line, and
    what a terminal would act on, or what is not valid Unicode, is escaped: it may come from a header or a
    database.
    """
    line = logs.escape(" ".join(text.split()))
    return msgspec.json.encode({"Err": line, "Error": line})
