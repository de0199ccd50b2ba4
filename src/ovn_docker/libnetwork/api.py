"""What a network driver must offer, one method per verb of Docker's remote API.

The HTTP front (server.py) knows this and no driver; a driver knows this and no HTTP. A method answers with
a value, or with None where the API wants an empty object, or raises an `ovn_docker.errors.OvnDockerError`,
whose text Docker's user will read. Every method may be called again with the same arguments and answers the
same; every delete succeeds on what is gone (remote.md asks for neither, Docker's restarts for both).
"""

from typing import Any, Protocol

from ovn_docker.libnetwork import messages


class NetworkDriver(Protocol):
    """Docker's NetworkDriver, as moby daemon/libnetwork/drivers/remote/driver.go calls it."""

    def capabilities(self) -> messages.CapabilitiesResponse:
        """Answer at once, whatever is down: a failure here leaves the driver unknown to dockerd for good."""

    def outage(self) -> str:
        """What cannot be reached just now, as one line, or "".

        Asked by the front when a verb has used up its time, to say why.
        """

    async def allocate_network(
        self, request: messages.AllocateNetworkRequest
    ) -> messages.AllocateNetworkResponse:
        """A swarm manager allocates; its answer is echoed to every worker."""

    async def free_network(self, request: messages.NetworkRequest) -> None:
        """A swarm manager gives the network back."""

    async def gw_alloc_check(self, request: messages.GwAllocCheckRequest) -> messages.GwAllocCheckResponse:
        """Say whether a gateway address is to be reserved."""

    async def create_network(self, request: messages.CreateNetworkRequest) -> None:
        """Make the network on this host."""

    async def delete_network(self, request: messages.NetworkRequest) -> None:
        """Remove the network from this host."""

    async def create_endpoint(
        self, request: messages.CreateEndpointRequest
    ) -> messages.CreateEndpointResponse:
        """Make a port for one interface of a container."""

    async def delete_endpoint(self, request: messages.EndpointRequest) -> None:
        """Remove the port, and whatever a Join that failed left of it."""

    async def endpoint_info(self, request: messages.EndpointRequest) -> messages.EndpointInfoResponse:
        """Describe the endpoint (EndpointOperInfo)."""

    async def join(self, request: messages.JoinRequest) -> messages.JoinResponse:
        """Make the link that Docker moves into the container."""

    async def leave(self, request: messages.EndpointRequest) -> None:
        """Unmake the link."""

    async def discover_new(self, request: messages.DiscoverRequest) -> None:
        """A swarm node joined."""

    async def discover_delete(self, request: messages.DiscoverRequest) -> None:
        """A swarm node left."""

    async def program_external_connectivity(
        self, request: messages.ProgramExternalConnectivityRequest
    ) -> None:
        """The endpoint is its container's way out from now on."""

    async def revoke_external_connectivity(self, request: messages.EndpointRequest) -> None:
        """The endpoint is no longer its container's way out."""

    async def database(self) -> dict[str, Any]:
        """The plugin's configuration and state, for people (NetworkDriver.Database)."""


class IpamDriver(Protocol):
    """Docker's IpamDriver, as moby daemon/libnetwork/ipams/remote/remote.go calls it."""

    def default_address_spaces(self) -> messages.AddressSpacesResponse:
        """Answer at once, whatever is down."""

    async def request_pool(self, request: messages.RequestPoolRequest) -> messages.RequestPoolResponse:
        """Enter a network into a pool, which is made if it does not exist."""

    async def release_pool(self, request: messages.PoolRequest) -> None:
        """Strike the network out; the pool goes with its last."""

    async def request_address(self, request: messages.AddressRequest) -> messages.RequestAddressResponse:
        """Lease an address, or reserve a gateway or an auxiliary address."""

    async def release_address(self, request: messages.AddressRequest) -> None:
        """Give an address back."""
