"""Endpoints, settings and bridges in a host's Open_vSwitch database (ovs-vswitchd.conf.db(5)). Pure.

A watched row lacks the columns that have their default (ovsdb-server(7), section 4.1.14).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    atom,
    insert,
    mapping,
    members,
    mutate,
    optional,
    reference,
    replace_keys,
    row_is,
    select,
    to_map,
    to_set,
    update,
)
from ovn_docker.ovsdb.replica import Replica, Watch

ROOT, BRIDGE, PORT, INTERFACE, SSL = "Open_vSwitch", "Bridge", "Port", "Interface", "SSL"
DATAPATH = "Datapath"

NETWORK, CREATED, IFACE_ID = "ovn-docker-network", "ovn-docker-created", "iface-id"
ADDRESSES, VLAN = "ovn-docker-addresses", "ovn-docker-vlan"
STATUS, SANDBOX = "iface-status", "vm-id"
SERVERS, SEALED = "ovn-docker-dns", "ovn-docker-sealed"
"""The name servers that an endpoint's container was given, and whether nothing leads out of its network."""

VTEP, DRIVER, GATEWAY = "ovn-docker-vtep", "ovn-docker-driver", "ovn-docker-gateway"

WATCHES = {
    ROOT: Watch(("external_ids", "other_config")),
    BRIDGE: Watch(("name", "datapath_type")),
    INTERFACE: Watch(("name", "type", "options", "ofport", "error", "external_ids")),
    SSL: Watch(("private_key", "certificate", "ca_cert")),
}


@dataclass(frozen=True, slots=True)
class OvnSettings:
    """How this host takes part in OVN: the external_ids of Open_vSwitch, as ovn-controller(8) reads them.

    Attributes:
        system_id: this chassis, or "" when it is not set.
        northbound: ``ovn-nb`` as it is written, or "".
        southbound: ``ovn-remote`` as it is written, or "".
        bridge: the integration bridge.
        encapsulations: ``ovn-encap-type``.
        encap_ips: ``ovn-encap-ip``, this host's tunnel endpoints.
        tls: private key, certificate and CA certificate as set by ``ovs-vsctl set-ssl``, or None.
        tso: ``userspace-tso-enable``, with which the userspace datapath handles partial checksums.
    """

    system_id: str = ""
    northbound: str = ""
    bridge: str = "br-int"
    encapsulations: tuple[str, ...] = ()
    encap_ips: tuple[str, ...] = ()
    tls: tuple[str, str, str] | None = None
    tso: bool = False
    southbound: str = ""


def read_settings(replica: Replica, chassis: str = "") -> OvnSettings:
    """The current settings from a replica of `WATCHES`; before the first connection, their defaults.

    `chassis` overrides the database's name of this host (ovn-controller(8), system-id-override).
    """
    for row in replica.rows(ROOT).values():
        ids = mapping(row.get("external_ids"))
        name = chassis or ids.get("system-id", "")

        def of(key: str, default: str = "") -> str:
            """A key of ovn-controller's; the one with the chassis's name as a suffix takes precedence."""
            return ids.get(f"{key}-{name}" if name else key, ids.get(key, default))  # noqa: B023

        return OvnSettings(
            system_id=name,
            northbound=ids.get("ovn-nb", ""),
            southbound=of("ovn-remote"),
            bridge=of("ovn-bridge", "br-int"),
            encapsulations=_words(of("ovn-encap-type", "geneve")),
            encap_ips=_words(of("ovn-encap-ip")),
            tls=_tls(replica),
            tso=mapping(row.get("other_config")).get("userspace-tso-enable") == "true",
        )
    return OvnSettings()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _tls(replica: Replica) -> tuple[str, str, str] | None:
    for row in replica.rows(SSL).values():
        return row.get("private_key", ""), row.get("certificate", ""), row.get("ca_cert", "")
    return None


@dataclass(frozen=True, slots=True)
class Attached:
    """The row of Interface of an endpoint that is plugged in.

    Attributes:
        name: the link in the host's network namespace.
        error: why ovs-vswitchd could not use the link, or "".
        installed: whether packets pass it: OVN's flows for it are in the switch (ovn-controller(8),
            ovn-installed), or it is an access port of a VLAN and ovs-vswitchd uses it.
        network_id: the Docker network, from our mark, or "" for a port that is not ours.
        endpoint_id: the Docker endpoint, which is also the name of the logical port.
        ofport: in the bridge, or None while ovs-vswitchd has assigned none.
    """

    name: str
    error: str
    installed: bool
    network_id: str
    endpoint_id: str
    external_ids: Mapping[str, str]
    ofport: int | None = None

    @property
    def addresses(self) -> frozenset[str]:
        """The endpoint's IP addresses."""
        return frozenset(self.external_ids.get(ADDRESSES, "").split())

    @property
    def waiting(self) -> bool:
        """Whether its Join, which adds the sandbox's id, has yet to come; a repair writes neither key."""
        return STATUS in self.external_ids and SANDBOX not in self.external_ids

    @property
    def vlan(self) -> int | None:
        """The VLAN of an access port, or None for a port of OVN's."""
        text = self.external_ids.get(VLAN, "")
        return int(text) if text.isdecimal() else None


def interface_id(endpoint_id: str) -> UUID:
    """The row id of an endpoint's Interface."""
    return addressing.row_id(INTERFACE, endpoint_id)


def port_id(endpoint_id: str) -> UUID:
    """The row id of an endpoint's Port."""
    return addressing.row_id(PORT, endpoint_id)


def add_port(bridge: str, endpoint_id: str, link: str, external_ids: Mapping[str, str]) -> list[Operation]:
    """Plug a link into a bridge; the last result's count is 0 if the bridge does not exist.

    iface-id is written in the same transaction, so ovs-vswitchd configures the port once and ovn-controller
    never sees it unbound. With `VLAN` among the keys it is an access port (ovs-vswitchd.conf.db(5), tag).
    """
    port, interface = port_id(endpoint_id), interface_id(endpoint_id)
    vlan = {"tag": int(external_ids[VLAN])} if VLAN in external_ids else {}
    return [
        insert(INTERFACE, interface, {"name": link, "external_ids": to_map(external_ids)}),
        insert(PORT, port, {"name": link, "interfaces": reference(interface), **vlan}),
        mutate(BRIDGE, [("name", "==", bridge)], ("ports", "insert", reference(port))),
    ]


def set_ids(endpoint_id: str, external_ids: Mapping[str, str]) -> Operation:
    """Overwrite keys of an endpoint's Interface; count is 0 if it has none."""
    return mutate(INTERFACE, [row_is(interface_id(endpoint_id))], *replace_keys("external_ids", external_ids))


def del_port(endpoint_id: str) -> Operation:
    """Unplug an endpoint's link from whichever bridge it is on; count is 0 if it is on none."""
    port = reference(port_id(endpoint_id))
    return mutate(BRIDGE, [("ports", "includes", port)], ("ports", "delete", port))


def set_vlan(endpoint_id: str, vlan: int) -> list[Operation]:
    """Move an endpoint's access port to another VLAN; counts are 0 if it is not plugged in."""
    interface = [row_is(interface_id(endpoint_id))]
    return [
        update(PORT, [row_is(port_id(endpoint_id))], {"tag": vlan}),
        mutate(INTERFACE, interface, ("external_ids", "delete", to_set([VLAN]))),
        mutate(INTERFACE, interface, ("external_ids", "insert", to_map({VLAN: str(vlan)}))),
    ]


def datapath(replica: Replica, bridge: str) -> str | None:
    """The datapath_type of a bridge, "" for the kernel's, or None if the bridge does not exist."""
    for row in replica.rows(BRIDGE).values():
        if row.get("name") == bridge:
            return str(row.get("datapath_type", ""))
    return None


NEEDED = ("recirc", "ct_state", "ct_zone", "ct_mark", "ct_label", "ct_state_nat")
"""What OVN's flows use and some datapaths lack (ovs-vswitchd.conf.db(5), Datapath, capabilities)."""


def lacking(capabilities: Mapping[str, str]) -> list[str]:
    """Those of `NEEDED` that a datapath with these capabilities lacks."""
    return [name for name in NEEDED if capabilities.get(name) == "false"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far OVN got with a port.

    Attributes:
        known: whether ovn-controller has assigned it a conntrack zone, which it records in the bridge once
            Open vSwitch has taken its flows (ovn-controller(8), ct-zone-*).
        capabilities: of the bridge's datapath (ovs-vswitchd.conf.db(5), Datapath), by name.
    """

    known: bool
    capabilities: Mapping[str, str]


def progress_get(bridge: str) -> list[Operation]:
    """Read what `read_progress` takes; few rows, however many ports there are."""
    return [
        select(BRIDGE, [("name", "==", bridge)], ["datapath_type", "external_ids"]),
        select(ROOT, [], ["datapaths"]),
        select(DATAPATH, [], ["_uuid", "capabilities"]),
    ]


def read_progress(results: Sequence[Mapping[str, Sequence[Row]]], endpoint_id: str) -> Progress:
    """An endpoint's progress from the results of `progress_get`."""
    bridges, roots, datapaths = (result["rows"] for result in results)
    known = any(f"ct-zone-{endpoint_id}" in mapping(row["external_ids"]) for row in bridges)
    kinds = {str(row["datapath_type"]) or "system" for row in bridges}
    used = [uuid for row in roots for kind, uuid in mapping(row["datapaths"]).items() if kind in kinds]
    found = [mapping(row["capabilities"]) for row in datapaths if row["_uuid"] in used]
    return Progress(known, found[0] if found else {})


def attached(replica: Replica, endpoint_id: str) -> Attached | None:
    """The endpoint's interface as ovs-vswitchd and ovn-controller left it, or None."""
    row = replica.row(INTERFACE, interface_id(endpoint_id))
    return read_attached(row) if row is not None else None


def all_attached(replica: Replica) -> list[Attached]:
    """Every interface with our mark."""
    interfaces = [read_attached(row) for row in replica.rows(INTERFACE).values()]
    return [interface for interface in interfaces if interface.network_id]


def read_attached(row: Mapping[str, object]) -> Attached:
    """A row of Interface, with our mark or without."""
    ids = mapping(row.get("external_ids"))
    used = int(optional(row.get("ofport", ["set", []])) or 0) > 0
    return Attached(
        name=str(row.get("name", "")),
        error=optional(row.get("error", ["set", []])) or "",
        installed=used if VLAN in ids else ids.get("ovn-installed") == "true",
        network_id=ids.get(NETWORK, ""),
        endpoint_id=ids.get(IFACE_ID, ""),
        external_ids=ids,
        ofport=_ofport(row),
    )


def _ofport(row: Mapping[str, Any]) -> int | None:
    """The OpenFlow port; ovs-vswitchd writes -1 if it could not use the interface."""
    port = optional(row.get("ofport", ["set", []]))
    return int(port) if port is not None and int(port) > 0 else None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel to another host.

    Attributes:
        remote: the other host's tunnel address.
        error: why ovs-vswitchd could not make it, or "".
        egress: the link through which its packets leave, or "" without a route.
        carrier: whether that link has a carrier.
        chassis: the other host's name in OVN, or "" if the tunnel is not ovn-controller's.
        bfd: the state of its BFD session, ``up`` or ``down``, or "" without one.
    """

    remote: str
    error: str
    egress: str
    carrier: bool
    chassis: str = ""
    bfd: str = ""


def tunnels_get() -> list[Operation]:
    """Read what `read_tunnels` takes: as many rows as there are hosts."""
    columns = ["_uuid", "type", "options", "error", "status", "bfd", "bfd_status"]
    kinds = ("geneve", "vxlan", "stt")
    return [
        select(PORT, [], ["interfaces", "external_ids"]),
        *(select(INTERFACE, [("type", "==", kind)], columns) for kind in kinds),
    ]


def read_tunnels(results: Sequence[Mapping[str, Sequence[Row]]]) -> tuple[Tunnel, ...]:
    """Tunnels from the results of `tunnels_get` (ovs-vswitchd.conf.db(5), status:tunnel_egress_iface).

    ovn-controller writes the name of the other host to the port (ovn controller/encaps.c, ovn-chassis-id).
    """
    ports, *interfaces = results
    chassis = {uuid: _chassis(row) for row in ports["rows"] for uuid in members(row["interfaces"])}
    tunnels = []
    for row in (row for result in interfaces for row in result["rows"]):
        remote, status = mapping(row["options"]).get("remote_ip", ""), mapping(row["status"])
        error = optional(row["error"]) or ""
        if remote not in {"", "flow"}:
            egress = status.get("tunnel_egress_iface", "")
            carrier = status.get("tunnel_egress_iface_carrier") != "down"
            name = chassis.get(atom(row["_uuid"]), "")
            tunnels.append(Tunnel(remote, error, egress, carrier, name, _bfd(row)))
    return tuple(tunnels)


def _chassis(port: Row) -> str:
    """The name in ``h2@192.0.2.2`` or ``h2@192.0.2.2%192.0.2.1``."""
    return mapping(port["external_ids"]).get("ovn-chassis-id", "").rpartition("@")[0]


def _bfd(interface: Row) -> str:
    wanted = mapping(interface["bfd"]).get("enable") == "true"
    return mapping(interface["bfd_status"]).get("state", "") if wanted else ""


@dataclass(frozen=True, slots=True)
class VxlanPort:
    """A VXLAN port of a bridge.

    Attributes:
        name: of the interface.
        remote: ``remote_ip``, as it is written.
        vtep: the VTEP that a driver made it for, or "" if none did.
        owner: that driver, or "".
        ofport: in the bridge, or None.
        error: why ovs-vswitchd could not use it, or "".
    """

    name: str
    remote: str
    vtep: str
    owner: str
    ofport: int | None
    error: str


def read_vxlan_port(row: Mapping[str, object]) -> VxlanPort | None:
    """A row of Interface that is a VXLAN tunnel to one address, or None."""
    remote = mapping(row.get("options")).get("remote_ip", "")
    if row.get("type") != "vxlan" or not remote:
        return None
    return VxlanPort(
        name=str(row.get("name", "")),
        remote=remote,
        vtep=mapping(row.get("external_ids")).get(VTEP, ""),
        owner=mapping(row.get("external_ids")).get(DRIVER, ""),
        ofport=_ofport(row),
        error=optional(row.get("error", ["set", []])) or "",
    )


def add_vtep_port(bridge: str, owner: str, remote: str, local: str) -> list[Operation]:
    """Add the VXLAN port to a VTEP; flows set the VNI (ovs-vswitchd.conf.db(5), key).

    Args:
        bridge: its name.
        owner: the driver's name.
        remote: the VTEP's tunnel endpoint.
        local: this host's, or "" to leave it to the routing table.
    """
    port, interface = addressing.row_id(PORT, VTEP, remote), addressing.row_id(INTERFACE, VTEP, remote)
    name = f"vtep{port.hex[:8]}"
    options = {"remote_ip": remote, "key": "flow"} | ({"local_ip": local} if local else {})
    row = {
        "name": name,
        "type": "vxlan",
        "options": to_map(options),
        "external_ids": to_map({VTEP: remote, DRIVER: owner}),
    }
    return [
        insert(INTERFACE, interface, row),
        insert(PORT, port, {"name": name, "interfaces": reference(interface)}),
        mutate(BRIDGE, [("name", "==", bridge)], ("ports", "insert", reference(port))),
    ]


def del_vtep_port(remote: str) -> Operation:
    """Remove a port of `add_vtep_port`."""
    port = reference(addressing.row_id(PORT, VTEP, remote))
    return mutate(BRIDGE, [("ports", "includes", port)], ("ports", "delete", port))


# --- Gateway ports: this host's end of the way out of a switch. ---------------------------------------------


@dataclass(frozen=True, slots=True)
class GatewayLink:
    """An internal port of the integration bridge that is a switch's gateway on this host.

    Attributes:
        switch: the row id of the switch, as text.
        iface_id: the name of the switch's gateway port in OVN.
        name: of the link.
        mac: of the link.
        addresses: with their prefix lengths, ``10.77.0.1/24``.
        mtu: in bytes.
        driver: the name of the driver that made it.
    """

    switch: str
    iface_id: str
    name: str
    driver: str
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int | None = None


def gateway_link_id(switch: str) -> UUID:
    """The row id of the Interface of a switch's gateway port."""
    return addressing.row_id(INTERFACE, GATEWAY, switch)


def add_gateway_link(bridge: str, link: GatewayLink) -> list[Operation]:
    """Add the port; the last count is 0 if the bridge does not exist (ovs-vswitchd.conf.db(5), internal)."""
    port = addressing.row_id(PORT, GATEWAY, link.switch)
    ids = {
        IFACE_ID: link.iface_id,
        GATEWAY: link.switch,
        ADDRESSES: " ".join(link.addresses),
        DRIVER: link.driver,
    }
    row: Row = {"name": link.name, "type": "internal", "mac": link.mac, "external_ids": to_map(ids)}
    if link.mtu is not None:
        row["mtu_request"] = link.mtu
    return [
        insert(INTERFACE, gateway_link_id(link.switch), row),
        insert(PORT, port, {"name": link.name, "interfaces": reference(gateway_link_id(link.switch))}),
        mutate(BRIDGE, [("name", "==", bridge)], ("ports", "insert", reference(port))),
    ]


def del_gateway_link(switch: str) -> Operation:
    """Remove the port from whichever bridge it is on; count is 0 if it is on none."""
    port = reference(addressing.row_id(PORT, GATEWAY, switch))
    return mutate(BRIDGE, [("ports", "includes", port)], ("ports", "delete", port))


def gateway_links(replica: Replica) -> list[GatewayLink]:
    """All gateway ports of this host; MAC address and MTU are not read."""
    found = []
    for row in replica.rows(INTERFACE).values():
        ids = mapping(row.get("external_ids"))
        if GATEWAY in ids and row.get("type") == "internal":
            addresses = tuple(ids.get(ADDRESSES, "").split())
            name = str(row.get("name", ""))
            driver = ids.get(DRIVER, "")
            found.append(GatewayLink(ids[GATEWAY], ids.get(IFACE_ID, ""), name, driver, addresses=addresses))
    return found


def gateway_progress(replica: Replica, switch: str) -> tuple[bool, str]:
    """Whether ovs-vswitchd has made the link of a switch's gateway port, and why it could not, or ""."""
    row = replica.row(INTERFACE, gateway_link_id(switch)) or {}
    return _ofport(row) is not None, optional(row.get("error", ["set", []])) or ""


# --- The bridges of a host and the ports on them. -----------------------------------------------------------
# For the bridge with the interface of a virtual machine, which is the administrator's, unlike OVN's
# integration bridge. Read on demand: no request needs it.


NETDEV = "netdev"
"""Bridge.datapath_type of Open vSwitch's own datapath in userspace."""

SECURE, ACCESS = "secure", "access"
"""Values of Bridge.fail_mode and of Port.vlan_mode."""


@dataclass(frozen=True, slots=True)
class BridgePort:
    """One interface of a port on a bridge.

    Attributes:
        local: whether it is the bridge itself, as the host sees it.
        ours: whether it is an endpoint's.
        mac: "" if not known.
        mtu: in bytes, or None if not known.
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
    """A bridge; `secure` means that it passes only what a controller has allowed."""

    name: str
    secure: bool
    ports: tuple[BridgePort, ...]

    @property
    def local(self) -> BridgePort | None:
        """The bridge itself, as the host sees it."""
        return next((port for port in self.ports if port.local), None)

    @property
    def others(self) -> tuple[BridgePort, ...]:
        """Ports that are neither the bridge itself nor endpoints'."""
        return tuple(port for port in self.ports if not (port.local or port.ours))


def bridges_get() -> list[Operation]:
    """Read what `read_bridges` takes."""
    return [
        select(BRIDGE, [], ("name", "fail_mode", "ports")),
        select(PORT, [], ("_uuid", "name", "interfaces", "tag", "trunks", "vlan_mode")),
        select(INTERFACE, [], ("_uuid", "name", "mac_in_use", "mtu", "error", "external_ids")),
    ]


def read_bridges(results: Sequence[Mapping[str, Any]]) -> tuple[Bridge, ...]:
    """What `bridges_get` found."""
    bridges, of_ports, of_interfaces = (result["rows"] for result in results)
    ports = {members(row["_uuid"])[0]: row for row in of_ports}
    interfaces = {members(row["_uuid"])[0]: row for row in of_interfaces}
    return tuple(
        Bridge(
            name=row["name"],
            secure=optional(row["fail_mode"]) == SECURE,
            ports=tuple(
                port
                for port_id in members(row["ports"])
                if port_id in ports
                for port in _bridge_ports(row["name"], ports[port_id], interfaces)
            ),
        )
        for row in bridges
    )


def _bridge_ports(
    bridge: str, port: Mapping[str, Any], interfaces: Mapping[UUID, Any]
) -> Iterator[BridgePort]:
    for row in (interfaces[each] for each in members(port["interfaces"]) if each in interfaces):
        yield BridgePort(
            name=row["name"],
            local=row["name"] == bridge,
            ours=NETWORK in mapping(row["external_ids"]),
            mac=optional(row["mac_in_use"]) or "",
            mtu=optional(row["mtu"]),
            error=optional(row["error"]) or "",
            tag=optional(port["tag"]) if optional(port["vlan_mode"]) in {None, ACCESS} else None,
            trunks=tuple(sorted(members(port["trunks"]))),
        )
