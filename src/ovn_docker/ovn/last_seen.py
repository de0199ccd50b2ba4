"""When a host's driver was connected last, as the host's row in OVN Northbound says. Pure.

Whoever is connected has a lock, and of a lock nothing stays when its connection ends. So each driver writes
the moment into its host's row now and then, and once more when it is stopped. People are told of it; nothing
is decided by it, for the clocks of hosts differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ovn_docker.ovn.hosts import host_id
from ovn_docker.ovn.leases import TABLE
from ovn_docker.ovsdb.operations import Operation, Row, mutate, row_is, select
from ovn_docker.ovsdb.values import mapping, to_map, to_set

SEEN, STOPPED = "ovn-docker-seen", "ovn-docker-stopped"


@dataclass(frozen=True, slots=True)
class LastSeen:
    """When a driver was connected last.

    Attributes:
        moment: in the form of `northbound.timestamp`, or "" where nobody wrote it down.
        stopped: whether the driver was stopped at that moment; else it went away some minutes later at most.
    """

    moment: str = ""
    stopped: bool = False

    def __str__(self) -> str:
        """For people: ``2026-11-27 14:52 UTC``, ``about 2026-11-27 14:50 UTC``, or ""."""
        if not self.moment:
            return ""
        minute = f"{self.moment[:10]} {self.moment[11:16]} UTC"
        return minute if self.stopped else f"about {minute}"


def seen_set(host: str, moment: str, *, stopped: bool = False) -> Operation:
    """Write when a host's driver was connected last; count is 0 where the host is not registered."""
    written = mutate(TABLE, [row_is(host_id(host))], ("external_ids", "delete", to_set([SEEN, STOPPED])))
    marks = {SEEN: moment, **({STOPPED: "true"} if stopped else {})}
    written["mutations"] += [("external_ids", "insert", to_map(marks))]
    return written


def seen_get(host: str) -> Operation:
    """Read what goes to `read_seen`."""
    return select(TABLE, [row_is(host_id(host))], ["external_ids"])


def read_seen(rows: Sequence[Row]) -> LastSeen:
    """When a host's driver was connected last, as its row says; what is not a time is as good as nothing."""
    ids = mapping(rows[0]["external_ids"]) if rows else {}
    moment = ids.get(SEEN, "")
    return LastSeen(moment, STOPPED in ids) if _is_timestamp(moment) else LastSeen()


def _is_timestamp(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007  (only its form is asked for)
    except ValueError:
        return False
    return True
