"""Read the state of a lab with docker, ovn-nbctl, ovn-sbctl, ovs-vsctl and ip."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.plan import DRIVER
from chaos.records import Central, Endpoint, Hold, Host, Interface, Network, Port, Switch
from ovn_docker_lab import Lab, Machine

GROUP = "0x0d0c"
GATEWAY = "ovn-docker-gateway"
"""The mark of a switch's gateway port, and of a host's link for it (docs/reference/names-and-marks.md)."""

BRIDGE = "br-int"

Row = Mapping[str, Any]


def read(lab: Lab) -> tuple[list[Host], Central]:
    """All that the oracle compares."""
    with ThreadPoolExecutor(max_workers=len(lab.hosts) + 1) as pool:
        central = pool.submit(_read_central, lab.central)
        return list(pool.map(_read_host, lab.hosts)), central.result()


def _read_host(host: Machine) -> Host:
    networks = _inspect(host, "network", ["network", "ls", "--filter", f"driver={DRIVER}"])
    containers = _inspect(host, "container", ["container", "ls", "--all"])
    bridged = host.run(["ovs-vsctl", "list-ports", BRIDGE]).stdout.split()
    columns = "--columns=name,external_ids,error,ofport"
    interfaces = host.run(["ovs-vsctl", "--format=json", columns, "list", "Interface"]).stdout
    links = host.run(["ip", "-json", "link", "show", "group", GROUP]).stdout
    return Host(
        host.name,
        networks_of(networks),
        endpoints_of(networks, containers),
        sum(1 for container in containers if container["State"]["Running"]),
        interfaces_of(rows(interfaces), bridged),
        tuple(link["ifname"] for link in json.loads(links or "[]") if link),
        gateways_of(rows(interfaces)),
        _remembered(host),
    )


def _inspect(host: Machine, kind: str, listing: Sequence[str]) -> list[Row]:
    ids = host.docker(*listing, "--quiet", "--no-trunc").stdout.split()
    if not ids:
        return []
    inspected: list[Row] = json.loads(host.docker(kind, "inspect", *ids).stdout)
    return inspected


def _remembered(host: Machine) -> tuple[str, ...]:
    file = host.paths.state / f"{DRIVER}.json"
    return tuple(json.loads(file.read_text()).get("networks", ())) if file.exists() else ()


def networks_of(inspected: Iterable[Row]) -> dict[str, Network]:
    """Networks by NetworkID, from `docker network inspect`."""
    return {
        row["Id"]: Network(
            row["Id"], row["Name"], row["IPAM"]["Config"][0]["Subnet"], row["IPAM"]["Driver"] == DRIVER
        )
        for row in inspected
    }


def endpoints_of(networks: Iterable[Row], containers: Iterable[Row]) -> tuple[Endpoint, ...]:
    """Endpoints of running containers, from `docker network inspect` and `docker container inspect`.

    The network has them as they are. A container keeps the endpoint of a `docker network connect` that failed
    (moby daemon/container_operations.go, connectToNetwork), and a network that of a container that is gone.
    """
    running = {row["Id"] for row in containers if row["State"]["Running"]}
    return tuple(
        Endpoint(
            plug["EndpointID"],
            plug["Name"],
            row["Id"],
            plug["MacAddress"],
            plug["IPv4Address"].partition("/")[0],
        )
        for row in networks
        for container, plug in row["Containers"].items()
        if container in running
    )


def interfaces_of(listed: Iterable[Row], bridged: Sequence[str]) -> tuple[Interface, ...]:
    """Those with the driver's mark or a logical port but gateway links, from `ovs-vsctl list Interface`."""
    found = []
    for row in listed:
        ids = mapping(row["external_ids"])
        ours = "iface-id" in ids or any(key.startswith("ovn-docker") for key in ids)
        if ours and GATEWAY not in ids:
            found.append(_interface(row, ids, bridged))
    return tuple(found)


def gateways_of(listed: Iterable[Row]) -> tuple[str, ...]:
    """The switches for which a host has a gateway link that works, from `ovs-vsctl list Interface`."""
    working = [row for row in listed if next(iter(members(row["ofport"])), -1) > 0]
    marks = [mapping(row["external_ids"]).get(GATEWAY) for row in working]
    return tuple(sorted(switch for switch in marks if switch))


def _interface(row: Row, ids: Mapping[str, str], bridged: Sequence[str]) -> Interface:
    return Interface(
        row["name"],
        ids.get("iface-id", ""),
        ids.get("ovn-docker-network", ""),
        ids.get("attached-mac", ""),
        "".join(members(row["error"])),
        next(iter(members(row["ofport"])), -1),
        ids.get("ovn-installed") == "true",
        row["name"] in bridged,
    )


def _read_central(central: Machine) -> Central:
    nb: Callable[[str], list[Row]] = lambda table: _list(central, "ovn-nbctl", table)  # noqa: E731
    bindings = chassis_of(_list(central, "ovn-sbctl", "Port_Binding"), _list(central, "ovn-sbctl", "Chassis"))
    return Central(
        switches_of(nb("Logical_Switch"), nb("Logical_Switch_Port")),
        ports_of(nb("Logical_Switch_Port"), nb("Logical_Switch"), bindings),
        holds_of(nb("DHCP_Options")),
    )


def _list(central: Machine, program: str, table: str) -> list[Row]:
    return rows(central.run([program, "--format=json", "list", table]).stdout)


def switches_of(listed: Iterable[Row], ports: Iterable[Row]) -> tuple[Switch, ...]:
    """All switches, from `ovn-nbctl list` of both tables."""
    gateways = {row["_uuid"][1] for row in ports if _is_gateway(row)}
    return tuple(
        Switch(
            row["_uuid"][1],
            row["name"],
            mapping(row["external_ids"]),
            len(gateways.intersection(members(row["ports"]))),
        )
        for row in listed
    )


def _is_gateway(port: Row) -> bool:
    return GATEWAY in mapping(port["external_ids"])


def ports_of(listed: Iterable[Row], switches: Iterable[Row], bindings: Mapping[str, str]) -> tuple[Port, ...]:
    """All ports but gateway ports, from `ovn-nbctl list` of both tables and what chassis_of() gave."""
    on = {uuid: switch["name"] for switch in switches for uuid in members(switch["ports"])}
    return tuple(
        Port(
            row["name"],
            on.get(row["_uuid"][1], ""),
            " ".join(members(row["addresses"])),
            " ".join(members(row["port_security"])),
            mapping(row["external_ids"]),
            bindings.get(row["name"], ""),
        )
        for row in listed
        if not _is_gateway(row)
    )


def chassis_of(bindings: Iterable[Row], chassis: Iterable[Row]) -> dict[str, str]:
    """The host that has each port, from `ovn-sbctl list` of both tables."""
    names = {row["_uuid"][1]: row["name"] for row in chassis}
    return {row["logical_port"]: names.get(uuid, "") for row in bindings for uuid in members(row["chassis"])}


def holds_of(listed: Iterable[Row]) -> tuple[Hold, ...]:
    """Pools, addresses and hosts, from `ovn-nbctl list DHCP_Options`."""
    found = []
    for row in listed:
        ids = mapping(row["external_ids"])
        if "ovn-docker" in ids:
            users = tuple(sorted(mapping(row["options"]).values()))
            found.append(Hold(ids["ovn-docker"], row["cidr"], ids, users))
    return tuple(found)


# OVSDB's notation (RFC 7047 section 5.1)


def rows(text: str) -> list[Row]:
    """The rows of what `ovs-vsctl --format=json list` prints."""
    table = json.loads(text)
    return [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]


def mapping(value: Sequence[Any]) -> dict[str, str]:
    """A map of strings."""
    return {str(key): str(item) for key, item in value[1]}


def members(value: Any) -> list[Any]:  # noqa: ANN401 - any atom may stand for a set of one
    """The members of a set, a UUID as its text."""
    if isinstance(value, list) and value[0] == "set":
        return [member for atom in value[1] for member in members(atom)]
    return [value[1]] if isinstance(value, list) and value[0] == "uuid" else [value]
