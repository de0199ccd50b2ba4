"""What docker, ovn-nbctl, ovn-sbctl and ovs-vsctl print, recorded in a lab and shortened."""

import json
from string import Template

from chaos.reading import (
    Row,
    chassis_of,
    endpoints_of,
    holds_of,
    interfaces_of,
    mapping,
    members,
    networks_of,
    ports_of,
    rows,
    switches_of,
)

OWN, SHARED = "a989e4ac27bb" + "0" * 52, "e09432ba4c20" + "0" * 52
ENDPOINT = "90d393af81941755a0fba87aa194b45f329683cdd234735fbac5ffc980555415"
LEASED = "9c61effc6901d857881288d0a2ead3e6e3de8fa65546e7626fb625197e25ec23"
POOL = "1512d6d5d133d33e5ac1599c5ca54e8919b16726e618e831c9ac8e2eb7b3883b"

IDS = {"OWN": OWN, "SHARED": SHARED, "ENDPOINT": ENDPOINT, "LEASED": LEASED, "POOL": POOL}


def _recorded(text: str) -> str:
    return Template(text).substitute(IDS)


INTERFACES = _recorded("""{"data":[["eth0",["map",[]],["set",[]],1],["br-phy",["map",[]],["set",[]],65534],
["90d393af8194175",["map",[["attached-mac","02:42:0a:66:02:02"],["iface-id","$ENDPOINT"],
["iface-status","active"],
["ovn-docker-created","2026-11-24T02:51:56Z"],["ovn-docker-network","$OWN"],["vm-id","0ead6759c75f"]]],
"could not open network device 90d393af8194175 (No such device)",-1],
["9c61effc6901d85",["map",[["attached-mac","02:42:0a:5a:03:1c"],["iface-id","$LEASED"],
["ovn-docker-network","$SHARED"],
["ovn-installed","true"]]],["set",[]],4]],
"headings":["name","external_ids","error","ofport"]}""")

SWITCHES = _recorded("""{"data":[[["uuid","1e23a670-c871-53a9-9e83-b06842705d35"],"$POOL",["map",
[["gateway_ip","10.90.3.1"],
["ovn-docker-host","h3"],["subnet","10.90.3.0/24"]]],["set",[["uuid","0dde04cf-8685-53d6-a3d8-402ee143d283"],
["uuid","39ced771-aed9-59c8-b618-8075c7091f2b"]]]],
[["uuid","82b8748d-b100-55f4-a0d2-1c9da0162ef5"],"$OWN",["map",[]],["uuid",
"3ebe7408-0c95-50f4-bebc-73ad8cef0b60"]]],
"headings":["_uuid","name","external_ids","ports"]}""")

PORTS = _recorded("""{"data":[[["uuid","39ced771-aed9-59c8-b618-8075c7091f2b"],"$LEASED",
"02:42:0a:5a:03:1c 10.90.3.28",
"02:42:0a:5a:03:1c 10.90.3.28",["map",[["ovn-docker-host","h1"],["ovn-docker-network","$SHARED"]]]],
[["uuid","3ebe7408-0c95-50f4-bebc-73ad8cef0b60"],"$ENDPOINT","02:42:0a:66:02:02 10.102.2.2",["set",[]],
["map",[]]]],
"headings":["_uuid","name","addresses","port_security","external_ids"]}""")

HOLDS = _recorded("""{"data":[["10.90.3.0/24",["map",[["ovn-docker","pool"],["ovn-docker-pool","$POOL"]]],
["map",[["538356c3b11b","h3"],["1471ac68f800","h1"]]]],
["10.90.3.28",["map",[["ovn-docker","lease"],["ovn-docker-endpoint","$LEASED"],["ovn-docker-host","h1"],
["ovn-docker-pool","$POOL"]]],["map",[]]],
["10.9.9.0/24",["map",[]],["map",[["lease_time","3600"]]]]],
"headings":["cidr","external_ids","options"]}""")

BINDINGS = _recorded("""{"data":[["$LEASED",["uuid","6d2bfec3-eb36-4747-8e86-b498bea07e93"]],
["$ENDPOINT",["set",[]]]],
"headings":["logical_port","chassis"]}""")

CHASSIS = """{"data":[[["uuid","bc09efa4-6e79-4a77-af07-3b034d4f0e5b"],"h3"],
[["uuid","6d2bfec3-eb36-4747-8e86-b498bea07e93"],"h1"]],"headings":["_uuid","name"]}"""


def network(uuid: str, name: str, ipam: str, subnet: str, containers: dict[str, dict[str, str]]) -> Row:
    return {
        "Id": uuid,
        "Name": name,
        "IPAM": {"Driver": ipam, "Config": [{"Subnet": subnet}]},
        "Containers": containers,
    }


def plug(name: str, endpoint: str, address: str) -> dict[str, str]:
    return {"Name": name, "EndpointID": endpoint, "MacAddress": "02:42", "IPv4Address": address}


NETWORKS = [
    network(
        OWN, "inside", "default", "10.102.2.0/24", {f"ep-{ENDPOINT}": plug("c9", ENDPOINT, "10.102.2.2/24")}
    ),
    network(SHARED, "hidden", "openvswitch", "10.90.3.0/24", {"one": plug("c1", LEASED, "10.90.3.28/24")}),
]
CONTAINERS = [{"Id": "one", "State": {"Running": True}}, {"Id": "two", "State": {"Running": False}}]


def test_only_interfaces_of_ours_are_read_dead_ones_too() -> None:
    dead, alive = interfaces_of(rows(INTERFACES), ["eth0", "9c61effc6901d85"])
    assert (dead.name, dead.iface_id, dead.network_id) == (ENDPOINT[:15], ENDPOINT, OWN)
    assert "No such device" in dead.error
    assert (dead.ofport, dead.installed, dead.bridged) == (-1, False, False)
    assert (alive.error, alive.ofport, alive.installed, alive.bridged) == ("", 4, True, True)


def test_ports_know_their_switch_and_their_chassis() -> None:
    bindings = chassis_of(rows(BINDINGS), rows(CHASSIS))
    leased, own = ports_of(rows(PORTS), rows(SWITCHES), bindings)
    assert (leased.switch, leased.chassis, leased.ids["ovn-docker-host"]) == (POOL, "h1", "h1")
    assert leased.addresses == leased.security == "02:42:0a:5a:03:1c 10.90.3.28"
    assert (own.switch, own.chassis, own.security) == (OWN, "", "")


def test_switches_have_their_name_and_keys() -> None:
    shared, own = switches_of(rows(SWITCHES))
    assert (shared.name, shared.ids["subnet"], own.name) == (POOL, "10.90.3.0/24", OWN)


def test_only_dhcp_options_of_ours_are_holds() -> None:
    pool, lease = holds_of(rows(HOLDS))
    assert (pool.kind, pool.cidr, pool.pool, pool.users) == ("pool", "10.90.3.0/24", POOL, ("h1", "h3"))
    assert (lease.kind, lease.ids["ovn-docker-endpoint"], lease.users) == ("lease", LEASED, ())


def test_a_network_is_leased_when_our_ipam_gives_its_addresses() -> None:
    networks = networks_of(NETWORKS)
    assert [(each.name, each.subnet, each.leased) for each in networks.values()] == [
        ("inside", "10.102.2.0/24", False),
        ("hidden", "10.90.3.0/24", True),
    ]


def test_endpoints_are_those_of_running_containers() -> None:
    [only] = endpoints_of(NETWORKS, CONTAINERS)
    assert (only.id, only.container, only.network_id, only.address) == (LEASED, "c1", SHARED, "10.90.3.28")


def test_a_set_of_one_is_written_as_its_member() -> None:
    assert members(json.loads('["set",[]]')) == []
    assert members(["uuid", "1"]) == ["1"]
    assert members(["set", [["uuid", "1"], ["uuid", "2"]]]) == ["1", "2"]
    assert members("a") == ["a"]
    assert mapping(["map", [["a", "b"]]]) == {"a": "b"}
