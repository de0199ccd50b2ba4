"""Which switch a network is on: every combination of the options and this process's policy."""

import ipaddress
import json
from typing import Any

import pytest

from ovn_docker import address_pools
from ovn_docker.addressing import network
from ovn_docker.errors import RequestError
from ovn_docker.overlay import network_spec
from ovn_docker.overlay.network_spec import SharedNetwork, SharingPolicy
from ovn_docker.ovn.switches import Switch

NET = "b5082ded" * 8
POOLS = (network("10.10.10.0/24", ""), network("fd00::/64", ""))
SWITCH = Switch(NET, POOLS, (ipaddress.ip_address("10.10.10.1"), None), mtu=1400)
OWN = SharingPolicy(distributed=False, context="default", address_spaces=("ours",))
DISTRIBUTED = SharingPolicy(distributed=True, context="default", address_spaces=("ours",))
DEFAULT, RED = (address_pools.switch_name(context, POOLS[0]) for context in ("default", "red"))


@pytest.mark.parametrize(
    ("options", "leased", "policy", "expected"),
    [
        ({}, False, OWN, None),
        ({"com.docker.network.driver.mtu": "1400"}, False, OWN, None),
        ({}, True, OWN, (DEFAULT, "default", True)),
        ({}, False, DISTRIBUTED, (DEFAULT, "default", False)),
        ({}, True, DISTRIBUTED, (DEFAULT, "default", False)),
        ({"create": "true"}, False, OWN, (DEFAULT, "default", True)),
        ({"create": "false"}, False, OWN, (DEFAULT, "default", False)),
        ({"create": "false"}, True, OWN, (DEFAULT, "default", False)),
        ({"create": "true"}, False, DISTRIBUTED, (DEFAULT, "default", True)),
        ({"context": "red"}, False, OWN, (RED, "red", False)),
        ({"context": "red"}, True, OWN, (RED, "red", True)),
        ({"context": "red", "create": "true"}, False, OWN, (RED, "red", True)),
        ({"context": "red"}, True, DISTRIBUTED, (RED, "red", False)),
        ({"switch": "mine"}, False, OWN, ("mine", "", False)),
        ({"switch": "mine"}, True, OWN, ("mine", "", False)),
        ({"switch": "mine"}, False, DISTRIBUTED, ("mine", "", False)),
        ({"switch": "mine", "create": "false"}, False, OWN, ("mine", "", False)),
    ],
)
def test_a_network_is_on_the_switch_that_its_options_say(
    options: dict[str, Any],
    leased: bool,  # noqa: FBT001
    policy: SharingPolicy,
    expected: tuple[str, str, bool] | None,
) -> None:
    shared = network_spec.shared(SWITCH, options, leased, policy)
    if expected is None:
        assert shared is None
        return
    assert shared is not None
    assert (shared.switch, shared.context, shared.create) == expected
    assert (shared.leased, shared.row) == (leased, "")
    assert shared.pools == ("10.10.10.0/24", "fd00::/64")
    assert shared.gateway == "10.10.10.1"


def test_the_guides_switch_has_the_guides_name() -> None:
    assert DEFAULT == "19a05268b5eb3df10e2d50b8220505ea0026679bb62eb39d71c8707dd5165248"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"switch": "mine", "context": "red"}, "option 'switch' names a switch that exists"),
        ({"switch": "mine", "create": "true"}, "option 'switch' names a switch that exists"),
        ({"create": "yes"}, "option 'create' is 'yes': give true or false"),
        ({"create": ""}, "option 'create' is '': give true or false"),
        ({"context": "a b"}, "context 'a b' is not a valid name"),
        ({"context": ""}, "context '' is not a valid name"),
        ({"switch": ""}, "option 'switch' is empty"),
    ],
)
def test_options_that_cannot_be_used_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        network_spec.shared(SWITCH, options, leased=False, policy=OWN)


@pytest.mark.parametrize(("options", "policy"), [({"create": "true"}, OWN), ({}, DISTRIBUTED)])
def test_a_network_without_a_subnet_cannot_be_shared(options: dict[str, Any], policy: SharingPolicy) -> None:
    with pytest.raises(RequestError, match="a shared network needs a subnet: name one with --subnet"):
        network_spec.shared(Switch(NET), options, leased=False, policy=policy)


@pytest.mark.parametrize("options", [{"create": "true"}, {"switch": "mine"}])
def test_a_shared_network_is_read_from_json_as_it_was_written(options: dict[str, Any]) -> None:
    shared = network_spec.shared(SWITCH, options, leased=True, policy=OWN)
    assert shared is not None
    read = SharedNetwork.from_json(json.loads(json.dumps(shared.to_json())))
    assert read == shared
    assert (read.as_switch().pools, read.as_switch().mtu) == (SWITCH.pools, SWITCH.mtu)
    assert read.as_switch().gateways == SWITCH.gateways


def test_an_address_is_filed_under_its_pool_or_the_named_switch() -> None:
    by_context = network_spec.shared(SWITCH, {"create": "true"}, leased=True, policy=OWN)
    by_name = network_spec.shared(SWITCH, {"switch": "mine"}, leased=True, policy=OWN)
    assert by_context is not None
    assert by_name is not None
    four, six = ipaddress.ip_address("10.10.10.2"), ipaddress.ip_address("fd00::2")
    assert by_context.key(four) == DEFAULT
    assert by_context.key(six) == address_pools.switch_name("default", POOLS[1])
    assert by_name.key(four) == by_name.key(six) == "mine"
