"""A host's database as an operator and ovn-controller fill it, and what Northbound holds of addresses."""

from ovn_docker.ovsdb.operations import mapping, to_map
from tests.functional.servers import OvsdbServer


def configure(open_vswitch: OvsdbServer, northbound: str, name: str = "h1") -> None:
    """Fill it: this is the host's name, and Northbound is there."""
    ids = to_map({"system-id": name, "ovn-nb": northbound})
    bridge = {"name": "br-int", "datapath_type": "netdev"}
    row = {"bridges": ["named-uuid", "b"], "external_ids": ids}
    open_vswitch.transact(
        {"op": "insert", "table": "Bridge", "uuid-name": "b", "row": bridge},
        {"op": "insert", "table": "Open_vSwitch", "row": row},
    )


def set_northbound(open_vswitch: OvsdbServer, northbound: str, name: str = "h1") -> None:
    """Name another Northbound, as ``ovs-vsctl set Open_vSwitch . external_ids:ovn-nb=`` does."""
    ids = to_map({"system-id": name, "ovn-nb": northbound})
    open_vswitch.transact(
        {"op": "update", "table": "Open_vSwitch", "where": [], "row": {"external_ids": ids}}
    )


def held(northbound: OvsdbServer) -> list[str]:
    """Pools, leases, claims and reserved addresses: of what kind, and its address or subnet."""
    rows = northbound.rows("DHCP_Options", "cidr", "external_ids")
    return [f"{mapping(row['external_ids'])['ovn-docker']} {row['cidr']}" for row in rows if row["cidr"]]
