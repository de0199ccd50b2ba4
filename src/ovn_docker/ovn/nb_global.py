"""Table NB_Global of OVN Northbound, which has one row (ovn-nb(5)): progress, options, IPsec. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from ovn_docker.ovsdb.operations import Condition, Operation, Row, mapping, mutate, select
from ovn_docker.ovsdb.replica import Replica, Watch

TABLE = "NB_Global"
CHASSIS_PRIVATE = "Chassis_Private"

WATCHES = {TABLE: Watch(("ipsec",))}
"""Hardly ever changed, unlike the other columns of that row."""


def encrypted(replica: Replica) -> bool:
    """Whether tunnels are encrypted with IPsec (ovn-nb(5), ipsec)."""
    return any(row.get("ipsec", False) for row in replica.rows(TABLE).values())


def vxlan_mode_get() -> Operation:
    """Read whether northd may go into VXLAN mode; the rows go to `read_vxlan_mode`."""
    return select(TABLE, [], ["options"])


def read_vxlan_mode(rows: Iterable[Row]) -> bool:
    """Whether northd may go into VXLAN mode: no option forbids it (ovn-nb(5), vxlan_mode)."""
    return all(mapping(row["options"]).get("vxlan_mode") != "false" for row in rows)


def progress_get() -> Operation:
    """Read how far ovn-northd is; the rows go to `read_behind`."""
    return select(TABLE, [], ["nb_cfg", "nb_cfg_timestamp", "sb_cfg", "sb_cfg_timestamp"])


def read_behind(rows: Sequence[Row], now: float) -> float | None:
    """For how many seconds ovn-northd has owed Southbound a change, or None when it owes none.

    Args:
        rows: as read.
        now: seconds since 1970, UTC. The result is 0.0 where clocks differ, or when it has not even begun.
    """
    for row in rows:
        if row["nb_cfg"] > row["sb_cfg"]:
            began = row["nb_cfg_timestamp"] / 1000
            return max(0.0, now - began) if began > row["sb_cfg_timestamp"] / 1000 else 0.0
    return None


# --- Which hosts of OVN are alive, as ``ovn-nbctl --wait=hv sync`` finds out. ------------------------------
# ``nb_cfg`` of NB_Global is incremented; ovn-northd copies it to Southbound, and each ovn-controller to its
# own row of Chassis_Private once its host's switch has everything from before (ovn-nb(5) NB_Global, ovn-sb(5)
# Chassis_Private). The row of a dead host stays behind.


def sync_begin() -> list[Operation]:
    """Increment in Northbound; the results go to `read_target`."""
    return [mutate(TABLE, [], ("nb_cfg", "+=", 1)), select(TABLE, [], ["nb_cfg"])]


def read_target(results: Sequence[dict[str, Any]]) -> int | None:
    """The number that a live host's row reaches; None where Northbound was never set up."""
    return next((int(row["nb_cfg"]) for row in results[-1]["rows"]), None)


def followers(target: int, host: str) -> list[Operation]:
    """Read in Southbound whether a host has followed, then which others have (two scans over chassis)."""
    followed: Condition = ("nb_cfg", ">=", target)
    return [
        select(CHASSIS_PRIVATE, [followed, ("name", "==", host)], ["name"]),
        select(CHASSIS_PRIVATE, [followed, ("name", "!=", host)], ["name"]),
    ]
