"""How far ovn-northd is with what stands in OVN Northbound (ovn-nb(5), table NB_Global). Pure."""

from collections.abc import Sequence

from ovn_docker.ovsdb.operations import Operation, Row, select

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
