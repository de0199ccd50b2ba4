"""Bodies of requests to Neutron, and its replies."""

import ipaddress

from ovn_docker.underlay.neutron import resources
from ovn_docker.underlay.neutron.resources import PortSpec

PORT = {
    "id": "p",
    "name": "e",
    "network_id": "n",
    "mac_address": "02:42:0a:09:00:05",
    "fixed_ips": [{"subnet_id": "s", "ip_address": "10.9.0.5"}],
    "status": "DOWN",
    "tags": ["ovn-docker-network=x", "other"],
    "description": None,
}


def test_a_port_says_its_addresses_and_our_tags() -> None:
    port = resources.read_port(PORT)
    assert port.addresses == ("10.9.0.5",)
    assert port.tag(resources.NETWORK) == "x"
    assert port.tag(resources.LEASE) == ""


def test_what_is_made_carries_its_mark_in_the_same_request() -> None:
    spec = PortSpec("e", "n", [("s", "10.9.0.5"), ("t", "")])
    bodies = (
        resources.new_network("x", "vif", None)["network"],
        resources.new_subnet("n", "x", "vif", ipaddress.ip_network("10.9.0.0/24"), None)["subnet"],
        resources.new_port(spec, "vif")["port"],
    )
    assert {body["description"] for body in bodies} == {"ovn-docker-host=vif"}
    assert bodies[2]["fixed_ips"] == [{"subnet_id": "s", "ip_address": "10.9.0.5"}, {"subnet_id": "t"}]
    assert not {"mac_address", "security_groups", "port_security_enabled"} & set(bodies[2])


def test_without_port_security_there_are_no_groups() -> None:
    assert resources.security(("g",), port_security=False) == {
        "port_security_enabled": False,
        "security_groups": [],
    }
    assert resources.security(("g",), None) == {"security_groups": ["g"]}
    assert resources.security(None, None) == {}


def test_a_subnet_has_its_gateway_and_routes() -> None:
    subnet = resources.read_subnet(
        {
            "id": "s",
            "network_id": "n",
            "cidr": "fd00::/64",
            "gateway_ip": None,
            "host_routes": [{"destination": "fd01::/64", "nexthop": "fd00::9"}],
        }
    )
    assert (subnet.gateway, subnet.routes) == (None, (("fd01::/64", "fd00::9"),))


def test_a_trunk_knows_its_vlans_only() -> None:
    trunk = resources.read_trunk(
        {
            "id": "t",
            "sub_ports": [
                {"port_id": "a", "segmentation_type": "vlan", "segmentation_id": 7},
                {"port_id": "b", "segmentation_type": "inherit", "segmentation_id": 8},
            ],
        }
    )
    assert dict(trunk.vlans) == {"a": 7}


def test_a_tag_has_no_comma_and_fits() -> None:
    tags = resources.tags("vif", name="a,b" + "c" * 300, endpoint="")["tags"]
    assert tags[0] == "ovn-docker-host=vif"
    assert len(tags) == 2
    assert "," not in tags[1]
    assert len(tags[1]) == 255
