"""What the one row of NB_Global says."""

import pytest

from ovn_docker.ovn import nb_global
from ovn_docker.ovsdb.operations import to_map


@pytest.mark.parametrize(
    ("options", "allowed"),
    [({}, True), ({"vxlan_mode": "true"}, True), ({"vxlan_mode": "false"}, False)],
)
def test_northd_may_go_into_vxlan_mode_until_it_is_told_not_to(
    options: dict[str, str],
    allowed: bool,  # noqa: FBT001
) -> None:
    assert nb_global.read_vxlan_mode([{"options": to_map(options)}]) is allowed
