"""What OVN Northbound says of the tunnels between hosts. Pure."""

from ovn_docker.ovsdb.replica import Replica, Watch

GLOBAL = "NB_Global"
"""A table of one row (ovn-nb(5))."""

WATCHES = {GLOBAL: Watch(("ipsec",))}
"""Hardly ever changed, unlike the other columns of that row."""


def encrypted(replica: Replica) -> bool:
    """Whether tunnels are encrypted with IPsec (ovn-nb(5), ipsec)."""
    return any(row.get("ipsec", False) for row in replica.rows(GLOBAL).values())
