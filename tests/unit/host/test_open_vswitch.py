"""The host's database: settings as the guide sets them, and joined endpoints."""

from typing import Any
from uuid import UUID

import pytest

from ovn_docker.host import open_vswitch
from ovn_docker.host.open_vswitch import OvnSettings, Tunnel
from ovn_docker.ovsdb.operations import reference, to_map
from ovn_docker.ovsdb.replica import Replica

ENDPOINT = "a0b1c2d3" * 8
EMPTY = ["set", []]


def replica(**tables: dict[str, Any]) -> Replica:
    """A replica with one row in each of these tables."""
    made = Replica(open_vswitch.WATCHES)
    made.reset({table: {str(UUID(int=1)): {"initial": row}} for table, row in tables.items()})
    return made


def root(external_ids: dict[str, str], other_config: dict[str, str] | None = None) -> dict[str, Any]:
    return {"external_ids": to_map(external_ids), "other_config": to_map(other_config or {})}


def interface(**columns: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON values)
    return {"name": "veth0", "ofport": EMPTY, "error": EMPTY, "external_ids": to_map({})} | columns


def test_before_the_first_connection_the_settings_are_defaults() -> None:
    assert open_vswitch.read_settings(Replica(open_vswitch.WATCHES)) == OvnSettings()


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({}, OvnSettings(encapsulations=("geneve",))),
        (
            {"system-id": "c1", "ovn-nb": "tcp:10.0.0.1:6641", "ovn-bridge": "br-x"},
            OvnSettings("c1", "tcp:10.0.0.1:6641", "br-x", ("geneve",)),
        ),
        (
            {"ovn-encap-type": "geneve,vxlan", "ovn-encap-ip": "10.0.0.1, fd00::1"},
            OvnSettings(encapsulations=("geneve", "vxlan"), encap_ips=("10.0.0.1", "fd00::1")),
        ),
    ],
)
def test_settings_are_read_from_external_ids(ids: dict[str, str], expected: OvnSettings) -> None:
    assert open_vswitch.read_settings(replica(Open_vSwitch=root(ids))) == expected


KEYS = {
    "ovn-remote": "southbound",
    "ovn-bridge": "bridge",
    "ovn-encap-type": "encapsulations",
    "ovn-encap-ip": "encap_ips",
}


@pytest.mark.parametrize(("key", "attribute"), KEYS.items())
def test_a_setting_of_this_chassis_comes_before_that_of_all(key: str, attribute: str) -> None:
    def read(ids: dict[str, str], chassis: str = "") -> object:
        return getattr(open_vswitch.read_settings(replica(Open_vSwitch=root(ids)), chassis), attribute)

    one, other = read({key: "one"}), read({key: "other"})
    ids = {key: "one", f"{key}-h1": "other"}
    assert one != other
    assert read(ids | {"system-id": "h1"}) == other
    assert read({f"{key}-h1": "other", "system-id": "h1"}) == other
    assert read(ids | {"system-id": "h2"}) == read(ids) == one
    assert read(ids | {"system-id": "h2"}, "h1") == other


def test_the_name_that_overrides_the_systems_is_the_hosts() -> None:
    assert open_vswitch.read_settings(replica(Open_vSwitch=root({"system-id": "h1"})), "h2").system_id == "h2"


@pytest.mark.parametrize(("value", "tso"), [("true", True), ("false", False), ("", False)])
def test_segmentation_in_userspace_is_read(value: str, tso: bool) -> None:  # noqa: FBT001
    settings = open_vswitch.read_settings(replica(Open_vSwitch=root({}, {"userspace-tso-enable": value})))
    assert settings.tso is tso


def test_tls_files_are_read_from_the_ssl_table() -> None:
    ssl = {"private_key": "/k", "certificate": "/c", "ca_cert": "/ca"}
    assert open_vswitch.read_settings(replica(Open_vSwitch=root({}), SSL=ssl)).tls == ("/k", "/c", "/ca")


def test_a_port_is_plugged_with_its_iface_id_in_one_transaction() -> None:
    rows = open_vswitch.add_port("br-int", ENDPOINT, "veth0", {"iface-id": ENDPOINT})
    interface_row, port_row, bridge = rows
    assert interface_row["row"] == {"name": "veth0", "external_ids": ["map", [["iface-id", ENDPOINT]]]}
    assert port_row["row"]["interfaces"] == reference(UUID(interface_row["uuid"]))
    assert bridge["where"] == [("name", "==", "br-int")]
    assert bridge["mutations"] == [("ports", "insert", reference(UUID(port_row["uuid"])))]


def test_a_port_is_unplugged_from_whichever_bridge_holds_it() -> None:
    port = reference(open_vswitch.port_id(ENDPOINT))
    operation = open_vswitch.del_port(ENDPOINT)
    assert operation["where"] == [("ports", "includes", port)]
    assert operation["mutations"] == [("ports", "delete", port)]


@pytest.mark.parametrize("kind", ["netdev", ""])
def test_the_datapath_is_that_of_the_bridge_of_that_name(kind: str) -> None:
    bridges = replica(Bridge={"name": "br-int", "datapath_type": kind})
    assert open_vswitch.datapath(bridges, "br-int") == kind
    assert open_vswitch.datapath(bridges, "br-ex") is None


@pytest.mark.parametrize(
    ("columns", "installed", "error"),
    [
        ({}, False, ""),
        ({"error": "no such device"}, False, "no such device"),
        ({"error": ["set", ["no such device"]]}, False, "no such device"),
        ({"external_ids": to_map({"ovn-installed": "true"})}, True, ""),
        ({"external_ids": to_map({"ovn-installed": "false"})}, False, ""),
    ],
)
def test_an_interface_says_whether_its_flows_are_installed(
    columns: dict[str, Any], *, installed: bool, error: str
) -> None:
    rows = Replica(open_vswitch.WATCHES)
    uuid = str(open_vswitch.interface_id(ENDPOINT))
    rows.reset({"Interface": {uuid: {"initial": interface(**columns)}}})
    found = open_vswitch.attached(rows, ENDPOINT)
    assert found is not None
    assert (found.name, found.installed, found.error) == ("veth0", installed, error)


def test_an_endpoint_that_is_not_joined_is_none() -> None:
    assert open_vswitch.attached(replica(Interface=interface()), ENDPOINT) is None


def test_only_interfaces_with_our_mark_are_listed() -> None:
    marks = to_map({"ovn-docker-network": "n", "iface-id": ENDPOINT})
    assert open_vswitch.all_attached(replica(Interface=interface())) == []
    [found] = open_vswitch.all_attached(replica(Interface=interface(external_ids=marks)))
    assert (found.network_id, found.endpoint_id) == ("n", ENDPOINT)


def test_a_vteps_port_is_found_by_what_was_written() -> None:
    insert, _, _ = open_vswitch.add_vtep_port("br-int", "openvswitch", "192.0.2.1", "192.0.2.2")
    port = open_vswitch.read_vxlan_port(insert["row"] | {"ofport": 7})
    assert port is not None
    assert (port.remote, port.vtep, port.owner, port.ofport) == ("192.0.2.1", "192.0.2.1", "openvswitch", 7)
    assert port.name == insert["row"]["name"]
    assert len(port.name) <= 15


def test_a_tunnel_of_ovns_is_nobodys_vtep() -> None:
    row = interface(type="vxlan", options=to_map({"remote_ip": "192.0.2.1", "key": "flow"}), ofport=-1)
    port = open_vswitch.read_vxlan_port(row)
    assert port is not None
    assert (port.vtep, port.ofport) == ("", None)
    assert open_vswitch.read_vxlan_port(interface(type="geneve", options=row["options"])) is None
    assert open_vswitch.read_vxlan_port(interface()) is None


def test_a_tunnel_names_its_host_and_the_state_of_bfd() -> None:
    one, two, three = (["uuid", f"00000000-0000-0000-0000-00000000000{number}"] for number in (1, 2, 3))
    ports = [
        {"interfaces": one, "external_ids": to_map({"ovn-chassis-id": "h2@192.0.2.2%192.0.2.1"})},
        {"interfaces": ["set", [two, three]], "external_ids": to_map({})},
    ]
    geneve = {"error": ["set", []], "bfd": to_map({}), "bfd_status": to_map({"state": "down"})}
    routed = to_map({"tunnel_egress_iface": "eth0", "tunnel_egress_iface_carrier": "up"})
    rows = [
        geneve
        | {"_uuid": one, "options": to_map({"remote_ip": "192.0.2.2"}), "status": routed}
        | {"bfd": to_map({"enable": "true"})},
        geneve | {"_uuid": two, "options": to_map({"remote_ip": "192.0.2.3"}), "status": to_map({})},
        geneve | {"_uuid": three, "options": to_map({"remote_ip": "flow"}), "status": to_map({})},
    ]
    found = open_vswitch.read_tunnels([{"rows": ports}, {"rows": rows}, {"rows": []}, {"rows": []}])
    assert found == (
        Tunnel("192.0.2.2", "", "eth0", carrier=True, chassis="h2", bfd="down"),
        Tunnel("192.0.2.3", "", "", carrier=True),
    )
