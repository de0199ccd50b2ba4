"""OpenFlow flows in ovs-ofctl(8)'s notation, and the cookies of the driver's flows. Pure."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

COOKIE = 0x0D0C0000000000C8
"""What the cookies of all drivers have in common; the bits between its ends identify the driver."""

COOKIE_MASK = 0xFFFF00000000FFFF

PROTOCOL = "OpenFlow15"
"""For ovs-ofctl: the notation of actions depends on it."""

DEFAULT_PRIORITY = 32768
"""The priority that ovs-ofctl omits."""

Key = tuple[int, str]
"""Table and match. No two flows of a driver share them and differ in priority."""

_NO_MATCH = {
    *("cookie", "table", "priority", "idle_timeout", "hard_timeout", "importance", "duration"),
    *("send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"),
}
"""Parts of a printed flow that are neither match nor action."""
_EVENT = re.compile(
    r" event=(?P<event>[A-Z]+) (?:reason=\S+ )?table=(?P<table>\d+) cookie=(?P<cookie>\w+)"
    r"(?: (?P<match>[^ ]+(?<!actions)))?(?: actions=(?P<actions>.*))?"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow.

    Attributes:
        table: its number.
        priority: the higher wins.
        match: fields in sorted order, joined by commas; "" matches everything.
        actions: as ovs-ofctl prints them for `PROTOCOL`.
    """

    table: int
    priority: int
    match: str
    actions: str

    @property
    def key(self) -> Key:
        """Identifies it in a bundle's deletion and in an event."""
        return self.table, self.match

    def __str__(self) -> str:
        """For people, and for ovs-ofctl."""
        return _joined(f"table={self.table},priority={self.priority}", self.match, f"actions={self.actions}")


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A change of a flow table, as ``ovs-ofctl monitor`` prints it.

    Attributes:
        deleted: whether the flow is gone; otherwise it was present, is new or has changed.
        cookie: of the flow.
        flow: with priority 0, since an event does not contain it.
    """

    deleted: bool
    cookie: int
    flow: Flow


def match(*fields: str) -> str:
    """A match in the form of `Flow.match`."""
    return ",".join(sorted(fields))


def cookie_of(driver_name: str) -> int:
    """The cookie of all flows of this driver and of no other; flows to remove are found by it."""
    return COOKIE | zlib.crc32(driver_name.encode()) << 16


def add(flow: Flow, cookie: int) -> str:
    """A line for ``ovs-ofctl --bundle add-flows`` that adds a flow or replaces its equal."""
    return f"add cookie={cookie:#x},{flow}"


def delete(flow: Flow, cookie: int) -> str:
    """A line that deletes exactly this flow, if it carries the cookie."""
    identity = f"cookie={cookie:#x}/-1,table={flow.table},priority={flow.priority}"
    return "delete_strict " + _joined(identity, flow.match)


def parse_flow(line: str) -> tuple[int, Flow] | None:
    """Cookie and flow of a line of ``ovs-ofctl --no-stats dump-flows``, or None for another line."""
    head, found, actions = line.strip().partition(" actions=")
    if not found:
        return None
    tokens = list(filter(None, re.split("[, ]+", head)))
    values = dict(token.split("=", 1) for token in tokens if "=" in token)
    flow = Flow(
        table=int(values.get("table", "0")),
        priority=int(values.get("priority", DEFAULT_PRIORITY)),
        match=match(*(token for token in tokens if token.partition("=")[0] not in _NO_MATCH)),
        actions=actions.strip(),
    )
    return int(values.get("cookie", "0"), 16), flow


def parse_event(line: str) -> FlowEvent | None:
    """The event of a line of ``ovs-ofctl monitor``, or None for a line of another kind."""
    found = _EVENT.match(line.rstrip())
    if found is None:
        return None
    fields = (found["match"] or "").split(",")
    flow = Flow(int(found["table"]), 0, match(*filter(None, fields)), (found["actions"] or "").strip())
    return FlowEvent(found["event"] == "DELETED", int(found["cookie"], 16), flow)


def _joined(*parts: str) -> str:
    return ",".join(filter(None, parts))


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the switch's flows; deletions come first."""

    added: tuple[Flow, ...] = ()
    deleted: tuple[Flow, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.deleted)


def difference(present: Mapping[Key, Flow], wanted: Mapping[Key, Flow]) -> Change:
    """What turns the flows that are present into those that are wanted.

    A flow with other actions replaces its equal; one with another priority is another flow to the switch.
    """
    added, deleted = [], []
    for key, flow in wanted.items():
        old = present.get(key)
        if old is not flow and old != flow:
            added.append(flow)
            if old is not None and old.priority != flow.priority:
                deleted.append(old)
    deleted += [present[key] for key in present.keys() - wanted.keys()]
    return Change(tuple(added), tuple(deleted))
