"""What a CreateNetwork asks of the underlay driver."""

import pytest

from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.underlay import neutron_networks
from ovn_docker.underlay.neutron_networks import NeutronNetworkSpec


def read(space: str = "local", **options: str) -> NeutronNetworkSpec:
    named = {key.replace("__", "."): value for key, value in options.items()}
    data = messages.IPAMData(address_space=space, pool="10.0.0.0/24", gateway="10.0.0.1/24")
    request = messages.CreateNetworkRequest(
        network_id="n", options={messages.GENERIC: named}, ipv4_data=[data]
    )
    return neutron_networks.read(request, "neutron")


def test_a_network_is_new_unless_one_is_named_or_addresses_are_neutrons() -> None:
    assert not read().existing
    assert read(neutron__network="x").existing
    assert read(neutron__subnet="x, y").subnets == ("x", "y")
    assert read("neutron").leased
    assert read("neutron").existing


def test_security_is_read() -> None:
    assert read().groups is None
    assert read(neutron__security_groups="web,ssh").groups == ("web", "ssh")
    assert read(neutron__port_security="False").port_security is False


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"neutron__port_security": "no"}, "option 'neutron.port_security' is 'no': give true or false"),
        ({"neutron__security_groups": "a", "neutron__port_security": "false"}, "exclude each other"),
        ({"switch": "a"}, "unknown network option 'switch': this driver knows neutron.network"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, str], text: str) -> None:
    with pytest.raises(RequestError, match=text):
        read(**options)
