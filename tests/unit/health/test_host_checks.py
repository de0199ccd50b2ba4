"""What keeps OVN from serving a host is found, and each text says what to type."""

from dataclasses import replace

import pytest

from ovn_docker.health.findings import KINDS
from ovn_docker.health.host_checks import CONTROLLERS, check_host, check_tunnels
from ovn_docker.health.snapshot import Daemons, HostSetup
from ovn_docker.host.open_vswitch import NEEDED, OvnSettings, Tunnel

SETTINGS = OvnSettings(system_id="h1", southbound="tcp:192.0.2.9:6642", encap_ips=("192.0.2.1",))
ALL = Daemons(frozenset({"ovsdb-server", "ovs-vswitchd", "ovn-controller"}), {"br-int": 3})
GOOD = HostSetup(SETTINGS, ALL, {"192.0.2.1": "eth0"}, dict.fromkeys(NEEDED, "true"))
FINE = Tunnel("192.0.2.2", "", "eth0", carrier=True)


def without(*names: str, controlled: int = 0) -> HostSetup:
    return replace(GOOD, daemons=Daemons(ALL.running - set(names), {"br-int": controlled}))


ONE_OF_EACH = [
    ("vswitchd-down", "ovs-vswitchd", without("ovs-vswitchd"), "'systemctl restart openvswitch-switch'"),
    ("controller-down", "ovn-controller", without("ovn-controller"), "'systemctl restart ovn-controller'"),
    (
        "controller-down",
        "ovn-controller",
        without("ovn-controller", controlled=1),  # a watch of ours
        "'/usr/share/ovn/scripts/ovn-ctl start_controller'",
    ),
    (
        "setting-missing",
        "ovn-encap-ip",
        replace(GOOD, settings=replace(SETTINGS, encap_ips=()), addresses={}),
        "'ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip=",
    ),
    (
        "setting-missing",
        "ovn-remote",
        replace(GOOD, settings=replace(SETTINGS, southbound="")),
        "'ovs-vsctl set Open_vSwitch . external_ids:ovn-remote=",
    ),
    (
        "encap-foreign",
        "192.0.2.1",
        replace(GOOD, addresses={"192.0.2.1": None}),
        "'ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip=",
    ),
    (
        "datapath-lacks",
        "br-int",
        replace(GOOD, capabilities={**GOOD.capabilities, "ct_zone": "false"}),
        "lacks ct_zone, so Open vSwitch refuses",
    ),
]


@pytest.mark.parametrize(("kind", "subject", "setup", "words"), ONE_OF_EACH)
def test_each_fault_is_one_finding(kind: str, subject: str, setup: HostSetup, words: str) -> None:
    [finding] = check_host(setup)
    assert (finding.kind, finding.subject) == (kind, subject)
    assert words in finding.text
    assert "\n" not in finding.text
    assert KINDS[kind].repair == ""


@pytest.mark.parametrize(
    "setup",
    [
        None,
        GOOD,
        without(*ALL.running),  # they are in another network namespace
        without("ovn-controller", controlled=CONTROLLERS),  # its socket has another name
        replace(GOOD, capabilities={}),
    ],
)
def test_what_is_well_or_cannot_be_seen_is_not_told(setup: HostSetup | None) -> None:
    assert list(check_host(setup)) == []


def test_an_address_that_went_with_ovs_vswitchd_is_not_a_finding_too() -> None:
    gone = replace(without("ovs-vswitchd"), addresses={"192.0.2.1": None})
    assert [finding.kind for finding in check_host(gone)] == ["vswitchd-down"]


def test_a_tunnel_that_leads_nowhere_is_told_with_the_reason() -> None:
    [finding] = check_tunnels([FINE, replace(FINE, egress="")])
    assert finding.kind == "tunnel-down"
    assert finding.text == (
        "no packet reaches the tunnel address 192.0.2.2: this host has no route to it: see 'ip route get"
        " ADDRESS'"
    )


def test_tunnels_that_are_down_for_one_reason_are_one_finding() -> None:
    down = [Tunnel(f"192.0.2.{number}", "", "eth0", carrier=False) for number in range(10, 16)]
    other = Tunnel("192.0.2.20", "no", "", carrier=True)
    found = list(check_tunnels([*down, other]))
    assert [finding.subject for finding in found] == [
        "Open vSwitch says no",
        "interface eth0 has no carrier",
    ]
    assert "192.0.2.10, 192.0.2.11, 192.0.2.12 and 3 more" in found[1].text
    [fewer] = check_tunnels(down[1:])
    assert (fewer.kind, fewer.subject) == (found[1].kind, found[1].subject)
