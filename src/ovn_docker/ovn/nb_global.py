"""How far ovn-northd is with what stands in OVN Northbound (ovn-nb(5), table NB_Global). Pure."""

from collections.abc import Sequence
from typing import Any

from ovn_docker.ovsdb.operations import Condition, Operation, Row, mutate, select
from ovn_docker.ovsdb.replica import Replica, Watch

TABLE = "NB_Global"


def progress_get() -> Operation:
    """Read how far ovn-northd is; the rows go to `read_behind`."""
    return select(TABLE, [], ["nb_cfg", "nb_cfg_timestamp", "sb_cfg", "sb_cfg_timestamp"])


def read_behind(rows: Sequence[Row], now: float) -> float | None:
    """For how many seconds ovn-northd has owed Southbound a change, or None when it owes none.

    Args:
        rows: as read.
        now: seconds since 1970, UTC; 0.0 comes of clocks that differ, or when it has not even begun.
    """
    for row in rows:
        if row["nb_cfg"] > row["sb_cfg"]:
            began = row["nb_cfg_timestamp"] / 1000
            return max(0.0, now - began) if began > row["sb_cfg_timestamp"] / 1000 else 0.0
    return None


# --- How OVN is asked which of its hosts live, as ``ovn-nbctl --wait=hv sync`` asks it. Pure. ---------------
# ``nb_cfg`` of NB_Global is counted up; ovn-northd copies it to Southbound, and each ovn-controller to its
# own row of Chassis_Private, once its host's switch has all that it was told before (ovn-nb(5) NB_Global,
# ovn-sb(5) Chassis_Private). What a host that died has there stays behind.


NB_GLOBAL, CHASSIS_PRIVATE = "NB_Global", "Chassis_Private"


def sync_begin() -> list[Operation]:
    """Count up in Northbound; the results go to `read_target`."""
    return [mutate(NB_GLOBAL, [], ("nb_cfg", "+=", 1)), select(NB_GLOBAL, [], ["nb_cfg"])]


def read_target(results: Sequence[dict[str, Any]]) -> int | None:
    """What a host's row comes up to that lives; None where Northbound was never set up."""
    return next((int(row["nb_cfg"]) for row in results[-1]["rows"]), None)


def followers(target: int, host: str) -> list[Operation]:
    """Read in Southbound whether a host has followed, then which others have (two scans over chassis)."""
    followed: Condition = ("nb_cfg", ">=", target)
    return [
        select(CHASSIS_PRIVATE, [followed, ("name", "==", host)], ["name"]),
        select(CHASSIS_PRIVATE, [followed, ("name", "!=", host)], ["name"]),
    ]


# --- What OVN Northbound says of the tunnels between hosts. Pure. -------------------------------------------


GLOBAL = "NB_Global"
"""A table of one row (ovn-nb(5))."""

WATCHES = {GLOBAL: Watch(("ipsec",))}
"""Hardly ever changed, unlike the other columns of that row."""


def encrypted(replica: Replica) -> bool:
    """Whether tunnels are encrypted with IPsec (ovn-nb(5), ipsec)."""
    return any(row.get("ipsec", False) for row in replica.rows(GLOBAL).values())
