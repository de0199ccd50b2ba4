"""What is read from OVN Southbound, and what the command ``ovn-docker vtep`` writes there. Pure.

Each host's ovn-controller makes its row of table Chassis, named by its system-id, and removes it when it is
stopped for good (ovn-sb(5)); a host that dies leaves it. A VTEP outside OVN has no ovn-controller, so the
command makes its row and binds its logical port to that, as ovn-controller-vtep(8) does for VTEPs that speak
OVSDB. No driver writes here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from ovn_docker import addressing
from ovn_docker.ovn.switches import CREATED, Mark
from ovn_docker.ovsdb.operations import (
    Operation,
    Row,
    delete,
    insert,
    mapping,
    reference,
    row_is,
    select,
    to_map,
    update,
)
from ovn_docker.ovsdb.replica import Replica, Watch

CHASSIS, ENCAP, PORT, DATAPATH = "Chassis", "Encap", "Port_Binding", "Datapath_Binding"

VXLAN, VTEP = "vxlan", "ovn-docker-vtep"

NORTHD_LOCK = "ovn_northd"
"""The lock of Southbound that the active ovn-northd holds; a paused one does not (northd/ovn-northd.c)."""

WATCHES = {CHASSIS: Watch(("name", "hostname"))}


@dataclass(frozen=True, slots=True)
class Encap:
    """A tunnel endpoint of a host; `kind` is ``geneve``, ``vxlan`` or ``stt``."""

    kind: str
    address: str
    chassis: str


@dataclass(frozen=True, slots=True)
class Fabric:
    """The hosts of OVN and the tunnel keys in use.

    Attributes:
        encaps: of all of them.
        peers: chassis that are not hosts of this OVN: VTEPs, and hosts of another OVN.
        keys: tunnel key to the row in Northbound of the switch or router that has it, and its name.
    """

    encaps: tuple[Encap, ...]
    peers: frozenset[str]
    keys: Mapping[int, tuple[str, str]]


def read_chassis(replica: Replica) -> Mapping[str, str]:
    """The hosts in OVN: ``system-id`` to host name."""
    rows = replica.rows(CHASSIS).values()
    return {str(row.get("name", "")): str(row.get("hostname", "")) for row in rows}


def hostname_get(name: str) -> Operation:
    """Read the host name of one host; the rows go to `read_hostnames`."""
    return select(CHASSIS, [("name", "==", name)], ["name", "hostname"])


def read_hostnames(rows: Iterable[Row]) -> Mapping[str, str]:
    """``system-id`` to host name, of hosts that have one."""
    return {str(row["name"]): str(row["hostname"]) for row in rows if row["hostname"]}


def fabric() -> list[Operation]:
    """Read what goes to `read_fabric` (three scans: for a command)."""
    return [
        select(ENCAP, [], ["type", "ip", "chassis_name"]),
        select(CHASSIS, [], ["name", "other_config"]),
        select(DATAPATH, [], ["tunnel_key", "external_ids"]),
    ]


def read_fabric(encaps: Iterable[Row], chassis: Iterable[Row], datapaths: Iterable[Row]) -> Fabric:
    """What `fabric` found."""
    flags = {str(row["name"]): mapping(row["other_config"]) for row in chassis}
    return Fabric(
        encaps=tuple(Encap(str(row["type"]), str(row["ip"]), str(row["chassis_name"])) for row in encaps),
        peers=frozenset(
            name
            for name, config in flags.items()
            if "true" in (config.get("is-vtep"), config.get("is-remote"))
        ),
        keys={int(row["tunnel_key"]): _named(mapping(row["external_ids"])) for row in datapaths},
    )


def _named(ids: Mapping[str, str]) -> tuple[str, str]:
    return ids.get("logical-switch") or ids.get("logical-router", ""), ids.get("name", "")


def chassis_id(remote: str) -> UUID:
    """The row id of a VTEP's chassis."""
    return addressing.row_id(CHASSIS, VTEP, remote)


def chassis_name(remote: str) -> str:
    """The name of a VTEP's chassis."""
    return f"vtep-{remote}"


def chassis_add(remote: str, mark: Mark) -> list[Operation]:
    """Make a chassis for a VTEP (ovn-sb(5), other_config:is-vtep).

    Without checksums in the outer UDP header, as in RFC 7348 section 5. Refused with `ConstraintError` when
    it is there, or another chassis has that address; with `DatabaseError` where RBAC lets a host write only
    its own chassis (ovn-sbctl(8), "RBAC").
    """
    name, encap = chassis_name(remote), addressing.row_id(ENCAP, VTEP, remote)
    tunnel = {"type": VXLAN, "ip": remote, "chassis_name": name, "options": to_map({"csum": "false"})}
    row: Row = {
        "name": name,
        "hostname": remote,
        "encaps": reference(encap),
        "other_config": to_map({"is-vtep": "true"}),
        "external_ids": to_map({VTEP: remote, CREATED: mark.created}),
    }
    return [insert(ENCAP, encap, tunnel), insert(CHASSIS, chassis_id(remote), row)]


def chassis_get(remote: str) -> Operation:
    """Read whether a VTEP has a chassis."""
    return select(CHASSIS, [row_is(chassis_id(remote))], ["name"])


def chassis_del(remote: str) -> Operation:
    """Remove a VTEP's chassis, with its encap and the bindings to it; count is 0 without it."""
    return delete(CHASSIS, [row_is(chassis_id(remote))])


def lsp_bind(port: str, remote: str) -> Operation:
    """Bind a logical port to a VTEP's chassis, wherever it was bound; count is 0 until northd has made it."""
    bound = {"chassis": reference(chassis_id(remote)), "up": True}
    return update(PORT, [("logical_port", "==", port)], bound)


def lsp_state(port: str, switch: UUID) -> list[Operation]:
    """Read what northd has made of a logical port and of its switch; goes to `read_key`."""
    named = ("external_ids", "includes", to_map({"logical-switch": str(switch)}))
    return [
        select(PORT, [("logical_port", "==", port)], ["chassis"]),
        select(DATAPATH, [named], ["tunnel_key"]),
    ]


def read_key(ports: Iterable[Row], datapaths: Iterable[Row]) -> int | None:
    """The tunnel key of the switch, or None until northd has made the port."""
    keys = [int(row["tunnel_key"]) for row in datapaths]
    return keys[0] if keys and any(True for _ in ports) else None
