"""What is read from Docker's answers: those of dockerd 26.1.5, and such as no dockerd sends."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovn_docker.docker import models
from ovn_docker.docker.models import Container, PoolConfig
from ovn_docker.errors import HostError

BODIES = Path(__file__).with_name("bodies")
READERS: list[Callable[[bytes], Any]] = [
    models.read_network_list,
    models.read_network,
    models.read_container,
    models.read_container_list,
    models.read_event,
    models.read_ended,
    models.read_stopped,
    models.read_plugins,
    models.read_nodes,
]


def body(name: str) -> bytes:
    return BODIES.joinpath(name).read_bytes()


def test_a_network_with_two_pools_is_read_with_its_subnets_in_canonical_form() -> None:
    read = models.read_network(body("network-two.json"))
    assert (read.name, read.driver, read.ipam_driver) == ("two", "openvswitch", "openvswitch")
    assert (read.internal, read.ipv6, read.options) == (True, True, {"create": "true"})
    assert read.pools == (
        PoolConfig("10.50.0.0/24", "10.50.0.254", {"printer": "10.50.0.9"}),
        PoolConfig("fd50::/64", "", {}),
    )
    assert b"FD50:0::/64" in body("network-two.json"), "Docker keeps it as it was typed"
    [endpoint] = read.endpoints.values()
    assert endpoint.network_id == read.network_id
    assert endpoint.endpoint_id == "535fc55b4752e0f3476943b9c9cf3d46f2f9396a14c664f089a9ac4cbe646cf4"
    assert endpoint.mac == "02:42:0a:32:00:01"
    assert endpoint.interfaces == ("10.50.0.1/24", "fd50::2/64")
    assert endpoint.addresses == ("10.50.0.1", "fd50::2")
    assert endpoint.container_id == "15561a125ac59271d3242563c7741eaefedb16b2252c3315054ba03501db58c7"


def test_an_endpoint_without_sandbox_belongs_to_no_container_yet() -> None:
    read = models.read_network(body("network-without-sandbox.json"))
    owners = {endpoint.endpoint_id[:8]: endpoint.container_id[:8] for endpoint in read.endpoints.values()}
    assert owners == {"535fc55b": "15561a12", "11580ebe": ""}


def test_a_swarms_network_is_elsewhere_where_a_manager_only_knows_of_it() -> None:
    known, here = (
        models.read_network(body(name)) for name in ("network-swarm-elsewhere.json", "network-swarm.json")
    )
    assert (known.elsewhere, here.elsewhere) == (True, False)
    assert known.network_id == here.network_id
    assert here.is_of("ovn")
    idle = json.loads(body("network-swarm.json")) | {"Containers": {}}
    assert not models.read_network(json.dumps(idle).encode()).elsewhere
    old = json.loads(body("network-auto.json")) | {"Containers": None}
    assert not models.read_network(json.dumps(old).encode()).elsewhere


def test_plugins_are_those_for_networks_with_their_state() -> None:
    volumes = {"Name": "disks:latest", "Config": {"Interface": {"Types": ["docker.volumedriver/1.0"]}}}
    listed = [*json.loads(body("plugins.json")), volumes]
    assert models.read_plugins(json.dumps(listed).encode()) == {"ovn:latest": True, "ovnl:latest": False}


def test_a_node_is_read_with_its_network_plugins_and_availability() -> None:
    listed = json.loads(body("nodes.json"))
    listed[1]["Spec"]["Availability"] = "drain"
    listed[2]["Status"]["State"] = "down"
    nodes = models.read_nodes(json.dumps(listed).encode())
    assert [(node.name, node.usable) for node in nodes] == [("h1", True), ("h2", False), ("h3", False)]
    assert all({"ovn:latest", "bridge"} <= node.plugins for node in nodes)
    assert not any("local" in node.plugins for node in nodes), "that is a volume driver"


def test_a_pool_that_docker_or_our_ipam_chose_is_said_with_its_gateway() -> None:
    assert models.read_network(body("network-auto.json")).pools == (
        PoolConfig("10.200.0.0/24", "10.200.0.1", {}),
    )
    theirs = models.read_network(body("network-dauto.json"))
    assert theirs.pools == (PoolConfig("10.0.0.0/24", "10.0.0.1", {}),)
    assert not theirs.has_foreign_ipam


def test_whose_network_it_is() -> None:
    two, bridge = (
        models.read_network(body("network-two.json")),
        models.read_network(body("network-br52.json")),
    )
    assert two.is_of("openvswitch")
    assert two.is_leased_by("openvswitch")
    assert not two.is_of("openvswitch2")
    assert not two.is_of("open")
    assert bridge.has_foreign_ipam
    assert not bridge.is_of("openvswitch")
    assert not models.read_network(body("network-nullnet.json")).has_foreign_ipam
    assert models.read_network(body("network-conf.json")).config_only
    assert not two.config_only


@pytest.mark.parametrize("driver", ["openvswitch:latest", "openvswitch:1.2"])
def test_a_managed_plugin_has_a_tag_behind_its_name(driver: str) -> None:
    text = body("network-two.json").replace(b'"Driver":"openvswitch"', f'"Driver":"{driver}"'.encode())
    read = models.read_network(text)
    assert read.is_of("openvswitch")
    assert read.is_leased_by("openvswitch")


def test_the_list_of_networks_says_the_driver_of_each() -> None:
    drivers = models.read_network_list(body("networks.json"))
    assert len(drivers) == 10
    assert drivers["cbd99bd4f691d9b9f831a10c48e7e5604f820e25a44033307de99f24c71755e3"] == "openvswitch"
    assert set(drivers.values()) == {"openvswitch", "bridge", "host", "null"}


def test_a_container_is_read_with_its_endpoints() -> None:
    read = models.read_container(body("container-alpha.json"))
    assert (read.name, read.labels) == ("alpha", {"tier": "front", "empty": ""})
    assert {endpoint[0][:8]: endpoint[1][:8] for endpoint in read.endpoints} == {
        "cbd99bd4": "535fc55b",
        "2cee4aed": "931900e6",
    }


def test_a_container_that_others_link_to_has_its_own_name_in_the_list_too() -> None:
    """``docker run --link beta:alias --name gamma``: beta is listed as /beta and /gamma/alias."""
    listed = models.read_container_list(body("containers.json"))
    assert sorted(row.name for row in listed.values()) == ["alpha", "beta", "gamma"]
    turned = [{"Id": "x", "Names": ["/alpha/alias", "/beta"]}]
    assert models.read_container_list(json.dumps(turned).encode()) == {"x": Container("x", "beta", {})}


def test_a_container_is_named_alike_in_the_list_and_by_itself() -> None:
    listed = models.read_container_list(body("containers.json"))
    for name in ("alpha", "gamma"):
        alone = models.read_container(body(f"container-{name}.json"))
        inside = listed[alone.container_id]
        assert (alone.name, alone.labels) == (inside.name, inside.labels)


def test_events_say_which_container_they_are_about() -> None:
    events = [models.read_event(line) for line in body("events.jsonl").splitlines()]
    assert [(event.type, event.action) for event in events] == [
        ("network", "connect"),
        ("container", "start"),
        ("container", "rename"),
        ("network", "connect"),
    ]
    assert {event.container_id for event in events} == {
        "6c9c3931d8f49d34020733e604c50737aa0d573f0d68e26cd4dad60213edf603"
    }
    assert models.read_event(b'{"Type":"network","Action":"create","Actor":{"ID":"n"}}').container_id == ""


def test_an_error_is_told_in_docker_s_words_and_in_one_line() -> None:
    assert models.read_message(body("error-no-network.json")) == "network nonesuch not found"
    assert models.read_message(body("error-no-container.json")) == "No such container: none"
    assert models.read_message(body("error-version.json")) == (
        "client version 1.99 is too new. Maximum supported API version is 1.45"
    )
    assert models.read_message(b"<html>\n not found\n</html>") == "<html> not found </html>"
    assert models.read_message(b'{"message":"one\\ntwo"}') == "one two"
    assert models.read_message(b"\xff" * 500) == "\N{REPLACEMENT CHARACTER}" * 200


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"Id":1,"Name":"n"}',
        b'{"Id":"\xff","Name":"n"}',
        b'{"Id":"i","Name":"n","Containers":{"c":{"EndpointID":"e","IPv4Address":"nonsense"}}}',
        b'{"Id":"i","Name":"n","Containers":{"c":{"EndpointID":"e","IPv6Address":"fd00::1/200"}}}',
        b'{"Id":"i","Name":"n","IPAM":{"Config":[{"Subnet":"10.0.0.0/99"}]}}',
        b'{"Id":"i","Name":"n","More":' + b"[" * 100_000,
    ],
)
def test_a_network_that_cannot_be_read_is_an_error_and_no_network(text: bytes) -> None:
    with pytest.raises(HostError, match=r"^Docker's answer cannot be read: "):
        models.read_network(text)


def refusal(reader: Callable[[bytes], Any], text: bytes) -> str:
    try:
        reader(text)
    except HostError as error:
        return str(error)
    return ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=60) | JSON.map(json.dumps).map(str.encode))
def test_garbage_is_an_error_and_never_an_exception_of_another_kind(text: bytes) -> None:
    for reader in READERS:
        assert "\n" not in refusal(reader, text)
    assert "\n" not in models.read_message(text)


RECORDED: list[tuple[str, Callable[[bytes], Any]]] = [
    ("network-two.json", models.read_network),
    ("container-alpha.json", models.read_container),
    ("containers.json", models.read_container_list),
    ("stopped.json", models.read_ended),
    ("stopped-web.json", models.read_stopped),
    ("plugins.json", models.read_plugins),
    ("nodes.json", models.read_nodes),
]


@pytest.mark.parametrize(("name", "reader"), RECORDED)
@given(data=st.data())
def test_an_answer_with_one_wrong_value_is_an_error_or_another_value(
    name: str, reader: Callable[[bytes], Any], data: st.DataObject
) -> None:
    content = json.loads(body(name))
    where: Any = content
    while isinstance(where, dict | list) and where:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            where[key] = data.draw(JSON)
            break
        where = where[key]
    assert "\n" not in refusal(reader, json.dumps(content).encode())


@pytest.mark.parametrize(("name", "reader"), RECORDED)
def test_an_answer_that_ends_early_is_an_error(name: str, reader: Callable[[bytes], Any]) -> None:
    whole = body(name).strip()
    for length in range(0, len(whole), 97):
        with pytest.raises(HostError):
            reader(whole[:length])


def test_what_is_read_twice_is_the_same() -> None:
    first, second = (models.read_network(body("network-two.json")) for _ in range(2))
    assert asdict(first) == asdict(second)


@pytest.mark.parametrize(("ipv6", "pools"), [(False, ["10.0.0.0/24"]), (True, ["fd00::/64", "10.0.0.0/24"])])
def test_an_ipv6_subnet_is_not_a_pool_of_a_network_without_ipv6(*, ipv6: bool, pools: list[str]) -> None:
    config = [{"Subnet": "fd00::/64"}, {"Subnet": "10.0.0.0/24"}]
    shown = {"Id": "n1", "Name": "foo", "EnableIPv6": ipv6, "IPAM": {"Driver": "ovn", "Config": config}}
    read = models.read_network(json.dumps(shown).encode())
    assert [pool.subnet for pool in read.pools] == pools
