"""What is asked of OVN Northbound about the routers on a switch. Pure."""

from collections.abc import Sequence
from uuid import UUID

from ovn_docker.ovsdb.operations import Operation, row_is, select
from ovn_docker.ovsdb.values import reference, to_set
from ovn_docker.schema.northbound import SWITCH

ROUTER_PORT = "Logical_Router_Port"


def ls_holding(switch: UUID, port: UUID) -> Operation:
    """Read the switch if it holds a port; answered from the index and the order of the set, not by a scan."""
    where = [row_is(switch), ("ports", "includes", reference(port))]
    return select(SWITCH, where, ["_uuid"])


def ls_without(switch: UUID, ports: Sequence[UUID]) -> Operation:
    """Read the switch if it holds none of the ports (RFC 7047 section 5.1, "excludes"); likewise."""
    where = [row_is(switch), ("ports", "excludes", to_set(reference(port) for port in ports))]
    return select(SWITCH, where, ["_uuid"])


def lrp_get(name: str) -> Operation:
    """Read the addresses of a router port by its name."""
    return select(ROUTER_PORT, [("name", "==", name)], ["name", "networks", "mac"])
