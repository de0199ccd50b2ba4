"""What a line of the log says of a request: by which words it is found."""

import pytest

from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.telling import LONGEST, subject
from ovn_docker.libnetwork.verbs import Reply

POOL = "default|10.0.0.0/24|10.0.0.0/24|ab12"
WEB = {messages.ENDPOINT_NAME: "web"}


@pytest.mark.parametrize(
    ("message", "reply", "told"),
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
def test_a_request_is_told_by_what_it_and_its_reply_name(
    message: messages.Message | None, reply: Reply, told: dict[str, str]
) -> None:
    assert subject(message, reply) == told


def test_a_value_that_is_too_long_is_cut() -> None:
    assert subject(messages.PoolRequest(pool_id="x" * 5000), None) == {"pool": "x" * LONGEST}
