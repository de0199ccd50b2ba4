"""The bridges of a host and the ports on them, as its Open_vSwitch database has them. Pure.

For the bridge that the interface of a virtual machine is on: a bridge of the host's administrator, unlike
OVN's integration bridge. Read on demand, for nothing of it is needed by a request (ovs-vswitchd.conf.db(5)).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.host.open_vswitch import BRIDGE, INTERFACE, NETWORK, PORT, ROOT
from ovn_docker.ovsdb.operations import Operation, insert, mutate, select, update
from ovn_docker.ovsdb.values import mapping, members, optional, reference, to_map, to_set

SYSTEM, NETDEV = "system", "netdev"
"""Values of Bridge.datapath_type: the kernel's, and Open vSwitch's own in userspace."""

SECURE, ACCESS = "secure", "access"
"""Values of Bridge.fail_mode and of Port.vlan_mode."""


@dataclass(frozen=True, slots=True)
class BridgePort:
    """A port of one interface on a bridge.

    Attributes:
        name: of the interface.
        local: whether it is the bridge itself, as the host sees it.
        ours: whether it is an endpoint's.
        mac: that it has, or "" where that is not known.
        mtu: in bytes, or None where that is not known.
        error: why ovs-vswitchd cannot use it, or "".
        tag: the VLAN of an access port, or None.
        trunks: the only VLANs that pass it; none means all.
    """

    name: str
    local: bool
    ours: bool
    mac: str
    mtu: int | None
    error: str
    tag: int | None
    trunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge.

    Attributes:
        row: its id.
        name: its name.
        datapath: ``system``, the kernel's, or ``netdev``.
        secure: whether it passes nothing but what a controller has allowed.
        ports: on it.
    """

    row: UUID
    name: str
    datapath: str
    secure: bool
    ports: tuple[BridgePort, ...]

    @property
    def local(self) -> BridgePort | None:
        """The bridge itself, as the host sees it."""
        return next((each for each in self.ports if each.local), None)

    @property
    def others(self) -> tuple[BridgePort, ...]:
        """Ports that are neither the bridge itself nor endpoints'."""
        return tuple(each for each in self.ports if not (each.local or each.ours))


def read_all() -> list[Operation]:
    """The transaction that reads what `bridges` takes."""
    interface = ("_uuid", "name", "mac_in_use", "mtu", "error", "external_ids")
    return [
        select(BRIDGE, [], ("_uuid", "name", "datapath_type", "fail_mode", "ports")),
        select(PORT, [], ("_uuid", "name", "interfaces", "tag", "trunks", "vlan_mode")),
        select(INTERFACE, [], interface),
    ]


def bridges(results: Sequence[Mapping[str, Any]]) -> tuple[Bridge, ...]:
    """All bridges, from the answers to `read_all`."""
    of_bridges, of_ports, of_interfaces = (each["rows"] for each in results)
    ports = {members(row["_uuid"])[0]: row for row in of_ports}
    interfaces = {members(row["_uuid"])[0]: row for row in of_interfaces}
    found = []
    for row in of_bridges:
        on_it = [ports[each] for each in members(row["ports"]) if each in ports]
        found.append(
            Bridge(
                row=members(row["_uuid"])[0],
                name=row["name"],
                datapath=row["datapath_type"] or SYSTEM,
                secure=optional(row["fail_mode"]) == SECURE,
                ports=tuple(port for each in on_it for port in _ports(row["name"], each, interfaces)),
            )
        )
    return tuple(found)


def _ports(bridge: str, port: Mapping[str, Any], interfaces: Mapping[UUID, Any]) -> list[BridgePort]:
    rows = [interfaces[each] for each in members(port["interfaces"]) if each in interfaces]
    return [
        BridgePort(
            name=row["name"],
            local=row["name"] == bridge,
            ours=NETWORK in mapping(row["external_ids"]),
            mac=optional(row["mac_in_use"]) or "",
            mtu=optional(row["mtu"]),
            error=optional(row["error"]) or "",
            tag=optional(port["tag"]) if optional(port["vlan_mode"]) in {None, ACCESS} else None,
            trunks=tuple(sorted(members(port["trunks"]))),
        )
        for row in rows
    ]


def add_bridge(name: str, uplink: str, mac: str, mtu: int, datapath: str) -> list[Operation]:
    """Make a bridge with an interface of the host on it, which has that interface's MAC address and MTU.

    Without a request Open vSwitch gives it the smallest MTU of the ports on it, and so a container's
    (ovs-vswitchd.conf.db(5), mtu_request).

    Args:
        name: of the bridge.
        uplink: the interface.
        mac: of the interface.
        mtu: of the interface, in bytes.
        datapath: ``system`` or ``netdev``.
    """
    bridge = row_of(name)
    local = {"type": "internal", "mtu_request": mtu}
    row = {
        "name": name,
        "datapath_type": datapath,
        "other_config": to_map({"hwaddr": mac}),
        "ports": to_set([reference(_port_id(name, each)) for each in (name, uplink)]),
    }
    return [
        *_port(name, name, local),
        *_port(name, uplink, {}),
        insert(BRIDGE, bridge, row),
        mutate(ROOT, [], ("bridges", "insert", reference(bridge))),
    ]


def add_uplink(bridge: Bridge, uplink: str, mac: str, mtu: int) -> list[Operation]:
    """Put an interface of the host on a bridge that is there, which takes its MAC address and MTU."""
    this = [("_uuid", "==", reference(bridge.row))]
    return [
        *_port(bridge.name, uplink, {}),
        mutate(BRIDGE, this, ("ports", "insert", reference(_port_id(bridge.name, uplink)))),
        mutate(BRIDGE, this, ("other_config", "delete", to_set(["hwaddr"]))),
        mutate(BRIDGE, this, ("other_config", "insert", to_map({"hwaddr": mac}))),
        update(INTERFACE, [("name", "==", bridge.name)], {"mtu_request": mtu}),
    ]


def row_of(bridge: str) -> UUID:
    """The id of the row of a bridge that `add_bridge` made."""
    return addressing.row_id(BRIDGE, bridge)


def del_bridge(row: UUID) -> list[Operation]:
    """Remove a bridge with all that is on it."""
    return [mutate(ROOT, [], ("bridges", "delete", reference(row)))]


def del_uplink(bridge: str, uplink: str) -> list[Operation]:
    """Take an interface off a bridge that `add_uplink` put there."""
    port = reference(_port_id(bridge, uplink))
    return [mutate(BRIDGE, [("name", "==", bridge)], ("ports", "delete", port))]


def _port_id(bridge: str, name: str) -> UUID:
    return addressing.row_id(PORT, bridge, name)


def _port(bridge: str, name: str, attributes: Mapping[str, Any]) -> list[Operation]:
    interface = addressing.row_id(INTERFACE, bridge, name)
    return [
        insert(INTERFACE, interface, {"name": name, **attributes}),
        insert(PORT, _port_id(bridge, name), {"name": name, "interfaces": reference(interface)}),
    ]
