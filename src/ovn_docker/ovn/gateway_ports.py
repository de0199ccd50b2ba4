"""The gateway port of a switch: OVN's side of the way out of its containers. Pure.

It is a localport (ovn-nb(5), Logical_Switch_Port, type): each host binds it to an interface of its own, so
one row serves all hosts, and what enters by it on one host never reaches another.
"""

from collections.abc import Sequence
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.addressing import IPAddress
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    insert,
    mapping,
    members,
    mutate,
    reference,
    row_is,
    select,
    to_map,
)

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"

LOCALPORT = "localport"

GATEWAY = "ovn-docker-gateway"
"""The mark of a gateway port, and of its interface on a host; its value is the row id of the switch."""


def port_id(switch: UUID) -> UUID:
    """The row id of the gateway port of a switch, by the switch's."""
    return addressing.row_id("gateway", str(switch))


def port_name(switch: UUID) -> str:
    """Its name, which the interface on each host has as iface-id."""
    return f"gw-{port_id(switch)}"


def mac_of(switch: UUID, gateways: Sequence[IPAddress]) -> str:
    """Its MAC address, the same on all hosts."""
    return addressing.mac_for(str(switch), gateways)


def port_insert(switch: UUID, gateways: Sequence[IPAddress]) -> Operation:
    """Make the port; the switch has to refer to it in the same transaction."""
    row: Row = {
        "name": port_name(switch),
        "type": LOCALPORT,
        "addresses": " ".join([mac_of(switch, gateways), *map(str, gateways)]),
        "external_ids": to_map({GATEWAY: str(switch)}),
    }
    return insert(PORT, port_id(switch), row)


def port_add(switch: UUID, gateways: Sequence[IPAddress]) -> list[Operation]:
    """Make the port of a switch that exists; the last count is 0 if it does not, and no port is made.

    Refused with `ConstraintError` when the port exists.
    """
    reference_it = ("ports", "insert", reference(port_id(switch)))
    return [port_insert(switch, gateways), mutate(SWITCH, [row_is(switch)], reference_it)]


def port_get(switch: UUID) -> Operation:
    """Read the port; the rows go to `read_gateways`."""
    return select(PORT, [row_is(port_id(switch))], ["type", "addresses"])


def read_port(rows: Sequence[Row]) -> tuple[str, tuple[str, ...]]:
    """The MAC address of a gateway port and its IP addresses; "" and none without the port."""
    for row in rows:
        for text in members(row["addresses"]) if row["type"] == LOCALPORT else ():
            mac, *ips = text.split()
            return mac, tuple(ips)
    return "", ()


def is_gateway_port(row: Row) -> bool:
    """Whether a port is the gateway port of a switch."""
    return GATEWAY in mapping(row["external_ids"])
