"""What OVN Northbound says of the tunnels between hosts. Pure."""

from collections.abc import Mapping, Sequence

from ovn_docker.ovsdb.operations import Operation, Row, select

GLOBAL = "NB_Global"
"""A table of one row (ovn-nb(5))."""


def global_get() -> Operation:
    """Read what goes to `read_encrypted`."""
    return select(GLOBAL, [], ["ipsec"])


def read_encrypted(result: Mapping[str, Sequence[Row]]) -> bool:
    """Whether tunnels are encrypted with IPsec (ovn-nb(5), ipsec)."""
    return any(row["ipsec"] for row in result["rows"])
