"""What stands in OVN Northbound for a VTEP that knows no OVN, and what a host watches there. Pure.

A VTEP is a key of its network's switch, for all hosts to read. In the mode "ramp" that switch has besides a
port of the type vtep (ovn-nb(5), "Logical_Switch_Port: type") for it, and the VNI is the switch's tunnel key.
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
    require,
    row_is,
    select,
    to_map,
    to_set,
)
from ovn_docker.ovsdb.replica import Watch

VTEPS, VTEP, PINNED = "ovn-docker-vteps", "ovn-docker-vtep:", "ovn-docker-tnl-key"
"""Keys of a switch: that it has VTEPs, each of them, and the tunnel key that we have pinned for them."""

MARK = "ovn-docker-vtep"
"""Key of a ramp port: the VTEP's address."""

LOOKUP, VTEP_PORT = "lookup", "ramp"
MODES = LOOKUP, VTEP_PORT

KEY, VXLAN_MODE, GLOBAL = "requested-tnl-key", "vxlan_mode", "NB_Global"

SWITCHES = {SWITCH: Watch(("name", "external_ids"), (("external_ids", "includes", to_map({VTEPS: "true"})),))}
"""The switches that a VTEP was configured for."""

WATCHES = switches.WATCHES | nb_global.WATCHES | SWITCHES
"""All that a host keeps of Northbound. No table of which containers have rows: see decision 1."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A VTEP of a switch.

    Attributes:
        vni: what the VTEP calls the network.
        mode: how its packets come in, one of `MODES`.
    """

    vni: int
    mode: str = LOOKUP

    def __str__(self) -> str:
        """As it stands in the switch: a driver that knows no ramp port does not take one for a lookup."""
        return str(self.vni) if self.mode == LOOKUP else f"{self.vni} {self.mode}"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a switch says of its tunnel key.

    Attributes:
        name: of the switch.
        ours: whether a driver of ours made it.
        config: ``other_config``.
        pinned: what we have requested, or "".
        vteps: its VTEPs by address.
    """

    name: str
    ours: bool
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
        vni, _, mode = text.partition(" ")
        if key.startswith(VTEP) and vni.isdecimal() and mode in {"", VTEP_PORT}:
            found[key.removeprefix(VTEP)] = Entry(int(vni), mode or LOOKUP)
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
    """Read what a switch says of its tunnel key."""
    return select(SWITCH, [row_is(switch)], ["name", "external_ids", "other_config"])


def ls_vtep_add(switch: UUID, remote: str, entry: Entry) -> Operation:
    """Configure a VTEP for a switch, in place of what it was; count is 0 without the switch."""
    operation = mutate(SWITCH, [row_is(switch)], ("external_ids", "delete", to_set([VTEP + remote])))
    operation["mutations"] += [
        ("external_ids", "insert", to_map({VTEP + remote: str(entry), VTEPS: "true"})),
    ]
    return operation


def ls_vtep_del(switch: UUID, remote: str, *, last: bool) -> Operation:
    """Take a VTEP away from a switch; `last` if it is its only one."""
    keys = [VTEP + remote, *([VTEPS] if last else [])]
    return mutate(SWITCH, [row_is(switch)], ("external_ids", "delete", to_set(keys)))


def ls_pin_key(switch: UUID, keys: Keys, vni: int) -> list[Operation]:
    """Have northd call the switch by the VNI, unless it is told so already.

    Refused with `RequirementError` when somebody has configured the switch since `keys` was read.
    """
    if keys.requested == str(vni):
        return []
    operation = mutate(SWITCH, [row_is(switch)], ("other_config", "delete", to_set([KEY])))
    operation["mutations"] += [
        ("other_config", "insert", to_map({KEY: str(vni)})),
        ("external_ids", "delete", to_set([PINNED])),
        ("external_ids", "insert", to_map({PINNED: str(vni)})),
    ]
    unchanged = require(SWITCH, [row_is(switch)], ["other_config"], [{"other_config": to_map(keys.config)}])
    return [unchanged, operation]


def ls_unpin_key(switch: UUID, keys: Keys) -> list[Operation]:
    """Request no tunnel key any more, if it is we who did; northd leaves the key as it is."""
    if not keys.pinned:
        return []
    operation = mutate(SWITCH, [row_is(switch)], ("external_ids", "delete", to_set([PINNED])))
    operation["mutations"] += [("other_config", "delete", to_map({KEY: keys.pinned}))]
    return [operation]


def ramp_port_id(switch: UUID, remote: str) -> UUID:
    """The row id of a VTEP's port."""
    return addressing.row_id(PORT, MARK, remote, str(switch))


def ramp_port_name(switch: UUID, remote: str) -> str:
    """The name of a VTEP's port, which Southbound calls it by too."""
    return f"vtep-{remote}-{str(switch)[:8]}"


def lsp_ramp_add(switch: UUID, remote: str, chassis: str, mark: Mark) -> list[Operation]:
    """Make a VTEP's port; refused with `ConstraintError` when it is there.

    It takes what is for an unknown MAC address, as all the hosts behind a VTEP have one. The two options are
    what ovn-nb(5) demands of the type.
    """
    uuid = ramp_port_id(switch, remote)
    row: Row = {
        "name": ramp_port_name(switch, remote),
        "type": "vtep",
        "addresses": "unknown",
        "options": to_map({"vtep-physical-switch": chassis, "vtep-logical-switch": str(switch)}),
        "external_ids": to_map({MARK: remote, CREATED: mark.created}),
    }
    return [insert(PORT, uuid, row), mutate(SWITCH, [row_is(switch)], ("ports", "insert", reference(uuid)))]


def lsp_ramp_get(switch: UUID, remote: str) -> Operation:
    """Read whether a VTEP's port is there."""
    return select(PORT, [row_is(ramp_port_id(switch, remote))], ["name"])


def lsp_ramp_state(switch: UUID, remote: str) -> Operation:
    """Read whether a VTEP's port is on its chassis; the rows go to `ramp_ports_up`."""
    return select(PORT, [row_is(ramp_port_id(switch, remote))], ["name", "up", "external_ids"])


def lsp_ramp_del(switch: UUID, remote: str) -> Operation:
    """Take a VTEP's port away."""
    uuid = reference(ramp_port_id(switch, remote))
    return mutate(SWITCH, [row_is(switch)], ("ports", "delete", uuid))


def nb_vxlan_mode() -> Operation:
    """Read what northd is told of VXLAN between hosts."""
    return select(GLOBAL, [], ["options"])


def read_vxlan_mode(rows: Iterable[Row]) -> bool:
    """Whether northd may go into VXLAN mode, for nobody has told it not to (ovn-nb(5), vxlan_mode)."""
    return all(mapping(row["options"]).get(VXLAN_MODE) != "false" for row in rows)


def ramp_ports_up(rows: Iterable[Row]) -> dict[str, bool]:
    """By name, the VTEPs' ports of ours and whether OVN has each on its chassis."""
    return {
        str(row.get("name", "")): bool(optional(row.get("up", ["set", []])))
        for row in rows
        if MARK in mapping(row.get("external_ids"))
    }
