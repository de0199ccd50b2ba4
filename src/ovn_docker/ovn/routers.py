"""What is asked of OVN Northbound about the routers on a switch. Pure."""

from ovn_docker.ovsdb.operations import Operation, Row, select
from ovn_docker.ovsdb.replica import Watch
from ovn_docker.ovsdb.values import mapping

ROUTER_PORT = "Logical_Router_Port"

WATCHES = {ROUTER_PORT: Watch(("name", "mac"))}
"""All router ports, which are few: where there is none, or none with some MAC address, nothing is asked.

Which switch one is on stands in the switch's own port, a Logical_Switch_Port. That table is not watched: a
server goes through all of it for each host that connects, and through each change of it for each host.
"""


def lrp_get(name: str) -> Operation:
    """Read the addresses of a router port by its name."""
    return select(ROUTER_PORT, [("name", "==", name)], ["name", "networks", "mac"])


def read_router_port(row: Row) -> str:
    """The router port behind a switch's port, as `northbound.lsp_state` reads it, or ""."""
    return mapping(row["options"]).get("router-port", "") if row["type"] == "router" else ""
