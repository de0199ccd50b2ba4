"""What the traces of OVN's programs at a port mean, and which of several causes is given."""

import pytest

from ovn_docker.host.open_vswitch import NEEDED, OvnSettings
from ovn_docker.overlay.plugging import Traces, cause_of

SETTINGS = OvnSettings(system_id="h1", southbound="tcp:192.0.2.9:6642", encap_ips=("192.0.2.1",))
LACKING = {"ct_zone": "false", "ct_state": "true", "ct_label": "false"}


@pytest.mark.parametrize(
    ("made", "settings", "cause"),
    [
        (False, OvnSettings(), "ovn-northd has not made its port"),
        (True, OvnSettings(southbound="x"), "external_ids:ovn-encap-ip is not set"),
        (True, SETTINGS, "its datapath on this host lacks ct_zone, ct_label:"),
    ],
)
def test_of_several_causes_the_one_nearest_to_northbound_is_given(
    *, made: bool, settings: OvnSettings, cause: str
) -> None:
    assert cause in cause_of(Traces(made=made, known=False, capabilities=LACKING), settings)


@pytest.mark.parametrize("name", NEEDED)
def test_a_capability_that_is_not_mentioned_is_not_lacking(name: str) -> None:
    others = dict.fromkeys(set(NEEDED) - {name}, "true")
    assert cause_of(Traces(made=True, known=False, capabilities=others), SETTINGS).startswith(
        "ovn-controller has not taken up its port"
    )


@pytest.mark.parametrize(
    "traces",
    [
        Traces(made=None, known=False, capabilities={}),
        Traces(made=True, known=None, capabilities={}),
        Traces(made=None, known=None, capabilities={}),
    ],
)
def test_an_unknown_cause_is_not_guessed(traces: Traces) -> None:
    text = cause_of(traces, SETTINGS)
    assert text == "see whether ovn-controller runs, is connected to ovn-remote, and ovn-northd runs"
