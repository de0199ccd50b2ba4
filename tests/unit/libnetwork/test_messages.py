"""Bodies as dockerd sends them, and as it never should."""

import json

import pytest

from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages

HEX_ID = "b5082ded" * 8
SWARM_ID = "k9qz3h1x0v7p2m5n8r4t6w1y3"


def test_create_network_is_read_as_docker_26_sends_it() -> None:
    body = {
        "NetworkID": HEX_ID,
        "Options": {
            "com.docker.network.enable_ipv6": False,
            "com.docker.network.generic": {"com.docker.network.driver.mtu": "1400"},
        },
        "IPv4Data": [
            {
                "AddressSpace": "LocalDefault",
                "Gateway": "192.168.1.1/24",
                "Pool": "192.168.1.0/24",
                "AuxAddresses": {"a": "192.168.1.9/24"},
            }
        ],
        "IPv6Data": [],
    }
    request = messages.decode(messages.CreateNetworkRequest, json.dumps(body).encode())
    assert request.network_id == HEX_ID
    assert request.options is not None
    assert request.options[messages.GENERIC] == {messages.MTU: "1400"}
    assert request.ipv4_data == [
        messages.IPAMData(
            address_space="LocalDefault",
            pool="192.168.1.0/24",
            gateway="192.168.1.1/24",
            aux_addresses={"a": "192.168.1.9/24"},
        )
    ]
    assert request.ipv6_data == []


def test_create_endpoint_is_read_as_docker_26_sends_it() -> None:
    body = {
        "NetworkID": SWARM_ID,
        "EndpointID": HEX_ID,
        "Interface": {"Address": "192.168.1.2/24", "AddressIPv6": "fd00:1::2/64", "MacAddress": ""},
        "Options": {"com.docker.network.endpoint.macaddress": "AkKsEQAC", "my.driver.opt": "x"},
        "NewInSomeLaterDocker": [1, 2],
    }
    request = messages.decode(messages.CreateEndpointRequest, json.dumps(body).encode())
    assert request.network_id == SWARM_ID
    assert request.interface == messages.EndpointInterface(
        address="192.168.1.2/24", address_ipv6="fd00:1::2/64"
    )


def test_null_stands_for_an_absent_list_or_mapping() -> None:
    body = b'{"NetworkID":"n","Options":null,"IPv4Data":null,"IPv6Data":null}'
    request = messages.decode(messages.AllocateNetworkRequest, body)
    assert (request.options, request.ipv4_data, request.ipv6_data) == (None, None, None)


@pytest.mark.parametrize("identifier", [HEX_ID, SWARM_ID, "a", "A-b_c.d", "x" * 128])
def test_an_id_is_not_assumed_to_be_hexadecimal(identifier: str) -> None:
    request = messages.decode(messages.NetworkRequest, json.dumps({"NetworkID": identifier}).encode())
    assert request.network_id == identifier


@pytest.mark.parametrize(
    "identifier", ["", "x" * 129, "a\n", "a b", "../etc", "-rf", ".hidden", "a/b", "a\x00", "é", "a;b", 'a"b']
)
def test_an_id_that_could_not_name_a_row_or_a_file_is_refused(identifier: str) -> None:
    body = json.dumps({"NetworkID": HEX_ID, "EndpointID": identifier}).encode()
    with pytest.raises(RequestError, match=r"\$\.EndpointID"):
        messages.decode(messages.EndpointRequest, body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b"  \r\n", "empty"),
        (b"{", "truncated"),
        (b"not json", "not valid JSON"),
        (b'{"NetworkID":"n"} trailing', "not valid JSON"),
        (b'{"NetworkID":"\xff"}', "not valid JSON"),
        (b"null", "Expected `object`"),
        (b"[]", "Expected `object`"),
        (b"{}", "`NetworkID`"),
        (b'{"NetworkID":null}', r"\$\.NetworkID"),
        (b'{"NetworkID":7}', r"\$\.NetworkID"),
        (b'{"NetworkID":"n","Options":[]}', r"\$\.Options"),
        (b'{"NetworkID":"n","Options":{"a":1e999}}', r"\$\.Options"),
        (b'{"NetworkID":"n","IPv4Data":{}}', r"\$\.IPv4Data"),
        (b'{"NetworkID":"n","IPv4Data":[{"Pool":24}]}', r"\$\.IPv4Data\[.*\]\.Pool"),
        (b'{"NetworkID":"n","Options":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deep"),
    ],
)
def test_a_body_that_is_wrong_is_refused_with_the_place_named(body: bytes, text: str) -> None:
    with pytest.raises(RequestError, match=text) as refusal:
        messages.decode(messages.CreateNetworkRequest, body)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("interface", "place"), [('"text"', r"\$\.Interface"), ('{"Address":5}', r"\$\.Interface\.Address")]
)
def test_an_interface_that_is_wrong_is_refused_with_the_place_named(interface: str, place: str) -> None:
    body = f'{{"NetworkID":"n","EndpointID":"e","Interface":{interface}}}'
    with pytest.raises(RequestError, match=place):
        messages.decode(messages.CreateEndpointRequest, body.encode())


def test_no_response_is_an_empty_object() -> None:
    assert messages.encode(None) == b"{}"


def test_an_error_reads_the_same_to_both_services_and_is_one_line() -> None:
    assert json.loads(messages.encode_error("no\nsuch\tnetwork")) == {
        "Err": "no such network",
        "Error": "no such network",
    }


def test_join_is_answered_with_dockers_names() -> None:
    response = messages.JoinResponse(
        interface_name=messages.InterfaceName(src_name="veth0", dst_prefix="eth"),
        gateway="10.0.0.1",
        static_routes=[messages.StaticRoute(destination="10.1.0.0/16", route_type=0, next_hop="10.0.0.2")],
    )
    assert json.loads(messages.encode(response)) == {
        "InterfaceName": {"SrcName": "veth0", "DstPrefix": "eth"},
        "Gateway": "10.0.0.1",
        "GatewayIPv6": "",
        "StaticRoutes": [{"Destination": "10.1.0.0/16", "RouteType": 0, "NextHop": "10.0.0.2"}],
        "DisableGatewayService": False,
    }


def test_create_endpoint_answers_nothing_when_docker_gave_everything() -> None:
    assert messages.encode(messages.CreateEndpointResponse()) == b"{}"


def test_create_endpoint_answers_the_mac_address_that_the_driver_chose() -> None:
    interface = messages.EndpointInterface(mac_address="02:42:c0:a8:01:02")
    encoded = json.loads(messages.encode(messages.CreateEndpointResponse(interface=interface)))
    assert {key: value for key, value in encoded["Interface"].items() if value} == {
        "MacAddress": "02:42:c0:a8:01:02"
    }


def test_operational_information_is_an_object() -> None:
    assert messages.encode(messages.EndpointInfoResponse(value={})) == b'{"Value":{}}'
