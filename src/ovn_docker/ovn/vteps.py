"""What OVN Northbound holds for VTEPs outside OVN, and what a host watches there. Pure.

A VTEP is a key of its network's switch, for all hosts to read. In mode `vtep` that switch also has a port of
type vtep (ovn-nb(5), "Logical_Switch_Port: type") for it, and the VNI is the switch's tunnel key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn import nb_global, switches
from ovn_docker.ovn.switches import CREATED, NETWORK, PORT, SWITCH, Mark
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    insert,
    mapping,
    mutate,
    optional,
    reference,
    replace_keys,
    require,
    row_is,
    select,
    to_map,
    to_set,
)
from ovn_docker.ovsdb.replica import Watch

VTEPS, VTEP, PINNED = "ovn-docker-vteps", "ovn-docker-vtep:", "ovn-docker-tnl-key"
"""Keys of a switch: that it has VTEPs, each of them, and the tunnel key that `vtep add` pinned for them."""

MARK = "ovn-docker-vtep"
"""Key of a port of type vtep: the VTEP's address."""

LOOKUP, VTEP_PORT = "lookup", "vtep"
MODES = LOOKUP, VTEP_PORT

RECORDED = {LOOKUP: "lookup", VTEP_PORT: "ramp"}
"""How external_ids and JSON write a mode: drivers of other versions read them, and know no other word."""

KEY = "requested-tnl-key"

SWITCHES = {SWITCH: Watch(("name", "external_ids"), (("external_ids", "includes", to_map({VTEPS: "true"})),))}
"""The switches that a VTEP was configured for."""

WATCHES = switches.WATCHES | nb_global.WATCHES | SWITCHES
"""All that a host keeps of Northbound. No table of which containers have rows: see decision 1."""


def mode_of(word: str) -> str:
    """The mode that a person or a record names; another word is returned as it is."""
    return VTEP_PORT if word == RECORDED[VTEP_PORT] else word


@dataclass(frozen=True, slots=True)
class Entry:
    """A VTEP of a switch: the network's VNI on it, and one of `MODES`."""

    vni: int
    mode: str = LOOKUP

    def __str__(self) -> str:
        """As the switch records it: a driver that knows lookups only takes no other mode for one."""
        return str(self.vni) if self.mode == LOOKUP else f"{self.vni} {RECORDED[self.mode]}"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a switch says of its tunnel key.

    Attributes:
        name: of the switch.
        own: whether a driver of this project made it.
        config: ``other_config``.
        pinned: the tunnel key that `vtep add` requested, or "".
        vteps: its VTEPs by address.
    """

    name: str
    own: bool
    config: Mapping[str, str]
    pinned: str
    vteps: Mapping[str, Entry]

    @property
    def requested(self) -> str:
        """The tunnel key that northd is to give it, or ""."""
        return self.config.get(KEY, "")


def read_vteps(row: Row) -> dict[str, Entry]:
    """The VTEPs of a switch by address."""
    found = {}
    for key, text in mapping(row.get("external_ids")).items():
        vni, _, word = text.partition(" ")
        if key.startswith(VTEP) and vni.isdecimal() and word in {"", RECORDED[VTEP_PORT]}:
            found[key.removeprefix(VTEP)] = Entry(int(vni), mode_of(word) or LOOKUP)
    return found


def read_keys(row: Row) -> Keys:
    """What `ls_keys` found."""
    ids = mapping(row["external_ids"])
    config = mapping(row["other_config"])
    return Keys(str(row["name"]), NETWORK in ids, config, ids.get(PINNED, ""), read_vteps(row))


def ls_vteps() -> Operation:
    """Read the switches that a VTEP was configured for (a scan over switches: for a command)."""
    where = ("external_ids", "includes", to_map({VTEPS: "true"}))
    return select(SWITCH, [where], ["_uuid", "name", "external_ids"])


def ls_keys(switch: UUID) -> Operation:
    """Read what a switch says of its tunnel key; the row goes to `read_keys`."""
    return select(SWITCH, [row_is(switch)], ["name", "external_ids", "other_config"])


def ls_vtep_add(switch: UUID, remote: str, entry: Entry) -> Operation:
    """Configure a VTEP for a switch, replacing its entry; count is 0 without the switch."""
    return mutate(
        SWITCH,
        [row_is(switch)],
        ("external_ids", "delete", to_set([VTEP + remote])),
        ("external_ids", "insert", to_map({VTEP + remote: str(entry), VTEPS: "true"})),
    )


def ls_vtep_del(switch: UUID, remote: str, *, last: bool) -> Operation:
    """Take a VTEP away from a switch; `last` if it is its only one."""
    keys = [VTEP + remote, *([VTEPS] if last else [])]
    return mutate(SWITCH, [row_is(switch)], ("external_ids", "delete", to_set(keys)))


def ls_pin_key(switch: UUID, keys: Keys, vni: int) -> list[Operation]:
    """Request the VNI as the switch's tunnel key, unless it is requested already.

    Refused with `RequirementError` when the switch has been configured since `keys` was read.
    """
    if keys.requested == str(vni):
        return []
    unchanged = require(SWITCH, [row_is(switch)], ["other_config"], [{"other_config": to_map(keys.config)}])
    pinned = mutate(
        SWITCH,
        [row_is(switch)],
        *replace_keys("other_config", {KEY: str(vni)}),
        *replace_keys("external_ids", {PINNED: str(vni)}),
    )
    return [unchanged, pinned]


def ls_unpin_key(switch: UUID, keys: Keys) -> list[Operation]:
    """Withdraw the request of `ls_pin_key`, if that made it; northd leaves the key as it is."""
    if not keys.pinned:
        return []
    mutations = (
        ("external_ids", "delete", to_set([PINNED])),
        ("other_config", "delete", to_map({KEY: keys.pinned})),
    )
    return [mutate(SWITCH, [row_is(switch)], *mutations)]


def vtep_port_id(switch: UUID, remote: str) -> UUID:
    """The row id of a VTEP's port."""
    return addressing.row_id(PORT, MARK, remote, str(switch))


def vtep_port_name(switch: UUID, remote: str) -> str:
    """The name of a VTEP's port, in Southbound too."""
    return f"vtep-{remote}-{str(switch)[:8]}"


def lsp_vtep_add(switch: UUID, remote: str, chassis: str, mark: Mark) -> list[Operation]:
    """Make a VTEP's port; refused with `ConstraintError` when it is there.

    It gets packets to unknown MAC addresses, since the hosts behind a VTEP have those. ovn-nb(5) requires the
    two options for the type.
    """
    uuid = vtep_port_id(switch, remote)
    row: Row = {
        "name": vtep_port_name(switch, remote),
        "type": "vtep",
        "addresses": "unknown",
        "options": to_map({"vtep-physical-switch": chassis, "vtep-logical-switch": str(switch)}),
        "external_ids": to_map({MARK: remote, CREATED: mark.created}),
    }
    return [insert(PORT, uuid, row), mutate(SWITCH, [row_is(switch)], ("ports", "insert", reference(uuid)))]


def lsp_vtep_get(switch: UUID, remote: str) -> Operation:
    """Read whether a VTEP's port is there."""
    return select(PORT, [row_is(vtep_port_id(switch, remote))], ["name"])


def lsp_vtep_state(switch: UUID, remote: str) -> Operation:
    """Read whether a VTEP's port is bound to its chassis; the rows go to `vtep_ports_up`."""
    return select(PORT, [row_is(vtep_port_id(switch, remote))], ["name", "up", "external_ids"])


def lsp_vtep_del(switch: UUID, remote: str) -> Operation:
    """Take a VTEP's port away."""
    uuid = reference(vtep_port_id(switch, remote))
    return mutate(SWITCH, [row_is(switch)], ("ports", "delete", uuid))


def vtep_ports_up(rows: Iterable[Row]) -> dict[str, bool]:
    """Whether each VTEP's port is bound to its chassis, by name."""
    return {
        str(row.get("name", "")): bool(optional(row.get("up", ["set", []])))
        for row in rows
        if MARK in mapping(row.get("external_ids"))
    }
