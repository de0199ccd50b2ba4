"""Which of a router port's addresses is a network's gateway."""

import ipaddress

import pytest

from ovn_docker.addressing import network
from ovn_docker.overlay.gateways import choose


@pytest.mark.parametrize(
    ("networks", "pools", "expected"),
    [
        ([], ["10.0.0.0/24"], {}),
        (["10.0.0.1/24"], [], {}),
        (["10.0.0.1/24"], ["10.0.0.0/24"], {4: "10.0.0.1"}),
        (["10.0.1.1/24"], ["10.0.0.0/24"], {}),
        (["10.0.1.1/24", "10.0.0.1/24", "10.0.0.2/24"], ["10.0.0.0/24"], {4: "10.0.0.1"}),
        (["fd00::1/64", "10.0.0.1/24"], ["10.0.0.0/24", "fd00::/64"], {4: "10.0.0.1", 6: "fd00::1"}),
        (["fe80::1/64", "fd00::1/64"], ["fd00::/64"], {6: "fd00::1"}),
        (["fd00::1/64"], ["10.0.0.0/24"], {}),
        (["10.1.0.1/24"], ["10.0.0.0/24", "10.1.0.0/24"], {4: "10.1.0.1"}),
        (["10.0.0.1/16"], ["10.0.0.0/24"], {4: "10.0.0.1"}),
    ],
)
def test_the_first_address_of_each_version_in_a_pool_is_the_gateway(
    networks: list[str], pools: list[str], expected: dict[int, str]
) -> None:
    found = choose(map(ipaddress.ip_interface, networks), [network(pool, "pool") for pool in pools])
    assert found == expected
