"""What dockerd would never send, and what it sends twice or too late: one clear error or success, no rest."""

import contextlib
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from ovn_docker_lab import Lab, Machine
from tests.integration import records
from tests.integration.plugin import VERBS, Answer, Plugin, path_of
from tests.integration.records import PORT, SWITCH
from tests.integration.tenant import in_parallel
from tests.polling import eventually

pytest_plugins = ("tests.integration.fixtures",)
pytestmark = pytest.mark.integration

Body = dict[str, Any]

NETWORK_ID, ENDPOINT_ID = "v6y1xk29ejtb0a8s7dq4hwzpc", "n3k8q0zmf7d2ptx9w5ha61bce"
"""Ids as swarm makes them: 25 characters of base36."""

NETWORK: Body = {
    "NetworkID": NETWORK_ID,
    "Options": {"com.docker.network.enable_ipv6": False, "com.docker.network.generic": {}},
    "IPv4Data": [{"AddressSpace": "x", "Pool": "10.20.0.0/24", "Gateway": "10.20.0.1/24"}],
    "IPv6Data": [],
}
IDS: Body = {"NetworkID": NETWORK_ID, "EndpointID": ENDPOINT_ID}
ENDPOINT: Body = IDS | {"Interface": {"Address": "10.20.0.2/24", "AddressIPv6": "", "MacAddress": ""}}
JOIN: Body = IDS | {"SandboxKey": "/var/run/docker/netns/0123456789ab", "Options": {}}
BODIES = {"CreateNetwork": NETWORK, "CreateEndpoint": ENDPOINT, "Join": JOIN, "DeleteNetwork": NETWORK}


def body_of(verb: str) -> Body:
    return BODIES.get(verb, IDS)


@pytest.fixture
def network(plugin: Plugin) -> Iterator[str]:
    """A network made by hand; all of it is removed afterwards."""
    assert plugin.call("CreateNetwork", NETWORK).ok
    yield NETWORK_ID
    for verb in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
        assert plugin.call(verb, IDS).ok


@pytest.fixture(autouse=True)
def _the_daemon_goes_on(lab: Lab) -> Iterator[None]:
    host = lab.hosts[0]
    pid = host.pid("driver")
    yield
    implements = Plugin(host.paths.plugin_socket).call("Plugin.Activate").body
    assert implements == {"Implements": ["NetworkDriver", "IpamDriver"]}
    assert host.pid("driver") == pid
    assert "Traceback" not in host.log("driver")


def assert_refused(answer: Answer, *words: str, status: int = 400) -> None:
    assert answer.status == status, answer
    assert "\n" not in answer.error
    for word in words:
        assert word in answer.error, answer
    assert "Traceback" not in answer.error


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"{", "not valid JSON"),
        (b'{"NetworkID": }', "not valid JSON"),
        (b'{"NetworkID": "\xff\xfe"}', ""),
        (b"[]", "object"),
        (b"null", "object"),
        (b'"text"', "object"),
        (b"{}", "NetworkID"),
        (b'{"NetworkID": 5, "EndpointID": "e"}', "NetworkID"),
        (b'{"NetworkID": null, "EndpointID": "e"}', "NetworkID"),
        (b'{"NetworkID": "", "EndpointID": "e"}', "NetworkID"),
        (b'{"NetworkID": "a b", "EndpointID": "e"}', "NetworkID"),
        (b'{"NetworkID": "../../etc", "EndpointID": "e"}', "NetworkID"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_body_that_is_no_request_is_refused(plugin: Plugin, verb: str, body: bytes, word: str) -> None:
    assert_refused(plugin.post(verb, body), path_of(verb), word)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "Network" not in verb])
def test_an_endpoint_s_verb_without_endpoint_is_refused(plugin: Plugin, verb: str) -> None:
    assert_refused(plugin.call(verb, {"NetworkID": NETWORK_ID}), "EndpointID")


def test_a_body_of_ten_megabytes_is_refused_at_once(plugin: Plugin) -> None:
    body = json.dumps({"NetworkID": "x" * 10_000_000}).encode()
    answer = plugin.post("CreateNetwork", body)
    assert_refused(answer, "longer than", status=413)
    assert answer.seconds < 2


def test_half_a_request_whose_sender_goes_away_is_forgotten(plugin: Plugin, lab: Lab) -> None:
    for text in (b"POST /Net", request_head("CreateNetwork", 1000), request_head("Join", 10) + b"{"):
        plugin_socket = plugin.connect()
        plugin_socket.sendall(text)
        plugin_socket.close()
    assert plugin.call("Plugin.Activate").seconds < 1
    assert records.left(lab) == []


def test_half_a_request_whose_sender_stays_is_refused_in_time(plugin: Plugin) -> None:
    with contextlib.closing(plugin.connect()) as waiting:
        started = time.monotonic()
        waiting.sendall(request_head("CreateNetwork", 1000) + b'{"NetworkID":')
        answer = waiting.recv(65536)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert time.monotonic() - started < 10


def test_what_is_no_http_is_refused(plugin: Plugin) -> None:
    with contextlib.closing(plugin.connect()) as stranger:
        stranger.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
        assert b" 400 " in stranger.recv(65536)


def test_unknown_paths_and_methods_are_refused(plugin: Plugin) -> None:
    assert_refused(plugin.post("NetworkDriver.Nonsense", b"{}"), "NetworkDriver.Nonsense", status=404)
    assert_refused(plugin.post("IpamDriver.RequestPools", b"{}"), status=404)
    assert_refused(plugin.post("CreateNetwork", b"", method="GET"), status=405)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"IPv4Data": [{"Pool": "10.20.0.0"}]}, ["pool '10.20.0.0' is not a valid CIDR"]),
        ({"IPv4Data": [{"Pool": "10.20.0.0/33"}]}, ["pool '10.20.0.0/33' is not a valid CIDR"]),
        ({"IPv4Data": [{"Pool": ""}]}, ["pool ''"]),
        ({"IPv4Data": [{"Pool": "nonsense"}]}, ["pool 'nonsense'"]),
        ({"IPv4Data": [{"Pool": 5}]}, ["IPv4Data"]),
        ({"IPv4Data": "10.20.0.0/24"}, ["IPv4Data"]),
        ({"IPv4Data": [{"Pool": "10.20.0.0/24", "Gateway": "10.21.0.1/24"}]}, ["10.21.0.1", "10.20.0.0/24"]),
        ({"IPv4Data": [{"Pool": "10.20.0.0/24", "Gateway": "x"}]}, ["gateway 'x'"]),
        ({"Options": []}, ["Options"]),
        ({"Options": {"com.docker.network.generic": "x"}}, ["com.docker.network.generic"]),
        ({"Options": {"com.docker.network.generic": {"foo": "bar"}}}, ["'foo'"]),
    ],
)
def test_a_network_that_cannot_be_is_refused(plugin: Plugin, change: Body, words: list[str]) -> None:
    assert_refused(plugin.call("CreateNetwork", NETWORK | change), *words)


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ({"Address": "10.21.0.2/24"}, ["10.21.0.0/24", "10.20.0.0/24"]),
        ({"Address": "10.20.0.2/16"}, ["10.20.0.0/16", "10.20.0.0/24"]),
        ({"Address": "10.20.0.2"}, ["'10.20.0.2'", "prefix length"]),
        ({"Address": "10.20.0.256/24"}, ["'10.20.0.256/24'"]),
        ({"AddressIPv6": "fd00::2/64"}, ["fd00::/64"]),
        ({"Address": 5}, ["Address"]),
        ({"Address": "10.20.0.2/24", "MacAddress": "02:42"}, ["'02:42'"]),
        ({"Address": "10.20.0.2/24", "MacAddress": "ff:ff:ff:ff:ff:ff"}, ["ff:ff:ff:ff:ff:ff"]),
        ("text", ["Interface"]),
    ],
)
@pytest.mark.usefixtures("network")
def test_an_endpoint_that_cannot_be_is_refused_and_leaves_no_port(
    plugin: Plugin, central: Machine, interface: object, words: list[str]
) -> None:
    assert_refused(plugin.call("CreateEndpoint", IDS | {"Interface": interface}), *words)
    assert records.rows(central, PORT) == []


def test_unknown_networks_and_endpoints_are_named(plugin: Plugin, lab: Lab) -> None:
    for verb in ("CreateEndpoint", "Join"):
        assert_refused(plugin.call(verb, body_of(verb)), NETWORK_ID)
    assert_refused(plugin.call("EndpointOperInfo", IDS), ENDPOINT_ID)
    for verb in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
        assert plugin.call(verb, IDS).ok, "what is gone is removed"
    assert records.left(lab) == []


@pytest.mark.usefixtures("network")
def test_an_endpoint_cannot_join_before_it_is_made(plugin: Plugin, lab: Lab) -> None:
    assert_refused(plugin.call("Join", JOIN), ENDPOINT_ID)
    assert records.left(lab) == [f"{SWITCH} {NETWORK_ID}"]


def test_every_call_may_be_repeated(plugin: Plugin, lab: Lab) -> None:
    for verb in VERBS:
        first, second = plugin.call(verb, body_of(verb)), plugin.call(verb, body_of(verb))
        assert first.ok, first
        assert (second.status, second.body) == (first.status, first.body), verb
    assert records.left(lab) == []


def test_every_call_may_come_many_times_at_once(plugin: Plugin, lab: Lab) -> None:
    for verb in VERBS:
        answers = in_parallel(*[partial(plugin.call, verb, body_of(verb))] * 8)
        assert [answer for answer in answers if not answer.ok] == [], verb
    assert records.left(lab) == []


def test_ids_need_not_be_hex_nor_long(plugin: Plugin, lab: Lab) -> None:
    ids = {"NetworkID": "n", "EndpointID": "e-1_2.3"}
    for verb in VERBS:
        assert plugin.call(verb, body_of(verb) | ids).ok, verb
    assert records.left(lab) == []


@pytest.mark.usefixtures("network")
def test_a_network_that_exists_with_other_pools_is_not_changed(plugin: Plugin, central: Machine) -> None:
    before = records.row(central, SWITCH, NETWORK_ID)
    other = NETWORK | {"IPv4Data": [{"Pool": "10.21.0.0/24"}]}
    assert_refused(plugin.call("CreateNetwork", other), NETWORK_ID)
    assert records.row(central, SWITCH, NETWORK_ID) == before


@pytest.mark.usefixtures("network")
def test_an_endpoint_that_exists_with_another_address_is_not_changed(
    plugin: Plugin, central: Machine
) -> None:
    assert plugin.call("CreateEndpoint", ENDPOINT).ok
    eventually(lambda: records.row(central, PORT, ENDPOINT_ID)["up"] is True, 10, "it is plugged in")
    before = records.row(central, PORT, ENDPOINT_ID)
    other = ENDPOINT | {"Interface": {"Address": "10.20.0.3/24"}}
    assert_refused(plugin.call("CreateEndpoint", other), ENDPOINT_ID)
    assert records.row(central, PORT, ENDPOINT_ID) == before


@pytest.mark.usefixtures("network")
def test_an_endpoint_removed_without_leave_leaves_nothing(plugin: Plugin, lab: Lab) -> None:
    assert plugin.call("CreateEndpoint", ENDPOINT).ok
    assert plugin.call("Join", JOIN).ok
    assert plugin.call("DeleteEndpoint", IDS).ok
    assert records.left(lab) == [f"{SWITCH} {NETWORK_ID}"]


def test_a_network_removed_before_its_endpoint_leaves_nothing(plugin: Plugin, lab: Lab) -> None:
    for verb in ("CreateNetwork", "CreateEndpoint", "Join", "DeleteNetwork", "Leave", "DeleteEndpoint"):
        assert plugin.call(verb, body_of(verb)).ok, verb
    assert records.left(lab) == []


def test_a_switch_of_somebody_else_with_the_network_s_name_is_not_touched(
    plugin: Plugin, central: Machine
) -> None:
    central.run(["ovn-nbctl", "ls-add", NETWORK_ID])
    try:
        before = records.row(central, SWITCH, NETWORK_ID)
        assert_refused(plugin.call("CreateNetwork", NETWORK), NETWORK_ID, "did not make")
        assert_refused(plugin.call("CreateEndpoint", ENDPOINT), NETWORK_ID)
        plugin.call("DeleteNetwork", NETWORK)
        assert records.row(central, SWITCH, NETWORK_ID) == before
    finally:
        central.run(["ovn-nbctl", "ls-del", NETWORK_ID])


@pytest.mark.usefixtures("network")
def test_a_port_of_somebody_else_with_the_endpoint_s_name_is_not_touched(
    plugin: Plugin, central: Machine
) -> None:
    central.run(["ovn-nbctl", "ls-add", "others", "--", "lsp-add", "others", ENDPOINT_ID])
    try:
        before = records.row(central, PORT, ENDPOINT_ID)
        assert_refused(plugin.call("CreateEndpoint", ENDPOINT), ENDPOINT_ID, "somebody else")
        assert_refused(plugin.call("Join", JOIN), ENDPOINT_ID)
        assert plugin.call("DeleteEndpoint", IDS).ok
        assert records.row(central, PORT, ENDPOINT_ID) == before
    finally:
        central.run(["ovn-nbctl", "ls-del", "others"])


LINK = ENDPOINT_ID[:15]


@pytest.mark.usefixtures("network")
def test_a_link_of_somebody_else_with_the_endpoint_s_name_is_not_touched(plugin: Plugin, lab: Lab) -> None:
    host = lab.hosts[0]
    host.run(["ip", "link", "add", LINK, "type", "bridge"])
    try:
        assert plugin.call("CreateEndpoint", ENDPOINT).ok
        assert_refused(plugin.call("Join", JOIN), LINK)
        assert plugin.call("Leave", IDS).ok
        assert plugin.call("DeleteEndpoint", IDS).ok
        assert records.left(lab) == [f"{SWITCH} {NETWORK_ID}"]
        assert host.run(["ip", "link", "show", LINK], check=False).returncode == 0
    finally:
        host.run(["ip", "link", "delete", LINK])


@pytest.mark.usefixtures("network")
def test_a_foreign_ovs_port_with_the_endpoint_s_name_is_not_touched(plugin: Plugin, lab: Lab) -> None:
    host = lab.hosts[0]
    host.run(["ovs-vsctl", "--no-wait", "add-port", "br-int", LINK])
    try:
        assert plugin.call("CreateEndpoint", ENDPOINT).ok
        assert_refused(plugin.call("Join", JOIN), LINK)
        assert plugin.call("DeleteEndpoint", IDS).ok
        assert records.left(lab) == [f"{SWITCH} {NETWORK_ID}"]
        assert LINK in host.run(["ovs-vsctl", "list-ports", "br-int"]).stdout
    finally:
        host.run(["ovs-vsctl", "--if-exists", "del-port", LINK])


def test_a_joined_container_s_link_is_not_taken_from_it_by_a_repeated_join(plugin: Plugin, lab: Lab) -> None:
    host = lab.hosts[0]
    for verb in ("CreateNetwork", "CreateEndpoint", "Join"):
        assert plugin.call(verb, body_of(verb)).ok
    inside = next(name for name in records.links(host) if name != LINK)
    host.run(["ip", "netns", "add", "sandbox"])
    try:
        host.run(["ip", "link", "set", inside, "netns", "sandbox"])
        assert_refused(plugin.call("Join", JOIN), LINK)
        assert records.links(host) == [LINK]
        assert len(records.interfaces(host)) == 1
    finally:
        for verb in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
            assert plugin.call(verb, IDS).ok
        host.run(["ip", "netns", "delete", "sandbox"])


def test_swarm_s_calls_are_answered(plugin: Plugin, lab: Lab) -> None:
    options = {"com.docker.network.driver.mtu": "1400"}
    asked = {"NetworkID": NETWORK_ID, "Options": options, "IPv4Data": NETWORK["IPv4Data"], "IPv6Data": None}
    assert plugin.call("AllocateNetwork", asked).body == {"Options": options | {"swarm": "true"}}
    assert plugin.call("FreeNetwork", {"NetworkID": NETWORK_ID}).ok
    node = {"DiscoveryType": 1, "DiscoveryData": {"Address": "198.18.0.12", "BindAddress": "", "Self": False}}
    for verb in ("DiscoverNew", "DiscoverDelete"):
        assert plugin.call(verb, node).ok
    for verb in ("ProgramExternalConnectivity", "RevokeExternalConnectivity"):
        assert plugin.call(verb, IDS | {"Options": {}}).ok
    assert plugin.call("GwAllocCheck", {"Options": {}}).body == {"SkipIPv4": False, "SkipIPv6": False}
    assert plugin.call("GetCapabilities").body == {
        "Scope": "local",
        "ConnectivityScope": "global",
        "GwAllocChecker": True,
    }
    assert records.left(lab) == []


def test_a_sender_that_goes_away_before_the_answer_leaves_nothing_half_made(plugin: Plugin, lab: Lab) -> None:
    assert plugin.call("CreateNetwork", NETWORK).ok
    assert plugin.call("CreateEndpoint", ENDPOINT).ok
    with contextlib.closing(plugin.connect()) as hasty:
        body = json.dumps(JOIN).encode()
        hasty.sendall(request_head("Join", len(body)) + body)
    eventually(lambda: len(records.interfaces(lab.hosts[0])) == 1, 5, "the Join is carried out to its end")
    assert plugin.call("Join", JOIN).ok, "a repeat finds it whole"
    for verb in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
        assert plugin.call(verb, IDS).ok


def request_head(verb: str, length: int) -> bytes:
    """The head of a request whose body is to have so many bytes."""
    lines = (f"POST /{path_of(verb)} HTTP/1.1", "Host: plugin", f"Content-Length: {length}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()
