"""What the traces of OVN's programs at a port mean, and which of several causes is told."""

import pytest

from ovn_docker.host.open_vswitch import NEEDED, OvnSettings
from ovn_docker.overlay.plugging import Traces, cause_of

SETTINGS = OvnSettings(system_id="h1", southbound="tcp:192.0.2.9:6642", encap_ips=("192.0.2.1",))
LACKING = {"ct_zone": "false", "ct_state": "true", "ct_label": "false"}


def test_northd_comes_first_for_it_is_nearest_to_northbound() -> None:
    assert cause_of(Traces(made=False, known=False, capabilities=LACKING), OvnSettings()).startswith(
        "ovn-northd"
    )


def test_a_missing_setting_comes_before_what_it_keeps_from_happening() -> None:
    assert cause_of(
        Traces(made=True, known=False, capabilities=LACKING), OvnSettings(southbound="x")
    ).startswith("external_ids:ovn-encap-ip")


def test_everything_that_the_datapath_lacks_is_named() -> None:
    assert "lacks ct_zone, ct_label:" in cause_of(
        Traces(made=True, known=False, capabilities=LACKING), SETTINGS
    )


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
def test_what_cannot_be_told_is_not_guessed(traces: Traces) -> None:
    text = cause_of(traces, SETTINGS)
    assert text == "see whether ovn-controller runs, is connected to ovn-remote, and ovn-northd runs"
