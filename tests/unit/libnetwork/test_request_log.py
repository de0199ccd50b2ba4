"""What a line of the log says of a request."""

import pytest

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.api import Reply
from ovn_docker.libnetwork.server import MAX_NAMES, VALUE_LIMIT, ContainerNames, subject

POOL = "default|10.0.0.0/24|10.0.0.0/24|ab12"
WEB = {messages.ENDPOINT_NAME: "web"}


@pytest.mark.parametrize(
    ("message", "reply", "named"),
    [
        (None, None, {}),
        (messages.NetworkRequest(network_id="n"), None, {"network_id": "n"}),
        (
            messages.RequestPoolRequest(pool="10.0.0.0/24"),
            messages.RequestPoolResponse(pool_id=POOL, pool="10.0.0.0/24"),
            {"pool": POOL},
        ),
        (messages.RequestPoolRequest(pool="10.0.0.0/24"), None, {"pool": "10.0.0.0/24"}),
        (messages.PoolRequest(pool_id=POOL), None, {"pool": POOL}),
        (
            messages.AddressRequest(pool_id=POOL, options=WEB),
            messages.RequestAddressResponse(address="10.0.0.2/24"),
            {"pool": POOL, "address": "10.0.0.2/24", "container": "web"},
        ),
        (
            messages.AddressRequest(pool_id=POOL, address="10.0.0.2"),
            None,
            {"pool": POOL, "address": "10.0.0.2"},
        ),
        (
            messages.CreateEndpointRequest(
                network_id="n",
                endpoint_id="e",
                interface=messages.EndpointInterface(address="10.0.0.2/24", address_ipv6="fd00::2/64"),
            ),
            messages.CreateEndpointResponse(
                interface=messages.EndpointInterface(mac_address="02:42:0a:00:00:02")
            ),
            {"network_id": "n", "endpoint_id": "e", "address": "10.0.0.2/24", "address_ipv6": "fd00::2/64"},
        ),
    ],
)
def test_a_request_is_logged_by_what_it_and_its_reply_name(
    message: messages.Message | None, reply: Reply, named: dict[str, str]
) -> None:
    assert subject(message, reply) == named


def test_a_value_that_is_too_long_is_cut() -> None:
    assert subject(messages.PoolRequest(pool_id="x" * 5000), None) == {"pool": "x" * VALUE_LIMIT}


@pytest.mark.parametrize(
    "message",
    [
        messages.JoinRequest(network_id="n", endpoint_id="e"),
        messages.EndpointRequest(network_id="n", endpoint_id="e"),
    ],
)
def test_an_endpoint_is_logged_with_the_container_that_was_read_last(message: messages.Message) -> None:
    names = ContainerNames()
    assert subject(message, None, names.of) == {"network_id": "n", "endpoint_id": "e"}
    names.note("e", "web")
    names.note("e", "shop")
    assert subject(message, None, names.of) == {"network_id": "n", "endpoint_id": "e", "container": "shop"}


def test_the_container_that_docker_names_itself_comes_first() -> None:
    request = messages.AddressRequest(pool_id=POOL, options=WEB)
    assert subject(request, None, lambda _: "other")["container"] == "web"


def test_no_more_names_are_kept_than_a_host_may_have_containers() -> None:
    names = ContainerNames()
    for number in range(MAX_NAMES):
        names.note(str(number), "web")
    names.note("0", "web")
    names.note("new", "web")
    assert [names.of(endpoint_id) for endpoint_id in ("0", "1", "2", "new")] == ["web", "", "web", "web"]
