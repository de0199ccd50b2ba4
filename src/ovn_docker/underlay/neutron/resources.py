"""Neutron's networks, subnets, ports and trunks: bodies of requests, and replies in our types. Pure.

The only module that knows Neutron's attributes (Networking API v2.0) and our marks in them. It never talks.

What is ours says so twice. Its description is written in the same request that makes it, so that nothing of
ours is ever without a mark; its tags follow, and say more. Tags cannot be given to what is being made.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovn_docker.addressing import IPAddress, IPNetwork

HOST, NETWORK, ENDPOINT = "ovn-docker-host=", "ovn-docker-network=", "ovn-docker-endpoint="
LEASE = "ovn-docker-lease="
NAME = "ovn-docker-name="
"""How our tags begin."""

ACTIVE = "ACTIVE"
ROUTER = "network:router_interface"
VLAN_TYPE = "vlan"
FIRST_VLAN, LAST_VLAN = 1, 4094
"""IEEE 802.1Q: 0 and 4095 are not for use."""

LONGEST_TAG = 255

_PROFILE, _PARENT, _TAG, HYPERVISOR = "binding:profile", "parent_name", "tag", "binding:host_id"
"""Source: neutron/common/ovn/constants.py OVN_PORT_BINDING_PROFILE_PARAMS."""

_CLAIM = "ovn-docker-vlan="
_REQUEST = "ovn-docker-request="

Body = dict[str, Any]


def mark(host: str) -> str:
    """The description of everything that a host's driver makes.

    Args:
        host: the id of the virtual machine's Neutron port.
    """
    return HOST + host


@dataclass(frozen=True, slots=True)
class NeutronNetwork:
    """A network.

    Attributes:
        id: Neutron's.
        name: need not be unique.
        mtu: in bytes.
        project: whose it is.
        description: as its maker wrote it.
        tags: all of them.
        subnets: their ids.
    """

    id: str
    name: str
    mtu: int
    project: str
    description: str
    tags: tuple[str, ...]
    subnets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet.

    Attributes:
        id: Neutron's.
        name: need not be unique.
        network_id: of its network in Neutron.
        cidr: all of its addresses.
        gateway: the way out, or None.
        routes: destination and next hop of each of its host routes.
    """

    id: str
    name: str
    network_id: str
    cidr: IPNetwork
    gateway: IPAddress | None
    routes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NeutronPort:
    """A port.

    Attributes:
        id: Neutron's.
        name: of ours the EndpointID, or that of its container when it is known; "" without an endpoint.
        network_id: of its network in Neutron.
        mac: of its interface.
        fixed_ips: id of the subnet and address, for each of its addresses.
        status: ``ACTIVE`` when packets pass.
        owner: what the port is for, ``network:router_interface`` and the like.
        description: as its maker wrote it.
        tags: all of them.
        device: what the port belongs to, as its maker wrote it.
        parent: the id of the port that it is under by ``binding:profile``, or ""; also where this account may
            not read that.
        vlan: of its frames there, or None.
        hypervisor: that it is bound to, or "", likewise.
    """

    id: str
    name: str
    network_id: str
    mac: str
    fixed_ips: tuple[tuple[str, str], ...]
    status: str
    owner: str
    description: str
    tags: tuple[str, ...]
    device: str = ""
    parent: str = ""
    vlan: int | None = None
    hypervisor: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its IP addresses."""
        return tuple(address for _, address in self.fixed_ips)

    @property
    def endpoint(self) -> str:
        """The EndpointID of one of ours, or "" for an address that no endpoint has."""
        return self.tag(ENDPOINT) or self.name

    def tag(self, prefix: str) -> str:
        """What follows one of our prefixes in its tags, or ""."""
        return next((each.removeprefix(prefix) for each in self.tags if each.startswith(prefix)), "")


@dataclass(frozen=True, slots=True)
class Trunk:
    """A trunk: the VLAN of each port that is under the virtual machine's own.

    Attributes:
        id: Neutron's.
        vlans: port id to VLAN.
        enabled: whether its owner has it switched on.
        status: ``ACTIVE`` when packets pass.
    """

    id: str
    vlans: Mapping[str, int]
    enabled: bool = True
    status: str = ACTIVE


def read_network(body: Body) -> NeutronNetwork:
    """A network from a reply."""
    return NeutronNetwork(
        id=body["id"],
        name=body.get("name") or "",
        mtu=int(body.get("mtu") or 0),
        project=body.get("project_id") or "",
        description=body.get("description") or "",
        tags=tuple(body.get("tags") or ()),
        subnets=tuple(body.get("subnets") or ()),
    )


def read_subnet(body: Body) -> Subnet:
    """A subnet from a reply."""
    gateway = body.get("gateway_ip")
    return Subnet(
        id=body["id"],
        name=body.get("name") or "",
        network_id=body["network_id"],
        cidr=ipaddress.ip_network(body["cidr"]),
        gateway=ipaddress.ip_address(gateway) if gateway else None,
        routes=tuple((each["destination"], each["nexthop"]) for each in body.get("host_routes") or ()),
    )


def read_port(body: Body) -> NeutronPort:
    """A port from a reply."""
    profile = body.get(_PROFILE) or {}
    vlan = profile.get(_TAG)
    return NeutronPort(
        id=body["id"],
        name=body.get("name") or "",
        network_id=body["network_id"],
        mac=body["mac_address"],
        fixed_ips=tuple((each["subnet_id"], each["ip_address"]) for each in body.get("fixed_ips") or ()),
        status=body.get("status") or "",
        owner=body.get("device_owner") or "",
        description=body.get("description") or "",
        tags=tuple(body.get("tags") or ()),
        device=body.get("device_id") or "",
        parent=str(profile.get(_PARENT) or ""),
        vlan=None if vlan is None else int(vlan),
        hypervisor=body.get(HYPERVISOR) or "",
    )


def read_trunk(body: Body) -> Trunk:
    """A trunk from a reply."""
    vlans = {
        each["port_id"]: int(each["segmentation_id"])
        for each in body.get("sub_ports") or ()
        if each.get("segmentation_type") == VLAN_TYPE
    }
    return Trunk(body["id"], vlans, body.get("admin_state_up") is not False, body.get("status") or "")


def new_network(name: str, host: str, port_security: bool | None) -> Body:  # noqa: FBT001
    """The body that makes a network."""
    body: Body = {"name": name, "description": mark(host)}
    if port_security is not None:
        body["port_security_enabled"] = port_security
    return {"network": body}


def new_subnet(network_id: str, name: str, host: str, cidr: IPNetwork, gateway: IPAddress | None) -> Body:
    """The body that makes a subnet; containers are told their addresses by Docker, so no DHCP."""
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
    """A port that is to be.

    Attributes:
        name: the EndpointID, or "" for an address that no endpoint has yet.
        network_id: Neutron's.
        fixed_ips: id of the subnet and address, or "" for an address of Neutron's choice.
        mac: or "" for one of Neutron's choice.
        security_groups: their ids, or None for the project's default.
        port_security: or None for what the network says.
        device: what it belongs to.
    """

    name: str
    network_id: str
    fixed_ips: Sequence[tuple[str, str]]
    mac: str = ""
    security_groups: Sequence[str] | None = None
    port_security: bool | None = None
    device: str = ""


def queries(endpoint_id: str) -> tuple[Body, Body]:
    """What finds an endpoint's port: its first name, or if that has changed its tag, which comes later."""
    return {"name": endpoint_id}, {"tags": ENDPOINT + endpoint_id}


def new_port(wish: PortSpec, host: str) -> Body:
    """The body that makes a port."""
    return {
        "port": {
            "name": wish.name,
            "network_id": wish.network_id,
            "description": mark(host),
            "fixed_ips": [_fixed_ip(*each) for each in wish.fixed_ips],
            "admin_state_up": True,
            **({"mac_address": wish.mac} if wish.mac else {}),
            **({"device_id": wish.device} if wish.device else {}),
            **security(wish.security_groups, wish.port_security),
        }
    }


def _fixed_ip(subnet_id: str, address: str) -> Body:
    return {"subnet_id": subnet_id} | ({"ip_address": address} if address else {})


def security(groups: Sequence[str] | None, port_security: bool | None) -> Body:  # noqa: FBT001
    """A port's attributes that say what it may send and receive."""
    if port_security is False:
        return {"port_security_enabled": False, "security_groups": []}
    body: Body = {} if port_security is None else {"port_security_enabled": port_security}
    return body if groups is None else body | {"security_groups": list(groups)}


def changed_port(**attributes: object) -> Body:
    """The body that changes a port."""
    return {"port": attributes}


def moved_port(fixed_ips: Sequence[tuple[str, str]]) -> Body:
    """The body that gives a port these addresses."""
    return changed_port(fixed_ips=[_fixed_ip(*each) for each in fixed_ips])


def child(parent: str, vlan: int, hypervisor: str) -> Body:
    """The attributes that put a port under another one, with this VLAN; unbound it would never be ACTIVE."""
    return {_PROFILE: {_PARENT: parent, _TAG: vlan}, HYPERVISOR: hypervisor}


def no_child() -> Body:
    """The attributes of a port that is under none and claims no VLAN."""
    return {_PROFILE: {}, HYPERVISOR: "", "device_id": ""}


def asked_by(request: str) -> str:
    """The device_id of a port that a request of Docker's makes, by which it is found if that is given up."""
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
    """The body that gives a resource its tags, and no other.

    Args:
        host: whose it is.
        words: ``network``, ``endpoint``, ``lease`` and ``name``; what is "" is left out.
    """
    prefixes = {"network": NETWORK, "endpoint": ENDPOINT, "lease": LEASE, "name": NAME}
    found = [mark(host)]
    found += [(prefixes[key] + text.replace(",", " "))[:LONGEST_TAG] for key, text in words.items() if text]
    return {"tags": found}
