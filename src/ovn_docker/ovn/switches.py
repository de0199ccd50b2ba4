"""What OVN Northbound holds for a Docker network and its endpoints, and the routers on a switch. Pure.

A network is a Logical_Switch named by its NetworkID, an endpoint a Logical_Switch_Port named by its
EndpointID. Their row ids follow from those ids, so each verb is one transaction that the server answers from
its index, and a repeat of it meets the row that the first left.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress, IPNetwork
from ovn_docker.ovn import gateway_ports
from ovn_docker.ovsdb.operations import (
    Condition,
    Operation,
    Row,
    atom,
    delete,
    insert,
    mapping,
    members,
    mutate,
    reference,
    require,
    row_is,
    select,
    to_map,
    to_set,
    update,
)
from ovn_docker.ovsdb.replica import Watch

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"

NETWORK, HOST, CREATED = "ovn-docker-network", "ovn-docker-host", "ovn-docker-created"
INTERNAL, MTU, POOL = "ovn-docker-internal", "ovn-docker-mtu", "ovn-docker-pool:"
ALLOW, PORT_SECURITY = "ovn-docker-allow", "ovn-docker-port-security"
SUBNET, GATEWAY, CONTEXT = "subnet", "gateway_ip", "subnet_context"
EGRESS, GATEWAYS = "ovn-docker-egress", "ovn-docker-gateways"

BY_HOST, BY_DOCKER, NOWHERE = "host", "docker", "none"
"""Values of `EGRESS`: out of a network's gateway port, by docker_gwbridge, or no way out."""

VERSION_DIGIT, OWN_VERSION = 14, "5"
"""Position of a UUID's version in its text, and the version that `addressing.row_id` makes."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The host (``system-id``) that made a row, and when; `created` is in the form of `timestamp`."""

    host: str
    created: str


def timestamp(moment: datetime) -> str:
    """A moment of UTC in RFC 3339 form, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Switch:
    """A Docker network as Northbound holds it.

    Attributes:
        network_id: Docker's NetworkID.
        pools: IPv4 and IPv6, in Docker's order; none where IPAM gives no addresses.
        gateways: the address that IPAM reserves as the gateway of each pool, or None.
        internal: ``--internal``, so nothing leads out of the network.
        mtu: bytes, as requested with ``-o``, or None to follow the encapsulation.
        host: that made it.
        port_security: whether its containers may use only their own MAC and IP addresses.
        egress: `BY_HOST`, `BY_DOCKER` or `NOWHERE`.
    """

    network_id: str
    pools: tuple[IPNetwork, ...] = ()
    gateways: tuple[IPAddress | None, ...] = ()
    internal: bool = False
    mtu: int | None = None
    host: str = ""
    port_security: bool = True
    egress: str = BY_DOCKER

    @property
    def gateway_addresses(self) -> tuple[IPAddress, ...]:
        """Those of its gateway port; none where it gets none."""
        return tuple(filter(None, self.gateways)) if self.egress != BY_DOCKER else ()

    @property
    def sealed(self) -> bool:
        """Whether nothing leads out of it."""
        return self.internal or self.egress == NOWHERE

    def pools_of(self, ips: Iterable[IPAddress]) -> tuple[IPNetwork, ...]:
        """Those of its pools in which these addresses lie, in the order of the addresses."""
        return tuple(pool for ip in ips for pool in self.pools if _holds(pool, ip))


@dataclass(frozen=True, slots=True)
class SwitchPort:
    """An endpoint as Northbound holds it.

    Attributes:
        network_id: Docker's NetworkID.
        endpoint_id: Docker's EndpointID.
        addresses: its MAC, then its IPs, separated by spaces.
        port_security: whether it may use only those (ovn-nb(5), port_security).
    """

    network_id: str
    endpoint_id: str
    addresses: str
    port_security: bool = True

    @property
    def mac(self) -> str:
        """Its MAC address."""
        return self.addresses.partition(" ")[0]

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """Its IP addresses."""
        return tuple(map(ipaddress.ip_address, self.addresses.split()[1:]))


def switch_id(network_id: str) -> UUID:
    """The row id of a network's switch."""
    return addressing.row_id(SWITCH, network_id)


def port_id(network_id: str, endpoint_id: str) -> UUID:
    """The row id of an endpoint's port."""
    return addressing.row_id(PORT, network_id, endpoint_id)


def ls_add(switch: Switch, mark: Mark, name: str = "", context: str = "") -> list[Operation]:
    """Make the switch with its gateway port, unless somebody else has made one of that name.

    Refused with `ConstraintError` when the row is there, with `RequirementError` when only the name is:
    Logical_Switch has no unique index on its name, so the transaction has to look.

    Args:
        switch: to make.
        mark: of this host.
        name: of a switch that several networks share, or "" for the network's own.
        context: of a shared switch, or "".
    """
    name = name or switch.network_id
    ids = _switch_ids(switch) | _marks(switch.network_id, mark) | ({CONTEXT: context} if context else {})
    uuid = switch_id(name)
    foreign = [("name", "==", name), ("_uuid", "!=", reference(uuid))]
    row = {"name": name, "external_ids": to_map(ids)}
    gateways = switch.gateway_addresses
    if gateways:
        row["ports"] = reference(gateway_ports.port_id(uuid))
    gateway = [gateway_ports.port_insert(uuid, gateways)] if gateways else []
    return [require(SWITCH, foreign, ["_uuid"], []), *gateway, insert(SWITCH, uuid, row)]


def ls_add_undo(name: str, network_id: str, mark: Mark) -> list[Operation]:
    """Undo the `ls_add` of this name that carried this mark, and no other."""
    same = ("external_ids", "includes", to_map(_marks(network_id, mark)))
    return ls_del(switch_id(name), (), same)


def ls_get(switch: UUID) -> Operation:
    """Read a switch; its row goes to `read_switch`."""
    return select(SWITCH, [row_is(switch)], ["external_ids"])


def ls_name(switch: UUID) -> Operation:
    """Read the name of a switch."""
    return select(SWITCH, [row_is(switch)], ["name"])


def ls_find(name: str) -> Operation:
    """Read the switches of a name (a scan over switches: not for a container's path)."""
    return select(SWITCH, [("name", "==", name)], ["_uuid", "external_ids"])


def ls_exists(switch: UUID) -> Operation:
    """Abort the transaction with `RequirementError` unless the switch exists."""
    return require(SWITCH, [row_is(switch)], ["_uuid"], [{"_uuid": reference(switch)}])


def ls_state(name: str, switch: UUID | None) -> Operation:
    """Read whether a switch has changed, and what OVN's own IPAM leaves out of it.

    Args:
        name: of the switch; used only while its row is not known, since that is a scan over switches.
        switch: its row id, or None.
    """
    where = ("name", "==", name) if switch is None else row_is(switch)
    return select(SWITCH, [where], ["_uuid", "_version", "other_config"])


def ls_ports(switch: UUID) -> Operation:
    """Read which ports a switch holds."""
    return select(SWITCH, [row_is(switch)], ["ports"])


def ls_listing(switch: UUID) -> Operation:
    """Read which ports a switch holds and the version of its row; it goes to `read_ports`."""
    return select(SWITCH, [row_is(switch)], ["_version", "ports"])


def ls_del(switch: UUID, ports: Sequence[UUID] = (), *conditions: Condition) -> list[Operation]:
    """Delete the switch if these are exactly its ports besides its gateway port; see `was_deleted`.

    The switch has to meet the other conditions too.
    """
    with_gateway = [*ports, gateway_ports.port_id(switch)]
    return [
        delete(SWITCH, [row_is(switch), ("ports", "==", to_set(map(reference, those))), *conditions])
        for those in (ports, with_gateway)
    ]


def was_deleted(results: Iterable[Mapping[str, Any]]) -> bool:
    """Whether `ls_del`, with these results, found the switch and deleted it."""
    return any(result["count"] for result in results)


def ls_list(host: str) -> Operation:
    """Read all switches that a host made (a scan: not for a container's path)."""
    return select(SWITCH, [_of_host(host)], ["_uuid", "name", "external_ids"])


def ls_meant_for(subnet: str, context: str) -> Operation:
    """Read the names of the switches whose owner marked them for a subnet and context (a scan)."""
    return select(
        SWITCH, [("external_ids", "includes", to_map({SUBNET: subnet, CONTEXT: context}))], ["name"]
    )


def lsp_list(host: str) -> Operation:
    """Read all ports that a host made (a scan: not for a container's path)."""
    return select(PORT, [_of_host(host)], ["_uuid", "name", "addresses", "external_ids"])


def _of_host(host: str) -> Condition:
    return ("external_ids", "includes", to_map({HOST: host}))


def ls_probe(switch: UUID) -> Operation:
    """Read only whether a switch is there."""
    return select(SWITCH, [row_is(switch)], ["_uuid"])


def lsp_add(port: SwitchPort, switch: UUID, pools: Sequence[IPNetwork], mark: Mark) -> list[Operation]:
    """Make the port and put it into a switch.

    The last count is 0 when the switch does not exist or lacks one of `pools`: then the port is in no switch,
    and OVSDB drops it at commit (RFC 7047 section 3.2, isRoot). Refused with `ConstraintError` when a port of
    that name exists.
    """
    uuid = port_id(port.network_id, port.endpoint_id)
    row: Row = {
        "name": port.endpoint_id,
        "addresses": port.addresses,
        "port_security": to_set([port.addresses] if port.port_security else []),
        "external_ids": to_map(_marks(port.network_id, mark)),
    }
    has_pools = ("external_ids", "includes", to_map({POOL + str(pool): f"v{pool.version}" for pool in pools}))
    where = [row_is(switch), has_pools]
    return [insert(PORT, uuid, row), mutate(SWITCH, where, ("ports", "insert", reference(uuid)))]


def lsp_add_undo(port: SwitchPort, switch: UUID, mark: Mark) -> list[Operation]:
    """Undo the `lsp_add` that carried this mark; refused with `RequirementError` when its port is gone."""
    ids = port.network_id, port.endpoint_id
    same = ("external_ids", "includes", to_map(_marks(port.network_id, mark)))
    made = require(PORT, [row_is(port_id(*ids)), same], ["name"], [{"name": port.endpoint_id}])
    return [made, lsp_del(*ids, switch)]


def lsp_get(network_id: str, endpoint_id: str) -> Operation:
    """Read the port; its row goes to `read_addresses`."""
    where = [row_is(port_id(network_id, endpoint_id))]
    return select(PORT, where, ["name", "addresses", "external_ids"])


def lsp_made(network_id: str, endpoint_id: str) -> Operation:
    """Read whether ovn-northd has processed the port; the rows go to `read_made`."""
    return select(PORT, [row_is(port_id(network_id, endpoint_id))], ["up"])


def read_made(rows: Sequence[Row]) -> bool | None:
    """Whether the port is in Southbound: ovn-northd then fills `up` (ovn-nb(5)). None without the port."""
    return None if not rows else bool(members(rows[0]["up"]))


def lsp_set_addresses(network_id: str, endpoint_id: str, addresses: str) -> list[Operation]:
    """Set a port's addresses, in the form of `SwitchPort`, and its port security if it has any."""
    this = row_is(port_id(network_id, endpoint_id))
    secured = ("port_security", "!=", to_set([]))
    return [
        update(PORT, [this], {"addresses": addresses}),
        update(PORT, [this, secured], {"port_security": addresses}),
    ]


def lsp_unsecure(network_id: str, endpoint_id: str) -> Operation:
    """Let a port send from any address."""
    return update(PORT, [row_is(port_id(network_id, endpoint_id))], {"port_security": to_set([])})


def lsp_rename(
    network_id: str, endpoint_id: str, old: Mapping[str, str], names: Mapping[str, str]
) -> Operation:
    """Replace what a port's external_ids say of its container, if that is still `old`."""
    return mutate(
        PORT,
        [row_is(port_id(network_id, endpoint_id))],
        ("external_ids", "delete", to_map(old)),
        ("external_ids", "insert", to_map(names)),
    )


def lsp_named(endpoint_id: str) -> Operation:
    """Read the port of that name, of any owner (a scan: only to explain a refusal)."""
    return select(PORT, [("name", "==", endpoint_id)], ["_uuid", "addresses", "external_ids"])


def lsp_owner(uuid: UUID) -> Operation:
    """Read which host made a port, by row id."""
    return select(PORT, [row_is(uuid)], ["name", "external_ids"])


def lsp_del(network_id: str, endpoint_id: str, switch: UUID) -> Operation:
    """Take the port out of a switch, which removes it; count is 0 when it was not there."""
    port = reference(port_id(network_id, endpoint_id))
    return mutate(SWITCH, [row_is(switch), ("ports", "includes", port)], ("ports", "delete", port))


def lsp_del_anywhere(network_id: str, endpoint_id: str) -> Operation:
    """Take the port out of the switch that holds it now: an administrator may have moved it."""
    port = reference(port_id(network_id, endpoint_id))
    return mutate(SWITCH, [("ports", "includes", port)], ("ports", "delete", port))


def read_occupants(row: Row, switch: UUID) -> list[UUID]:
    """The ports of a switch but its gateway port, as `ls_ports` reads them."""
    gateway = gateway_ports.port_id(switch)
    return [port for port in members(row["ports"]) if port != gateway]


def lsp_state(uuid: UUID) -> Operation:
    """Read what addresses a port has, of any owner."""
    columns = ["_uuid", "name", "type", "options", "addresses", "dynamic_addresses", "external_ids"]
    return select(PORT, [row_is(uuid)], columns)


def is_endpoint(row: Row) -> bool:
    """Whether a port is an endpoint of this driver, on any host."""
    return NETWORK in mapping(row["external_ids"])


def read_uuid(row: Row) -> UUID:
    """The row's id."""
    return UUID(str(atom(row["_uuid"])))


def read_version(row: Row) -> str:
    """The row's `_version`, which differs after each change (RFC 7047 section 3.2), as text."""
    return str(atom(row["_version"]))


def read_ports(row: Row) -> tuple[int, list[UUID]]:
    """How many ports a switch holds, and the row ids of those that may be foreign.

    The driver's row ids are of version 5 (RFC 9562 section 5.5). Where the writer chooses none, as in all of
    OVN, ovsdb-server gives a row a random one, of version 4 (ovs lib/uuid.c).
    """
    tag, value = row["ports"]
    ports = [text for _, text in value] if tag == "set" else [value]
    return len(ports), [
        UUID(text) for text in ports if text[VERSION_DIGIT : VERSION_DIGIT + 1] != OWN_VERSION
    ]


def read_switch(network_id: str, row: Row) -> Switch:
    """The network that a row of Logical_Switch holds."""
    ids = mapping(row["external_ids"])
    pools = [addressing.network(key.removeprefix(POOL), "pool") for key in ids if key.startswith(POOL)]
    mtu = ids.get(MTU, "")
    gateways = [ipaddress.ip_address(text) for text in ids.get(GATEWAYS, "").split()]
    return Switch(
        network_id=network_id,
        pools=tuple(pools),
        gateways=tuple(next((ip for ip in gateways if _holds(pool, ip)), None) for pool in pools),
        internal=ids.get(INTERNAL) == "true",
        mtu=int(mtu) if mtu.isdecimal() else None,
        host=ids.get(HOST, ""),
        port_security=ids.get(PORT_SECURITY) != "false",
        egress=ids.get(EGRESS, BY_DOCKER),
    )


def read_addresses(row: Row) -> str:
    """The addresses of a port, in the form of `SwitchPort`."""
    return " ".join(members(row["addresses"]))


def read_network_id(row: Row) -> str:
    """The Docker network that a row was made for, or ""."""
    return mapping(row["external_ids"]).get(NETWORK, "")


def read_marks(row: Row) -> Mapping[str, str]:
    """The external_ids of a row."""
    return mapping(row["external_ids"])


def _holds(pool: IPNetwork, ip: IPAddress) -> bool:
    return pool.version == ip.version and ip in pool


def _marks(network_id: str, mark: Mark) -> dict[str, str]:
    return {NETWORK: network_id, HOST: mark.host, CREATED: mark.created}


def _switch_ids(switch: Switch) -> dict[str, str]:
    """The external_ids that describe a network: the guide's two for its first pool, and a key for each pool.

    A key for each, because a condition of OVSDB can match a pair of a map but not look into a list.
    """
    ids = {POOL + str(pool): f"v{pool.version}" for pool in switch.pools}
    if switch.pools:
        ids[SUBNET] = str(switch.pools[0])
    gateway = next(iter(switch.gateways), None)
    if gateway is not None:
        ids[GATEWAY] = str(gateway)
    if switch.internal:
        ids[INTERNAL] = "true"
    if switch.mtu is not None:
        ids[MTU] = str(switch.mtu)
    if not switch.port_security:
        ids[PORT_SECURITY] = "false"
    if switch.egress != BY_DOCKER:
        ids[EGRESS] = switch.egress
        ids[GATEWAYS] = " ".join(map(str, switch.gateway_addresses))
    return ids


# --- Routers on a switch ------------------------------------------------------------------------------------


ROUTER_PORT = "Logical_Router_Port"

WATCHES = {ROUTER_PORT: Watch(("name", "mac"))}
"""All router ports, which are few: where there is none, or none with some MAC address, nothing need be read.

The switch's own port, a Logical_Switch_Port, names the router port. That table is not watched: a server reads
all of it for each host that connects, and evaluates each change of it for each host.
"""


def lrp_get(name: str) -> Operation:
    """Read the addresses of a router port by its name."""
    return select(ROUTER_PORT, [("name", "==", name)], ["name", "networks", "mac"])


def read_router_port(row: Row) -> str:
    """The router port behind a switch's port, as `lsp_state` reads it, or ""."""
    return mapping(row["options"]).get("router-port", "") if row["type"] == "router" else ""
