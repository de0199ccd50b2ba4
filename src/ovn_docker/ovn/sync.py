"""How OVN is asked which of its hosts live, as ``ovn-nbctl --wait=hv sync`` asks it. Pure.

``nb_cfg`` of NB_Global is counted up; ovn-northd copies it to Southbound, and each ovn-controller to its own
row of Chassis_Private, once its host's switch has all that it was told before (ovn-nb(5) NB_Global, ovn-sb(5)
Chassis_Private). What a host that died has there stays behind.
"""

from collections.abc import Sequence
from typing import Any

from ovn_docker.ovsdb.operations import Condition, Operation, mutate, select

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
