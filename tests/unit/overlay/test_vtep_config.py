"""What is shown of VTEPs, and what is wrong with those that OVN serves."""

from ipaddress import ip_address
from uuid import UUID

import pytest

from ovn_docker.host.open_vswitch import VxlanPort
from ovn_docker.overlay.vtep.lookup_flows import Vtep
from ovn_docker.overlay.vtep.vtep_config import ConfiguredVtep, VtepReport
from ovn_docker.ovn.vteps import LOOKUP, VTEP_PORT, vtep_port_name

SWITCH, REMOTE = UUID(int=1), "192.0.2.50"
NAME = vtep_port_name(SWITCH, REMOTE)
OVNS = VxlanPort("ovn-vtep-0", REMOTE, "", "", 5, "")
OWN = VxlanPort("vtep01234567", REMOTE, REMOTE, "openvswitch", 6, "")


def report(mode: str, *ports: VxlanPort, up: bool = True, here: bool = True) -> VtepReport:
    configured = ConfiguredVtep(Vtep(ip_address(REMOTE), 5001, SWITCH), "red", mode)
    return VtepReport([configured], ports, {NAME: up}, {SWITCH} if here else set())


def test_a_vtep_is_shown_with_its_mode_and_the_port_that_leads_to_it() -> None:
    [row] = report(VTEP_PORT, OWN, OVNS).rows()
    assert row == {
        "remote_ip": REMOTE,
        "vni": 5001,
        "Logical_Switch": "red",
        "mode": "ramp",
        "OVSPort": "ovn-vtep-0",
        "Error": "",
    }
    assert report(LOOKUP, OWN).rows()[0]["OVSPort"] == "vtep01234567"


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (report(VTEP_PORT, OVNS, up=False), "VTEP 192.0.2.50 is not bound to logical switch red in OVN"),
        (report(VTEP_PORT), "OVN has no VXLAN tunnel from this host to VTEP 192.0.2.50"),
        (report(VTEP_PORT, OWN), "OVN has no VXLAN tunnel from this host to VTEP 192.0.2.50"),
    ],
    ids=["unbound", "no tunnel", "only the driver's"],
)
def test_what_is_wrong_is_told(found: VtepReport, text: str) -> None:
    [(subject, problem)] = found.problems()
    assert subject == "192.0.2.50 red"
    assert problem.startswith(text)
    assert found.rows()[0]["Error"] == problem


@pytest.mark.parametrize(
    "found",
    [report(VTEP_PORT, OVNS), report(VTEP_PORT, here=False), report(LOOKUP)],
    ids=["well", "not here", "lookup"],
)
def test_what_is_well_is_not(found: VtepReport) -> None:
    assert found.problems() == []
