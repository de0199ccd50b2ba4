"""Requests to the driver as Docker sends them, without a Docker that would remember."""

import uuid
from typing import Any

from tests.integration.plugin import Answer
from tests.underlay.machines import VirtualMachine


def new_id() -> str:
    """An id as Docker makes them: 64 hexadecimal digits."""
    return uuid.uuid4().hex * 2


def network(network_id: str, pool: str = "10.40.0.0/24") -> dict[str, Any]:
    gateway = pool.replace("0/24", "1/24")
    data = [{"AddressSpace": "local", "Pool": pool, "Gateway": gateway, "AuxAddresses": None}]
    return {"NetworkID": network_id, "Options": {}, "IPv4Data": data, "IPv6Data": None}


def endpoint(network_id: str, endpoint_id: str, address: str = "10.40.0.5/24") -> dict[str, Any]:
    interface = {"Address": address, "AddressIPv6": "", "MacAddress": ""}
    return {"NetworkID": network_id, "EndpointID": endpoint_id, "Interface": interface, "Options": {}}


def of(network_id: str, endpoint_id: str) -> dict[str, Any]:
    return {"NetworkID": network_id, "EndpointID": endpoint_id}


def life(vm: VirtualMachine, network_id: str, endpoint_id: str) -> list[tuple[str, dict[str, Any]]]:  # noqa: ARG001
    """The verbs of a container's life."""
    ids = of(network_id, endpoint_id)
    return [
        ("CreateNetwork", network(network_id)),
        ("CreateEndpoint", endpoint(network_id, endpoint_id)),
        ("Join", {**ids, "SandboxKey": "/var/run/docker/netns/x", "Options": {}}),
        ("Leave", ids),
        ("DeleteEndpoint", ids),
        ("DeleteNetwork", {"NetworkID": network_id}),
    ]


def live(vm: VirtualMachine, network_id: str, endpoint_id: str) -> list[Answer]:
    """Go through it; what the driver says to each."""
    return [vm.plugin.call(verb, body) for verb, body in life(vm, network_id, endpoint_id)]
