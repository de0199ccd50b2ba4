"""What dockerd sends twice, too late or at a bad moment, on a real host: an error or success, and no rest.

Requests that it would never send are in tests/functional/libnetwork/test_server.py and tests/functional/fuzz.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from ovn_docker_lab import Lab
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


@pytest.fixture(autouse=True)
def _the_daemon_goes_on(lab: Lab) -> Iterator[None]:
    host = lab.hosts[0]
    pid = host.pid("driver")
    yield
    implements = Plugin(host.paths.plugin_socket).call("Plugin.Activate").body
    assert implements == {"Implements": ["NetworkDriver", "IpamDriver"]}
    assert host.pid("driver") == pid
    assert "Traceback" not in host.log("driver")


def assert_refused(answer: Answer, *words: str) -> None:
    assert answer.status == 400, answer
    assert "\n" not in answer.error
    for word in words:
        assert word in answer.error, answer
    assert "Traceback" not in answer.error


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


def test_a_network_removed_before_its_endpoint_leaves_nothing(plugin: Plugin, lab: Lab) -> None:
    for verb in ("CreateNetwork", "CreateEndpoint", "Join", "DeleteNetwork", "Leave", "DeleteEndpoint"):
        assert plugin.call(verb, body_of(verb)).ok, verb
    assert records.left(lab) == []


LINK = ENDPOINT_ID[:15]


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something that an administrator made with a name of ours."""

    machine: str
    make: str
    show: str
    remove: str
    refused: str
    words: tuple[str, ...]


FOREIGN = {
    "switch": Foreign(
        machine="central",
        make=f"ovn-nbctl ls-add {NETWORK_ID}",
        show=f"ovn-nbctl list {SWITCH} {NETWORK_ID}",
        remove=f"ovn-nbctl ls-del {NETWORK_ID}",
        refused="CreateNetwork",
        words=(NETWORK_ID, "did not make"),
    ),
    "logical port": Foreign(
        machine="central",
        make=f"ovn-nbctl ls-add others -- lsp-add others {ENDPOINT_ID}",
        show=f"ovn-nbctl --columns=_uuid,addresses,external_ids list {PORT} {ENDPOINT_ID}",
        remove="ovn-nbctl ls-del others",
        refused="CreateEndpoint",
        words=(ENDPOINT_ID, "somebody else"),
    ),
    "link": Foreign(
        machine="h1",
        make=f"ip link add {LINK} type bridge",
        show=f"ip -o link show {LINK}",
        remove=f"ip link delete {LINK}",
        refused="Join",
        words=(LINK,),
    ),
    "OVS port": Foreign(
        machine="h1",
        make=f"ovs-vsctl --no-wait add-port br-int {LINK}",
        show=f"ovs-vsctl --columns=_uuid,external_ids list Port {LINK}",
        remove=f"ovs-vsctl --if-exists del-port {LINK}",
        refused="Join",
        words=(LINK,),
    ),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_what_somebody_else_made_with_our_name_is_not_touched(
    plugin: Plugin, lab: Lab, foreign: Foreign
) -> None:
    machine = lab.machine(foreign.machine)
    machine.run(foreign.make.split())
    try:
        before = machine.run(foreign.show.split()).stdout
        for verb in ("CreateNetwork", "CreateEndpoint", "Join"):
            answer = plugin.call(verb, body_of(verb))
            if verb == foreign.refused:
                assert_refused(answer, *foreign.words)
        for verb in ("Leave", "DeleteEndpoint", "DeleteNetwork"):
            assert plugin.call(verb, IDS).ok, verb
        assert records.left(lab) == []
        assert machine.run(foreign.show.split()).stdout == before
    finally:
        machine.run(foreign.remove.split())


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
