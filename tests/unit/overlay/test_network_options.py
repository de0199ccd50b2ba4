"""What a CreateNetwork asks for: each bad input is one clear refusal that names the thing."""

import json
import re
from typing import Any

import pytest

from ovn_docker.errors import RequestError
from ovn_docker.libnetwork import messages
from ovn_docker.libnetwork.network_options import without_effect
from ovn_docker.overlay.network_spec import switch_for
from ovn_docker.ovn.switches import BY_DOCKER, BY_HOST, NOWHERE, Switch

MTU = "com.docker.network.driver.mtu"
PLAIN = Switch(network_id="n")
"""What a CreateNetwork without options and pools asks for."""

IPV4 = [{"Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24"}]


def ask(ipv4: object = None, ipv6: object = None, options: object = None) -> Switch:
    body = {"NetworkID": "n", "IPv4Data": ipv4, "IPv6Data": ipv6, "Options": options}
    return switch_for(messages.decode(messages.CreateNetworkRequest, json.dumps(body).encode()))


def generic(**names: object) -> dict[str, Any]:
    return {"com.docker.network.generic": names}


def with_mtu(value: object) -> dict[str, Any]:
    return {"com.docker.network.generic": {MTU: value}}


def test_a_network_as_docker_asks_for_it() -> None:
    switch = ask(
        [{"Pool": "192.168.1.0/24", "Gateway": "192.168.1.1/24"}, {"Pool": "10.0.0.0/8"}],
        [{"Pool": "fd00::/64", "Gateway": "fd00::1/64"}],
        {"com.docker.network.enable_ipv6": True, "com.docker.network.internal": True} | with_mtu("1400"),
    )
    assert [str(pool) for pool in switch.pools] == ["192.168.1.0/24", "10.0.0.0/8", "fd00::/64"]
    assert [str(gateway) for gateway in switch.gateways] == ["192.168.1.1", "None", "fd00::1"]
    assert (switch.network_id, switch.internal, switch.mtu) == ("n", True, 1400)


@pytest.mark.parametrize(
    "options",
    [
        None,
        {},
        {"com.docker.network.generic": None},
        {"com.docker.network.generic": {}},
        {"com.docker.network.internal": False},
        {"com.docker.network.of.tomorrow": ["x"]},
        generic(**{"com.docker.network.container_iface_prefix": "eth"}),
    ],
)
def test_dockers_own_options_are_left_alone(options: dict[str, Any] | None) -> None:
    assert ask(None, None, options) == PLAIN


@pytest.mark.parametrize(
    ("ipv4", "options", "text"),
    [
        ([{"Pool": "nonsense"}], None, "pool 'nonsense' is not a valid CIDR"),
        ([{"Pool": ""}], None, "pool '' is not a valid CIDR"),
        ([{}], None, "pool '' is not a valid CIDR"),
        ([{"Pool": "10.0.0.0"}], None, "pool '10.0.0.0' is not a valid CIDR"),
        ([{"Pool": "10.0.0.0/24"}, {"Pool": "x"}], None, "pool 'x' is not a valid CIDR"),
        ([{"Pool": "10.0.0.0/24", "Gateway": "x"}], None, "gateway 'x' is not a valid IP address"),
        ([{"Pool": "10.0.0.0/24", "Gateway": "10.0.1.1/24"}], None, "gateway 10.0.1.1 lies outside its pool"),
        ([{"Pool": "10.0.0.0/24", "Gateway": "fd00::1/64"}], None, "gateway fd00::1 lies outside its pool"),
        (None, generic(wrong="1"), "unknown network option 'wrong'"),
        (None, generic(**{"com.dockerx": "1"}), "unknown network option 'com.dockerx'"),
        (None, {"com.docker.network.generic": ["wrong"]}, "option com.docker.network.generic does not map"),
        (None, {"com.docker.network.generic": "wrong"}, "option com.docker.network.generic does not map"),
        (None, with_mtu("67"), f"option {MTU} '67' is not a valid MTU: give 68 to 65535 bytes"),
        (None, with_mtu("65536"), f"option {MTU} '65536' is not a valid MTU"),
        (None, with_mtu("-1400"), f"option {MTU} '-1400' is not a valid MTU"),
        (None, with_mtu("1400.0"), f"option {MTU} '1400.0' is not a valid MTU"),
        (None, with_mtu(1400.5), f"option {MTU} '1400.5' is not a valid MTU"),
        (None, with_mtu(""), f"option {MTU} '' is not a valid MTU"),
        (None, with_mtu("9" * 5000), f"option {MTU} '999"),
        (None, with_mtu({"a": 1}), f"option {MTU} '{{'a': 1}}' is not a valid MTU"),
        (None, generic(**{MTU: True}), f"option {MTU} 'True' is not a valid MTU"),
        (None, with_mtu("١٤٠٠"), f"option {MTU} '١٤٠٠' is not a valid MTU"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(ipv4: object, options: object, text: str) -> None:
    with pytest.raises(RequestError, match=re.escape(text)) as refused:
        ask(ipv4, None, options)
    assert "\n" not in str(refused.value)


def test_ipv6_needs_its_minimum_mtu() -> None:
    pools = [{"Pool": "fd00::/64"}]
    with pytest.raises(RequestError, match="give 1280 to 65535"):
        ask(None, pools, with_mtu("1279"))
    assert ask(None, pools, with_mtu("1280")).mtu == 1280
    assert ask([{"Pool": "10.0.0.0/24"}], None, with_mtu("68")).mtu == 68


def test_an_mtu_may_come_as_a_number() -> None:
    assert ask(None, None, with_mtu(1400)).mtu == 1400


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("contxt", "context"),
        ("Switch", "switch"),
        ("port-security", "port_security"),
        ("mtu", MTU),
        ("driver.mtu", MTU),
        ("com.docker-network.driver.mtu", MTU),
    ],
)
def test_an_option_that_is_mistyped_names_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(
        RequestError, match=re.escape(f"'{name}': this driver knows") + f".*; did you mean {meant}"
    ):
        ask(None, None, generic(**{name: "1400"}))


@pytest.mark.parametrize("name", ["colour", "x" * 100_000, ""])
def test_an_option_that_is_like_none_names_none(name: str) -> None:
    with pytest.raises(RequestError, match=r"this driver knows [^;]*$"):
        ask(None, None, generic(**{name: "1"}))


def test_the_options_of_dockers_own_drivers_have_no_effect() -> None:
    theirs = {"com.docker.network.bridge.name": "br0", "com.docker.network.bridge.enable_icc": "false"}
    assert without_effect({**theirs, MTU: "1400", "context": "red"}) == sorted(theirs)


@pytest.mark.parametrize(
    "name",
    [
        *("driver.mtuu", "driver.mut", "driver.MTU", "drivers.mtu", "drivr.mtu", "driver.mt", "driver_mtu"),
        *("mtu", "MTU", "bridge.mtu", "driver.mtu ", "driver.mtu.", "network.driver.mtu"),
    ],
)
def test_a_key_of_dockers_that_resembles_the_mtus_is_refused_with_a_hint(name: str) -> None:
    key = f"com.docker.network.{name}"
    with pytest.raises(RequestError, match=re.escape(f"unknown network option '{key}'")) as refused:
        ask(None, None, generic(**{key: "1400"}))
    assert str(refused.value).endswith(f"; did you mean {MTU}?")


@pytest.mark.parametrize(
    "name",
    [
        *("bridge.name", "bridge.enable_icc", "bridge.enable_ip_masquerade", "bridge.host_binding_ipv4"),
        *("bridge.default_bridge", "bridge.inhibit_ipv4", "bridge.gateway_mode_ipv4", "host_ipv4"),
        *("bridge.gateway_mode_ipv6", "bridge.trusted_host_interfaces", "container_iface_prefix"),
        *("driver.overlay.vxlanid_list", "driver.overlay.bind_interface", "driver", "driver.name"),
        *("windowsshim.dnssuffix", "windowsshim.disable_dns", "windowsshim.interface", "endpoint.ifname"),
        *("enable_ipv4", "enable_ipv6", "internal", "ipam.serial", "endpoint.sysctls", "", "x" * 100_000),
    ],
)
def test_no_key_of_dockers_own_is_taken_for_one_that_is_mistyped(name: str) -> None:
    assert ask(None, None, generic(**{f"com.docker.network.{name}": "x"})) == PLAIN


@pytest.mark.parametrize("chosen", [BY_HOST, BY_DOCKER, NOWHERE])
def test_a_network_names_its_way_out(chosen: str) -> None:
    assert ask(IPV4, None, generic(egress=chosen)).egress == chosen


def test_containers_are_led_out_by_their_host_unless_told_otherwise() -> None:
    assert ask(IPV4).egress == BY_HOST
    assert ask(None, [{"Pool": "fd00::/64", "Gateway": "fd00::1/64"}]).egress == BY_HOST


def test_a_network_without_a_gateway_has_docker_s_way_out_or_none() -> None:
    assert ask([{"Pool": "10.0.0.0/24"}]).egress == BY_DOCKER
    assert ask(None, None, generic(egress=BY_DOCKER)).egress == BY_DOCKER
    assert ask(None, None, generic(egress=NOWHERE)).egress == NOWHERE
    with pytest.raises(RequestError, match="'egress' is 'host': the network has no gateway: leave"):
        ask(None, None, generic(egress=BY_HOST))


@pytest.mark.parametrize("options", [{}, {"egress": BY_DOCKER}])
@pytest.mark.parametrize("what", [{"switch": "office"}, {"swarm": "true"}])
def test_others_switches_and_swarms_have_docker_s_way_out(
    what: dict[str, str], options: dict[str, str]
) -> None:
    assert ask(IPV4, None, generic(**what, **options)).egress == BY_DOCKER


@pytest.mark.parametrize("chosen", [BY_HOST, NOWHERE])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"switch": "office"}, "logical switch 'office' was made by others"),
        ({"swarm": "true"}, "a swarm needs docker"),
    ],
)
def test_others_switches_and_swarms_are_refused_another_way_out(
    what: dict[str, str], reason: str, chosen: str
) -> None:
    text = f"option 'egress' is '{chosen}': {reason}: leave the option out"
    with pytest.raises(RequestError, match=re.escape(text)):
        ask(IPV4, None, generic(**what, egress=chosen))


def test_a_way_out_that_there_is_not_is_refused() -> None:
    with pytest.raises(RequestError, match="'egress' is 'bridge': give host or docker or none"):
        ask(None, None, generic(egress="bridge"))
