"""Neutron's networks, subnets, ports and trunks: bodies of requests, and replies in our types. Pure.

The only module that knows Neutron's attributes (Networking API v2.0) and our marks in them: a description,
which is part of the request that creates a resource, so that it is never without a mark, and tags, which say
more but cannot be set before the resource exists.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovn_docker.addressing import IPAddress, IPNetwork

HOST, NETWORK, ENDPOINT = "ovn-docker-host=", "ovn-docker-network=", "ovn-docker-endpoint="
LEASE = "ovn-docker-lease="
NAME = "ovn-docker-name="
"""Prefixes of our tags."""

ACTIVE = "ACTIVE"
ROUTER = "network:router_interface"
VLAN_TYPE = "vlan"
FIRST_VLAN, LAST_VLAN = 1, 4094
"""IEEE 802.1Q: 0 and 4095 are reserved."""

LONGEST_TAG = 255

_PROFILE, _PARENT, _TAG, HYPERVISOR = "binding:profile", "parent_name", "tag", "binding:host_id"
"""Source: neutron/common/ovn/constants.py OVN_PORT_BINDING_PROFILE_PARAMS."""

_CLAIM = "ovn-docker-vlan="
_REQUEST = "ovn-docker-request="

Body = dict[str, Any]


def mark(host: str) -> str:
    """The description of everything that the driver under a machine's port (`host`, its id) creates."""
    return HOST + host


@dataclass(frozen=True, slots=True)
class NeutronNetwork:
    """A network; `subnets` are ids, the name need not be unique."""

    id: str
    name: str
    mtu: int
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet; `routes` are destination and next hop of each host route."""

    id: str
    network_id: str
    cidr: IPNetwork
    gateway: IPAddress | None
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NeutronPort:
    """A port.

    Attributes:
        name: of one of ours the EndpointID, or its container's name once that is known; "" without endpoint.
        fixed_ips: id of the subnet and address, for each of its addresses.
        status: ``ACTIVE`` when packets pass.
        device: its ``device_id``.
        parent: the id of the port that it is under by ``binding:profile``, or "", also where this account may
            not read that.
        vlan: of its frames there, or None.
        hypervisor: that it is bound to, or "", also where this account may not read that.
    """

    id: str
    name: str
    network_id: str
    mac: str
    fixed_ips: tuple[tuple[str, str], ...]
    status: str
    tags: tuple[str, ...]
    device: str = ""
    parent: str = ""
    vlan: int | None = None
    hypervisor: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(address for _, address in self.fixed_ips)

    @property
    def endpoint(self) -> str:
        """The EndpointID of one of ours, or "" for an address that no endpoint has."""
        return self.tag(ENDPOINT) or self.name

    def tag(self, prefix: str) -> str:
        """The rest of the tag with one of our prefixes, or ""."""
        return next((tag.removeprefix(prefix) for tag in self.tags if tag.startswith(prefix)), "")


@dataclass(frozen=True, slots=True)
class Trunk:
    """The trunk of the virtual machine's port; `vlans` has the VLAN of each port under it, by port id."""

    id: str
    vlans: Mapping[str, int]
    enabled: bool = True
    status: str = ACTIVE


def read_network(body: Body) -> NeutronNetwork:
    """Read a network from a reply."""
    return NeutronNetwork(
        id=body["id"],
        name=body.get("name") or "",
        mtu=int(body.get("mtu") or 0),
        subnets=tuple(body.get("subnets") or ()),
    )


def read_subnet(body: Body) -> Subnet:
    """Read a subnet from a reply."""
    gateway = body.get("gateway_ip")
    return Subnet(
        id=body["id"],
        network_id=body["network_id"],
        cidr=ipaddress.ip_network(body["cidr"]),
        gateway=ipaddress.ip_address(gateway) if gateway else None,
        routes=tuple((route["destination"], route["nexthop"]) for route in body.get("host_routes") or ()),
    )


def read_port(body: Body) -> NeutronPort:
    """Read a port from a reply."""
    profile = body.get(_PROFILE) or {}
    vlan = profile.get(_TAG)
    return NeutronPort(
        id=body["id"],
        name=body.get("name") or "",
        network_id=body["network_id"],
        mac=body["mac_address"],
        fixed_ips=tuple((ip["subnet_id"], ip["ip_address"]) for ip in body.get("fixed_ips") or ()),
        status=body.get("status") or "",
        tags=tuple(body.get("tags") or ()),
        device=body.get("device_id") or "",
        parent=str(profile.get(_PARENT) or ""),
        vlan=None if vlan is None else int(vlan),
        hypervisor=body.get(HYPERVISOR) or "",
    )


def read_trunk(body: Body) -> Trunk:
    """Read a trunk from a reply."""
    vlans = {
        port["port_id"]: int(port["segmentation_id"])
        for port in body.get("sub_ports") or ()
        if port.get("segmentation_type") == VLAN_TYPE
    }
    return Trunk(body["id"], vlans, body.get("admin_state_up") is not False, body.get("status") or "")


def new_network(name: str, host: str, port_security: bool | None) -> Body:  # noqa: FBT001
    """The body that creates a network."""
    body: Body = {"name": name, "description": mark(host)}
    if port_security is not None:
        body["port_security_enabled"] = port_security
    return {"network": body}


def new_subnet(network_id: str, name: str, host: str, cidr: IPNetwork, gateway: IPAddress | None) -> Body:
    """The body that creates a subnet, without DHCP: Docker gives containers their addresses."""
    body: Body = {
        "network_id": network_id,
        "name": name,
        "description": mark(host),
        "cidr": str(cidr),
        "ip_version": cidr.version,
        "gateway_ip": str(gateway) if gateway else None,
        "enable_dhcp": False,
    }
    return {"subnet": body}


@dataclass(frozen=True, slots=True)
class PortSpec:
    """A port to create.

    Attributes:
        name: the EndpointID, or "" for an address that no endpoint has yet.
        fixed_ips: id of the subnet and address, which may be "" for one of Neutron's choice.
        mac: or "" for one of Neutron's choice.
        security_groups: their ids, or None for the project's default.
        port_security: or None for the network's.
        device: its ``device_id``.
    """

    name: str
    network_id: str
    fixed_ips: Sequence[tuple[str, str]]
    mac: str = ""
    security_groups: Sequence[str] | None = None
    port_security: bool | None = None
    device: str = ""


def queries(endpoint_id: str) -> tuple[Body, Body]:
    """Filters for an endpoint's port: by its first name, or, once it is renamed, by its tag."""
    return {"name": endpoint_id}, {"tags": ENDPOINT + endpoint_id}


def new_port(spec: PortSpec, host: str) -> Body:
    """The body that creates a port."""
    return {
        "port": {
            "name": spec.name,
            "network_id": spec.network_id,
            "description": mark(host),
            "fixed_ips": [_fixed_ip(*ip) for ip in spec.fixed_ips],
            "admin_state_up": True,
            **({"mac_address": spec.mac} if spec.mac else {}),
            **({"device_id": spec.device} if spec.device else {}),
            **security(spec.security_groups, spec.port_security),
        }
    }


def _fixed_ip(subnet_id: str, address: str) -> Body:
    return {"subnet_id": subnet_id} | ({"ip_address": address} if address else {})


def security(groups: Sequence[str] | None, port_security: bool | None) -> Body:  # noqa: FBT001
    """The attributes of a port's security groups and protection against forged addresses."""
    if port_security is False:
        return {"port_security_enabled": False, "security_groups": []}
    body: Body = {} if port_security is None else {"port_security_enabled": port_security}
    return body if groups is None else body | {"security_groups": list(groups)}


def changed_port(**attributes: object) -> Body:
    """The body that changes a port."""
    return {"port": attributes}


def moved_port(fixed_ips: Sequence[tuple[str, str]]) -> Body:
    """The body that gives a port these addresses."""
    return changed_port(fixed_ips=[_fixed_ip(*ip) for ip in fixed_ips])


def child(parent: str, vlan: int, hypervisor: str) -> Body:
    """The attributes that put a port under another one, bound, as otherwise it would never be ACTIVE."""
    return {_PROFILE: {_PARENT: parent, _TAG: vlan}, HYPERVISOR: hypervisor}


def no_child() -> Body:
    """The attributes of a port that is under no other and claims no VLAN."""
    return {_PROFILE: {}, HYPERVISOR: "", "device_id": ""}


def request_device(request: str) -> str:
    """The device_id of a port for a request of Docker's, by which it is found if the request is cancelled."""
    return _REQUEST + request


def claim(parent: str, vlan: int) -> str:
    """The device_id of a port that claims a VLAN under another port."""
    return f"{_CLAIM}{vlan}@{parent}"


def claimed(device_id: str, parent: str) -> int | None:
    """The VLAN that a port with this device_id claims under another port, or None."""
    vlan, _, of = device_id.removeprefix(_CLAIM).partition("@")
    return int(vlan) if device_id.startswith(_CLAIM) and of == parent and vlan.isdecimal() else None


def subports(vlans: Mapping[str, int]) -> Body:
    """The body that puts ports under a trunk, each with its VLAN."""
    return {
        "sub_ports": [
            {"port_id": port, "segmentation_type": VLAN_TYPE, "segmentation_id": vlan}
            for port, vlan in vlans.items()
        ]
    }


def tags(host: str, **words: str) -> Body:
    """The body that replaces a resource's tags.

    Args:
        host: the id of the machine's port.
        words: ``network``, ``endpoint``, ``lease`` and ``name``; "" is left out.
    """
    prefixes = {"network": NETWORK, "endpoint": ENDPOINT, "lease": LEASE, "name": NAME}
    found = [mark(host)]
    found += [(prefixes[key] + text.replace(",", " "))[:LONGEST_TAG] for key, text in words.items() if text]
    return {"tags": found}
