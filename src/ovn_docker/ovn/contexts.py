"""The pools of a routing context, of which no two overlap. Pure."""

from collections.abc import Iterable

from ovn_docker.ovn.leases import CONTEXT, KIND, POOL_ROW, TABLE
from ovn_docker.ovsdb.operations import Operation, require
from ovn_docker.ovsdb.values import to_map


def pools_are(context: str, subnets: Iterable[str]) -> Operation:
    """Abort the transaction with `RequirementError` unless these are all pools of a context (a scan)."""
    marks = to_map({KIND: POOL_ROW, CONTEXT: context})
    rows = [{"cidr": each} for each in subnets]
    return require(TABLE, [("external_ids", "includes", marks)], ["cidr"], rows)
