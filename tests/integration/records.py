"""What stands in OVN Northbound, in a host's Open vSwitch and in its kernel, as tests look at it."""

import json
from collections.abc import Mapping
from typing import Any

from ovn_docker.host.veth import GROUP
from ovn_docker.ovn import switches
from ovn_docker.ovn.gateway_ports import GATEWAY
from ovn_docker.ovsdb.operations import mapping, members
from ovn_docker_lab import Lab, Machine

Row = Mapping[str, Any]

SWITCH, PORT, LEASE = "Logical_Switch", "Logical_Switch_Port", "DHCP_Options"
OURS = "ovn-docker-"


def rows(central: Machine, table: str, *conditions: str) -> list[Row]:
    """Rows of a table of Northbound without the gateway ports of switches, values in OVSDB's notation."""
    verb = ["find", table, *conditions] if conditions else ["list", table]
    found = _table(central.run(["ovn-nbctl", "--format=json", *verb]).stdout)
    return [row for row in found if GATEWAY not in marks(row)]


def gateway_rows(central: Machine) -> list[Row]:
    """The gateway ports of all switches in Northbound."""
    found = _table(central.run(["ovn-nbctl", "--format=json", "list", PORT]).stdout)
    return [row for row in found if GATEWAY in marks(row)]


def ports_of(central: Machine, switch: str) -> list[str]:
    """The names of a switch's ports but its gateway port."""
    listed = central.run(["ovn-nbctl", "--bare", "lsp-list", switch]).stdout.splitlines()
    names = [line.split()[1].strip("()") for line in listed]
    gateways = {row["name"] for row in gateway_rows(central)}
    return [name for name in names if name not in gateways]


def row(central: Machine, table: str, name: str) -> Row:
    """The row of that name; there must be one and no more."""
    found = rows(central, table, f'name="{name}"')
    assert len(found) == 1, f"{len(found)} rows of {table} are named {name}"
    return found[0]


def interfaces(host: Machine) -> list[Row]:
    """Interfaces of a host's Open vSwitch that stand for a logical port of a container."""
    return [interface for interface in _interfaces(host) if GATEWAY not in marks(interface)]


def gateway_links(host: Machine) -> dict[str, str]:
    """The links by which a host is a gateway, each with the row id of its switch."""
    found = {str(interface["name"]): marks(interface).get(GATEWAY, "") for interface in _interfaces(host)}
    return {name: switch for name, switch in found.items() if switch}


def _interfaces(host: Machine) -> list[Row]:
    listed = _table(host.run(["ovs-vsctl", "--format=json", "list", "Interface"]).stdout)
    return [interface for interface in listed if "iface-id" in marks(interface)]


def links(host: Machine) -> list[str]:
    """The driver's links in a host's own namespace."""
    shown = host.run(["ip", "-json", "link", "show", "group", str(GROUP)]).stdout
    return [link["ifname"] for link in json.loads(shown or "[]") if link]  # one {} for each link of others


def marks(row: Row) -> dict[str, str]:
    """The external_ids of a row."""
    return mapping(row["external_ids"])


def values(row: Row, column: str) -> list[Any]:
    """The members of a column that is a set."""
    return members(row[column])


def addresses(row: Row) -> str:
    """The only value of a port's addresses."""
    [only] = values(row, "addresses")
    return str(only)


def held(central: Machine) -> list[tuple[str, str]]:
    """Pools, leases, claims and reserved addresses: of what kind, and its address or subnet."""
    kinds = {"pool", "lease", "claim", "reserved"}
    listed = ((marks(row).get("ovn-docker"), row["cidr"]) for row in rows(central, LEASE))
    return sorted((kind, cidr) for kind, cidr in listed if kind in kinds)


def registered(central: Machine) -> list[str]:
    """The hosts that Northbound knows."""
    found = [marks(entry) for entry in rows(central, LEASE)]
    return sorted(entry["ovn-docker-host"] for entry in found if entry.get("ovn-docker") == "host")


def leases(central: Machine) -> list[str]:
    """The addresses that are leased or claimed."""
    return [address for kind, address in held(central) if kind in {"lease", "claim"}]


def left(lab: Lab) -> list[str]:
    """What of the driver's is in a lab, each in a few words; a gateway link only without its switch."""
    found = []
    switches_now = {row["_uuid"][1] for row in rows(lab.central, SWITCH)}
    for table in (SWITCH, PORT):
        own = [row for row in rows(lab.central, table) if any(map(_is_ours, marks(row)))]
        found += [f"{table} {row['name']}" for row in own]
    found += [f"{kind} {address}" for kind, address in held(lab.central)]
    for host in lab.hosts:
        found += [f"interface {interface['name']} on {host.name}" for interface in interfaces(host)]
        found += [f"link {name} on {host.name}" for name in links(host)]
        gateways = gateway_links(host).items()
        found += [f"gateway link {name} on {host.name}" for name, row in gateways if row not in switches_now]
    return found


def wipe(lab: Lab) -> None:
    """Remove what a failed test left, so that the next one does not fail of it."""
    for switch in rows(lab.central, SWITCH):
        lab.central.run(["ovn-nbctl", "--if-exists", "ls-del", switch["_uuid"][1]])
    for lease in rows(lab.central, LEASE):
        lab.central.run(["ovn-nbctl", "--if-exists", "destroy", LEASE, lease["_uuid"][1]])
    for host in lab.hosts:
        for interface in _interfaces(host):
            host.run(["ovs-vsctl", "--if-exists", "del-port", interface["name"]])
        for link in links(host):
            host.run(["ip", "link", "delete", link], check=False)


def _is_ours(key: str) -> bool:
    """Whether it is the driver that writes a key."""
    return OURS in key and key != switches.ALLOW


def _table(text: str) -> list[Row]:
    table = json.loads(text)
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]
