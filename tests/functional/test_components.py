"""Which host the parts of a driver are of."""

from pathlib import Path

import pytest

from ovn_docker.daemon.components import Host, assemble_overlay, running
from ovn_docker.docker.engine import Engine
from ovn_docker.host import open_vswitch
from ovn_docker.host.veth import Links
from ovn_docker.ovsdb.client import Client
from tests.flags import driver_settings

pytestmark = pytest.mark.functional


NOWHERE = driver_settings("unix:/nowhere/db", Path("/nowhere/state.json"), docker="unix:///nowhere/d")


async def test_a_driver_uses_the_host_that_it_is_handed() -> None:
    ovs = Client("Open vSwitch", "Open_vSwitch", open_vswitch.WATCHES)
    host = Host(ovs=ovs, links=Links(), engine=Engine("unix:///elsewhere", None))
    parts = assemble_overlay(NOWHERE, dict, host)
    async with running(parts):
        assert (parts.ovs, parts.links, parts.engine) == (host.ovs, host.links, host.engine)
        assert "not known yet" in parts.ovs.outage()


async def test_a_driver_uses_this_host_where_it_is_handed_none() -> None:
    parts = assemble_overlay(NOWHERE, dict)
    async with running(parts):
        assert [str(remote) for remote in parts.ovs.remotes] == ["unix:/nowhere/db"]
        assert parts.engine.path == "/nowhere/d"
